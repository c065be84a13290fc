"""The square of a photo that a model sees: where it lies, and cutting it out.

A crop may be turned and may reach beyond the photo; what is missing there is continued from the photo's edge. The crop
of a face follows from its five landmarks. Its numbers are calibrated on the synthetic heads, on which the shipped model
was trained: the face finder ran on them, and the frame that they were rendered in was fitted to what it found
(`tools/calibrate_crop.py`, results/photos/crop-calibration.json).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from PIL import Image

from scr3d.data.images import resize
from scr3d.errors import DataError
from scr3d.photos.detect import Face

SIDE_FROM_HEIGHT, SIDE_FROM_EYES = 12.19, 3.53
"""side^2 of the frame in terms of (eyes to mouth)^2 and (eye to eye)^2: one shrinks in nods, the other in turns."""
UP_FROM_HEIGHT, UP_FROM_NOSE = 0.427, -1.134
"""How far the frame's middle lies above that of eyes and mouth: by their distance, and by the nose's height there."""
RIGHT_FROM_NOSE = -2.07
"""How far it lies to the right, by the nose's shift: a turned head's axis is behind its nose."""
YAW_DEG_FROM_NOSE = -128.0
"""Turn of a head in degrees, by the nose's shift over the distance from eyes to mouth; positive as in `View`."""
PITCH_DEG_FROM_NOSE, PITCH_DEG_MIDDLE = -69.7, -3.65
"""Nod of a head in degrees by the nose's height over the same distance, rough: faces differ as much as nods."""
MAX_BEYOND = 0.25
"""Largest share of a crop that may lie beyond the photo."""
MARGIN_PX = 2


@dataclass(frozen=True)
class Crop:
    """A square in a photo, in pixels; (0, 0) is the photo's corner.

    Attributes:
        center_x: middle, to the right.
        center_y: middle, down.
        side: length of its sides.
        roll_rad: turn of its upward direction to the right, in radians.
    """

    center_x: float
    center_y: float
    side: float
    roll_rad: float = 0.0

    @property
    def corners(self) -> Float[np.ndarray, "4 2"]:
        """(x, y) of the corners, from top left to the right and around."""
        cos, sin = math.cos(self.roll_rad), math.sin(self.roll_rad)
        right, down = np.array([cos, sin]), np.array([-sin, cos])
        center, half = np.array([self.center_x, self.center_y]), self.side / 2
        return np.stack([center + half * (x * right + y * down) for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))])

    def share_beyond(self, width: int, height: int) -> float:
        """Share of the square that lies outside of a photo, on a grid of points."""
        grid = (np.arange(32) + 0.5) / 32
        top_left, top_right, _, bottom_left = self.corners
        x, y = (
            top_left[i] + grid[None, :] * (top_right[i] - top_left[i]) + grid[:, None] * (bottom_left[i] - top_left[i])
            for i in (0, 1)
        )
        return float(((x < 0) | (y < 0) | (x > width) | (y > height)).mean())


