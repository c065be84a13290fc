"""Which samples stay, and in which split: duplicates go, and what shows the same stays together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from scr3d.data.layout import split_by_hash
from scr3d.errors import DataError
from scr3d.photos.duplicates import Groups, group_by_hash, links
from scr3d.photos.options import PrepareOptions
from scr3d.photos.parts import RECORD, Parts
from scr3d.photos.reading import Reason
from scr3d.photos.sources import Collection

SAME_PHOTO = 4
"""Hashes of whole photos that differ in at most so many of 64 bits belong to copies of one photo..."""
SAME_SQUARE_OF_SAME_PHOTO = 12
"""...if those of their squares differ in at most so many: a crop by landmarks moves a little between copies."""
SAME_SQUARE = 3
"""Squares that show the same, whatever their photos."""
TOGETHER = 6
"""Squares so alike that they must not be in different splits; different people differ in 8 bits and more."""
PRIORITY = {"test": 0, "val": 1, "train": 2}
"""Of duplicates in the given splits of a published set, the held-out one stays."""


@dataclass(frozen=True)
class Selection:
    """The samples of a data set.

    Attributes:
        records: one row of `RECORD` for each sample, in the order in which they were read.
        position: number of each sample among all that were read.
        split: of each sample.
        skipped: (photo's path, reason, detail) of everything that was left out.
    """

    records: np.ndarray
    position: np.ndarray
    split: np.ndarray
    skipped: list[tuple[str, str, str]]


def select(parts: Parts, collection: Collection, options: PrepareOptions) -> Selection:
    """Choose samples and splits from everything that was read.

    Raises:
        DataError: there are too few different pictures to split.
    """
    read = [parts.read(number) for number in range(len(parts.blocks))]
    records = np.concatenate([part.records for part in read]) if read else np.zeros(0, RECORD)
    photos = np.concatenate([part.photos for part in read])
    names = [collection.name(entry) for entry in collection.entries]
    skipped = [(names[photo], reason, detail) for part in read for photo, reason, detail in part.skipped]
    skipped += [(name, Reason.MISSING.value, "") for name in collection.missing]
    given = np.array([collection.entries[photo].split or "" for photo in records["photo"]])
    keep = np.ones(len(records), bool)
    if not options.keep_duplicates:
        for sample, kept in duplicates(records, photos, given):
            keep[sample] = False
            same_as = names[records["photo"][kept]]
            skipped.append((names[records["photo"][sample]], Reason.DUPLICATE.value, f"of {same_as}"))
    records, given, position = records[keep], given[keep], np.flatnonzero(keep)
    units = _units(records, photos, names, options.together)
    split = _split(units, photos["digest"][records["photo"]], given)
    return Selection(records, position, split, sorted(skipped))


def duplicates(records: np.ndarray, photos: np.ndarray, given: np.ndarray) -> list[tuple[int, int]]:
    """(sample, the one like it that stays) of all duplicates: held-out parts of a published set win, then size."""
    hashes = records["hash"]
    groups = group_by_hash(hashes, SAME_SQUARE)
    of_photo: dict[int, list[int]] = {}
    for sample, photo in enumerate(records["photo"].tolist()):
        of_photo.setdefault(photo, []).append(sample)
    used = np.array(sorted(of_photo), dtype=np.int64)
    for first, second in links(photos["hash"][used], SAME_PHOTO):
        for one, other in zip(used[first].tolist(), used[second].tolist(), strict=True):
            for a in of_photo[one]:
                for b in of_photo[other]:
                    if int(hashes[a] ^ hashes[b]).bit_count() <= SAME_SQUARE_OF_SAME_PHOTO:
                        groups.join(a, b)
    pixels = photos["pixels"][records["photo"]]
    priority = [PRIORITY.get(split, 3) for split in given.tolist()]
    best: dict[int, int] = {}
    labels = groups.labels().tolist()
    for sample, label in enumerate(labels):
        held = best.setdefault(label, sample)
        if (priority[sample], -pixels[sample], sample) < (priority[held], -pixels[held], held):
            best[label] = sample
    return [(sample, best[label]) for sample, label in enumerate(labels) if best[label] != sample]


def _units(records: np.ndarray, photos: np.ndarray, names: list[str], together: bool) -> Groups:
    """Samples that must be in one split: nearly the same, of copies of one photo, and of one folder if asked."""
    groups = group_by_hash(records["hash"], TOGETHER)
    first_of: dict[object, int] = {}
    # Copies of one photo may show different people of it.
    same_photo = group_by_hash(photos["hash"], SAME_PHOTO).labels()
    for sample, photo in enumerate(records["photo"].tolist()):
        groups.join(first_of.setdefault(int(same_photo[photo]), sample), sample)
        if together:
            groups.join(first_of.setdefault(str(PurePosixPath(names[photo]).parent), sample), sample)
    return groups


def _split(units: Groups, digests: np.ndarray, given: np.ndarray) -> np.ndarray:
    """The split of every sample: the given one, or that of its group by the smallest hash of the group's files.

    Raises:
        DataError: there are too few groups.
    """
    labels = units.labels()
    keys: dict[int, bytes] = {}
    for sample in np.flatnonzero(given == "").tolist():
        label = int(labels[sample])
        keys[label] = min(keys.get(label, b"\xff" * 16), digests[sample].tobytes())
    order = list(keys)
    chosen = dict(zip(order, split_by_hash([keys[label] for label in order]), strict=True)) if order else {}
    result = np.array([split or chosen[int(labels[sample])] for sample, split in enumerate(given.tolist())], dtype="U5")
    if len(order) and not (given != "").any() and len(order) < 3:
        raise DataError(
            f"there are {len(order)} different groups of pictures, which cannot be split into train, val and test; at "
            "least 3 are needed"
        )
    return result
