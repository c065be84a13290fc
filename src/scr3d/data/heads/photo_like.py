"""Heads as photographs show them: with hair, glasses and beards, cut off at a photo's edge, and with a camera's faults.

Only the image changes; depth, albedo, normals, light and view stay those of the head. What is drawn before the head is
no part of its surface: a model is to see through it. So there are two pictures: the photo, and its target, which has
the photo's colours and the beard, which is on the face, but not what stands before the head and no camera's faults.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import tee

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw, ImageFilter

from scr3d.data.heads.draws import SPLIT_CODES, Draws, Stream

COLUMNS = 48
"""Random numbers reserved for one photo, those of its strands and of its noise excepted."""
NOISE_KEY = 1 << 32
"""Apart from the keys of all streams."""
FINE = 4
"""Drawn at so many times the size."""
HAIR = np.array(
    [[18, 14, 12], [40, 28, 20], [70, 48, 32], [120, 88, 56], [160, 130, 90], [96, 48, 28], [150, 148, 144]]
)
FRINGE_SHARE, LONG_SHARE, GLASSES_SHARE, BEARD_SHARE = 0.35, 0.35, 0.3, 0.2
EDGE_SHARE, GREY_SHARE, JPEG_SHARE = 0.4, 0.3, 0.7
"""How many photos have each."""
STRANDS = 60
MOST_BEYOND = 0.22
"""Of the frame's side: how much of it may lie beyond the photo."""


@dataclass(frozen=True)
class _Place:
    """Where a head is, in pixels of the fine picture.

    Attributes:
        left: of its outline.
        top: likewise.
        right: likewise.
        bottom: likewise.
        turn: shift of the face within it by the head's turn, -1 to 1.
    """

    left: float
    top: float
    right: float
    bottom: float
    turn: float

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def height(self) -> float:
        return self.bottom - self.top

    def at(self, across: float, down: float) -> tuple[float, float]:
        """A point of the face: across from -1 (left) to 1, down from 0 (crown) to 1 (chin)."""
        middle = (self.left + self.right) / 2 + 0.28 * self.turn * self.width
        return middle + across * self.width / 2, self.top + down * self.height


def photo_like(
    images: UInt8[np.ndarray, "batch size size 3"],
    foreground: Bool[np.ndarray, "batch size size"],
    yaw_rad: Float[np.ndarray, " batch"],
    seed: int,
    split: str,
    indices: np.ndarray,
) -> tuple[UInt8[np.ndarray, "batch size size 3"], UInt8[np.ndarray, "batch size size 3"]]:
    """The images as photographs, and their targets; each depends on (seed, split, index) and its own pixels alone.

    Args:
        images: RGB.
        foreground: pixels of the head.
        yaw_rad: turn of the heads.
        seed: of the set.
        split: of the set.
        indices: numbers of the samples.
    """
    numbers = Draws(seed, split, Stream.PHOTO, indices, COLUMNS).unit(COLUMNS)
    photos, targets = np.empty_like(images), np.empty_like(images)
    for row, index in enumerate(indices):
        key, counter = [seed, NOISE_KEY], [0, 0, SPLIT_CODES[split], int(index)]
        random = np.random.Generator(np.random.Philox(key=key, counter=counter))
        photos[row], targets[row] = _photo(images[row], foreground[row], float(yaw_rad[row]), numbers[row], random)
    return photos, targets


