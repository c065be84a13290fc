"""Folders of images: importing them into a store, and writing a store out as one.

The layouts are those of `scr3d.data.layout`. Depth maps are PNG files of 8 or 16 bits and of their image's
size; nearer is brighter: depth = far - value / max * (far - near), and 0 is background.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt16
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from scr3d.data.images import (
    center_square,
    open_raster,
    read_image,
    resize,
    to_uint8,
    write_png8,
    write_png16,
)
from scr3d.data.layout import ImagePair, choose_by_hash, content_digest, describe, find_pairs
from scr3d.data.store import ArraySpec, Store, StoreInfo, StoreWriter, is_store
from scr3d.errors import DataError

MIN_SIDE_PX = 8
"""Images with a shorter side are skipped: nothing can be learned from them."""
BLOCK = 256
"""Samples that are decoded or copied together."""


@dataclass(frozen=True)
class ImportReport:
    """What an import did.

    Attributes:
        folder: the store.
        imported: number of samples in it.
        skipped: name and reason of every file that could not be used.
        has_depth: whether the samples have true depth.
    """

    folder: Path
    imported: int
    skipped: tuple[tuple[str, str], ...]
    has_depth: bool


@dataclass(frozen=True)
class _Sample:
    arrays: dict[str, np.ndarray]
    digest: bytes


def import_folder(
    root: Path | str,
    out: Path | str,
    size: int,
    split: str = "train",
    *,
    recursive: bool = False,
    replace: bool = False,
    progress: bool = True,
) -> ImportReport:
    """Import a split of a folder of images into a store.

    Images are cut to the square in their middle and scaled; depth maps alike, averaged over foreground only.
    The store appears when it is whole.

    Args:
        root: the folder, in one of the layouts above.
        out: the folder of the new store.
        size: height and width of the stored images in pixels.
        split: train, val or test.
        recursive: whether to look for images in folders within folders, too.
        replace: whether a store that is there is replaced.
        progress: whether to show a progress bar.

    Raises:
        DataError: `out` is taken, there are no images, none is readable, or the depth maps do not match them.
    """
    root, out = Path(root), Path(out)
    if size < MIN_SIDE_PX:
        raise DataError(f"expected an image size of at least {MIN_SIDE_PX} pixels, got {size}")
    if not (replace and is_store(out)):
        _refuse_taken(out)
    pairs, by_hash = find_pairs(root, split, recursive)
    source = describe(root, split, pairs)
    if by_hash:
        pairs = choose_by_hash(pairs, split, root)
    partial = _beside(out, "partial")
    try:
        partial.mkdir(parents=True)
        report = _import_pairs(pairs, root, partial, size, source, progress)
        _replace_folder(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return ImportReport(out, report.imported, report.skipped, report.has_depth)


def read_depth_codes(path: Path) -> UInt16[np.ndarray, "height width"]:
    """A depth map's 16-bit codes; 8-bit values are spread over the same range.

    Raises:
        DataError: the file is unreadable or no depth map.
    """
    raster = open_raster(path)
    if raster.mode.startswith("I"):
        values = np.asarray(raster)
        if values.min() < 0 or values.max() > 65535:
            raise DataError(f"{path} has values of more than 16 bits; expected a depth map of 8 or 16 bits")
        return values.astype(np.uint16)
    if raster.mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
        values = np.asarray(raster.convert("RGB"))
        if (values == values[..., :1]).all():
            return values[..., 0].astype(np.uint16) * 257
    raise DataError(f"{path} is no depth map: expected a grey image of 8 or 16 bits, got mode {raster.mode}")


def resize_depth_codes(codes: UInt16[np.ndarray, "height width"], size: int) -> UInt16[np.ndarray, "size size"]:
    """Scale depth codes without mixing background (0) into the foreground.

    A new pixel is foreground where at least half of what it covers is.
    """
    if codes.shape == (size, size):
        return codes
    foreground = (codes > 0).astype(np.float32)
    share = resize(foreground, size)
    mean = resize(codes.astype(np.float32), size) / np.maximum(share, 1e-6)
    return np.where(share >= 0.5, np.clip(np.rint(mean), 1, 65535), 0).astype(np.uint16)


def export_store(store_folder: Path | str, out: Path | str, *, progress: bool = True) -> int:
    """Write a store as `image/` and `depth/` folders, which `import_folder` reads back to the same arrays.

    The folder appears when it is whole.

    Args:
        store_folder: the store.
        out: a new folder, for instance ROOT/train.
        progress: whether to show a progress bar.

    Returns:
        The number of samples written.

    Raises:
        DataError: there is no store, or `out` is there already.
    """
    store, out = Store(store_folder), Path(out)
    _refuse_taken(out)
    partial = _beside(out, "partial")
    digits = max(6, len(str(len(store) - 1)))
    names = [name for name in ("image", "depth") if name in store]
    try:
        for name in names:
            (partial / name).mkdir(parents=True)
        with _progress_bar(progress) as bar:
            task = bar.add_task(f"writing {out.name}", total=len(store))
            for index in range(len(store)):
                file = f"{index:0{digits}d}.png"
                write_png8(partial / "image" / file, store.arrays["image"][index])
                if "depth" in store:
                    write_png16(partial / "depth" / file, np.array(store.arrays["depth"][index]))
                bar.advance(task)
        _replace_folder(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return len(store)


def _import_pairs(
    pairs: Sequence[ImagePair], root: Path, partial: Path, size: int, source: dict[str, Any], progress: bool
) -> ImportReport:
    """Decode into raw files first: only then it is known how many samples the store will have."""
    specs = {"image": ArraySpec("uint8", (size, size, 3))}
    if pairs[0].depth is not None:
        specs["depth"] = ArraySpec("uint16", (size, size))
    spools = {name: partial / f"{name}.spool" for name in specs}
    skipped: list[tuple[str, str]] = []
    content = hashlib.blake2b(digest_size=16)
    count = 0
    with ExitStack() as stack:
        files = {name: stack.enter_context(path.open("wb")) for name, path in spools.items()}
        for pair, sample in _read_all(pairs, size, f"importing {root.name}", progress):
            if isinstance(sample, str):
                skipped.append((pair.image.relative_to(root).as_posix(), sample))
                continue
            count += 1
            content.update(sample.digest)
            for name, file in files.items():
                file.write(sample.arrays[name].tobytes())
    if count == 0:
        name, reason = skipped[0]
        raise DataError(f"none of the {len(pairs)} images of {root} can be used; the first, {name}, {reason}")
    source = {**source, "content": content.hexdigest(), "skipped": [list(entry) for entry in skipped]}
    writer = StoreWriter(partial, StoreInfo(size, count, specs, source=source))
    raw = {
        name: np.memmap(path, np.dtype(specs[name].dtype), "r").reshape(count, *specs[name].shape)
        for name, path in spools.items()
    }
    for start in range(0, count, BLOCK):
        writer.append({name: values[start : start + BLOCK] for name, values in raw.items()})
    for path in spools.values():
        path.unlink()
    return ImportReport(partial, count, tuple(skipped), "depth" in specs)


def _read_all(
    pairs: Sequence[ImagePair], size: int, title: str, progress: bool
) -> Iterator[tuple[ImagePair, _Sample | str]]:
    """All samples in order, decoded in threads."""
    # No more threads than cores: a large photo takes a gigabyte while it is decoded.
    with ThreadPoolExecutor(os.cpu_count()) as pool, _progress_bar(progress) as bar:
        task = bar.add_task(title, total=len(pairs))
        for start in range(0, len(pairs), BLOCK):
            block = pairs[start : start + BLOCK]
            for pair, sample in zip(block, pool.map(lambda pair: _read(pair, size), block), strict=True):
                yield pair, sample
                bar.advance(task)


def _read(pair: ImagePair, size: int) -> _Sample | str:
    """One sample, or why it is skipped.

    Raises:
        DataError: the depth map has another size than the image: then the whole set is wrong.
    """
    try:
        image = read_image(pair.image)
        codes = read_depth_codes(pair.depth) if pair.depth else None
        digest = content_digest(pair.image) + (content_digest(pair.depth) if pair.depth else b"")
    except (DataError, OSError) as error:
        return str(error).removeprefix(f"{pair.image} ")
    height, width = image.shape[:2]
    if min(height, width) < MIN_SIDE_PX:
        return f"is too small: {width}x{height} pixels, expected at least {MIN_SIDE_PX} on each side"
    if codes is not None and codes.shape != (height, width):
        raise DataError(
            f"{pair.depth} has {codes.shape[1]}x{codes.shape[0]} pixels, its image {pair.image.name} has "
            f"{width}x{height}; expected the same size"
        )
    arrays = {"image": to_uint8(resize(center_square(image), size))}
    if codes is not None:
        arrays["depth"] = resize_depth_codes(center_square(codes), size)
    return _Sample(arrays, digest)


def _refuse_taken(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} is there already; choose another folder or remove it")


def _beside(folder: Path, ending: str) -> Path:
    """A new name in the same folder, so that renaming is one step of the file system."""
    return folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.{ending}")


def _replace_folder(new: Path, target: Path) -> None:
    old = _beside(target, "old")
    if target.exists():
        target.rename(old)
    new.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def _progress_bar(show: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    return Progress(*columns, console=console, disable=not (show and console.is_terminal), transient=True)
