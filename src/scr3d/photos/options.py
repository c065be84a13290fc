"""Options of preparing photos, and what is known about kinds of objects; without torch, since these are options."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from scr3d.errors import ConfigError
from scr3d.models.config import SIZES


class Kind(StrEnum):
    """The kinds of objects that have defaults of their own."""

    FACE = "face"
    CAT = "cat"
    CAR = "car"
    OWN = "own"


class Faces(StrEnum):
    """Which faces of a photo are taken."""

    ALL = "all"
    LARGEST = "largest"


CROP_OF_KIND = {Kind.FACE: "face", Kind.CAT: "center", Kind.CAR: "center", Kind.OWN: "center"}
"""The crop that is taken unless another is asked for, or the published set has its own."""
_CROP_FORMS = "face, center, center:SIDE, none, LEFT,TOP,SIDE, or a .csv file of boxes"


@dataclass(frozen=True)
class CropRule:
    """How the square is chosen that is cut out of a photo.

    Attributes:
        name: face (found), center, none (photos that are square already), fixed, or boxes (of a file).
        left: of a fixed square, in pixels.
        top: likewise.
        side: of a fixed square, or of the one in the middle; 0 for the largest.
        file: table of boxes.
    """

    name: str
    left: int = 0
    top: int = 0
    side: int = 0
    file: Path | None = None


@dataclass(frozen=True)
class PrepareOptions:
    """What is cut out of the photos, and what is left out."""

    preset: Kind = Kind.FACE
    """Kind of object, for the defaults: face, cat, car or own (anything else)."""
    crop: str | None = None
    """What is cut out: face (found, upright, framed as the shipped model expects), center (the square in the middle,
    center:170 of that side), none (photos that are square already), LEFT,TOP,SIDE (the same square of every photo, in
    pixels), or a .csv file with the columns file,left,top,right,bottom. Without it what suits the preset, or the
    published set."""
    size: int = 64
    """Height and width of the stored images in pixels."""
    faces: Faces = Faces.ALL
    """Which faces of a photo are taken: all or largest."""
    masks: Path | None = None
    """Folder of masks (white is the object), named like the photos; without it the photos' alpha channel is taken."""
    recursive: bool = True
    """Take photos in folders within folders as well."""
    keep_duplicates: bool = False
    """Keep pictures that show the same."""
    together: bool = False
    """Photos of one folder go into the same split: one folder for each person, say."""
    max_beyond: float = 0.6
    """Largest share of a crop that may lie beyond the photo, where it is continued from the edge."""
    min_share: float = 0.5
    """Smallest side of a crop, as a share of --size: smaller ones are blurred."""

    def __post_init__(self) -> None:
        if self.size not in SIZES:
            raise ConfigError(f"--size must be one of {', '.join(map(str, SIZES))}; got {self.size}")
        if not 0 <= self.max_beyond < 1:
            raise ConfigError(f"--max-beyond must lie in [0, 1); got {self.max_beyond}")
        if not self.min_share > 0:
            raise ConfigError(f"--min-share must be positive; got {self.min_share}")
        if self.crop is not None:
            parse_crop(self.crop)


def parse_crop(text: str) -> CropRule:
    """The rule that an option's text stands for.

    Raises:
        ConfigError: it stands for none.
    """
    if text in ("face", "center", "none"):
        return CropRule(text)
    if found := re.fullmatch(r"center:(\d+)", text):
        return CropRule("center", side=_positive(found[1], text))
    if found := re.fullmatch(r"(\d+),(\d+),(\d+)", text):
        return CropRule("fixed", int(found[1]), int(found[2]), _positive(found[3], text))
    if text.lower().endswith(".csv"):
        return CropRule("boxes", file=Path(text))
    raise ConfigError(f"--crop must be {_CROP_FORMS}; got {text!r}")


def _positive(number: str, text: str) -> int:
    if int(number) < 1:
        raise ConfigError(f"--crop needs a side of at least one pixel; got {text!r}")
    return int(number)
