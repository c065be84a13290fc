"""A cheap objective and a worker process for the tests: no networks, a table of scores."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from scr3d.causal.graph import Order
from scr3d.models.config import ModelConfig
from scr3d.search.config import SearchConfig, Strategy, Task
from scr3d.search.objective import Objective, Outcome
from scr3d.search.study import search
from scr3d.training.config import OptimiserConfig, TrainConfig


def score_of(name: str) -> float:
    """Best for VDLA, worse the further the ranks are from it; edges count by themselves."""
    if ">" in name or not name:
        return 2.0 - 0.1 * name.count(">") + 0.01 * len(name)
    return 1.0 + 0.1 * sum(abs(a - b) for a, b in zip(Order.parse(name).rank, (0, 1, 2, 3), strict=True))


def stand_in(config: SearchConfig, task: Task, seconds: float = 0.0) -> Outcome:
    """Notes that a task begins and ends, in a file that all processes append to."""
    note(config, "begin", task)
    time.sleep(seconds)
    note(config, "end", task)
    return Outcome(score_of(task.name) + 0.001 * task.seed + 10.0 / task.images, 0.01, 12)


def note(config: SearchConfig, event: str, task: Task) -> None:
    config.folder.mkdir(parents=True, exist_ok=True)
    line = json.dumps([event, task.name, task.seed, task.images]) + "\n"
    with (config.folder / "notes.txt").open("a") as file:
        file.write(line)


def notes(out: Path, event: str) -> list[tuple[str, int, int]]:
    lines = (json.loads(line) for line in (out / "notes.txt").read_text().splitlines())
    return [tuple(rest) for kind, *rest in lines if kind == event]


def shared(config: SearchConfig) -> dict[str, Outcome]:
    note(config, "shared", Task("all", 0, config.training.images))
    return {name: Outcome(score_of(name) + 0.5, 0.02, 12) for name in config.space.names}


def objective(seconds: float = 0.0) -> Objective:
    alone: Callable[[SearchConfig, Task], Outcome] = partial(stand_in, seconds=seconds)
    return Objective(alone, shared)


def config(data: Path, out: Path, **options: object) -> SearchConfig:
    training = TrainConfig(
        data=data,
        out=out,
        model=ModelConfig(size=32, width=4),
        optimiser=OptimiserConfig(batch_size=4, rate=1e-3),
        images=360,
        validation_images=6,
        threads=1,
    )
    return SearchConfig(training, **{"strategy": Strategy.RANDOM, "heartbeat_s": 30.0, **options})


def main() -> None:
    """A worker: data, out, storage (or -), seconds of a training, strategy, number of candidates."""
    data, out, storage, seconds, strategy, trials = sys.argv[1:]
    settings = config(
        Path(data),
        Path(out),
        storage=None if storage == "-" else storage,
        strategy=Strategy(strategy),
        trials=int(trials),
    )
    search(settings, objective(float(seconds)))


if __name__ == "__main__":
    main()
