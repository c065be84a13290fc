"""The published sets, by the files that their makers distribute.

    CelebA, aligned       ROOT/img_align_celeba/*.jpg (178x218), ROOT/list_eval_partition.txt (name, part 0 to 2)
    CelebA, in the wild   ROOT/img_celeba/*.jpg and a box file: ROOT/celeba_crop_bbox.txt of [U] (name, part, left, top,
                          width, height) or CelebA's own ROOT/list_bbox_celeba.txt with list_eval_partition.txt
    cat heads             ROOT/CAT_00 ... CAT_06/*.jpg with *.jpg.cat (9, then x y of eyes, mouth and six ear points)
    AFHQ                  ROOT/train and ROOT/val or ROOT/test, each with cat, dog, wild/*.jpg|png
    Basel faces, cars     ROOT/train, val, test/image and /depth: the papers' layout, see `scr3d.data.layout`

Sources: Liu et al., "Deep learning face attributes in the wild", ICCV 2015; Zhang, Sun and Tang, "Cat head detection",
ECCV 2008; Choi et al., "StarGAN v2", CVPR 2020; the crops are those of [U]'s scripts unless said otherwise.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from scr3d.data.images import list_images
from scr3d.errors import DataError
from scr3d.photos.options import CropRule

PARTS = {"0": "train", "1": "val", "2": "test"}
CELEBA_ALIGNED_CROP = CropRule("fixed", 9, 30, 160)
"""CelebA's aligned faces have their eyes at (69, 111) and (107, 111) and the mouth at y = 152; the square follows from
them by the numbers of `scr3d.photos.crop`."""
CAT_SIDE_FROM_EYES = 3.4
"""Side of the square around a cat's head, in distances between its eyes; with both ears inside."""
CAT_MIDDLE_BELOW_EYES = 0.15
"""How far the middle of the square lies below the eyes, in distances between them."""
AFHQ_KINDS = ("cat", "dog", "wild")


@dataclass(frozen=True)
class Entry:
    """A photo that belongs to a set.

    Attributes:
        image: the file.
        depth: its depth map.
        mask: its mask.
        split: train, val or test where the set says so.
        box: left, top, right, bottom in pixels where the set says so.
    """

    image: Path
    depth: Path | None = None
    mask: Path | None = None
    split: str | None = None
    box: tuple[float, float, float, float] | None = None


@dataclass(frozen=True)
class PublishedSet:
    """A set that was recognised.

    Attributes:
        name: in words.
        entries: its photos.
        crop: the square of its photos, where they have no boxes.
        missing: files that are listed and not there.
    """

    name: str
    entries: list[Entry]
    crop: CropRule
    missing: list[str] = field(default_factory=list)


def recognise(root: Path) -> PublishedSet | None:
    """The published set that a folder holds, if it holds one.

    Raises:
        DataError: a file of the set is missing or damaged.
    """
    if (root / "img_align_celeba").is_dir():
        return _celeba_aligned(root)
    if (root / "img_celeba").is_dir():
        return _celeba_wild(root)
    if (root / "CAT_00").is_dir():
        return _cat_heads(root)
    if any((root / "train" / kind).is_dir() for kind in AFHQ_KINDS) and not (root / "train" / "image").is_dir():
        return _afhq(root)
    return None


def _celeba_aligned(root: Path) -> PublishedSet:
    entries = [
        Entry(root / "img_align_celeba" / name, split=PARTS[part])
        for name, part in _rows(root / "list_eval_partition.txt", 2, {1: PARTS})
    ]
    return _present("CelebA, aligned", entries, CELEBA_ALIGNED_CROP)


def _celeba_wild(root: Path) -> PublishedSet:
    folder, crops, boxes = root / "img_celeba", root / "celeba_crop_bbox.txt", root / "list_bbox_celeba.txt"
    entries = []
    if crops.is_file():
        for name, part, *numbers in _rows(crops, 6, {1: PARTS}):
            entries.append(Entry(folder / name, split=PARTS[part], box=_box(numbers, crops, name)))
        return _present("CelebA, in the wild", entries, CropRule("boxes"))
    listing = root / "list_eval_partition.txt"
    parts = {name: part for name, part in _rows(listing, 2, {1: PARTS})}
    for name, *numbers in _rows(boxes, 5, {}, header=2):
        left, top, right, bottom = _box(numbers, boxes, name)
        if name not in parts:
            raise DataError(f"{listing} does not list {name}, which has a box in {boxes.name}; take both from one set")
        entries.append(Entry(folder / name, split=PARTS[parts[name]], box=(left, top, right, bottom)))
    return _present("CelebA, in the wild (its own boxes)", entries, CropRule("boxes"))


