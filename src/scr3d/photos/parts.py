"""What has been read of a collection so far: blocks of photos, each in a file that is whole or not there."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scr3d.files import atomic_path
from scr3d.photos.reading import PhotoRead

PHOTOS_IN_A_PART = 64


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
        """A block without its pictures."""
        with np.load(self.path(number), allow_pickle=False) as file:
            skipped = json.loads(file["skipped"].tobytes().decode("utf-8", "surrogateescape"))
            return Part(file["records"], [(int(p), str(r), str(d)) for p, r, d in skipped], file["photos"])

    def pictures(self, name: str) -> Iterator[tuple[int, np.ndarray]]:
        """Number of its first sample and the pictures of every block that has some; `name` as in the store."""
        first = 0
        for number in range(len(self.blocks)):
            with np.load(self.path(number), allow_pickle=False) as file:
                count = len(file["records"])
                if count:
                    yield first, file[name]
            first += count
