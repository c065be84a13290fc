"""The memory-mapped array store: one folder per split, one `.npy` file per quantity.

    DIR/train/store.json      what is in it; written last, so a store without it or with `done < count` is unfinished
    DIR/train/image.npy       uint8  [N, S, S, 3]  RGB
    DIR/train/depth.npy       uint16 [N, S, S]     true depth in the input view, 0 where there is no foreground
    DIR/train/...             other quantities of the synthetic heads, see `scr3d.data.heads`

Depth codes follow the papers' PNG files: nearer is brighter, code / 65535 runs from `far` (0) to `near` (1).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt16

from scr3d.errors import DataError
from scr3d.files import MALFORMED, read_json, write_json
from scr3d.geometry.depth_range import DepthRange

FORMAT = "scr3d-store"
VERSION = 1
SPLITS = ("train", "val", "test")
DEPTH_LEVELS = 65535


@dataclass(frozen=True)
class ArraySpec:
    """Type and shape of one quantity of one sample."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class StoreInfo:
    """The content of `store.json`."""

    size: int
    count: int
    arrays: dict[str, ArraySpec]
    done: int = 0
    source: dict[str, Any] = field(default_factory=dict)
    """Where the samples come from: generator, seed, version, or folder; enough to make them again."""

    @property
    def complete(self) -> bool:
        """Whether every sample has been written."""
        return self.done == self.count


def encode_depth(depth: np.ndarray, foreground: np.ndarray, depth_range: DepthRange) -> UInt16[np.ndarray, "..."]:
    """Depth to 16-bit codes; foreground codes are at least 1, background is 0."""
    nearness = (depth_range.far - depth) / (depth_range.far - depth_range.near)
    codes = np.clip(np.rint(nearness * DEPTH_LEVELS), 1, DEPTH_LEVELS)
    return np.where(foreground, codes, 0).astype(np.uint16)


def decode_depth(codes: np.ndarray, depth_range: DepthRange) -> Float[np.ndarray, "..."]:
    """16-bit codes to float32 depth; background (0) decodes to `far`."""
    span = depth_range.far - depth_range.near
    return (depth_range.far - codes.astype(np.float64) / DEPTH_LEVELS * span).astype(np.float32)


class Store:
    """A finished split, opened for reading; arrays stay on disk until they are indexed."""

    def __init__(self, folder: Path | str):
        """Open `folder`, which must hold a finished store.

        Raises:
            DataError: the folder is no store, is of another version, is unfinished or is damaged.
        """
        self.folder = Path(folder)
        self.info = read_info(self.folder)
        check_forms(self.folder / "store.json", self.info)
        if not self.info.complete:
            raise DataError(
                f"{self.folder} is unfinished: {self.info.done} of {self.info.count} samples are written; "
                "run the command that makes it again, it will go on"
            )
        self.arrays: dict[str, np.ndarray] = {
            name: _open_array(self.folder, name, spec, self.info.count) for name, spec in self.info.arrays.items()
        }

    def __len__(self) -> int:
        return self.info.count

    @property
    def size(self) -> int:
        """Height and width of the images in pixels."""
        return self.info.size

    def __contains__(self, name: str) -> bool:
        return name in self.arrays

    def nbytes(self) -> dict[str, int]:
        """Bytes of every quantity."""
        return {name: int(array.nbytes) for name, array in self.arrays.items()}

    def signature(self) -> dict[str, Any]:
        """What its files look like from outside, see `signature`."""
        return signature(self.folder)

    def get(self, name: str, index: np.ndarray | slice) -> np.ndarray:
        """The named quantity of the given samples, as a copy in memory."""
        return np.array(self.arrays[name][index])


class StoreWriter:
    """Writes a split sample block by sample block; goes on where an interrupted run stopped."""

    def __init__(self, folder: Path | str, info: StoreInfo, reserve: bool = True):
        """Create the store, or open the unfinished one that has the same description.

        Args:
            folder: of the split.
            info: what it will hold.
            reserve: take the disk space of all samples now; otherwise as they come.

        Raises:
            DataError: the folder holds a store of another description.
        """
        self.folder = Path(folder)
        self.info = info
        if (self.folder / "store.json").exists():
            found = read_info(self.folder)
            wanted = {**asdict(info), "done": 0}
            if {**asdict(found), "done": 0} != wanted:
                raise DataError(
                    f"{self.folder} already holds another data set ({found.count} samples of size {found.size}, "
                    f"made with {found.source}); choose another folder or remove this one"
                )
            self.info = found
        else:
            self.folder.mkdir(parents=True, exist_ok=True)
            for name, spec in info.arrays.items():
                path = self.folder / f"{name}.npy"
                shape = (info.count, *spec.shape)
                np.lib.format.open_memmap(path, mode="w+", dtype=np.dtype(spec.dtype), shape=shape).flush()
                if reserve:
                    _take_room(path)
            self._write_info()
        self._arrays = {name: np.lib.format.open_memmap(self.folder / f"{name}.npy", mode="r+") for name in info.arrays}

    @property
    def done(self) -> int:
        """How many samples are safely on disk."""
        return self.info.done

    def append(self, block: Mapping[str, np.ndarray]) -> None:
        """Write the next samples; every quantity has the same first axis."""
        start = self.info.done
        stop = start + len(next(iter(block.values())))
        if set(block) != set(self._arrays) or stop > self.info.count:
            raise DataError(
                f"expected at most {self.info.count - start} samples of {sorted(self._arrays)}, "
                f"got {stop - start} of {sorted(block)}"
            )
        for name, values in block.items():
            self._arrays[name][start:stop] = values
            self._arrays[name].flush()
        self.info = StoreInfo(self.info.size, self.info.count, self.info.arrays, stop, self.info.source)
        self._write_info()

    def _write_info(self) -> None:
        write_json(self.folder / "store.json", {"format": FORMAT, "version": VERSION, **asdict(self.info)})


