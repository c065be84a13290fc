"""What benchmarks/growth.py measures in processes of their own, and the stores that it reads."""

from __future__ import annotations

import io
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import numpy as np

from scr3d.causal import Order
from scr3d.data.dataset import Dataset, batch_indices
from scr3d.data.store import FORMAT, VERSION, ArraySpec, Store, StoreInfo, StoreWriter
from scr3d.files import write_json
from scr3d.models import ModelConfig
from scr3d.search.config import SearchConfig, Strategy, Task
from scr3d.search.objective import Objective, Outcome
from scr3d.training.config import OptimiserConfig, TrainConfig

SIZE = 32
BATCH = 64
BATCHES = 100
SAMPLE_SECONDS = 0.001
SEED = 0


def noise_store(folder: Path, count: int, size: int) -> None:
    """Random images."""
    pixels = np.random.default_rng(SEED).integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    info = StoreInfo(size, count, {"image": ArraySpec("uint8", (size, size, 3))}, source={"noise": SEED})
    StoreWriter(folder, info).append({"image": pixels})


def sparse_store(folder: Path, count: int) -> None:
    """Black images in a file without any block on the disk: the writer makes it, and it is declared complete."""
    info = StoreInfo(SIZE, count, {"image": ArraySpec("uint8", (SIZE, SIZE, 3))}, source={"sparse": True})
    StoreWriter(folder, info, reserve=False)
    arrays = {name: vars(spec) for name, spec in info.arrays.items()}
    complete = vars(info) | {"arrays": arrays, "done": count}
    write_json(folder / "store.json", {"format": FORMAT, "version": VERSION, **complete})


def own_mib() -> float:
    """Memory of this process that no file stands behind."""
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    raise OSError("/proc/self/status has no RssAnon; Linux has it from version 4.5 on")


@contextmanager
def largest_memory() -> Iterator[list[float]]:
    """Own memory at the start and at its largest, which a thread looks for while the block runs."""
    before = own_mib()
    found = [before, before]
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(SAMPLE_SECONDS):
            found[1] = max(found[1], own_mib())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield found
    finally:
        stop.set()
        watcher.join()
        found[1] = max(found[1], own_mib())


def data_cost(folder: Path, threads: int) -> dict[str, float]:
    """Reads batches as training does.

    Returns:
        before_mib and own_mib: own memory at the start, and at its largest above that. first_ms: time of the first
        batch, which draws the order of an epoch. ms and cpu_ms: elapsed and processor time of a batch, medians.
    """
    import torch

    torch.set_num_threads(threads)
    wall, processor = [], []
    with largest_memory() as memory:
        data = Dataset(Store(folder))
        for step in range(BATCHES):
            start, start_processor = time.perf_counter(), time.thread_time()
            data.batch(batch_indices(len(data), BATCH, SEED, step), with_truth=False)
            wall.append(1e3 * (time.perf_counter() - start))
            processor.append(1e3 * (time.thread_time() - start_processor))
    times = {"first_ms": wall[0], "ms": float(np.median(wall[1:])), "cpu_ms": float(np.median(processor[1:]))}
    return {"before_mib": memory[0], "own_mib": memory[1] - memory[0], **times}


def stand_in(config: SearchConfig, task: Task) -> Outcome:
    """A score without training: best for VDLA, the worse the further the ranks are from it."""
    away = sum(abs(a - b) for a, b in zip(Order.parse(task.name).rank, range(4), strict=True))
    return Outcome(1.0 + 0.1 * away, 0.01, 12)


def nothing_shared(config: SearchConfig) -> dict[str, Outcome]:
    """Stands where a network with shared weights would be trained, which the measured strategies never do."""
    raise NotImplementedError("only --strategy one-shot trains a shared network")


def search_cost(data: Path, out: Path, strategy: str, orders: int) -> dict[str, float]:
    """Searches; a folder of an earlier repeat is removed first, its results would be taken over.

    Returns:
        before_mib and own_mib as in `data_cost`; ms and cpu_ms: elapsed and processor time of the search.
    """
    from scr3d.search.study import search

    shutil.rmtree(out, ignore_errors=True)
    training = TrainConfig(
        data=data,
        out=out,
        model=ModelConfig(size=SIZE, width=4),
        optimiser=OptimiserConfig(batch_size=4),
        images=400,
        threads=1,
    )
    config = SearchConfig(training, strategy=Strategy(strategy), trials=orders)
    with largest_memory() as memory, redirect_stdout(io.StringIO()):
        start, start_processor = time.perf_counter(), time.process_time()
        search(config, Objective(stand_in, nothing_shared))
        times = {"ms": time.perf_counter() - start, "cpu_ms": time.process_time() - start_processor}
    milliseconds = {name: 1e3 * seconds for name, seconds in times.items()}
    return {"before_mib": memory[0], "own_mib": memory[1] - memory[0], **milliseconds}
