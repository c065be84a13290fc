"""Which photos make up a collection: their depth maps, masks, splits and boxes."""

from __future__ import annotations

import csv
import hashlib
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from scr3d.data.images import list_images
from scr3d.data.layout import find_pairs
from scr3d.data.store import SPLITS
from scr3d.errors import DataError
from scr3d.photos.options import CROP_OF_KIND, CropRule, PrepareOptions, parse_crop
from scr3d.photos.published import Entry, recognise

BOX_COLUMNS = ("file", "left", "top", "right", "bottom")


@dataclass(frozen=True)
class Collection:
    """The photos of a folder.

    Attributes:
        root: the folder.
        layout: what it was recognised as, in words.
        entries: its photos.
        crop: what is cut out of them.
        missing: what is listed and not there.
    """

    root: Path
    layout: str
    entries: list[Entry]
    crop: CropRule
    missing: list[str] = field(default_factory=list)

    def name(self, entry: Entry) -> str:
        """A photo's path within the folder."""
        return entry.image.relative_to(self.root).as_posix()

    def description(self) -> dict[str, Any]:
        """Where the photos come from, with a hash of all names, sizes and times of change."""
        listing = hashlib.blake2b(digest_size=16)
        for entry in self.entries:
            for path in (entry.image, entry.depth, entry.mask):
                if path is not None:
                    status = path.stat()
                    name = path.relative_to(self.root) if path.is_relative_to(self.root) else path
                    text = f"{name}\0{status.st_size}\0{status.st_mtime_ns}\0{entry.split}\0{entry.box}\n"
                    listing.update(text.encode("utf-8", "surrogateescape"))
        return {
            "kind": "photos",
            "folder": str(self.root.resolve()),
            "layout": self.layout,
            "listing": listing.hexdigest(),
        }


def collect(root: Path, options: PrepareOptions) -> Collection:
    """Find the photos of a folder.

    Raises:
        DataError: there are none, or depth maps, masks or boxes do not match them.
    """
    if not root.is_dir():
        raise DataError(f"expected a folder of photos, but {root} is {'a file' if root.exists() else 'missing'}")
    published = recognise(root)
    if published is not None:
        found = Collection(root, published.name, published.entries, published.crop, published.missing)
    else:
        found = _folder(root, options)
    if options.crop is not None:
        found = _recropped(found, parse_crop(options.crop))
    if options.masks is not None:
        found = replace(found, entries=_masked(found, options.masks))
    if not found.entries:
        raise DataError(f"{root} was taken for {found.layout}, but none of its photos is there")
    if found.crop.name == "face" and any(entry.depth for entry in found.entries):
        raise DataError(
            f"{root} has depth maps, which cannot be turned upright with a face; take --crop center or none"
        )
    return found


def _folder(root: Path, options: PrepareOptions) -> Collection:
    """A folder in one of the layouts of `scr3d.data.layout`, all of its splits."""
    splits = [name for name in SPLITS if (root / name).is_dir()]
    crop = parse_crop(CROP_OF_KIND[options.preset])
    entries = []
    for split in splits or ["train"]:
        pairs, by_hash = find_pairs(root, split, options.recursive)
        entries += [Entry(pair.image, pair.depth, split=None if by_hash else split) for pair in pairs]
    if options.masks is not None and options.masks.is_relative_to(root):
        entries = [entry for entry in entries if not entry.image.is_relative_to(options.masks)]
    if any(entry.depth for entry in entries):
        # The papers' sets are cropped; a face could not be turned upright together with its depth.
        crop = CropRule("center")
    return Collection(root, f"splits {', '.join(splits)}" if splits else "a folder of photos", entries, crop)


def _recropped(found: Collection, rule: CropRule) -> Collection:
    """The collection with another crop than its own."""
    if rule.name != "boxes" or rule.file is None:
        return replace(found, crop=rule, entries=[replace(entry, box=None) for entry in found.entries])
    boxes = read_boxes(rule.file)
    entries, missing = [], list(found.missing)
    for entry in found.entries:
        given = boxes.get(found.name(entry)) or boxes.get(entry.image.name)
        if given:
            entries += [replace(entry, box=box) for box in given]
        else:
            missing.append(f"{found.name(entry)}: no box in {rule.file.name}")
    return replace(found, crop=rule, entries=entries, missing=missing)


def read_boxes(path: Path) -> dict[str, list[tuple[float, float, float, float]]]:
    """The boxes of every file of a table with the columns file,left,top,right,bottom; a file may have several.

    Raises:
        DataError: the table is missing, or has other columns or no numbers.
    """
    if not path.is_file():
        raise DataError(f"there is no table of boxes {path}; expected a CSV file with {','.join(BOX_COLUMNS)}")
    boxes: dict[str, list[tuple[float, float, float, float]]] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if not set(BOX_COLUMNS) <= set(reader.fieldnames or ()):
                raise DataError(f"{path} has the columns {reader.fieldnames}; expected {','.join(BOX_COLUMNS)}")
            for number, row in enumerate(reader, 2):
                boxes.setdefault(row["file"], []).append(_box(row, f"{path}, line {number}"))
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path} is no CSV file in UTF-8 ({error}); save it as one") from error
    return boxes


def _box(row: dict[str, str], place: str) -> tuple[float, float, float, float]:
    """The numbers of a box.

    Raises:
        DataError: they are no numbers, or no box.
    """
    try:
        left, top, right, bottom = (float(row[name]) for name in BOX_COLUMNS[1:])
    except (TypeError, ValueError) as error:
        raise DataError(f"{place}: expected four numbers for {row['file']!r}") from error
    if not (right > left and bottom > top and math.isfinite(right - left) and math.isfinite(bottom - top)):
        raise DataError(f"{place}: the box of {row['file']!r} has no extent")
    return left, top, right, bottom


def _masked(found: Collection, folder: Path) -> list[Entry]:
    """The photos with their masks from another folder: the same path, or the same name, without the ending.

    Raises:
        DataError: the folder is missing, or a photo has no mask.
    """
    by_path = {path.relative_to(folder).with_suffix(""): path for path in list_images(folder, recursive=True)}
    by_name = {path.stem: path for path in by_path.values()}
    entries = []
    for entry in found.entries:
        mask = by_path.get(entry.image.relative_to(found.root).with_suffix("")) or by_name.get(entry.image.stem)
        entries.append(replace(entry, mask=mask))
    missing = [entry for entry in entries if entry.mask is None]
    if missing:
        raise DataError(
            f"{len(missing)} of the {len(entries)} photos have no mask in {folder}, the first is "
            f"{found.name(missing[0])}; expected a file of the same name"
        )
    return entries