def is_store(folder: Path) -> bool:
    """Whether the folder holds a store, finished or not."""
    return (folder / "store.json").is_file()


def read_info(folder: Path) -> StoreInfo:
    """Read and check `store.json`.

    Raises:
        DataError: it is missing, damaged, or of another format or version.
    """
    path = folder / "store.json"
    if not path.is_file():
        raise DataError(f"{folder} is no scr3d data store: it has no store.json")
    try:
        raw = read_json(path)
        if raw["format"] != FORMAT or raw["version"] != VERSION:
            raise DataError(
                f"{path} is of format {raw['format']} {raw['version']}, this program reads {FORMAT} {VERSION}; "
                "make the data set again"
            )
        arrays = {
            str(name): ArraySpec(str(np.dtype(spec["dtype"])), tuple(int(n) for n in spec["shape"]))
            for name, spec in raw["arrays"].items()
        }
        info = StoreInfo(int(raw["size"]), int(raw["count"]), arrays, int(raw["done"]), dict(raw["source"]))
        if not 0 <= info.done <= info.count:
            raise ValueError(f"{info.done} of {info.count} samples")
        return info
    except (*MALFORMED, OSError) as error:
        raise DataError(f"{path} is damaged ({error}); make the data set again") from error


def check_forms(place: Path | str, info: StoreInfo) -> None:
    """Refuse quantities that are known by name and have another form than `place` may say.

    Raises:
        DataError: there is one.
    """
    side = (info.size, info.size)
    forms = {
        "image": ("uint8", (*side, 3)),
        "albedo": ("uint8", (*side, 3)),
        "target": ("uint8", (*side, 3)),
        "mask": ("uint8", side),
        "depth": ("uint16", side),
        "light": ("float32", (4,)),
        "view": ("float32", (6,)),
    }
    for name, (dtype, shape) in forms.items():
        found = info.arrays.get(name, ArraySpec(dtype, shape))
        if (found.dtype, found.shape) != (dtype, shape):
            raise DataError(
                f"{place} says that {name} is {found.dtype} {found.shape} where images have "
                f"{info.size} pixels, expected {dtype} {shape}; make the data set again"
            )


def signature(folder: Path) -> dict[str, Any]:
    """What a store's files look like from outside, to see whether they are still the same.

    Raises:
        DataError: they cannot be read.
    """
    try:
        sizes = {path.name: path.stat().st_size for path in sorted(folder.glob("*.npy"))}
        return {"store.json": (folder / "store.json").read_text(encoding="utf-8"), **sizes}
    except OSError as error:
        raise DataError(f"{folder} cannot be read any more ({error.strerror}); is the disk still there?") from error


def _take_room(path: Path) -> None:
    """Take the disk space of a file now: on a full disk, writing to mapped memory would kill the process."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
"""By the version of a .npy file."""


def _open_array(folder: Path, name: str, spec: ArraySpec, count: int) -> np.ndarray:
    path = folder / f"{name}.npy"
    if "/" in name or "\\" in name or name.startswith("."):
        raise DataError(f"{folder / 'store.json'} names an array {name!r}, which is no file name of a store")
    try:
        with path.open("rb") as file:
            shape, by_columns, dtype = HEADERS[np.lib.format.read_magic(file)](file)
            offset = file.tell()
        if dtype.hasobject or not dtype.itemsize:  # mapping nothing would end the process with a division by zero
            raise ValueError(f"values of type {dtype} are not read")
    except Exception as error:  # numpy evaluates the header with Python's own parser, which has many ways to fail
        raise DataError(f"{path} cannot be read ({error}); make the data set again") from error
    if shape != (count, *spec.shape) or str(dtype) != spec.dtype:
        raise DataError(
            f"{path} holds {dtype} {shape}, store.json says {spec.dtype} {(count, *spec.shape)}; "
            "make the data set again"
        )
    try:
        return np.memmap(path, dtype, "r", offset, shape, "F" if by_columns else "C")
    except (OSError, ValueError, OverflowError) as error:
        raise DataError(f"{path} cannot be read ({error}); make the data set again") from error
