"""Data sets larger than a disk: WebDataset shards, read in place or fetched from anywhere into a bounded cache.

    OUT/train-000000.tar    KEY.image.png, KEY.mask.png and KEY.truth.npz of every sample, in this order
    OUT/shards.json         shards of every split with their number of samples; quantities with type and shape

Shards of others hold KEY.jpg, KEY.png or KEY.webp, and no shards.json: then images are all that is read of them. A
shard is an uncompressed tar file that is never unpacked: an index of it, kept in the cache, says where samples lie.
"""

from __future__ import annotations

import hashlib
import io
import math
import zipfile
import zlib
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scr3d.data.images import center_square, decode_image, decode_raster, resize, to_uint8
from scr3d.data.shard_files import Shard, ShardCache, location_of, pieces, read_small
from scr3d.data.store import ArraySpec, StoreInfo, check_forms
from scr3d.errors import DataError
from scr3d.files import MALFORMED, parse_json

MANIFEST = "shards.json"
FORMAT = "scr3d-shards"
VERSION = 1
IMAGES = ("image.png", "png", "jpg", "jpeg", "webp")
"""Endings of images, the first that a sample has."""
MASK, TRUTH = "mask.png", "truth.npz"
MAX_TRUTH_BYTES = 2**28
TRUTHS_KEPT = 256
DAMAGED = (*MALFORMED, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError)
"""What comes of reading a sample that is not what it should be; of encrypted or unknown archives a RuntimeError."""


@dataclass(frozen=True)
class ShardList:
    """The shards of a split.

    Attributes:
        locations: paths or URLs.
        samples: how many each holds; None where nobody has said so.
        size: height and width of the images; None where they are scaled to what is asked for.
        arrays: the quantities.
        source: where the samples come from.
    """

    locations: list[str]
    samples: list[int] | None
    size: int | None
    arrays: dict[str, ArraySpec]
    source: dict[str, Any]


def is_sharded(root: Path | str) -> bool:
    """Whether this is a set of shards: a URL, a pattern of tar files, or a folder of them."""
    place = location_of(root)
    if "://" in place or place.endswith(".tar"):
        return True
    folder = Path(place)
    return folder.is_dir() and ((folder / MANIFEST).is_file() or any(folder.glob("*.tar")))


def list_shards(root: Path | str, split: str) -> ShardList:
    """The shards of a split.

    A shard belongs to the split whose name its own begins with, or that of its folder.

    Raises:
        DataError: there are none, or what says so is damaged.
    """
    place = location_of(root)
    if not place.endswith(".tar"):
        content = read_small(f"{place}/{MANIFEST}")
        if content is not None:
            return _from_manifest(place, split, content)
        if "://" in place:
            raise DataError(
                f"{place} has no {MANIFEST}; give the shards themselves, as {place}/{{train,val}}-000000.tar"
            )
    found = [one for one in pieces(place) if split in (one.rsplit("/", 1)[-1][: len(split)], one.rsplit("/", 2)[-2])]
    if not found:
        raise DataError(
            f"{place} names no shard of the split {split!r}; expected names like {split}-000000.tar, all splits in one "
            "pattern as in {train,val}-{000000..000009}.tar"
        )
    return ShardList(found, None, None, {}, {"kind": "shards"})


