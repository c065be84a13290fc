"""Reading and writing single images.

Whatever a photo file holds (grey, palette, alpha, 16 bit, CMYK, EXIF rotation), `read_image` gives upright
RGB in [0, 1]; what it cannot make sense of it refuses with a `DataError` of one line.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import Float, Shaped, UInt16
from PIL import Image, ImageOps

from scr3d.errors import DataError, ShapeError

EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"})
"""File name endings that are taken for images, in any case."""
FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF", "GIF", "PPM")
"""What the content may be. A short list, since some of Pillow's readers start other programs."""
MAX_PIXELS = 80_000_000
"""Largest image that is decoded; a small file can unpack to more than the memory holds."""
WHITE = (1.0, 1.0, 1.0)
"""What shows through transparent pixels unless another colour is asked for, as in most viewers."""

_SIXTEEN_BIT_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I")
_open_lock = threading.Lock()


def list_images(folder: Path | str, recursive: bool = False) -> list[Path]:
    """The image files of a folder by their endings, sorted by path; hidden files are left out.

    Raises:
        DataError: there is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"expected a folder of images, but {folder} is {'a file' if folder.exists() else 'missing'}")
    found: Iterable[Path] = folder.rglob("*") if recursive else folder.iterdir()
    return sorted(
        path for path in found if path.suffix.lower() in EXTENSIONS and not path.name.startswith(".") and path.is_file()
    )


def read_image(path: Path | str, background: tuple[float, float, float] = WHITE) -> Float[np.ndarray, "height width 3"]:
    """Read an image file as upright RGB.

    Args:
        path: the file; of an animation the first frame is read.
        background: colour put behind transparent pixels, in [0, 1].

    Returns:
        float32 in [0, 1], the pixel values as stored (no colour profile is applied).

    Raises:
        DataError: the file is missing, empty, truncated, too large, or no image of a known kind.
    """
    return _on_background(*read_image_and_alpha(path), background)


def decode_image(
    data: bytes, name: str, max_pixels: int = MAX_PIXELS, background: tuple[float, float, float] = WHITE
) -> Float[np.ndarray, "height width 3"]:
    """Read the content of an image file as upright RGB, as `read_image` does.

    Args:
        data: what the file holds.
        name: what error messages call it.
        max_pixels: largest image that is decoded.
        background: colour put behind transparent pixels, in [0, 1].

    Raises:
        DataError: as `read_image`.
    """
    return _on_background(*_color_and_alpha(decode_raster(data, name, max_pixels), name), background)


def convert_image(
    raster: Image.Image, name: str, background: tuple[float, float, float] = WHITE
) -> Float[np.ndarray, "height width 3"]:
    """A picture that Pillow has opened, as upright RGB, as `read_image` would read its file.

    Args:
        raster: the picture.
        name: what error messages call it.
        background: colour put behind transparent pixels, in [0, 1].

    Raises:
        DataError: it is truncated, or of a kind of colours that cannot be read.
    """
    try:
        upright = ImageOps.exif_transpose(raster)
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{name} cannot be read: {_one_line(error)}") from error
    return _on_background(*_color_and_alpha(upright, name), background)


def _on_background(
    color: Float[np.ndarray, "height width 3"],
    alpha: Float[np.ndarray, "height width"] | None,
    background: tuple[float, float, float],
) -> Float[np.ndarray, "height width 3"]:
    if alpha is None:
        return color
    behind = np.asarray(background, dtype=np.float32)
    return color * alpha[..., None] + behind * (1 - alpha[..., None])


def read_image_and_alpha(
    path: Path | str,
) -> tuple[Float[np.ndarray, "height width 3"], Float[np.ndarray, "height width"] | None]:
    """Read an image file as upright RGB and its opacity in [0, 1], or None where it has no alpha channel.

    Raises:
        DataError: as `read_image`.
    """
    path = Path(path)
    return _color_and_alpha(open_raster(path), path)


def _color_and_alpha(
    raster: Image.Image, path: Path | str
) -> tuple[Float[np.ndarray, "height width 3"], Float[np.ndarray, "height width"] | None]:
    if raster.mode in _SIXTEEN_BIT_MODES or raster.mode == "F":
        grey = _grey_from_deep(raster, path)
        return np.repeat(grey[..., None], 3, axis=2), None
    has_alpha = raster.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in raster.info
    try:
        # By way of RGBA where there is alpha; CMYK and YCbCr go straight to RGB.
        values = np.asarray(raster.convert("RGBA" if has_alpha else "RGB"), dtype=np.float32) / 255
    except (ValueError, OSError) as error:
        raise DataError(f"{path} is of colour mode {raster.mode}, which cannot be read; save it as RGB") from error
    return values[..., :3], values[..., 3] if has_alpha else None


def open_raster(path: Path) -> Image.Image:
    """Decode a file and turn it upright, without converting its colours.

    Raises:
        DataError: as `read_image`.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or type(error).__name__}") from error
    return decode_raster(data, path)


