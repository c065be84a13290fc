"""Two training runs side by side with one thread each, against one run with two threads.

    python benchmarks/side_by_side.py [--size 64] [--batch 32] [--seconds 20] [--repeats 3]
                                      [--out results/benchmarks/side_by_side.json]

Each run trains the compact network in a process of its own that is told its threads as users do, by `--threads`. All
processes are there from the start and wait; in every round the two single runs train for `--seconds` at the same time,
then the one with two threads, then one of the single runs alone. Counted are whole steps within that time.

    together        images a second of both single runs
    two_threads     of the run with two threads
    alone           of a single run that has the machine to itself
    cpu_share       processor seconds per second of the processes that train; a run that ignored its number of threads
                    would show here

A search with `--jobs 2` trains side by side; `times` says what that gains.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from harness import Report, common_arguments, prepare, run, settings, write_report
from runs import make_data, model_config, trainer
from scr3d.errors import ConfigError

WARMUP = 2
THREADS = {"first": 1, "second": 1, "both": 2}
TURNS = {"together": ("first", "second"), "two_threads": ("both",), "alone": ("first",)}


@dataclass(frozen=True)
class Work:
    """What a process did in its turn.

    Attributes:
        steps: of the trainer.
        seconds: that they took.
        cpu_seconds: processor time of the process meanwhile.
    """

    steps: int
    seconds: float
    cpu_seconds: float


def train(link: Connection, data: Path, out: Path, size: int, batch: int, threads: int) -> None:
    """Body of a process: trains for as many seconds as it is told to, and ends at 0."""
    made = trainer(data, out, model_config("compact", size, "dense"), batch, threads, "cpu")
    for _ in range(WARMUP):
        made.train_step()
    link.send(None)
    while seconds := link.recv():
        steps, start, spent = 0, time.perf_counter(), time.process_time()
        while time.perf_counter() - start < seconds:
            made.train_step()
            steps += 1
        link.send(Work(steps, time.perf_counter() - start, time.process_time() - spent))
    made.journal.close()


def turn(links: dict[str, Connection], names: tuple[str, ...], seconds: float) -> list[Work]:
    """Let processes train at the same time."""
    for name in names:
        links[name].send(seconds)
    return [links[name].recv() for name in names]


def compare(data: Path, root: Path, arguments: argparse.Namespace) -> dict[str, list[list[Work]]]:
    """All turns, round by round."""
    context = multiprocessing.get_context("spawn")
    links, processes = {}, []
    for name, threads in THREADS.items():
        links[name], other = context.Pipe()
        given = (other, data, root / name, arguments.size, arguments.batch, threads)
        processes.append(context.Process(target=train, args=given, daemon=True))
        processes[-1].start()
        other.close()
    for link in links.values():
        link.recv()
    rounds: dict[str, list[list[Work]]] = {name: [] for name in TURNS}
    for _ in range(arguments.repeats):
        for name, names in TURNS.items():
            rounds[name].append(turn(links, names, arguments.seconds))
    for link in links.values():
        link.send(0)
    for process in processes:
        process.join()
    return rounds


def summary(rounds: list[list[Work]], batch: int) -> dict[str, float]:
    """Images a second, and processors used, medians over rounds."""
    rates = [sum(batch * work.steps / work.seconds for work in works) for works in rounds]
    shares = [sum(work.cpu_seconds / work.seconds for work in works) for works in rounds]
    low, median, high = np.percentile(rates, [25, 50, 75])
    return {
        "images_per_s": float(median),
        "first_quartile": float(low),
        "third_quartile": float(high),
        "cpu_share": float(np.median(shares)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common_arguments(parser)
    parser.set_defaults(repeats=3, threads=2)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=20.0, help="length of a turn")
    arguments = parser.parse_args()
    if arguments.device != "cpu" or arguments.threads != 2:
        raise ConfigError("this benchmark is about two threads of the CPU; leave out --device and --threads")
    if arguments.seconds <= 0 or arguments.repeats < 1:
        raise ConfigError("--seconds must be positive and --repeats at least 1")
    description = prepare(arguments)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        rounds = compare(make_data(root, arguments.size, arguments.batch), root, arguments)
    results: dict[str, Any] = {name: summary(works, arguments.batch) for name, works in rounds.items()}
    rate = {name: found["images_per_s"] for name, found in results.items()}
    results["times"] = {
        "together over two_threads": rate["together"] / rate["two_threads"],
        "together over alone": rate["together"] / rate["alone"],
        "two_threads over alone": rate["two_threads"] / rate["alone"],
    }
    write_report(arguments.out, Report("side_by_side", settings(arguments), description, results))


if __name__ == "__main__":
    run(main)