def _from_manifest(place: str, split: str, content: bytes) -> ShardList:
    try:
        raw = parse_json(content)
        if raw["format"] != FORMAT or raw["version"] != VERSION:
            raise DataError(
                f"{place}/{MANIFEST} is of format {raw['format']} {raw['version']}, this program reads {FORMAT} "
                f"{VERSION}; write the shards again"
            )
        known = raw["splits"]
        if split not in known:
            raise DataError(f"{place} has shards of {', '.join(known)}, but none of the split {split!r}")
        shards = known[split]["shards"]
        names = [str(one["name"]) for one in shards]
        if any("/" in name or "\\" in name or name.startswith(".") for name in names):
            raise ValueError("a shard's name is a path")
        arrays = {
            str(name): ArraySpec(str(np.dtype(spec["dtype"])), tuple(int(n) for n in spec["shape"]))
            for name, spec in known[split]["arrays"].items()
        }
        samples = [int(one["samples"]) for one in shards]
        if not all(0 <= count < 2**40 for count in samples):
            raise ValueError("a shard has an impossible number of samples")
        if max(math.prod(spec.shape) * np.dtype(spec.dtype).itemsize for spec in arrays.values()) > MAX_TRUTH_BYTES:
            raise ValueError("the arrays are too large")
        return ShardList(
            [f"{place}/{n}" for n in names], samples, int(raw["size"]), arrays, dict(known[split]["source"])
        )
    except MALFORMED as error:
        raise DataError(f"{place}/{MANIFEST} is damaged ({error}); write the shards again") from error


class ShardedStore:
    """A split in shards, read like a `scr3d.data.store.Store`: any samples, by their numbers."""

    def __init__(self, root: Path | str, split: str, size: int, cache: ShardCache):
        """Find the shards and how many samples each holds.

        Raises:
            DataError: they cannot be read, or hold images of another size.
        """
        listed = list_shards(root, split)
        if listed.size not in (None, size):
            raise DataError(f"{location_of(root)} holds images of {listed.size} pixels, {size} are asked for")
        self.folder = Path(location_of(root))
        self.cache = cache
        self.shards = [Shard(place, cache) for place in listed.locations]
        samples = listed.samples or [len(shard.index) for shard in self.shards]
        self.counts = np.array(samples, dtype=np.int64)
        if not self.counts.sum():
            raise DataError(f"{location_of(root)} holds no images of the split {split!r}")
        self.own = listed.size is not None
        arrays = listed.arrays or {"image": ArraySpec("uint8", (size, size, 3))}
        names = "\n".join(f"{s.name} {n}" for s, n in zip(self.shards, samples, strict=True))
        listing = hashlib.blake2b(names.encode(), digest_size=16).hexdigest()
        count = int(self.counts.sum())
        self.info = StoreInfo(size, count, arrays, count, {**listed.source, "shards": listing})
        check_forms(f"{location_of(root)}/{MANIFEST}", self.info)
        self._starts = np.concatenate([[0], np.cumsum(self.counts)])
        self._truths: OrderedDict[int, dict[str, np.ndarray]] = OrderedDict()

    def __len__(self) -> int:
        return self.info.count

    @property
    def size(self) -> int:
        """Height and width of the images in pixels."""
        return self.info.size

    @property
    def arrays(self) -> dict[str, ArraySpec]:
        """Type and shape of every quantity."""
        return self.info.arrays

    def __contains__(self, name: str) -> bool:
        return name in self.info.arrays

    def get(self, name: str, index: np.ndarray | slice) -> np.ndarray:
        """The named quantity of the given samples.

        Raises:
            DataError: a shard cannot be fetched or is damaged.
        """
        chosen = np.arange(len(self))[index] if isinstance(index, slice) else np.asarray(index)
        spec = self.info.arrays[name]
        found = np.empty((len(chosen), *spec.shape), dtype=spec.dtype)
        for place in np.argsort(chosen, kind="stable"):  # shard by shard, whatever the order
            found[place] = self._read(name, int(chosen[place]), spec)
        return found

    def nbytes(self) -> dict[str, int]:
        """Bytes of every quantity in memory."""
        items = self.info.arrays.items()
        return {name: len(self) * int(np.prod(spec.shape)) * np.dtype(spec.dtype).itemsize for name, spec in items}

    def signature(self) -> dict[str, Any]:
        """What the shards look like from outside; those that are fetched are taken not to change.

        Raises:
            DataError: they cannot be read.
        """
        return {shard.location: shard.local_state() for shard in self.shards if shard.is_local}

    def _read(self, name: str, number: int, spec: ArraySpec) -> np.ndarray:
        shard_number = int(np.searchsorted(self._starts, number, side="right")) - 1
        shard = self.shards[shard_number]
        within = number - int(self._starts[shard_number])
        if within >= len(shard.index):
            raise DataError(f"{shard.location} holds {len(shard.index)} samples, {MANIFEST} says more; write it again")
        what = f"sample {within} of {shard.location}"
        try:
            if name == "image":
                return self._image(shard.read(within, IMAGES), what)
            if name == "mask":
                value = np.asarray(decode_raster(shard.read(within, (MASK,)), what))
            else:
                value = self._truth(number, shard, within)[name]
        except DAMAGED as error:
            raise DataError(f"{what} is damaged ({error}); write the shard again") from error
        if value.shape != spec.shape or str(value.dtype) != spec.dtype:
            raise DataError(f"{what}: {name} is {value.dtype} {value.shape}, {MANIFEST} says {spec.dtype} {spec.shape}")
        return value

    def _image(self, content: bytes, what: str) -> np.ndarray:
        size = self.info.size
        if self.own:
            raster = decode_raster(content, what)
            if raster.mode == "RGB" and raster.size == (size, size):
                return np.asarray(raster)
            raise DataError(
                f"{what} is {raster.mode} {raster.size}, expected RGB {(size, size)}; write the shard again"
            )
        return to_uint8(resize(center_square(decode_image(content, what)), size))

    def _truth(self, number: int, shard: Shard, within: int) -> dict[str, np.ndarray]:
        if number not in self._truths:
            content = shard.read(within, (TRUTH,))
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                if sum(entry.file_size for entry in archive.infolist()) > MAX_TRUTH_BYTES:
                    raise ValueError("its arrays are too large")
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                self._truths[number] = {name: arrays[name] for name in arrays.files}
            if len(self._truths) > TRUTHS_KEPT:
                self._truths.popitem(last=False)
        return self._truths[number]


