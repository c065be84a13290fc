"""From a photo's file to the squares that are learned from, or the reason why there are none."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from scr3d.data.folder import read_depth_codes, resize_depth_codes
from scr3d.data.images import read_image_and_alpha, resize, to_uint8
from scr3d.data.layout import content_digest
from scr3d.errors import DataError
from scr3d.photos.crop import Crop, box_crop, center_crop, cut, face_angles_deg, face_crop
from scr3d.photos.detect import Face, find_faces
from scr3d.photos.duplicates import perceptual_hash
from scr3d.photos.options import CropRule, Faces, PrepareOptions
from scr3d.photos.published import Entry

SQUARE_TOLERANCE = 0.02
"""By how much the sides of a photo may differ that is taken for square."""


class Reason(StrEnum):
    """Why a photo or a face is left out."""

    UNREADABLE = "unreadable"
    TOO_SMALL = "too small"
    NO_FACE = "no face found"
    BEYOND = "too far beyond the photo's edge"
    NOT_SQUARE = "not square"
    MISMATCH = "mask or depth map of another size"
    DUPLICATE = "duplicate"
    MISSING = "listed, but missing"


@dataclass(frozen=True)
class Skipped:
    """Something that is left out: which reason, and what exactly was found."""

    reason: Reason
    detail: str


@dataclass(frozen=True)
class Sample:
    """A square of a photo.

    Attributes:
        crop: where it lies.
        image: RGB.
        mask: 255 where the object is.
        depth: 16-bit codes, or None.
        hash: perceptual hash of the square.
        angles_deg: yaw and pitch by the landmarks of a face; NaN without one.
    """

    crop: Crop
    image: np.ndarray
    mask: np.ndarray
    depth: np.ndarray | None
    hash: int
    angles_deg: tuple[float, float]


@dataclass(frozen=True)
class PhotoRead:
    """What one photo gave.

    Attributes:
        samples: its squares.
        skipped: what was left out of it.
        digest: hash of the file's bytes.
        hash: perceptual hash of the whole photo.
        pixels: width times height.
    """

    samples: list[Sample]
    skipped: list[Skipped]
    digest: bytes
    hash: int
    pixels: int


def read_entry(entry: Entry, rule: CropRule, options: PrepareOptions) -> PhotoRead:
    """Read a photo and cut its squares out; nothing wrong with one photo raises."""
    digest = content_digest(entry.image)
    try:
        image, alpha = read_image_and_alpha(entry.image)
        mask = _mask_of(entry, alpha, image.shape[:2])
        depth = read_depth_codes(entry.depth) if entry.depth else None
    except DataError as error:
        reason = Reason.MISMATCH if isinstance(error, _Mismatch) else Reason.UNREADABLE
        return PhotoRead([], [Skipped(reason, _without_path(str(error), entry))], digest, 0, 0)
    if alpha is not None:
        image = image * alpha[..., None] + (1 - alpha[..., None])
    height, width = image.shape[:2]
    if depth is not None and depth.shape != (height, width):
        detail = f"{depth.shape[1]}x{depth.shape[0]} against {width}x{height}"
        return PhotoRead([], [Skipped(Reason.MISMATCH, detail)], digest, 0, 0)
    samples, skipped = [], []
    for found in choose_crops(entry, rule, options, image):
        if isinstance(found, Skipped):
            skipped.append(found)
            continue
        crop, angles_deg = found
        samples.append(_sample(image, mask, depth, crop, angles_deg, options.size))
    return PhotoRead(samples, skipped, digest, perceptual_hash(image), height * width)


def choose_crops(
    entry: Entry, rule: CropRule, options: PrepareOptions, image: np.ndarray
) -> list[tuple[Crop, tuple[float, float]] | Skipped]:
    """The squares of a photo, each with yaw and pitch of its face where one was looked for, or why there are none."""
    height, width = image.shape[:2]
    unknown = (float("nan"), float("nan"))
    if rule.name == "face":
        faces = find_faces(image)
        if not faces:
            return [Skipped(Reason.NO_FACE, f"in {width}x{height} pixels")]
        chosen = faces[:1] if options.faces is Faces.LARGEST else faces
        return [_checked(face_crop(face), image, options, face_angles_deg(face)) for face in chosen if _upright(face)]
    if entry.box is not None:
        return [_checked(box_crop(*entry.box), image, options, unknown)]
    if rule.name == "fixed":
        crop = Crop(rule.left + rule.side / 2, rule.top + rule.side / 2, rule.side)
        return [_checked(crop, image, options, unknown)]
    if rule.name == "none" and abs(width - height) > SQUARE_TOLERANCE * max(width, height):
        return [Skipped(Reason.NOT_SQUARE, f"{width}x{height} pixels")]
    crop = center_crop(width, height)
    if rule.side:
        crop = Crop(crop.center_x, crop.center_y, rule.side)
    return [_checked(crop, image, options, unknown)]


def _upright(face: Face) -> bool:
    """Whether the landmarks make a face at all: the mouth below the eyes."""
    return bool(face.landmarks[3:, 1].mean() > face.landmarks[:2, 1].mean())


def _checked(
    crop: Crop, image: np.ndarray, options: PrepareOptions, angles_deg: tuple[float, float]
) -> tuple[Crop, tuple[float, float]] | Skipped:
    """The crop, unless it is too small or lies too far outside."""
    height, width = image.shape[:2]
    if crop.side < options.min_share * options.size:
        least = options.min_share * options.size
        return Skipped(Reason.TOO_SMALL, f"{crop.side:.0f} pixels, at least {least:.0f} are needed")
    # Numbers of a box file may be so large that their sums are none.
    beyond = crop.share_beyond(width, height) if np.isfinite(crop.corners).all() else 1.0
    if beyond > options.max_beyond or beyond == 1:
        return Skipped(Reason.BEYOND, f"{beyond:.0%} of the square")
    return crop, angles_deg


def _sample(
    image: np.ndarray,
    mask: np.ndarray | None,
    depth: np.ndarray | None,
    crop: Crop,
    angles_deg: tuple[float, float],
    size: int,
) -> Sample:
    square = cut(image, crop, size)
    shown = np.ones((size, size), np.float32) if mask is None else cut(mask, crop, size)
    codes = None if depth is None else resize_depth_codes(_exact(depth, crop), size)
    return Sample(crop, to_uint8(square), to_uint8(shown), codes, perceptual_hash(square), angles_deg)


def _exact(depth: np.ndarray, crop: Crop) -> np.ndarray:
    """The pixels of an upright crop; beyond the map there is no surface."""
    left, top = round(crop.center_x - crop.side / 2), round(crop.center_y - crop.side / 2)
    side = round(crop.side)
    result = np.zeros((side, side), depth.dtype)
    height, width = depth.shape
    rows = slice(max(0, top), min(height, top + side))
    columns = slice(max(0, left), min(width, left + side))
    result[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = depth[rows, columns]
    return result


class _Mismatch(DataError):
    """A mask of another size than its photo."""


def _mask_of(entry: Entry, alpha: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray | None:
    """The mask of a photo, from its file or its alpha channel.

    Raises:
        DataError: the file cannot be read or has another shape.
    """
    if entry.mask is None:
        return alpha
    shown, own_alpha = read_image_and_alpha(entry.mask)
    grey = shown.mean(axis=2) if own_alpha is None or own_alpha.min() == 1 else own_alpha
    if grey.shape == shape:
        return grey
    if abs(grey.shape[1] / grey.shape[0] - shape[1] / shape[0]) < SQUARE_TOLERANCE:
        return resize(grey, (shape[0], shape[1]))
    raise _Mismatch(f"{entry.mask.name}: {grey.shape[1]}x{grey.shape[0]} against {shape[1]}x{shape[0]}")


def _without_path(message: str, entry: Entry) -> str:
    return message.removeprefix(f"{entry.image} ").removeprefix("is ")