def _cat_heads(root: Path) -> PublishedSet:
    entries, missing = [], []
    for folder in sorted(path for path in root.glob("CAT_*") if path.is_dir()):
        for image in list_images(folder):
            points = image.with_name(image.name + ".cat")
            if points.is_file():
                entries.append(Entry(image, box=_cat_box(points)))
            else:
                missing.append(f"{folder.name}/{points.name}")
    return PublishedSet("cat heads", entries, CropRule("boxes"), missing)


def _cat_box(path: Path) -> tuple[float, float, float, float]:
    """The square around a cat's head by its eyes.

    Raises:
        DataError: the file has no nine points.
    """
    words = path.read_text(encoding="utf-8", errors="replace").split()
    if len(words) < 19 or words[0] != "9" or not all(re.fullmatch(r"-?[0-9]{1,6}", word) for word in words[1:19]):
        raise DataError(f"{path} is damaged: expected 9 and the coordinates of nine points")
    left_eye, right_eye = np.array(words[1:5], dtype=float).reshape(2, 2)
    apart = float(np.linalg.norm(right_eye - left_eye))
    x, y = (left_eye + right_eye) / 2 + np.array([0, CAT_MIDDLE_BELOW_EYES * apart])
    half = CAT_SIDE_FROM_EYES * apart / 2
    return x - half, y - half, x + half, y + half


def _afhq(root: Path) -> PublishedSet:
    """AFHQ's photos are square and cropped; version 1 calls its held-out part val, version 2 test."""
    held_out = [name for name in ("val", "test") if (root / name).is_dir()]
    entries = []
    for part in ("train", *held_out):
        for kind in AFHQ_KINDS:
            folder = root / part / kind
            if folder.is_dir():
                # Without a part of their own, validation or test are cut out of the training photos, by hash.
                split = part if part != "train" or len(held_out) == 2 else None
                entries += [Entry(image, split=split) for image in list_images(folder)]
    return PublishedSet("AFHQ", entries, CropRule("center"))


def _present(name: str, entries: list[Entry], crop: CropRule) -> PublishedSet:
    """The set, with listed files that are not there apart."""
    there = {path.name for path in entries[0].image.parent.iterdir()} if entries else set()
    missing = [entry.image.name for entry in entries if entry.image.name not in there]
    return PublishedSet(name, [entry for entry in entries if entry.image.name in there], crop, missing)


def _rows(path: Path, columns: int, known: dict[int, dict[str, str]], header: int = 0) -> Iterator[list[str]]:
    """The words of every line of a table.

    Raises:
        DataError: it is missing, or a line has other columns.
    """
    if not path.is_file():
        raise DataError(f"{path} is missing; it comes with the set and belongs beside its images")
    for number, line in enumerate(path.read_bytes().splitlines()[header:], header + 1):
        words = line.decode("utf-8", errors="replace").split()
        if not words:
            continue
        if len(words) != columns or any(words[index] not in values for index, values in known.items()):
            raise DataError(f"{path} is damaged in line {number}: expected {columns} columns, got {' '.join(words)!r}")
        if not _is_plain(words[0]):
            raise DataError(f"{path} is damaged in line {number}: {words[0]!r} is no name of a file beside the others")
        yield words


def _is_plain(name: str) -> bool:
    """Whether a name stays in its folder, on every system."""
    return name.isprintable() and name not in (".", "..") and not set(name) & set("/\\:")


def _box(numbers: list[str], path: Path, name: str) -> tuple[float, float, float, float]:
    """A box from left, top, width and height.

    Raises:
        DataError: they are no numbers.
    """
    try:
        left, top, width, height = (float(number) for number in numbers)
        if not (math.isfinite(left + width) and math.isfinite(top + height)):
            raise ValueError("not finite")
    except ValueError as error:
        raise DataError(f"{path} is damaged: the box of {name} is {' '.join(numbers)!r}, expected numbers") from error
    return left, top, left + width, top + height
