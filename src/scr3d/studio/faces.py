"""The faces of a photo, each as a photo of its own, framed as the shipped model wants them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from scr3d.data.images import to_uint8
from scr3d.photos.crop import Crop, center_crop, cut, face_crop
from scr3d.photos.detect import find_faces
from scr3d.studio.photos import KEPT_SIDE, Photo
from scr3d.studio.workbench import Workbench

MOST_FACES = 6
"""Of a photo with more faces, the largest are taken."""
SAME_PLACE = 0.12
"""A square whose middle lies at most so far from another's, in sides, is at the same place."""
SAME_SIZE = 1.25
"""And one that is at most so many times as large, or the other way round, has the same size."""


def faces_of(photo: Photo) -> list[Photo]:
    """The faces that are found, the largest first; none where the photo is framed already, or is a synthetic head."""
    if photo.head is not None:
        return []
    height, width = photo.pixels.shape[:2]
    image = photo.pixels.astype(np.float32) / 255
    crops = [face_crop(face) for face in find_faces(image)]
    if len(crops) == 1 and is_same_square(crops[0], center_crop(width, height)):
        return []
    return [
        replace(photo, name=f"{photo.name}, face {number}", pixels=to_uint8(cut(image, crop, kept_side(crop))))
        for number, crop in enumerate(crops, 1)
    ]


def add_faces(bench: Workbench, photo: Photo) -> list[Photo]:
    """Take the faces of a photo in, each as a photo; the largest first."""
    # The last one added is the last to go, so the largest face comes last.
    added = [bench.add(face) for face in reversed(faces_of(photo)[:MOST_FACES])]
    return added[::-1]


def kept_side(crop: Crop) -> int:
    """Pixels along a side of a cut out face: those that it has in the photo, and not too many."""
    return min(KEPT_SIDE, max(1, math.ceil(crop.side)))


def is_same_square(first: Crop, second: Crop) -> bool:
    """Whether two squares frame about the same."""
    apart = math.hypot(first.center_x - second.center_x, first.center_y - second.center_y)
    larger = max(first.side, second.side)
    return apart <= SAME_PLACE * larger and larger <= SAME_SIZE * min(first.side, second.side)
