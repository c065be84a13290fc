"""New views of reconstructed factors: turntable, relighting and textureless views, finer than the maps."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from scr3d.errors import ConfigError, ShapeError
from scr3d.factors import Factors, Light, View
from scr3d.geometry.camera import Camera, DepthRange
from scr3d.geometry.normals import normals_from_depth
from scr3d.geometry.pose import rotation_matrix
from scr3d.rendering.heightfield import look_up, sample_view
from scr3d.rendering.shading import shade

GREY_ALBEDO = 0.75
"""Reflectance of a textureless surface, a light plaster."""
STUDIO_AMBIENT, STUDIO_DIFFUSE = 0.25, 0.9
STUDIO_SLOPES = (0.5, 0.5)
"""Textureless views are lit from the upper left, from behind the camera."""


@dataclass(frozen=True)
class ViewOptions:
    """How views and animations are rendered."""

    size: int
    """Width of the frames in pixels; depth and albedo are enlarged bilinearly."""
    frames: int
    """Frames of an animation; the last one leads back to the first."""
    max_yaw_deg: float
    """The turntable swings this far to either side."""
    background: float = 0.92
    """Grey level of pixels that show no surface, in [0, 1]."""
    trim_columns: int = 2
    """Outer columns of the canonical maps that are not shown: they hold the border depth, not the object."""
    batch: int = 8
    """Frames rendered at a time."""

    def __post_init__(self) -> None:
        if self.size < 2 or self.frames < 1 or self.batch < 1 or self.trim_columns < 0:
            raise ConfigError(
                "expected a size of at least 2, at least one frame, one per batch and no negative trim; got "
                f"size {self.size}, frames {self.frames}, batch {self.batch}, trim {self.trim_columns}"
            )
        if not 0 <= self.max_yaw_deg < 90:
            raise ConfigError(f"the turntable can swing by 0 to 90 degrees, got {self.max_yaw_deg}")


@dataclass(frozen=True)
class Surface:
    """The canonical surface of one image at the resolution of the frames.

    Attributes:
        depth: z on each canonical pixel's ray.
        maps: albedo (3), canonical normal (3) and 1 inside the trimmed border, 0 on it.
        camera: intrinsics of these maps.
        depth_range: the range the depth was made for.
    """

    depth: Float[Tensor, "height width"]
    maps: Float[Tensor, "7 height width"]
    camera: Camera
    depth_range: DepthRange


@dataclass(frozen=True)
class SeenSurface:
    """What the pixels of several views show.

    Attributes:
        albedo: RGB in [0, 1].
        canonical_normal: unit normals in the canonical frame, pointing away from the camera.
        mask: pixels that show the object.
    """

    albedo: Float[Tensor, "frames 3 height width"]
    canonical_normal: Float[Tensor, "frames 3 height width"]
    mask: Bool[Tensor, "frames height width"]


@torch.no_grad()
def turntable(
    factors: Factors, camera: Camera, depth_range: DepthRange, options: ViewOptions
) -> Float[Tensor, "frames 3 height width"]:
    """The canonical object under its own light, swinging to the left and right and back.

    Args:
        factors: of one image (batch 1).
        camera: intrinsics of the canonical maps.
        depth_range: the model's range of depth.
        options: size and number of frames, swing, background.
    """
    views, order = _swing(options, factors.canonical_depth)
    return picture(factors, camera, depth_range, options, view=views)[order]


@torch.no_grad()
def picture(
    factors: Factors,
    camera: Camera,
    depth_range: DepthRange,
    options: ViewOptions,
    *,
    view: View | None = None,
) -> Float[Tensor, "frames 3 height width"]:
    """The object under its own light.

    Args:
        factors: of one image (batch 1).
        camera: intrinsics of the canonical maps.
        depth_range: the model's range of depth.
        options: size of the frames, background.
        view: one view per frame; its own view by default.
    """
    surface = enlarge(factors, camera, depth_range, options)
    views = factors.view if view is None else view
    seen = look_at(surface, views, options.batch)
    return _colored(seen, _repeat_light(factors.light, len(views.translation)), options.background)


@torch.no_grad()
def relighting(
    factors: Factors,
    camera: Camera,
    depth_range: DepthRange,
    options: ViewOptions,
    *,
    canonical: bool = False,
    ambient: float = 0.3,
    diffuse: float = 0.8,
    slope: float = 0.9,
) -> Float[Tensor, "frames 3 height width"]:
    """The object standing still while a light circles around the camera.

    Args:
        factors: of one image (batch 1).
        camera: intrinsics of the canonical maps.
        depth_range: the model's range of depth.
        options: size and number of frames, background.
        canonical: show the canonical view instead of the view of the image.
        ambient: strength of the ambient light.
        diffuse: strength of the circling light.
        slope: tangent of the angle between the light and the line of sight.
    """
    surface = enlarge(factors, camera, depth_range, options)
    seen = look_at(surface, View.identity(1, factors.canonical_depth) if canonical else factors.view, options.batch)
    like = factors.canonical_depth
    phase = torch.arange(options.frames, device=like.device) * (2 * math.pi / options.frames)
    slopes = slope * torch.stack([phase.cos(), phase.sin()], dim=1).to(like)
    light = Light.from_slopes(
        like.new_full((options.frames,), ambient), like.new_full((options.frames,), diffuse), slopes
    )
    still = SeenSurface(*(x.expand(options.frames, *x.shape[1:]) for x in _fields(seen)))
    return _colored(still, light, options.background)


@torch.no_grad()
def textureless(
    factors: Factors,
    camera: Camera,
    depth_range: DepthRange,
    options: ViewOptions,
    *,
    view: View | None = None,
) -> Float[Tensor, "frames 3 height width"]:
    """The bare shape in grey, under a light that stays with the camera.

    Args:
        factors: of one image (batch 1).
        camera: intrinsics of the canonical maps.
        depth_range: the model's range of depth.
        options: size and number of frames, swing, background.
        view: one view per frame; the swing of `turntable` by default.
    """
    surface = enlarge(factors, camera, depth_range, options)
    if view is None:
        views, order = _swing(options, factors.canonical_depth)
    else:
        views, order = view, torch.arange(len(view.translation))
    seen = look_at(surface, views, options.batch)
    count = len(views.translation)
    like = factors.canonical_depth
    light = Light.from_slopes(
        like.new_full((count,), STUDIO_AMBIENT),
        like.new_full((count,), STUDIO_DIFFUSE),
        like.new_tensor([STUDIO_SLOPES]).expand(count, -1),
    )
    # A light fixed to the camera meets normals in the camera's frame.
    turned = (rotation_matrix(views.rotation_rad) @ seen.canonical_normal.flatten(2)).view_as(seen.canonical_normal)
    plaster = SeenSurface(torch.full_like(seen.albedo, GREY_ALBEDO), turned, seen.mask)
    return _colored(plaster, light, options.background)[order]


def enlarge(factors: Factors, camera: Camera, depth_range: DepthRange, options: ViewOptions) -> Surface:
    """Depth, albedo and normals of one image, bilinearly enlarged to the size of the frames.

    Normals are computed on the given depth and then interpolated: those of a bilinearly enlarged depth would
    be constant in each cell and show the grid. Next to the border columns the surface is continued, so that the
    jump to the border depth does not shade it.

    Raises:
        ShapeError: the factors are not those of one image, or do not fit the camera.
    """
    depth = factors.canonical_depth
    if depth.shape != (1, camera.height, camera.width):
        raise ShapeError(
            f"expected the factors of one image of {camera.height}x{camera.width}, got {list(depth.shape)}"
        )
    trim = options.trim_columns
    if camera.width - 2 * trim < 3:
        raise ShapeError(f"nothing is left of {camera.width} columns without {trim} on each side")
    inside = torch.zeros_like(depth)
    inside[:, :, trim : camera.width - trim] = 1
    maps = torch.cat([factors.canonical_albedo, _surface_normals(depth, camera, trim), inside[:, None]], dim=1)
    height = round((camera.height - 1) * (options.size - 1) / (camera.width - 1)) + 1
    size = (height, options.size)
    fine = F.interpolate(torch.cat([maps, depth[:, None]], dim=1), size, mode="bilinear", align_corners=True)[0]
    return Surface(fine[7], fine[:7], Camera(*size, camera.fov_deg), depth_range)


def look_at(surface: Surface, views: View, batch: int) -> SeenSurface:
    """Which part of the surface every pixel of every view shows."""
    parts = []
    for start in range(0, len(views.translation), batch):
        view = views[start : start + batch]
        count = len(view.translation)
        sampling = sample_view(surface.depth.expand(count, -1, -1), view, surface.camera, surface.depth_range)
        seen = look_up(surface.maps.expand(count, -1, -1, -1), sampling)
        normal = seen[:, 3:6]
        # Several times faster on the CPU than `normalize` along this axis.
        normal = normal * normal.square().sum(1, keepdim=True).clamp(min=1e-12).rsqrt()
        parts.append((seen[:, :3], normal, sampling.mask & (seen[:, 6] > 0.5)))
    return SeenSurface(*(torch.cat(field) for field in zip(*parts, strict=True)))


def _surface_normals(depth: Tensor, camera: Camera, trim: int) -> Tensor:
    continued = depth.clone()
    for column in range(trim - 1, -1, -1):
        mirrored = camera.width - 1 - column
        continued[:, :, column] = 2 * continued[:, :, column + 1] - continued[:, :, column + 2]
        continued[:, :, mirrored] = 2 * continued[:, :, mirrored - 1] - continued[:, :, mirrored - 2]
    normal = normals_from_depth(continued, camera)
    # The outermost pixels have no central difference; their neighbours' normals are the best guess.
    return F.pad(normal[:, :, 1:-1, 1:-1], (1, 1, 1, 1), mode="replicate")


def _swing(options: ViewOptions, like: Tensor) -> tuple[View, Tensor]:
    """The different yaws of a swing there and back, and which of them each frame shows."""
    frame = torch.arange(options.frames)
    # Frames k and F - k show the same yaw, so half of them are rendered. The loop starts at the front.
    order = torch.minimum(frame, options.frames - frame).roll(-(options.frames // 4))
    distinct = torch.arange(int(order.max()) + 1, device=like.device)
    yaw_rad = math.radians(options.max_yaw_deg) * torch.cos(distinct * (2 * math.pi / options.frames)).to(like)
    zero = torch.zeros_like(yaw_rad)
    view = View(torch.stack([zero, yaw_rad, zero], dim=1), like.new_zeros(len(distinct), 3))
    return view, order.to(like.device)


def _colored(seen: SeenSurface, light: Light, background: float) -> Tensor:
    image = (seen.albedo * shade(seen.canonical_normal, light)[:, None]).clamp(0, 1)
    return torch.where(seen.mask[:, None], image, torch.full_like(image[:1], background))


def _repeat_light(light: Light, count: int) -> Light:
    return Light(light.ambient.expand(count), light.diffuse.expand(count), light.direction.expand(count, -1))


def _fields(seen: SeenSurface) -> tuple[Tensor, Tensor, Tensor]:
    return seen.albedo, seen.canonical_normal, seen.mask
