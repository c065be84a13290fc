"""What training and evaluation read: batches of images and, where it is known, the truth behind them."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from scr3d.data.folder import import_folder
from scr3d.data.heads.config import GENERATOR
from scr3d.data.joining import JOINED
from scr3d.data.layout import folder_source
from scr3d.data.shard_files import DEFAULT_CACHE_BYTES, ShardCache
from scr3d.data.shards import ShardedStore, is_sharded, shard_batch_indices
from scr3d.data.store import SPLITS, Store, decode_depth, is_store, read_info
from scr3d.errors import DataError
from scr3d.factors import Light, View
from scr3d.geometry.camera import DepthRange

FACE = "face"
SHARDS_MIXED = 4
"""Shards that are in use at a time; their images are shuffled among one another."""
GROUPS = ("identity", "sex", "age", "ethnicity", "skin")
"""Quantities by which scores may be grouped."""
_LOCATION_KEYS = ("folder", "listing")
"""Entries of a store's source that tell where and when, not what; they do not count for the fingerprint."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Truth:
    """What is known about the images of a batch, in the input view.

    Attributes:
        depth: z on each pixel's ray; `far` where there is no foreground.
        foreground: where the object is.
        albedo: RGB in [0, 1].
        light: light in the canonical frame.
        view: motion from the canonical frame to the camera frame.
        groups: properties of the object, see `GROUPS`; the first axis is the batch.
    """

    depth: Float[Tensor, "batch size size"]
    foreground: Bool[Tensor, "batch size size"]
    albedo: Float[Tensor, "batch 3 size size"] | None
    light: Light | None
    view: View | None
    groups: dict[str, Tensor]

    def __getitem__(self, index: slice) -> Truth:
        light, view = self.light, self.view
        return Truth(
            self.depth[index],
            self.foreground[index],
            None if self.albedo is None else self.albedo[index],
            None if light is None else Light(light.ambient[index], light.diffuse[index], light.direction[index]),
            None if view is None else View(view.rotation_rad[index], view.translation[index]),
            {name: value[index] for name, value in self.groups.items()},
        )


@dataclass(frozen=True)
class Batch:
    """Images in [0, 1] (channels-last in memory), their truth, and where the object is.

    Attributes:
        image: the images.
        truth: what is known about them, if anything is.
        mask: share of each pixel that shows the object, from a mask that was given with the photos; every loss counts
            pixels by it. None where none were given: then all pixels count.
        target: what reconstructions are to be like where that is not the image itself: the same picture without what a
            model is to see through.
    """

    image: Float[Tensor, "batch 3 size size"]
    truth: Truth | None
    mask: Float[Tensor, "batch size size"] | None = None
    target: Float[Tensor, "batch 3 size size"] | None = None

    @property
    def explained(self) -> Float[Tensor, "batch 3 size size"]:
        """What reconstructions are compared with: the target, or the image."""
        return self.image if self.target is None else self.target

    def __getitem__(self, index: slice) -> Batch:
        return Batch(
            self.image[index],
            None if self.truth is None else self.truth[index],
            None if self.mask is None else self.mask[index],
            None if self.target is None else self.target[index],
        )


class Dataset:
    """One split, read from a memory-mapped store or from shards."""

    def __init__(self, store: Store | ShardedStore, depth_range: DepthRange | None = None):
        """Take the samples of a store.

        Args:
            store: must hold images.
            depth_range: the interval that the store's depth codes span.

        Raises:
            DataError: the store holds no images.
        """
        if "image" not in store or store.info.arrays["image"].dtype != "uint8":
            raise DataError(f"{store.folder} holds no images but {sorted(store.arrays)}; make the data set again")
        self.store = store
        self.depth_range = depth_range or DepthRange()

    def __len__(self) -> int:
        return len(self.store)

    @property
    def size(self) -> int:
        """Height and width of the images in pixels."""
        return self.store.size

    @property
    def has_truth(self) -> bool:
        """Whether true depth is known."""
        return "depth" in self.store

    @property
    def crop(self) -> str:
        """How its images were cut out: `face` for faces that were found so and for synthetic heads, else `center`."""
        source = self.store.info.source
        return FACE if all(_shows_faces(one) for one in source.get(JOINED, [source])) else "center"

    def batch(
        self,
        indices: Int64[np.ndarray, " batch"],
        device: torch.device | str = "cpu",
        with_truth: bool = True,
    ) -> Batch:
        """Read samples.

        Args:
            indices: which samples; numbers may repeat.
            device: where the tensors go.
            with_truth: False leaves the truth out; training does not need it.
        """
        image, target = (self._picture(name, indices, device) for name in ("image", "target"))
        assert image is not None  # seen when it was opened
        mask = self._optional("mask", indices, device)
        return Batch(
            image,
            self._truth(indices, device) if with_truth and self.has_truth else None,
            None if mask is None else mask.to(torch.float32).div_(255),
            target,
        )

    def batch_indices(self, batch_size: int, seed: int, step: int) -> Int64[np.ndarray, " batch_size"]:
        """Which samples a training step sees, determined by seed and step alone; of shards, few are in use at a time.

        Raises:
            DataError: the set is empty.
        """
        if isinstance(self.store, ShardedStore):
            return shard_batch_indices(self.store.counts, batch_size, seed, step, SHARDS_MIXED)
        return batch_indices(len(self), batch_size, seed, step)

    def fingerprint(self) -> str:
        """A hash of the store's description and file sizes, wherever it lies; for the records of runs."""
        content = asdict(self.store.info)
        content["source"] = _without_place(content["source"])
        content["bytes"] = self.store.nbytes()
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def _truth(self, indices: np.ndarray, device: torch.device | str) -> Truth:
        codes = self.store.get("depth", indices)
        depth = torch.from_numpy(decode_depth(codes, self.depth_range)).to(device)
        foreground = torch.from_numpy(codes > 0).to(device)
        albedo = self._picture("albedo", indices, device)
        light = self._optional("light", indices, device)
        view = self._optional("view", indices, device)
        found = {name: self._optional(name, indices, device) for name in GROUPS}
        return Truth(
            depth,
            foreground,
            albedo,
            None if light is None else Light.from_slopes(light[:, 0], light[:, 1], light[:, 2:4]),
            None if view is None else View(view[:, :3], view[:, 3:]),
            {name: values for name, values in found.items() if values is not None},
        )

    def _picture(self, name: str, indices: np.ndarray, device: torch.device | str) -> Tensor | None:
        pixels = self._optional(name, indices, device)
        return None if pixels is None else pixels.permute(0, 3, 1, 2).to(torch.float32).div_(255)

    def _optional(self, name: str, indices: np.ndarray, device: torch.device | str) -> Tensor | None:
        return torch.from_numpy(self.store.get(name, indices)).to(device) if name in self.store else None


