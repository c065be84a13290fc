"""What a reconstruction is made of: the squares of a photo, and the photo with their outlines drawn."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from scr3d.data.images import read_image, to_uint8
from scr3d.errors import DataError
from scr3d.photos.crop import Crop, center_crop, cut, face_crop
from scr3d.photos.detect import PIXELS_AT_A_TIME, Face, find_all_faces, find_faces

SHOWN_SIDE_PX = 1024
"""Longer side of the copy of a photo with its outlines, at most."""
CHOSEN, OTHER = (255, 210, 0), (255, 255, 255)
"""Colours of the outline of the square itself, and of the photo's other ones."""


@dataclass(frozen=True)
class Found:
    """A square of a photo.

    Attributes:
        image: for the model.
        shown: for display, in the photo's own resolution where that is smaller than asked for.
        photo: the whole photo with the outlines of all squares, this one's in another colour.
        record: where it lies, in plain values.
    """

    image: Float[np.ndarray, "size size 3"]
    shown: Float[np.ndarray, "side side 3"]
    photo: UInt8[np.ndarray, "height width 3"]
    record: dict[str, Any]


def look(path: Path, size: int, shown_size: int, faces: bool) -> list[Found]:
    """The squares of a photo: one around every face, the largest first, or the one in the middle.

    Args:
        path: the photo.
        size: side of the squares for the model.
        shown_size: side of the squares for display, at most.
        faces: whether faces are looked for.

    Raises:
        DataError: it cannot be read, or shows no face.
    """
    return squares_of(read_image(path), size, shown_size, faces)


def look_at_all(
    paths: Iterable[Path], size: int, shown_size: int, faces: bool
) -> Iterator[tuple[Path, list[Found] | DataError]]:
    """`look` at each of some photos in turn, with the error in place of the squares of one that cannot be used.

    A few are read at a time, in which faces are looked for together.
    """
    for some in _read_some(paths):
        images = [image for _, image in some if not isinstance(image, DataError)]
        found = iter(find_all_faces(images) if faces else [None] * len(images))
        for path, image in some:
            if isinstance(image, DataError):
                yield path, image
                continue
            try:
                yield path, _squares(image, next(found), size, shown_size)
            except DataError as error:
                yield path, error


def squares_of(image: Float[np.ndarray, "height width 3"], size: int, shown_size: int, faces: bool) -> list[Found]:
    """The squares of a photo that has been read, see `look`.

    Raises:
        DataError: it shows no face.
    """
    return _squares(image, find_faces(image) if faces else None, size, shown_size)


def _read_some(paths: Iterable[Path]) -> Iterator[list[tuple[Path, np.ndarray | DataError]]]:
    """Photos, and errors in place of those that cannot be read, in lists of as many as may be held at a time."""
    some: list[tuple[Path, np.ndarray | DataError]] = []
    pixels = 0
    for path in paths:
        try:
            image: np.ndarray | DataError = read_image(path)
        except DataError as error:
            image = error
        some.append((path, image))
        pixels += 0 if isinstance(image, DataError) else image.shape[0] * image.shape[1]
        if pixels >= PIXELS_AT_A_TIME:
            yield some
            some, pixels = [], 0
    if some:
        yield some


def _squares(image: np.ndarray, faces: Sequence[Face] | None, size: int, shown_size: int) -> list[Found]:
    """The squares around faces, or the one in the middle if they have not been looked for."""
    height, width = image.shape[:2]
    scores: Sequence[float | None]
    if faces is None:
        crops, scores = [center_crop(width, height)], [None]
    elif faces:
        crops, scores = [face_crop(face) for face in faces], [face.score for face in faces]
    else:
        raise DataError(
            f"shows no face that is found ({width}x{height} pixels); --crop center takes the square in its middle"
        )
    squares = []
    for number, (crop, score) in enumerate(zip(crops, scores, strict=True), 1):
        side = max(size, min(shown_size, math.ceil(crop.side)))
        record = {
            "kind": "center" if faces is None else "face",
            "number": number,
            "of": len(crops),
            "score": score,
            "center": [crop.center_x, crop.center_y],
            "side": crop.side,
            "roll_deg": math.degrees(crop.roll_rad),
            "corners": crop.corners.tolist(),
            "photo_size": [width, height],
            "beyond_photo": crop.share_beyond(width, height),
        }
        square = cut(image, crop, size)
        shown = square if side == size else cut(image, crop, side)
        squares.append(Found(square, shown, outlined(image, crops, number - 1), record))
    return squares


def outlined(
    image: Float[np.ndarray, "height width 3"], crops: Sequence[Crop], chosen: int
) -> UInt8[np.ndarray, "new_height new_width 3"]:
    """A copy of a photo, scaled down if it is large, with the outlines of squares."""
    raster = Image.fromarray(to_uint8(image))
    scale = min(1.0, SHOWN_SIDE_PX / max(raster.size))
    if scale < 1:
        raster = raster.resize((max(1, round(raster.width * scale)), max(1, round(raster.height * scale))))
    draw, line = ImageDraw.Draw(raster), max(2, round(max(raster.size) / 250))
    order = [number for number in range(len(crops)) if number != chosen] + [chosen]
    for number in order:
        corners = [tuple(corner) for corner in (crops[number].corners * scale).tolist()]
        color = CHOSEN if number == chosen else OTHER
        draw.line([*corners, corners[0]], fill=color, width=line, joint="curve")
    return np.asarray(raster)
