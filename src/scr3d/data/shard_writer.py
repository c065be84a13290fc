"""Writing a data set as WebDataset shards, see `scr3d.data.shards`."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track

from scr3d.data.shards import FORMAT, IMAGES, MANIFEST, MASK, TRUTH, VERSION
from scr3d.data.store import SPLITS, Store, is_store
from scr3d.errors import ConfigError, DataError
from scr3d.files import atomic_path, write_json

PLAN = "unfinished.json"
"""What is being written; it becomes the list of shards when all are there."""


def write_shards(root: Path, out: Path, shard_images: int) -> dict[str, int]:
    """Write every split of a data set as shards; goes on where it was interrupted.

    The same samples give the same bytes.

    Args:
        root: a folder with a store for each split.
        out: a new folder, or one in which the same was begun.
        shard_images: samples of a shard; the last one may have fewer.

    Returns:
        Number of shards of every split.

    Raises:
        ConfigError: shards of no images are asked for.
        DataError: there are no stores, or `out` holds something else.
    """
    if shard_images < 1:
        raise ConfigError(f"--shard-images must be positive; got {shard_images}")
    stores = {split: Store(root / split) for split in SPLITS if is_store(root / split)}
    if not stores:
        raise DataError(f"{root} holds no data stores; expected some of {', '.join(SPLITS)} in it, see scr3d data")
    if len({store.size for store in stores.values()}) > 1:
        raise DataError(f"the splits of {root} have images of different sizes; make them again with the same --size")
    plan = describe(stores, shard_images)
    _begin(out, plan)
    for split, content in plan["splits"].items():
        console = Console(stderr=True)
        for number, shard in enumerate(track(content["shards"], f"writing {split}", console=console)):
            if not (out / shard["name"]).is_file():
                start = number * shard_images
                write_shard(out / shard["name"], stores[split], range(start, start + shard["samples"]))
    write_json(out / MANIFEST, plan)
    (out / PLAN).unlink(missing_ok=True)
    return {split: len(content["shards"]) for split, content in plan["splits"].items()}


def describe(stores: dict[str, Store], shard_images: int) -> dict[str, Any]:
    """The list of shards, as plain JSON values."""
    splits: dict[str, Any] = {}
    for split, store in stores.items():
        samples = [min(shard_images, len(store) - start) for start in range(0, len(store), shard_images)]
        splits[split] = {
            "shards": [{"name": f"{split}-{i:06d}.tar", "samples": count} for i, count in enumerate(samples)],
            "arrays": {name: asdict(spec) for name, spec in store.info.arrays.items()},
            "source": store.info.source,
        }
    size = next(iter(stores.values())).size
    content = {"format": FORMAT, "version": VERSION, "size": size, "splits": splits}
    found: dict[str, Any] = json.loads(json.dumps(content))
    return found


def write_shard(path: Path, store: Store, samples: range) -> None:
    """Write samples as one tar file, whole or not at all."""
    digits = max(8, len(str(len(store) - 1)))
    with atomic_path(path) as temporary, tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as archive:
        for number in samples:
            for ending, content in encode(store, number).items():
                entry = tarfile.TarInfo(f"{number:0{digits}d}.{ending}")
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))


def encode(store: Store, number: int) -> dict[str, bytes]:
    """The files of a sample by ending: pictures as PNG, everything else in one archive of arrays; nothing is lost."""
    arrays = {name: np.array(values[number]) for name, values in store.arrays.items()}
    files = {IMAGES[0]: _png(arrays.pop("image"))}
    if "mask" in arrays:
        files[MASK] = _png(arrays.pop("mask"))
    if arrays:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
        files[TRUTH] = buffer.getvalue()
    return files


def _png(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    return buffer.getvalue()


def _begin(out: Path, plan: dict[str, Any]) -> None:
    begun = next((out / name for name in (MANIFEST, PLAN) if (out / name).is_file()), None)
    if begun is not None:
        if json.loads(begun.read_text(encoding="utf-8")) != plan:
            raise DataError(f"{out} holds other shards; choose another folder or remove it")
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out} is there already and holds no shards; choose another folder or remove it")
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / PLAN, plan)