def _without_place(source: dict[str, Any]) -> dict[str, Any]:
    found = {key: value for key, value in source.items() if key not in _LOCATION_KEYS}
    return found | {JOINED: [_without_place(part) for part in found[JOINED]]} if JOINED in found else found


def _shows_faces(source: Mapping[str, Any]) -> bool:
    options = source.get("options")
    prepared = isinstance(options, dict) and options.get("crop") == FACE
    return prepared or source.get("generator") == GENERATOR


def open_dataset(
    root: Path | str,
    split: str,
    size: int,
    cache: Path | str,
    recursive: bool = False,
    shard_bytes: int = DEFAULT_CACHE_BYTES,
) -> Dataset:
    """Open a split of a data store, of shards, or of a folder of images, which is imported once.

    Args:
        root: a folder that holds a store for each split, a store, a folder or a pattern of shards (see
            `scr3d.data.shards`), or a folder of images (see `scr3d.data.layout` for its layouts).
        split: train, val or test.
        size: height and width of the images in pixels.
        cache: where imported images are kept, in a folder for each split; they are imported again when files
            have changed.
        recursive: whether images in folders within folders belong to the set as well.
        shard_bytes: space that shards which are fetched may take in the cache.

    Raises:
        DataError: there is nothing to read, the store has another size, or the folder cannot be imported.
    """
    root, cache = Path(root), Path(cache)
    if split not in SPLITS:
        raise DataError(f"there is no split {split!r}; expected one of {', '.join(SPLITS)}")
    if is_sharded(root):
        return Dataset(ShardedStore(root, split, size, ShardCache(cache / "shards", shard_bytes)))
    for folder in (root / split, root):
        if is_store(folder):
            return Dataset(_open_sized(folder, size))
    if any(is_store(root / name) for name in SPLITS):
        raise DataError(f"{root} holds data stores, but none for the split {split!r}; make {root / split} as well")
    imported = cache / split
    wanted = folder_source(root, split, recursive)
    if is_store(imported):
        info = read_info(imported)
        if info.complete and info.size == size and wanted.items() <= info.source.items():
            return Dataset(Store(imported))
    report = import_folder(root, imported, size, split, recursive=recursive, replace=True)
    if report.skipped:
        name, reason = report.skipped[0]
        _log.warning("%d files of %s were skipped; the first, %s, %s", len(report.skipped), root, name, reason)
    return Dataset(Store(imported))


def batch_indices(count: int, batch_size: int, seed: int, step: int) -> Int64[np.ndarray, " batch_size"]:
    """Which samples a training step sees.

    The steps cut one endless row of shuffled epochs into batches, so a batch at the end of an epoch is filled
    from the next. Every step can be computed by itself: a resumed run sees what an uninterrupted one sees.

    Args:
        count: number of samples of the set.
        batch_size: number of samples of a step.
        seed: of the order.
        step: number of the step, from 0.

    Raises:
        DataError: the set is empty.
    """
    if count < 1:
        raise DataError("the data set is empty; expected at least one sample")
    positions = np.arange(step * batch_size, (step + 1) * batch_size, dtype=np.int64)
    epochs, within = np.divmod(positions, count)
    result = np.empty(batch_size, dtype=np.int64)
    for epoch in np.unique(epochs):
        chosen = epochs == epoch
        result[chosen] = _permutation(count, seed, int(epoch))[within[chosen]]
    return result


@lru_cache(maxsize=4)
def _permutation(count: int, seed: int, epoch: int) -> np.ndarray:
    # Sorting raw generator output, since numpy keeps that the same in all versions, unlike `permutation`.
    generator = np.random.Philox(key=np.array([seed % 2**64, epoch], dtype=np.uint64))
    return np.argsort(generator.random_raw(count), kind="stable")


def _open_sized(folder: Path, size: int) -> Store:
    store = Store(folder)
    if store.size != size:
        raise DataError(
            f"{folder} holds images of {store.size} pixels, {size} are asked for; ask for {store.size}, "
            f"or make the data set again with --size {size}"
        )
    return store
