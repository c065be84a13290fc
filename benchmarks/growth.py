"""How time and memory grow: with the image size, the batch, the data set and the number of orders searched.

    python benchmarks/growth.py [--sizes 32 64 128 256] [--batches 1 2 4 ... 256] [--at-batch 8] [--at-size 32 64]
                                [--images 1000 10000 100000 1000000] [--orders 3 6 12 24] [--memory-mib 6000]
                                [--repeats 5] [--threads 1] [--device cpu] [--pictures docs/images]
                                [--out results/benchmarks/growth.json]

Each is fitted by a line in log-log: `slope` 1 is proportional, 2 quadratic, 0 level; `last_slope` is that of the two
largest values alone, where a constant cost weighs less. Pictures are drawn as growth.png and growth.svg.

    step    one step of the trainer on random images; `peak_mib` is what it holds at most beyond what was there before,
            as torch's profiler of memory counts (on the CPU) or torch's allocator (on CUDA). Cells that would need more
            than `--memory-mib`, going by the one before, are left out.
    data    a process that reads batches of 64 from a store of so many images, in the order of training: its own memory
            (RssAnon of /proc, not the pages of the files that the system keeps in memory) at its largest, above that
            before the store was opened. The stores are sparse files: they read as zeros and take no disk.
    search  a search with a stand-in for the training, which costs nothing: own memory at its largest above that at the
            start, and time. Both strategies, each measurement in a process of its own.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bilevel import peak_mib
from growth_children import data_cost, noise_store, search_cost, sparse_store
from growth_picture import draw
from harness import FOLDER, Report, common_arguments, measure, prepare, run, settings, synchronise, write_report
from runs import model_config, trainer
from scr3d.errors import ConfigError
from scr3d.training.trainer import Trainer

PICTURES = FOLDER.parent / "docs" / "images"
STORED, HELD_OUT = 64, 8
STRATEGIES = ("random", "bo")
LARGER = {"size": 4.0, "batch": 2.0}
"""By how much a step's memory grows at most when its image size or batch is doubled."""


def fit(points: Mapping[float, float]) -> dict[str, float]:
    """Slope in log-log through all points, and through the two last.

    Raises:
        ConfigError: there are fewer than two.
    """
    pairs = [(math.log(x), math.log(y)) for x, y in sorted(points.items()) if x > 0 and y > 0]
    if len(pairs) < 2:
        raise ConfigError(
            f"a slope needs two measurements, got {len(pairs)}; give more sizes, batches, images or orders"
        )
    x, y = np.array(pairs).T
    return {"slope": float(np.polyfit(x, y, 1)[0]), "last_slope": float((y[-1] - y[-2]) / (x[-1] - x[-2]))}


def cells(arguments: argparse.Namespace) -> list[tuple[int, int]]:
    """The (size, batch) pairs: all sizes at one batch, all batches at some sizes."""
    by_size = [(size, arguments.at_batch) for size in arguments.sizes]
    by_batch = [(size, batch) for size in arguments.at_size for batch in arguments.batches]
    return sorted({*by_size, *by_batch})


def step_memory(made: Trainer, device: str) -> float:
    """Most memory in MiB that a step holds at a time, beyond what was there before."""
    if device == "cpu":
        return peak_mib(made)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    made.train_step()
    synchronise(device)
    return (torch.cuda.max_memory_allocated(device) - before) / 2**20


def predicted_mib(found: Mapping[tuple[int, int], float], size: int, batch: int) -> float:
    """What a cell needs at most, going by a smaller one of the same batch or size; 0 where there is none."""
    guesses = [
        mib * (size / s) ** math.log2(LARGER["size"]) * (batch / b) ** math.log2(LARGER["batch"])
        for (s, b), mib in found.items()
        if (s == size and b <= batch) or (b == batch and s <= size)
    ]
    return min(guesses, default=0.0)


def steps(arguments: argparse.Namespace, root: Path) -> dict[str, Any]:
    """Time and memory of a training step in every cell that fits."""
    made: dict[tuple[int, int], Trainer] = {}
    memory: dict[tuple[int, int], float] = {}
    left_out: list[dict[str, float]] = []
    for size, batch in cells(arguments):
        needed = predicted_mib(memory, size, batch)
        if needed > arguments.memory_mib:
            left_out.append({"size": size, "batch": batch, "predicted_mib": needed})
            continue
        data = root / f"noise-{size}"
        if not data.exists():
            noise_store(data / "train", STORED, size)
            noise_store(data / "val", HELD_OUT, size)
        model = model_config("compact", size, "dense")
        cell = trainer(data, root / f"run-{size}-{batch}", model, batch, arguments.threads, arguments.device)
        cell.train_step()
        memory[size, batch] = step_memory(cell, arguments.device)
        made[size, batch] = cell
    calls = {f"{size} {batch}": cell.train_step for (size, batch), cell in made.items()}
    times = measure(calls, arguments.repeats, warmup=1, device=arguments.device)
    found: list[dict[str, Any]] = [
        {"size": size, "batch": batch, "peak_mib": memory[size, batch], "time": times[f"{size} {batch}"]}
        for size, batch in made
    ]
    for cell in made.values():
        cell.journal.close()
    series = {f"size, batch {arguments.at_batch}": ("size", "batch", arguments.at_batch)}
    series |= {f"batch, size {size}": ("batch", "size", size) for size in arguments.at_size}
    slopes = {}
    for name, (along, fixed, value) in series.items():
        points = [cell for cell in found if cell[fixed] == value]
        slopes[name] = {
            "time": fit({cell[along]: cell["time"].median_ms for cell in points}),
            "peak_mib": fit({cell[along]: cell["peak_mib"] for cell in points}),
        }
    return {"cells": found, "left_out": left_out, "slopes": slopes}


