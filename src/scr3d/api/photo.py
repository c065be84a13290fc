"""What counts as a photo: a file, an image of Pillow, an array or a tensor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from scr3d.data.images import convert_image, read_image
from scr3d.errors import DataError

Photo = str | Path | Image.Image | np.ndarray | Tensor
"""A file name, an image of Pillow, an array [height, width, 3] or [height, width], or a tensor [3, height, width].

Whole numbers count from 0 to 255, floating-point numbers from 0 to 1.
"""
NAME = "photo"
"""What a photo is called that has no file name."""
ROUNDING = 1e-4
"""How far floating-point values may lie outside of [0, 1]; they are clipped."""


def read_photo(photo: Photo) -> Float[np.ndarray, "height width 3"]:
    """A photo as upright RGB in [0, 1], whatever it is given as.

    Args:
        photo: see `Photo`.

    Raises:
        DataError: the file cannot be read, or the array has another form, type or range.

    Examples:
        >>> import numpy as np
        >>> read_photo(np.full((40, 30), 255, np.uint8)).shape
        (40, 30, 3)
    """
    if isinstance(photo, str | Path):
        return read_image(photo)
    if isinstance(photo, Image.Image):
        return convert_image(photo, photo_name(photo))
    if isinstance(photo, Tensor):
        values = photo.detach().cpu()
        given = list(values.shape)
        if values.ndim == 4 and len(values) == 1:
            values = values[0]
        if values.ndim != 3 or len(values) != 3:
            raise DataError(f"a photo as a tensor is [3, height, width]; got {given}")
        return _in_range(values.movedim(0, -1).numpy())
    if isinstance(photo, np.ndarray):
        if photo.ndim == 2:
            photo = np.repeat(photo[..., None], 3, axis=2)
        if photo.ndim != 3 or photo.shape[2] != 3:
            raise DataError(f"a photo as an array is [height, width, 3] or [height, width]; got {list(photo.shape)}")
        return _in_range(photo)
    raise DataError(f"a photo is a path, an image of Pillow, an array or a tensor; got {type(photo).__name__}")


def photo_name(photo: Photo) -> str:
    """What messages and records call a photo."""
    if isinstance(photo, str | Path):
        return Path(photo).name
    file = getattr(photo, "filename", None)
    return Path(file).name if isinstance(file, str) and file else NAME


def _in_range(values: np.ndarray) -> Float[np.ndarray, "height width 3"]:
    """Values in [0, 1] as float32."""
    if min(values.shape) < 1:
        raise DataError(f"a photo has at least one pixel; got {list(values.shape)}")
    if values.dtype == np.uint8:
        return np.ascontiguousarray(values, np.float32) / 255
    if not np.issubdtype(values.dtype, np.floating):
        raise DataError(f"a photo's values are uint8 (0 to 255) or floating-point (0 to 1); got {values.dtype}")
    least, most = float(values.min()), float(values.max())
    # Written so that a value that is no number is refused as well.
    if not (least >= -ROUNDING and most <= 1 + ROUNDING):
        raise DataError(
            f"a photo's floating-point values lie in [0, 1]; got {least:g} to {most:g}: divide by 255, or undo the "
            "normalisation"
        )
    return np.ascontiguousarray(values.clip(0, 1), np.float32)
