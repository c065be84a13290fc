"""What has been read of a collection so far: blocks of photos, each in a file that is whole or not there."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scr3d.errors import DataError
from scr3d.files import MALFORMED, atomic_path
from scr3d.photos.reading import PhotoRead

PHOTOS_IN_A_PART = 64
MOST_PART_BYTES = 2**32
"""Of a part; a photo with a hundred faces at the largest size takes 20 MB."""


@dataclass(frozen=True)
class Part:
    """The samples of a block of photos, without their pictures.

    Attributes:
        records: one row for each sample, see `RECORD`.
        skipped: (photo, reason, detail) of what was left out.
        photos: hash and digest of every photo in the block.
    """

    records: np.ndarray
    skipped: list[tuple[int, str, str]]
    photos: np.ndarray


RECORD = np.dtype(
    [
        ("photo", "i8"),
        ("face", "i4"),
        ("hash", "u8"),
        ("crop", "f8", (4,)),
        ("angles_deg", "f4", (2,)),
    ]
)
PHOTO = np.dtype([("hash", "u8"), ("digest", "u1", (16,)), ("pixels", "i8")])


class Parts:
    """The blocks of a collection in a folder."""

    def __init__(self, folder: Path, count: int):
        """Blocks of `count` photos."""
        self.folder = folder
        self.blocks = [
            range(start, min(start + PHOTOS_IN_A_PART, count)) for start in range(0, count, PHOTOS_IN_A_PART)
        ]

    def missing(self) -> list[int]:
        """Numbers of the blocks that are still to be read."""
        return [number for number in range(len(self.blocks)) if not self.path(number).is_file()]

    def path(self, number: int) -> Path:
        """File of a block."""
        return self.folder / f"{number:06d}.npz"

    def write(self, number: int, read: Sequence[PhotoRead]) -> None:
        """Keep what a block of photos gave."""
        photos = np.zeros(len(read), PHOTO)
        rows, skipped, samples = [], [], []
        for offset, found in enumerate(read):
            photo = self.blocks[number][offset]
            photos[offset] = (found.hash, np.frombuffer(found.digest, np.uint8), found.pixels)
            skipped += [(photo, skip.reason.value, skip.detail) for skip in found.skipped]
            for face, sample in enumerate(found.samples):
                crop = sample.crop
                place = (crop.center_x, crop.center_y, crop.side, crop.roll_rad)
                rows.append((photo, face, sample.hash, place, sample.angles_deg))
                samples.append(sample)
        pictures: dict[str, Any] = {}
        if samples:
            pictures["image"] = np.stack([sample.image for sample in samples])
            pictures["mask"] = np.stack([sample.mask for sample in samples])
            if samples[0].depth is not None:
                pictures["depth"] = np.stack([sample.depth for sample in samples if sample.depth is not None])
        text = np.frombuffer(json.dumps(skipped).encode("utf-8", "surrogateescape"), np.uint8)
        with atomic_path(self.path(number)) as temporary:
            np.savez(
                temporary,
                allow_pickle=False,
                records=np.array(rows, RECORD),
                photos=photos,
                skipped=text,
                **pictures,
            )

    def read(self, number: int) -> Part:
        """A block without its pictures.

        Raises:
            DataError: its file is damaged.
        """
        arrays = self._arrays(number, ("records", "photos", "skipped"))
        block, path = self.blocks[number], self.path(number)
        records, photos = arrays["records"], arrays["photos"]
        try:
            skipped = json.loads(arrays["skipped"].tobytes().decode("utf-8", "surrogateescape"))
            named = [(int(p), str(r), str(d)) for p, r, d in skipped]
            known = all(photo in block for photo in [*records["photo"].tolist(), *(photo for photo, _, _ in named)])
        except MALFORMED as error:
            raise _damaged(path, error) from error
        if (records.dtype, photos.dtype, photos.shape) != (RECORD, PHOTO, (len(block),)) or not known:
            raise _damaged(path, "it is of other photos")
        return Part(records, named, photos)

    def pictures(self, name: str) -> Iterator[tuple[int, np.ndarray]]:
        """Number of its first sample and the pictures of every block that has some; `name` as in the store.

        Raises:
            DataError: a file is damaged.
        """
        first = 0
        for number in range(len(self.blocks)):
            count = len(self._arrays(number, ("records",))["records"])
            if count:
                found = self._arrays(number, (name,))[name]
                if len(found) != count:
                    raise _damaged(self.path(number), f"{len(found)} of {count} pictures")
                yield first, found
            first += count

    def has(self, name: str) -> bool:
        """Whether the samples have pictures of that name; False if there are no samples.

        Raises:
            DataError: a file is damaged.
        """
        for number in range(len(self.blocks)):
            with self._open(number) as file:
                if len(file["records"]):
                    return name in file
        return False

    def _arrays(self, number: int, names: Sequence[str]) -> dict[str, np.ndarray]:
        with self._open(number) as file:
            return {name: np.atleast_1d(file[name]) for name in names}

    @contextmanager
    def _open(self, number: int) -> Iterator[Any]:
        path = self.path(number)
        # Zip archives and their arrays can be damaged in more ways than there are exceptions to list.
        try:
            if path.stat().st_size > MOST_PART_BYTES:
                raise ValueError("it is too large")
            with np.load(path, allow_pickle=False) as file:
                if sum(entry.file_size for entry in file.zip.infolist()) > MOST_PART_BYTES:
                    raise ValueError("it unpacks to too much")
                yield file
        except Exception as error:
            raise _damaged(path, error) from error


def _damaged(path: Path, reason: object) -> DataError:
    return DataError(f"{path} is damaged ({reason}); remove it, and the same command reads its photos again")
