"""Photos as a browser sends them: checked, decoded in memory, and kept small.

A photo's name is shown and nothing else: it never becomes a path.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from scr3d.data.dataset import Truth
from scr3d.data.heads import HeadSample, HeadsConfig, sample
from scr3d.data.images import decode_image, resize, to_uint8
from scr3d.data.photos import as_tensor
from scr3d.errors import DataError
from scr3d.geometry.camera import DepthRange
from scr3d.studio.config import UploadLimits

KEPT_SIDE = 1024
"""Photos are kept with their shorter side at most this long, in pixels."""
KEPT_RATIO = 3.0
"""Of a longer strip, the middle is kept: at most this many times as long as wide."""
LONGEST_NAME = 60
HEADS_SIZE = 64
"""Size at which a synthetic head is shown; models of other sizes get it rendered at theirs."""

_decode_lock = threading.Lock()
"""One photo is decoded at a time: a large one takes hundreds of megabytes meanwhile."""


@dataclass(frozen=True)
class Frame:
    """Which square of a photo is used.

    Attributes:
        zoom: 1 takes the largest square, 2 one half as wide.
        x: where it lies between the left (-1) and the right (1) edge.
        y: between the upper (-1) and the lower (1) edge.
    """

    zoom: float = 1.0
    x: float = 0.0
    y: float = 0.0


@dataclass(frozen=True)
class SyntheticHead:
    """A head whose truth is known; any size of it can be made again.

    Attributes:
        seed: of the set.
        index: in the set's test split.
    """

    seed: int
    index: int

    def make(self, size: int) -> HeadSample:
        """The head at a size in pixels."""
        return _make_head(self.seed, self.index, size)

    def truth(self, size: int) -> Truth:
        """What is true about it, in the form that metrics take."""
        made = self.make(size)
        far = torch.full_like(made.depth, DepthRange().far)
        depth = torch.where(made.foreground, made.depth, far)
        return Truth(depth, made.foreground, made.albedo, made.light, made.view, {})


@dataclass(frozen=True)
class Photo:
    """A photo in memory.

    Attributes:
        name: for people.
        pixels: upright RGB.
        head: where the photo is a synthetic head, which.
        number: tells photos of one name apart.
    """

    name: str
    pixels: UInt8[np.ndarray, "height width 3"] = field(repr=False)
    head: SyntheticHead | None = None
    number: int = 0

    @property
    def label(self) -> str:
        """Its name and number, which no other photo of a session has."""
        return f"{self.number} · {self.name}"

    def square(self, frame: Frame) -> UInt8[np.ndarray, "side side 3"]:
        """The framed square in full resolution; the middle one for the plain frame."""
        height, width = self.pixels.shape[:2]
        side = max(1, round(min(height, width) / frame.zoom))
        # Where a pixel is left over, it is at the bottom or right, as in `center_square`.
        top, left = (int((length - side) * (1 + at) / 2) for length, at in ((height, frame.y), (width, frame.x)))
        return self.pixels[top : top + side, left : left + side]

    def image(self, size: int, frame: Frame) -> Float[Tensor, "1 3 size size"]:
        """The framed square as a model of that size takes it."""
        if self.head is not None and frame == Frame() and size != len(self.pixels):
            return self.head.make(size).image
        return as_tensor(self.square(frame).astype(np.float32) / 255, size)[None]


def read_upload(name: str, data: bytes, limits: UploadLimits) -> Photo:
    """Check and decode what a browser has sent.

    Args:
        name: the file's name as the browser gives it; shown, never opened.
        data: the file's content.
        limits: of size.

    Raises:
        DataError: the file is too large, damaged, or no image of a known kind.
    """
    shown = display_name(name)
    check_size(shown, len(data), limits)
    with _decode_lock:
        return Photo(shown, _kept(decode_image(data, shown, limits.pixels)))


def check_size(name: str, size: int, limits: UploadLimits) -> None:
    """Refuse a file that is too large.

    Raises:
        DataError: it is.
    """
    if size > limits.bytes:
        raise DataError(f"{name} has {size / 1e6:.0f} MB, at most {limits.megabytes:g} MB are taken; scale it down")


def read_file(path: Path, limits: UploadLimits) -> Photo:
    """A photo that was named on the command line.

    Raises:
        DataError: as `read_upload`, or the file cannot be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or type(error).__name__}") from error
    return read_upload(path.name, data, limits)


def synthetic_head(seed: int, index: int) -> Photo:
    """A head of the test split of a set, as a photo."""
    head = SyntheticHead(seed, index)
    pixels = to_uint8(head.make(HEADS_SIZE).image[0].permute(1, 2, 0).numpy())
    return Photo(f"synthetic head {index}", pixels, head)


def display_name(name: str) -> str:
    """A name on one line: the last part of a path, without control characters, not too long."""
    last = name.replace("\\", "/").rpartition("/")[2]
    clean = "".join(letter if letter.isprintable() else "_" for letter in last).strip()
    return (clean[: LONGEST_NAME - 1] + "…" if len(clean) > LONGEST_NAME else clean) or "photo"


def _kept(color: Float[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "kept_height kept_width 3"]:
    height, width = color.shape[:2]
    longest = round(KEPT_RATIO * min(height, width))
    top, left = max(0, height - longest) // 2, max(0, width - longest) // 2
    color = color[top : top + longest, left : left + longest]
    scale = KEPT_SIDE / min(color.shape[:2])
    if scale < 1:
        color = resize(color, (round(color.shape[0] * scale), round(color.shape[1] * scale)))
    return to_uint8(color)


@lru_cache(maxsize=32)
def _make_head(seed: int, index: int, size: int) -> HeadSample:
    return sample(HeadsConfig(split="test", size=size, seed=seed), np.array([index]))