def center_crop(width: int, height: int) -> Crop:
    """The largest square in the middle of a photo."""
    side = min(width, height)
    return Crop((width - side) // 2 + side / 2, (height - side) // 2 + side / 2, side)


def box_crop(left: float, top: float, right: float, bottom: float) -> Crop:
    """The smallest square around a box with the same middle."""
    return Crop((left + right) / 2, (top + bottom) / 2, max(right - left, bottom - top))


def face_crop(face: Face) -> Crop:
    """The upright square around a face, framed as the heads that the shipped model was trained on."""
    middle, up, right, height = _face_axes(face)
    nose = face.landmarks[2] - middle
    eyes = float(np.linalg.norm(face.landmarks[1] - face.landmarks[0]))
    side = math.sqrt(SIDE_FROM_HEIGHT * height**2 + SIDE_FROM_EYES * eyes**2)
    center = middle + (UP_FROM_HEIGHT * height + UP_FROM_NOSE * float(nose @ up)) * up
    center = center + RIGHT_FROM_NOSE * float(nose @ right) * right
    return Crop(float(center[0]), float(center[1]), side, math.atan2(up[0], -up[1]))


def face_angles_deg(face: Face) -> tuple[float, float]:
    """Yaw and pitch of a face by its landmarks, in degrees; the yaw is good, the pitch rough."""
    middle, up, right, height = _face_axes(face)
    nose = (face.landmarks[2] - middle) / height
    return YAW_DEG_FROM_NOSE * float(nose @ right), PITCH_DEG_FROM_NOSE * float(nose @ up) + PITCH_DEG_MIDDLE


def cut(
    image: Float[np.ndarray, "height width *channels"], crop: Crop, size: int
) -> Float[np.ndarray, "size size *channels"]:
    """Cut a square out of a photo and scale it, antialiased, continued from the edge beyond the photo.

    Args:
        image: float values.
        crop: which square.
        size: height and width of the result.

    Raises:
        DataError: the square has no extent.
    """
    if not (math.isfinite(crop.side) and crop.side > 0):
        raise DataError(f"expected a square with a positive side to cut out, got {crop.side} pixels")
    if crop.roll_rad == 0 and _on_pixels(crop):
        return resize(_region(image, *_pixel_box(crop)), size)
    corners = crop.corners
    left, top = np.floor(corners.min(0) - MARGIN_PX).astype(int).tolist()
    right, bottom = np.ceil(corners.max(0) + MARGIN_PX).astype(int).tolist()
    region = _region(image, left, top, right, bottom)
    # A detail of up to two pixels of the result is kept before turning; the rest is done by the antialiased scaling.
    shrink = min(1.0, 2 * size / crop.side)
    if shrink < 1:
        height, width = (max(1, round(length * shrink)) for length in region.shape[:2])
        region = resize(region, (height, width))
    shrink_x, shrink_y = region.shape[1] / (right - left), region.shape[0] / (bottom - top)
    inner = max(size, round(crop.side * shrink))
    origin, along, down = corners[0], corners[1] - corners[0], corners[3] - corners[0]
    # Pillow maps the middles of pixels: output (x + 1/2, y + 1/2) to a point of the input.
    matrix = (
        along[0] / inner * shrink_x,
        down[0] / inner * shrink_x,
        (origin[0] - left) * shrink_x,
        along[1] / inner * shrink_y,
        down[1] / inner * shrink_y,
        (origin[1] - top) * shrink_y,
    )
    planes = region[..., None] if region.ndim == 2 else region
    turned = [
        np.asarray(
            Image.fromarray(np.ascontiguousarray(planes[..., channel], np.float32)).transform(
                (inner, inner), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR
            )
        )
        for channel in range(planes.shape[2])
    ]
    square = turned[0] if region.ndim == 2 else np.stack(turned, axis=2)
    return resize(square, size)


def _face_axes(face: Face) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Middle of eyes and mouth, the directions up and right of the face, and the distance from eyes to mouth.

    Raises:
        DataError: the landmarks fall together.
    """
    eyes, mouth = face.landmarks[:2].mean(0), face.landmarks[3:].mean(0)
    height = float(np.linalg.norm(eyes - mouth))
    if height < 1e-3:
        raise DataError("expected a face with eyes above its mouth, but its landmarks fall together")
    up = (eyes - mouth) / height
    return (eyes + mouth) / 2, up, np.array([-up[1], up[0]]), height


def _pixel_box(crop: Crop) -> tuple[int, int, int, int]:
    half = crop.side / 2
    return (
        round(crop.center_x - half),
        round(crop.center_y - half),
        round(crop.center_x + half),
        round(crop.center_y + half),
    )


def _on_pixels(crop: Crop) -> bool:
    half = crop.side / 2
    return all(
        abs(edge - round(edge)) < 1e-6
        for edge in (crop.center_x - half, crop.center_y - half, crop.center_x + half, crop.center_y + half)
    )


def _region(image: np.ndarray, left: int, top: int, right: int, bottom: int) -> np.ndarray:
    """A rectangle of a photo, continued from its edges."""
    height, width = image.shape[:2]
    rows = np.clip(np.arange(top, bottom), 0, height - 1)
    columns = np.clip(np.arange(left, right), 0, width - 1)
    if top >= 0 and bottom <= height and left >= 0 and right <= width:
        return image[top:bottom, left:right]
    return image[rows[:, None], columns[None, :]]