def decode_raster(data: bytes, path: Path | str, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode the content of a file and turn it upright, without converting its colours.

    Args:
        data: what the file holds.
        path: what error messages call it; nothing is read from there.
        max_pixels: largest image that is decoded.

    Raises:
        DataError: as `read_image`.
    """
    if not data:
        raise DataError(f"{path} is empty; expected an image")
    # Decoders meet arbitrary bytes and raise arbitrary exceptions; each means that the file is damaged.
    try:
        # `catch_warnings` is not safe in threads. Pillow's warning about size is replaced by the check below.
        with _open_lock, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            raster = Image.open(BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise DataError(f"{path} is too large: more than {max_pixels} pixels; scale it down") from error
    except Exception as error:
        raise DataError(
            f"{path} is damaged, or no image that scr3d reads (PNG, JPEG, WebP, TIFF, BMP, GIF, PPM)"
        ) from error
    if raster.width * raster.height > max_pixels:
        raise DataError(
            f"{path} is too large: {raster.width}x{raster.height}, at most {max_pixels} pixels; scale it down"
        )
    try:
        raster.load()
    except Exception as error:
        raise DataError(f"{path} is truncated or damaged ({_one_line(error)})") from error
    try:
        return ImageOps.exif_transpose(raster)
    except Exception:
        # The picture itself is whole; only its EXIF record is not. It is taken as upright.
        return raster


def resize(
    image: Float[np.ndarray, "height width *channels"], size: int | tuple[int, int]
) -> Float[np.ndarray, "new_height new_width *channels"]:
    """Scale an image, antialiased (a triangle filter as wide as the step between new pixels).

    Args:
        image: float values, with or without a channel axis.
        size: new height and width, or both in one number. An image of that size comes back unchanged.
    """
    if image.ndim not in (2, 3) or 0 in image.shape:
        raise ShapeError(f"expected an image [height, width] or [height, width, channels], got {image.shape}")
    height, width = (size, size) if isinstance(size, int) else size
    if height < 1 or width < 1:
        raise ShapeError(f"expected a size of at least one pixel, got {height}x{width}")
    values = np.asarray(image, dtype=np.float32)
    if values.shape[:2] == (height, width):
        return values.copy()
    planes = values[..., None] if values.ndim == 2 else values
    scaled = [
        np.asarray(
            Image.fromarray(np.ascontiguousarray(planes[..., channel])).resize(
                (width, height), Image.Resampling.BILINEAR
            )
        )
        for channel in range(planes.shape[2])
    ]
    return scaled[0].copy() if values.ndim == 2 else np.stack(scaled, axis=2)


def center_square(
    image: Shaped[np.ndarray, "height width *channels"],
) -> Shaped[np.ndarray, "side side *channels"]:
    """The largest square in the middle; where a pixel is left over it is cut off at the bottom or right."""
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return image[top : top + side, left : left + side]


def to_uint8(image: Float[np.ndarray, "*shape"]) -> np.ndarray:
    """Values in [0, 1] to the nearest of 256 levels; values outside are clipped."""
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


def write_png8(path: Path | str, image: Shaped[np.ndarray, "height width *channels"]) -> None:
    """Write an 8-bit PNG, whole or not at all.

    Args:
        path: the file; it replaces one that is there.
        image: uint8, or float in [0, 1]; grey [height, width], RGB or RGBA.
    """
    values = image if image.dtype == np.uint8 else to_uint8(image)
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if values.ndim != 2 and not (values.ndim == 3 and values.shape[2] in (3, 4)):
        raise ShapeError(f"expected a grey, RGB or RGBA image with channels last, got shape {image.shape}")
    _write_png(Path(path), values)


def write_png16(path: Path | str, codes: UInt16[np.ndarray, "height width"]) -> None:
    """Write a 16-bit grey PNG, whole or not at all."""
    if codes.dtype != np.uint16 or codes.ndim != 2:
        raise ShapeError(f"expected uint16 [height, width], got {codes.dtype} {codes.shape}")
    _write_png(Path(path), codes)


def _write_png(path: Path, values: np.ndarray) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        Image.fromarray(np.ascontiguousarray(values)).save(temporary, format="PNG")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _grey_from_deep(raster: Image.Image, path: Path | str) -> np.ndarray:
    """Grey in [0, 1] from 16-bit, 32-bit integer (read as 16-bit) and floating point rasters."""
    values = np.asarray(raster)
    if raster.mode == "F":
        if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
            raise DataError(f"{path} has floating point pixels outside of [0, 1]; scale them to [0, 1]")
        return values.astype(np.float32)
    if values.max() > 65535 or values.min() < 0:
        raise DataError(f"{path} has pixels of more than 16 bits; save it with 8 or 16 bits")
    return values.astype(np.float32) / 65535


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