def _photo(
    image: np.ndarray, foreground: np.ndarray, yaw_rad: float, numbers: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    draw = iter(numbers.tolist())
    picture, bare = _worn(image, foreground, yaw_rad, draw, random)
    picture = _beyond_the_photo(picture, draw)
    draw, again = tee(draw)
    values = _color(picture.astype(np.float32) / 255, draw)
    target = _bytes(_color(bare.astype(np.float32) / 255, again))
    values = _blurred(values, draw)
    values = values + random.normal(0, 0.04 * next(draw) ** 2, values.shape).astype(np.float32)
    picture = _bytes(values.clip(0, 1))
    chosen, quality = next(draw), round(25 + 70 * next(draw))
    return (_jpeg(picture, quality) if chosen < JPEG_SHARE else picture), target


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.rint(255 * values).astype(np.uint8)


def _worn(
    image: np.ndarray,
    foreground: np.ndarray,
    yaw_rad: float,
    draw: Iterator[float],
    random: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """With hair, beard and glasses before the head, and with the beard alone."""
    rows, columns = (np.flatnonzero(foreground.any(axis)) for axis in (1, 0))
    fringe, long, glasses, beard = (next(draw) for _ in range(4))
    shades = [next(draw) for _ in range(8)]
    if len(rows) < 4 or len(columns) < 4:
        return image, image
    left, top, right, bottom = (FINE * int(edge) for edge in (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
    # A head that turns to its left shows its face to the right of its outline's middle.
    place = _Place(left, top, right, bottom, turn=float(np.sin(yaw_rad)))
    side = FINE * len(image)
    layer = Image.new("RGBA", (side, side), (0, 0, 0, 0))
    pen = ImageDraw.Draw(layer)
    hair = HAIR[int(shades[0] * len(HAIR))] * (0.7 + 0.6 * shades[1])
    if beard < BEARD_SHARE:
        _draw_beard(pen, place, hair, 0.2 + 0.6 * shades[2], random)
    bare = _composed(image, layer)
    if long < LONG_SHARE:
        _draw_long_hair(pen, place, hair, shades[3], random)
    if fringe < FRINGE_SHARE:
        _draw_fringe(pen, place, hair, shades[4], random)
    if glasses < GLASSES_SHARE:
        _draw_glasses(pen, place, shades[5], shades[6])
    return _composed(image, layer), bare


def _composed(image: np.ndarray, layer: Image.Image) -> np.ndarray:
    base = Image.fromarray(image).convert("RGBA")
    base.alpha_composite(layer.resize(base.size, Image.Resampling.BOX))
    return np.asarray(base.convert("RGB"))


def _draw_fringe(
    pen: ImageDraw.ImageDraw, place: _Place, hair: np.ndarray, length: float, random: np.random.Generator
) -> None:
    slant = random.normal(0, 0.15)
    for _ in range(STRANDS):
        start = random.uniform(-0.8, 0.8)
        end = 0.1 + (0.12 + 0.2 * length) * random.uniform(0.5, 1)
        bend = start + slant + random.normal(0, 0.06)
        root = 0.02 + 0.25 * start**2  # along the skull
        points = [
            place.at(0.8 * start, root),
            place.at((0.9 * start + bend) / 2, (root + end) / 2),
            place.at(bend, end),
        ]
        pen.line(points, fill=_strand(hair, random), width=round(FINE * random.uniform(0.6, 1.3)), joint="curve")


def _draw_long_hair(
    pen: ImageDraw.ImageDraw, place: _Place, hair: np.ndarray, length: float, random: np.random.Generator
) -> None:
    middle = (place.left + place.right) / 2
    for number in range(2 * STRANDS):
        sign = -1 if number % 2 else 1
        out = sign * place.width / 2
        low = place.top + place.height * (0.55 + 0.6 * length * random.uniform(0.8, 1))
        inner = random.uniform(0.72, 1.12)
        points = [
            (middle + 0.2 * out * random.uniform(0, 1), place.top - 0.01 * place.height),
            (middle + 0.85 * inner * out, place.top + 0.18 * place.height),
            (middle + inner * out, place.top + 0.5 * place.height),
            (middle + (inner + random.normal(0, 0.06)) * out, low),
        ]
        pen.line(points, fill=_strand(hair, random), width=round(FINE * random.uniform(1, 2.2)), joint="curve")


def _draw_beard(
    pen: ImageDraw.ImageDraw, place: _Place, hair: np.ndarray, strength: float, random: np.random.Generator
) -> None:
    for _ in range(6 * STRANDS):
        across, down = random.uniform(-0.62, 0.62), random.uniform(0.7, 0.99)
        cheek = abs(across) < 0.45 and down < 0.83
        moustache = abs(across) < 0.3 and 0.7 < down < 0.76
        if (cheek and not moustache) or across**2 + ((down - 0.6) / 0.42) ** 2 > 1:
            continue
        x, y = place.at(across, down)
        color = (*_strand(hair, random)[:3], round(255 * strength))
        pen.line([(x, y), (x + random.normal(0, 3), y + FINE)], fill=color, width=round(FINE * 0.7))


def _draw_glasses(pen: ImageDraw.ImageDraw, place: _Place, shade: float, form: float) -> None:
    grey = round(20 + 120 * shade**2)
    color, line = (grey, grey, grey, 235), max(1, round(FINE * (0.5 + 0.7 * form)))
    half_width, half_height = 0.19 * place.width, (0.06 + 0.03 * form) * place.height
    centers = [place.at(across * np.sqrt(max(0.2, 1 - place.turn**2)), 0.52) for across in (-0.42, 0.42)]
    for x, y in centers:
        box = (x - half_width, y - half_height, x + half_width, y + half_height)
        if form < 0.5:
            pen.ellipse(box, outline=color, width=line)
        else:
            pen.rounded_rectangle(box, radius=half_height / 2, outline=color, width=line)
    (left, y), (right, _) = centers
    pen.line([(left + half_width, y), (right - half_width, y)], fill=color, width=line)
    for x, end in ((left - half_width, place.left), (right + half_width, place.right)):
        pen.line([(x, y), (end, y - 0.02 * place.height)], fill=color, width=line)


def _strand(hair: np.ndarray, random: np.random.Generator) -> tuple[int, int, int, int]:
    red, green, blue = np.clip(hair * random.uniform(0.6, 1.5), 0, 255).astype(int).tolist()
    return red, green, blue, 255


def _beyond_the_photo(picture: np.ndarray, draw: Iterator[float]) -> np.ndarray:
    """The square may reach beyond its photo; then the photo's edge is continued, as `scr3d.photos.crop.cut` does."""
    chosen, sides, shares = next(draw), [next(draw) for _ in range(4)], [next(draw) for _ in range(4)]
    if chosen >= EDGE_SHARE:
        return picture
    size = len(picture)
    beyond = [int(size * MOST_BEYOND * share) if side < 0.4 else 0 for side, share in zip(sides, shares, strict=True)]
    rows = np.arange(size).clip(beyond[0], size - 1 - beyond[1])
    columns = np.arange(size).clip(beyond[2], size - 1 - beyond[3])
    return picture[rows][:, columns]


def _color(values: np.ndarray, draw: Iterator[float]) -> np.ndarray:
    """A cast, exposure, contrast and gamma; some photos are grey."""
    cast = np.exp(0.1 * (2 * np.array([next(draw) for _ in range(3)]) - 1)).astype(np.float32)
    exposure = np.exp(0.25 * (2 * next(draw) - 1))
    contrast, gamma = np.exp(0.18 * (2 * next(draw) - 1)), np.exp(0.3 * (2 * next(draw) - 1))
    values = (values * cast * exposure).clip(0, 1) ** gamma
    values = values.mean() + contrast * (values - values.mean())
    if next(draw) < GREY_SHARE:
        values = np.repeat(values @ np.array([[0.299], [0.587], [0.114]], np.float32), 3, axis=2)
    return values.clip(0, 1)


def _blurred(values: np.ndarray, draw: Iterator[float]) -> np.ndarray:
    radius = 1.2 * next(draw) ** 2 * len(values) / 64
    raster = Image.fromarray(_bytes(values)).filter(ImageFilter.GaussianBlur(radius))
    return np.asarray(raster, np.float32) / 255


def _jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, format="JPEG", quality=quality)
    return np.asarray(Image.open(stream).convert("RGB"))
