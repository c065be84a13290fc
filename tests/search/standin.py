"""A cheap objective and a worker process for the tests: no networks, a table of scores."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import astuple
from functools import partial
from pathlib import Path

from scr3d.causal.graph import Order
from scr3d.models.config import ModelConfig
from scr3d.search.config import SearchConfig, Strategy, Task
from scr3d.search.objective import Objective, Outcome
from scr3d.search.study import search
from scr3d.training.config import OptimiserConfig, TrainConfig

PATIENCE_SECONDS = 300.0


def score_of(name: str) -> float:
    """Best for VDLA, worse the further the ranks are from it; edges count by themselves."""
    if ">" in name or not name:
        return 2.0 - 0.1 * name.count(">") + 0.01 * len(name)
    return 1.0 + 0.1 * sum(abs(a - b) for a, b in zip(Order.parse(name).rank, (0, 1, 2, 3), strict=True))


def stand_in(config: SearchConfig, task: Task, seconds: float = 0.0) -> Outcome:
    """Notes that a task begins and ends, in a file that all processes append to.

    The note of the end is what the last checkpoint is to a trainer: who begins later finds it and only scores.
    """
    note(config, "begin", task)
    if astuple(task) not in notes(config.folder, "end"):
        time.sleep(seconds)
        note(config, "end", task)
    return Outcome(score_of(task.name) + 0.001 * task.seed + 10.0 / task.images, 0.01, 12)


def stand_in_that_freezes(config: SearchConfig, task: Task, seconds: float) -> Outcome:
    """As the stand-in, but this process stops in the middle of its third training until somebody lets it go on."""
    if sum(pid == os.getpid() for pid, _ in notes_by_process(config.folder, "begin")) == 2:
        note(config, "freeze", task)
        time.sleep(seconds / 2)
        os.kill(os.getpid(), signal.SIGSTOP)
    return stand_in(config, task, seconds)


def stand_in_for_company(config: SearchConfig, task: Task) -> Outcome:
    """As the stand-in, but the first training waits until another process has begun one."""
    note(config, "arrive", task)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len({pid for pid, _ in notes_by_process(config.folder, "arrive")}) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    return stand_in(config, task)


def note(config: SearchConfig, event: str, task: Task) -> None:
    config.folder.mkdir(parents=True, exist_ok=True)
    line = json.dumps([event, os.getpid(), *astuple(task)]) + "\n"
    with (config.folder / "notes.txt").open("a") as file:
        file.write(line)


def notes(out: Path, event: str) -> list[tuple[str, int, int]]:
    """The tasks of an event, in the order of time."""
    return [task for _, task in notes_by_process(out, event)]


def notes_by_process(out: Path, event: str) -> list[tuple[int, tuple[str, int, int]]]:
    """The tasks of an event with the number of the process that noted it."""
    # A line without its end is still being written.
    path = out / "notes.txt"
    lines = (path.read_text() if path.exists() else "").split("\n")[:-1]
    return [(pid, tuple(task)) for kind, pid, *task in map(json.loads, lines) if kind == event]


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
    """A worker: its kind, data, out, storage (or -), seconds of a training, strategy, candidates, heartbeat."""
    kind, data, out, storage, seconds, strategy, trials, heartbeat_s = sys.argv[1:]
    settings = config(
        Path(data),
        Path(out),
        storage=None if storage == "-" else storage,
        strategy=Strategy(strategy),
        trials=int(trials),
        heartbeat_s=float(heartbeat_s),
    )
    alone = {"steady": stand_in, "freezing": stand_in_that_freezes}[kind]
    search(settings, Objective(partial(alone, seconds=float(seconds)), shared))


if __name__ == "__main__":
    main()
