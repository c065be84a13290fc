"""Pictures and animations of tensors: PNG, 16-bit depth, normals, contact sheets, MP4, GIF and animated PNG.

Colours are written as the tensors hold them (no gamma is applied or removed), clamped to [0, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from PIL import Image, PngImagePlugin
from torch import Tensor

from scr3d.data.store import DEPTH_LEVELS, decode_depth, encode_depth
from scr3d.errors import ConfigError, DataError, ShapeError
from scr3d.export.options import NormalMap
from scr3d.files import atomic_path
from scr3d.geometry.camera import DepthRange

COMPRESSION = 4
"""Effort of zlib for PNG files, of 9: less than half the time of the usual 6 for files a twentieth larger."""
ANIMATION_SUFFIXES = (".mp4", ".gif", ".png")
COLOR_STOPS = (
    (0.16, 0.10, 0.30),
    (0.15, 0.35, 0.60),
    (0.18, 0.62, 0.58),
    (0.70, 0.80, 0.35),
    (1.0, 0.94, 0.72),
)
"""Colours of `colorize`, from low to high values; their brightness rises, so a grey print still reads."""


def to_uint8(image: Float[Tensor, "*batch 3 height width"]) -> UInt8[np.ndarray, "*batch height width 3"]:
    """RGB in [0, 1] (clamped) to 8 bits, channels last."""
    if image.ndim < 3 or image.shape[-3] != 3:
        raise ShapeError(f"expected RGB images [..., 3, height, width], got {list(image.shape)}")
    scaled = image.detach().nan_to_num(0.0).clamp(0, 1).mul(255).round().to(torch.uint8)
    return scaled.movedim(-3, -1).cpu().numpy()


def write_png(path: Path, image: Float[Tensor, "3 height width"] | Float[Tensor, "height width"]) -> None:
    """Write an RGB or grey image with values in [0, 1] as an 8-bit PNG."""
    pixels = to_uint8(image.expand(3, -1, -1))[..., 0] if image.ndim == 2 else to_uint8(image)
    with atomic_path(path) as temporary:
        Image.fromarray(pixels).save(temporary, format="PNG", compress_level=COMPRESSION)


def write_depth_png(
    path: Path,
    depth: Float[Tensor, "height width"],
    depth_range: DepthRange,
    mask: Bool[Tensor, "height width"] | None = None,
) -> None:
    """Write depth as a 16-bit grey PNG; nearer is brighter.

    depth = far - code / 65535 * (far - near). Code 0 means no surface; depths out of range are clipped.
    `near` and `far` are also written into the file, as the text entries `near` and `far`.

    Args:
        path: file to write.
        depth: depth in units of the camera distance.
        depth_range: the interval that is spread over the 16 bits.
        mask: where there is a surface; everywhere by default.
    """
    foreground = torch.ones_like(depth, dtype=torch.bool) if mask is None else mask
    codes = encode_depth(depth.detach().cpu().double().numpy(), foreground.cpu().numpy(), depth_range)
    text = PngImagePlugin.PngInfo()
    text.add_text("near", repr(float(depth_range.near)))
    text.add_text("far", repr(float(depth_range.far)))
    text.add_text("depth", f"far - code / {DEPTH_LEVELS} * (far - near); code 0: no surface")
    with atomic_path(path) as temporary:
        Image.fromarray(codes).save(temporary, format="PNG", pnginfo=text, compress_level=COMPRESSION)


def read_depth_png(path: Path) -> tuple[Float[np.ndarray, "height width"], Bool[np.ndarray, "height width"]]:
    """Depth and mask of a file made by `write_depth_png`.

    Raises:
        DataError: the file cannot be read or does not say its range.
    """
    try:
        with Image.open(path) as file:
            codes = np.asarray(file)
            text = getattr(file, "text", {})
            depth_range = DepthRange(float(text["near"]), float(text["far"]))
    except KeyError as error:
        raise DataError(f"{path} does not say its depth range; expected a depth image written by scr3d") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a depth image ({error})") from error
    if codes.dtype != np.uint16 or codes.ndim != 2:
        raise DataError(f"{path} is {codes.dtype} {list(codes.shape)}; expected a 16-bit grey depth image")
    return decode_depth(codes, depth_range), codes > 0


def write_depth_mm_png(
    path: Path,
    depth: Float[Tensor, "height width"],
    millimetres: float,
    mask: Bool[Tensor, "height width"] | None = None,
) -> None:
    """Write depth as a 16-bit grey PNG of whole millimetres from the camera; 0 means no surface.

    Args:
        path: file to write.
        depth: depth in units of the camera distance.
        millimetres: of one such unit.
        mask: where there is a surface; everywhere by default.
    """
    codes = (depth.detach().cpu().double() * millimetres).round().clamp(1, DEPTH_LEVELS)
    if mask is not None:
        codes = torch.where(mask.cpu(), codes, 0)
    with atomic_path(path) as temporary:
        image = Image.fromarray(codes.numpy().astype(np.uint16))
        image.save(temporary, format="PNG", compress_level=COMPRESSION)


def normal_colors(
    normal: Float[Tensor, "*batch 3 height width"], green: NormalMap = NormalMap.OPENGL
) -> Float[Tensor, "*batch 3 height width"]:
    """Colours of normals in the outward convention: red faces right, green faces up, blue faces the viewer.

    Inside scr3d normals point away from the camera with y down; outward, with y up and z towards the viewer,
    they are (-x, y, z). Each is mapped from [-1, 1] to [0, 1], the convention of OpenGL normal maps; in those of
    DirectX, green faces down.
    """
    x, y, z = normal.unbind(-3)
    return torch.stack([-x, y if green is NormalMap.OPENGL else -y, z], dim=-3) / 2 + 0.5


def colorize(values: Float[Tensor, "height width"], low: float, high: float) -> Float[Tensor, "3 height width"]:
    """Map [low, high] to colours from dark violet over blue and green to pale yellow."""
    stops = values.new_tensor(COLOR_STOPS)
    position = ((values - low) / max(high - low, 1e-12)).nan_to_num(0.0).clamp(0, 1) * (len(COLOR_STOPS) - 1)
    lower = position.floor().clamp(max=len(COLOR_STOPS) - 2)
    weight = (position - lower)[..., None]
    index = lower.long()
    return ((1 - weight) * stops[index] + weight * stops[index + 1]).movedim(-1, 0)


def image_grid(
    images: Sequence[Float[Tensor, "3 _ _"]],
    columns: int,
    size: int,
    gap_px: int = 4,
    background: float = 1.0,
) -> Float[Tensor, "3 rows columns"]:
    """A contact sheet: every image scaled to `size` x `size` pixels, row by row.

    Raises:
        ShapeError: there is no image, or no column.
    """
    if not images or columns < 1:
        raise ShapeError(f"expected at least one image and one column, got {len(images)} and {columns}")
    rows = -(-len(images) // columns)
    step = size + gap_px
    sheet = torch.full((3, rows * step + gap_px, columns * step + gap_px), background)
    for number, image in enumerate(images):
        scaled = F.interpolate(image.detach().cpu().float()[None], (size, size), mode="bilinear", antialias=True)[0]
        top, left = gap_px + number // columns * step, gap_px + number % columns * step
        sheet[:, top : top + size, left : left + size] = scaled
    return sheet


def write_animation(path: Path, frames: Float[Tensor, "frames 3 height width"], frames_per_second: float = 24) -> None:
    """Write an endless animation; the suffix chooses MP4 (H.264), GIF or animated PNG.

    Raises:
        ConfigError: the suffix is another one.
        ShapeError: there are no frames, or they are not RGB.
    """
    suffix = path.suffix.lower()
    if suffix not in ANIMATION_SUFFIXES:
        raise ConfigError(f"expected an animation named .mp4, .gif or .png, got {path.name!r}")
    if frames.ndim != 4 or len(frames) == 0:
        raise ShapeError(f"expected frames [frames, 3, height, width], got {list(frames.shape)}")
    pixels = to_uint8(frames)
    with atomic_path(path) as temporary:
        if suffix == ".mp4":
            _write_mp4(temporary, pixels, frames_per_second)
        else:
            pictures = [Image.fromarray(frame) for frame in pixels]
            pictures[0].save(
                temporary,
                format="GIF" if suffix == ".gif" else "PNG",
                save_all=True,
                append_images=pictures[1:],
                duration=1000 / frames_per_second,
                loop=0,
            )


def _write_mp4(path: Path, pixels: UInt8[np.ndarray, "frames height width 3"], frames_per_second: float) -> None:
    import imageio.v2 as imageio

    # 4:2:0 chroma, the only kind that every browser plays, needs even sides.
    height, width = pixels.shape[1:3]
    threads = str(torch.get_num_threads())
    even = np.pad(pixels, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    with imageio.get_writer(
        path,
        format="FFMPEG",  # type: ignore[arg-type]
        mode="I",
        fps=frames_per_second,
        codec="libx264",
        pixelformat="yuv420p",
        macro_block_size=2,
        ffmpeg_log_level="error",
        output_params=["-crf", "20", "-preset", "veryfast", "-movflags", "+faststart", "-threads", threads],
    ) as writer:
        for frame in even:
            writer.append_data(frame)  # type: ignore[attr-defined]