def apart(function: Callable[..., dict[str, float]], *given: Any) -> dict[str, float]:
    """The result of a function in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *given).result()


def median_cost(function: Callable[..., dict[str, float]], repeats: int, *given: Any) -> dict[str, float]:
    """Medians over processes."""
    costs = [apart(function, *given) for _ in range(repeats)]
    return {name: float(np.median([cost[name] for cost in costs])) for name in costs[0]}


def data_sets(arguments: argparse.Namespace, root: Path) -> dict[str, Any]:
    """Own memory of a process that reads training batches, by the size of the store."""
    found = {}
    for count in arguments.images:
        folder = root / f"sparse-{count}"
        sparse_store(folder, count)
        found[count] = median_cost(data_cost, arguments.processes, folder, arguments.threads)
    slopes = {
        "own_mib": fit({count: cost["own_mib"] for count, cost in found.items()}),
        "whole_mib": fit({count: cost["before_mib"] + cost["own_mib"] for count, cost in found.items()}),
        "time": fit({count: cost["ms"] for count, cost in found.items()}),
    }
    cells = [{"images": count, **cost} for count, cost in found.items()]
    first, last = cells[0], cells[-1]
    per_image = (last["own_mib"] - first["own_mib"]) * 2**20 / max(1, last["images"] - first["images"])
    return {"cells": cells, "slopes": slopes, "bytes_per_image": per_image}


def searches(arguments: argparse.Namespace, root: Path) -> dict[str, Any]:
    """Own memory and time of a search, by the number of orders that it tries."""
    data = root / "noise-search"
    noise_store(data / "train", STORED, 32)
    noise_store(data / "val", HELD_OUT, 32)
    results: dict[str, Any] = {}
    for strategy in STRATEGIES:
        found = {}
        for orders in arguments.orders:
            out = root / f"search-{strategy}-{orders}"
            found[orders] = median_cost(search_cost, arguments.processes, data, out, strategy, orders)
        results[strategy] = {
            "cells": [{"orders": orders, **cost} for orders, cost in found.items()],
            "slopes": {
                "time": fit({orders: cost["ms"] for orders, cost in found.items()}),
                "whole_mib": fit({orders: cost["before_mib"] + cost["own_mib"] for orders, cost in found.items()}),
            },
        }
    return results


def numbers(values: Sequence[int], name: str) -> list[int]:
    """Values in rising order.

    Raises:
        ConfigError: there are fewer than two, or one is not positive.
    """
    found = sorted(set(values))
    if len(found) < 2 or found[0] < 1:
        raise ConfigError(f"--{name} takes at least two positive numbers; got {' '.join(map(str, values))}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common_arguments(parser)
    parser.set_defaults(repeats=5)
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 64, 128, 256])
    parser.add_argument("--batches", type=int, nargs="+", default=[2**power for power in range(9)])
    parser.add_argument("--at-batch", type=int, default=8, help="batch at which the image size grows")
    parser.add_argument("--at-size", type=int, nargs="+", default=[32, 64], help="image sizes at which the batch grows")
    parser.add_argument("--images", type=int, nargs="+", default=[10**power for power in range(3, 7)])
    parser.add_argument("--orders", type=int, nargs="+", default=[3, 6, 12, 24])
    parser.add_argument("--processes", type=int, default=3, help="processes of each measurement of data and search")
    parser.add_argument("--memory-mib", type=float, default=6000.0, help="steps that need more are left out")
    parser.add_argument("--pictures", type=Path, default=PICTURES, help="folder of growth.png and growth.svg")
    arguments = parser.parse_args()
    for name in ("sizes", "batches", "images", "orders"):
        setattr(arguments, name, numbers(getattr(arguments, name), name))
    if not Path("/proc/self/status").is_file():
        raise ConfigError("the memory of a process is read from /proc; run this benchmark on Linux")
    description = prepare(arguments)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        results = {
            "step": steps(arguments, root),
            "data": data_sets(arguments, root),
            "search": searches(arguments, root),
        }
    report = Report("growth", settings(arguments), description, results)
    draw(arguments.pictures, report)
    # Where the pictures lie says nothing about the numbers.
    write_report(arguments.out, replace(report, settings={k: v for k, v in report.settings.items() if k != "pictures"}))


if __name__ == "__main__":
    run(main)