def shard_batch_indices(counts: np.ndarray, batch_size: int, seed: int, step: int, window: int) -> np.ndarray:
    """Which samples a training step sees: like `scr3d.data.dataset.batch_indices`, with few shards in use at a time.

    In every epoch the shards are shuffled; each `window` of them that follow one another give their samples in one
    shuffled row. That is determined by seed and epoch: the number of processes does not matter, and a run goes on
    anywhere.

    Args:
        counts: samples of every shard.
        batch_size: number of samples of a step.
        seed: of the order.
        step: number of the step, from 0.
        window: shards that are mixed.
    """
    total = int(counts.sum())
    starts = np.concatenate([[0], np.cumsum(counts)])
    positions = np.arange(step * batch_size, (step + 1) * batch_size, dtype=np.int64)
    epochs, within = np.divmod(positions, total)
    result = np.empty(batch_size, dtype=np.int64)
    for epoch in np.unique(epochs):
        order = shuffled(len(counts), seed, int(epoch), 0)
        ends = np.cumsum(counts[order])
        shard_of_position = np.searchsorted(ends, within, side="right")
        windows = np.where(epochs == epoch, shard_of_position // window, -1)
        for number in np.unique(windows[windows >= 0]):
            members = order[number * window : (number + 1) * window]
            samples = np.concatenate([np.arange(starts[one], starts[one + 1]) for one in members])
            begin = int(ends[number * window - 1]) if number else 0
            mixed = samples[shuffled(len(samples), seed, int(epoch), int(number) + 1)]
            chosen = windows == number
            result[chosen] = mixed[within[chosen] - begin]
    return result


def shuffled(count: int, seed: int, epoch: int, stream: int) -> np.ndarray:
    """A permutation that is the same everywhere and always."""
    # Sorting raw generator output, since numpy keeps that the same in all versions, unlike `permutation`.
    generator = np.random.Philox(key=np.array([seed % 2**64, epoch], dtype=np.uint64), counter=[0, 0, stream, 0])
    return np.argsort(generator.random_raw(count), kind="stable")
