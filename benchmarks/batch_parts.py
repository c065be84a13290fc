"""A training step on two threads: inside every operation, or half of the batch each.

    python benchmarks/batch_parts.py [--size 64] [--batch 32] [--repeats 10] [--threads 2] [--out FILE]

Both ways and a step on one thread take turns, first on the machine as it is, then beside a process that does nothing
but keep one core busy. `ratio` is the time of the first way over that of the second.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from harness import Report, common_arguments, measure, prepare, run, settings, write_report
from runs import make_data, model_config, trainer


@contextmanager
def neighbour() -> Iterator[None]:
    """A busy core."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    time.sleep(0.5)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common_arguments(parser)
    parser.set_defaults(repeats=10, threads=2)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    arguments = parser.parse_args()
    description = prepare(arguments)
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        data = make_data(root, arguments.size, arguments.batch)
        made = trainer(
            data,
            root / "run",
            model_config("compact", arguments.size, "dense"),
            arguments.batch,
            arguments.threads,
            "cpu",
        )
        parts = made.steps.in_parts

        def step(threads: int, in_parts: bool) -> None:
            made.steps.in_parts = parts if in_parts else None
            torch.set_num_threads(threads)
            made.train_step()

        calls = {
            "one thread": lambda: step(1, False),
            "inside operations": lambda: step(arguments.threads, False),
            "parts of the batch": lambda: step(arguments.threads, True),
        }
        results["alone"] = compared(measure(calls, arguments.repeats))
        with neighbour():
            results["beside a busy core"] = compared(measure(calls, arguments.repeats))
    write_report(arguments.out, Report("batch_parts", settings(arguments), description, results))


def compared(times: dict[str, Any]) -> dict[str, Any]:
    """The times, and how much faster the second way is."""
    ratio = times["inside operations"].median_ms / times["parts of the batch"].median_ms
    return {"times": times, "ratio": ratio}


if __name__ == "__main__":
    run(main)
