"""Options of the reconstruction outputs; this module imports nothing heavy, so that `--help` is quick."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from scr3d.errors import ConfigError

MAX_FRAME_WIDTH_MM = 5_000
"""The camera is some six widths away with the usual field of view of 10 degrees."""


class Animation(StrEnum):
    """File format of the animations."""

    MP4 = "mp4"
    GIF = "gif"
    APNG = "apng"
    NONE = "none"

    @property
    def suffix(self) -> str:
        """Ending of the file name; animated PNG files are named like all others."""
        return ".png" if self is Animation.APNG else f".{self.value}"


class Texture(StrEnum):
    """What is painted on the mesh."""

    IMAGE = "image"
    ALBEDO = "albedo"
    PHOTO = "photo"


class NormalMap(StrEnum):
    """How normals are written as colours."""

    OPENGL = "opengl"
    DIRECTX = "directx"


class Crop(StrEnum):
    """Which square of a photo is reconstructed."""

    AUTO = "auto"
    FACE = "face"
    CENTER = "center"

    def for_model(self, provenance: Mapping[str, Any]) -> Crop:
        """What auto stands for: how the images were cut out that the model was trained on; center if nobody knows."""
        if self is not Crop.AUTO:
            return self
        return Crop.FACE if provenance.get("crop") == Crop.FACE else Crop.CENTER


class Output(StrEnum):
    """A kind of output; factors.json comes with all of them."""

    ARRAYS = "arrays"
    DEPTH = "depth"
    MESH = "mesh"
    OBJ = "obj"
    PLY = "ply"
    PICTURES = "pictures"
    ANIMATIONS = "animations"
    PAGE = "page"


@dataclass(frozen=True)
class ReconstructOptions:
    """What is written for every image."""

    only: tuple[Output, ...] = ()
    """Write nothing but factors.json (view, light) and these: arrays (all maps, NumPy), depth (16-bit PNG), mesh (GLB),
    obj, ply, pictures, animations, page (index.html); without it, all of them. Many photos want --only arrays depth
    mesh, say."""
    animation: Animation = Animation.MP4
    """Format of the turntable and relighting animations; none leaves them out."""
    crop: Crop = Crop.AUTO
    """What is cut out of the photos: face (every face that is found, set upright), center (the square in the middle),
    or auto: as the images were cut out that the model was trained on (face for the shipped one)."""
    refine: int = 0
    """Steps of fitting the network's answer to each photo; 0 for none, 10 is a good number (docs/photos.md)."""
    texture: Texture = Texture.IMAGE
    """Painted on the mesh: the canonical image (lit as in the photo), the albedo (unlit), or the photo itself in its
    own resolution, up to the render size, with the canonical image where it shows nothing."""
    trim_border: bool = True
    """Leave out the mesh's walls that lead from the object to the border depth."""
    watertight: bool = False
    """Close the mesh with walls and a flat plate behind, for printing."""
    frame_width_mm: float | None = None
    """Width of the square in millimetres, where the object is (about 260 for an adult's face that is cut out as the
    shipped model expects). Then depth is written in millimetres as well, meshes are in millimetres (OBJ, PLY) or metres
    (GLB); without it, the unit of a mesh is this width."""
    normal_map: NormalMap = NormalMap.OPENGL
    """Green of normals.png where the surface faces up (opengl) or down (directx)."""
    render_size: int = 256
    """Width of rendered views, animations and photo textures in pixels."""
    frames: int = 48
    """Frames of an animation."""
    max_yaw_deg: float = 45.0
    """The turntable swings this far to either side, in degrees."""
    batch_size: int = 16
    """Images that pass through the network at a time."""

    def __post_init__(self) -> None:
        if Output.ANIMATIONS in self.only and self.animation is Animation.NONE:
            raise ConfigError("--only animations and --animation none leave nothing to animate; give one of them")
        if not 16 <= self.render_size <= 4096:
            raise ConfigError(f"the render size must be between 16 and 4096 pixels; got {self.render_size}")
        if not 2 <= self.frames <= 1000:
            raise ConfigError(f"an animation has between 2 and 1000 frames; got {self.frames}")
        if not 0 <= self.max_yaw_deg <= 80:
            raise ConfigError(f"the turntable swings by 0 to 80 degrees; got {self.max_yaw_deg}")
        check_frame_width(self.frame_width_mm)
        if self.refine < 0:
            raise ConfigError(f"--refine must be a number of steps, 0 for none; got {self.refine}")
        if self.batch_size < 1:
            raise ConfigError(f"the batch size must be at least 1; got {self.batch_size}")

    def writes(self, output: Output) -> bool:
        """Whether a kind of output is wanted."""
        if output is Output.ANIMATIONS and self.animation is Animation.NONE:
            return False
        return not self.only or output in self.only


def check_frame_width(frame_width_mm: float | None) -> None:
    """See that depth in millimetres fits 16 bits.

    Raises:
        ConfigError: it does not, or the width is none.
    """
    if frame_width_mm is not None and not 0 < frame_width_mm <= MAX_FRAME_WIDTH_MM:
        raise ConfigError(
            f"the frame width must be above 0 and at most {MAX_FRAME_WIDTH_MM:,} millimetres; got {frame_width_mm:g}"
        )
