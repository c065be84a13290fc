"""Joining data sets into one, as of synthetic heads in two looks, or of heads and photos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from scr3d.data.store import SPLITS, ArraySpec, Store, StoreInfo, StoreWriter, is_store
from scr3d.errors import ConfigError, DataError

BLOCK = 1024
JOINED = "joined"
"""The key of a store's source under which the sources of its parts are."""


def join(sets: Sequence[Path], out: Path) -> dict[str, int]:
    """Write the samples of several data sets, one set after the other, as one; goes on where it was interrupted.

    A split gets the samples of all sets that have it. It holds the quantities that all of these know, and

    - `target` if any has it, which is the image itself where a set has none: such samples are learned from as before;
    - `mask` if any has it, which is the whole frame where a set has none.

    Args:
        sets: folders with a store for each split, of one image size.
        out: a new folder, or one in which the same was begun.

    Returns:
        Number of samples of every split.

    Raises:
        ConfigError: there are fewer than two sets.
        DataError: one holds no stores, sizes differ, or `out` holds something else.
    """
    if len(sets) < 2:
        raise ConfigError(f"joining takes at least two data sets; got {len(sets)}")
    for one in sets:
        if not any(is_store(one / split) for split in SPLITS):
            raise DataError(
                f"{one} holds no data stores; expected some of {', '.join(SPLITS)} in it, see scr3d data prepare"
            )
    parts = {split: [Store(one / split) for one in sets if is_store(one / split)] for split in SPLITS}
    sizes = {store.size: store.folder for stores in parts.values() for store in stores}
    if len(sizes) > 1:
        found = ", ".join(f"{folder} {size}" for size, folder in sizes.items())
        raise DataError(f"the sets have images of different sizes ({found} pixels); make them with the same --size")
    writers = {split: StoreWriter(out / split, joined_info(stores)) for split, stores in parts.items() if stores}
    columns = (TextColumn("joining {task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        for split, writer in writers.items():
            task = progress.add_task(split, total=writer.info.count, completed=writer.done)
            while not writer.info.complete:
                writer.append(block(parts[split], writer.done, writer.info.arrays))
                progress.update(task, completed=writer.done)
    return {split: writer.done for split, writer in writers.items()}


def joined_info(stores: Sequence[Store]) -> StoreInfo:
    """What the stores hold together, see `join`."""
    arrays = {
        name: spec
        for name, spec in stores[0].info.arrays.items()
        if all(s.info.arrays.get(name) == spec for s in stores)
    }
    for store in stores:
        arrays |= {name: store.info.arrays[name] for name in ("target", "mask") if name in store}
    return StoreInfo(
        size=stores[0].size,
        count=sum(len(store) for store in stores),
        arrays=arrays,
        source={JOINED: [{**store.info.source, "samples": len(store)} for store in stores]},
    )


def block(stores: Sequence[Store], start: int, arrays: Mapping[str, ArraySpec]) -> dict[str, np.ndarray]:
    """The samples of the joined row from `start` on that lie in one store, at most `BLOCK`."""
    for store in stores:
        if start < len(store):
            samples = slice(start, min(start + BLOCK, len(store)))
            return {name: _quantity(store, name, samples) for name in arrays}
        start -= len(store)
    raise IndexError("the stores hold fewer samples")


def _quantity(store: Store, name: str, samples: slice) -> np.ndarray:
    if name in store:
        return store.get(name, samples)
    if name == "target":
        return store.get("image", samples)
    count, size = samples.stop - samples.start, store.size
    return np.full((count, size, size), 255, np.uint8)  # the mask
