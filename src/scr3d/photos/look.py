"""What a reconstruction is made of: the squares of a photo, and the photo with their outlines drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from scr3d.data.images import read_image, to_uint8
from scr3d.errors import DataError
from scr3d.photos.crop import Crop, center_crop, cut, face_crop
from scr3d.photos.detect import find_faces

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


def squares_of(image: Float[np.ndarray, "height width 3"], size: int, shown_size: int, faces: bool) -> list[Found]:
    """The squares of a photo that has been read, see `look`.

    Raises:
        DataError: it shows no face.
    """
    height, width = image.shape[:2]
    scores: Sequence[float | None]
    if faces:
        found = find_faces(image)
        if not found:
            raise DataError(
                f"shows no face that is found ({width}x{height} pixels); --crop center takes the square in its middle"
            )
        crops, scores = [face_crop(face) for face in found], [face.score for face in found]
    else:
        crops, scores = [center_crop(width, height)], [None]
    squares = []
    for number, (crop, score) in enumerate(zip(crops, scores, strict=True), 1):
        side = max(size, min(shown_size, math.ceil(crop.side)))
        record = {
            "kind": "face" if faces else "center",
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
        photo = outlined(image, crops, number - 1)
        squares.append(Found(cut(image, crop, size), cut(image, crop, side), photo, record))
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
