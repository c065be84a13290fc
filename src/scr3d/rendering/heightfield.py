"""Rendering a canonical height field in another view: visibility, depth and colour.

The map of the data: canonical depth -> 3D grid -> view frame -> which triangle of the grid is nearest on each
pixel's ray (integers, no gradient) -> depth of that ray on the triangle's plane -> the same point in the
canonical frame -> pixel coordinates there -> bilinear look-up of the canonical image. Everything but the
visibility is plain tensor algebra and can be differentiated twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from scr3d.errors import ShapeError
from scr3d.factors import View
from scr3d.fused.dispatch import plain_gradients, usable
from scr3d.fused.surface import Eye, fits, seen
from scr3d.geometry.camera import Camera, DepthRange, project
from scr3d.geometry.pose import canonical_from_view, rotation_matrix, view_from_canonical
from scr3d.rendering._grid_kernels import LANES, rasterize_grid
from scr3d.rendering._kernels import rasterize

GRAZING_COSINE = 1e-3
"""Least |cos| between a ray and the normal of the plane it meets; flatter planes are treated as this steep."""
SUBPIXEL_STEPS = 4096
"""Corners are moved to this fraction of a pixel before they are compared with pixel centres. In the identity view
they then lie on them exactly, so that triangles that meet in one tie exactly."""


@dataclass(frozen=True)
class ViewSampling:
    """Where every pixel of a view looks on the canonical map.

    Attributes:
        pixels: canonical pixel coordinates (x, y).
        depth: z of the visible surface in the view frame; `far + margin` where nothing is visible.
        mask: whether a surface nearer than `far + margin` is visible; carries no gradient.
    """

    pixels: Float[Tensor, "batch height width 2"]
    depth: Float[Tensor, "batch height width"]
    mask: Bool[Tensor, "batch height width"]


@dataclass(frozen=True)
class Rendering:
    """A rendered view.

    Attributes:
        image: the texture as seen; 0 where nothing is visible.
        depth: see `ViewSampling`.
        mask: see `ViewSampling`.
    """

    image: Float[Tensor, "batch channels height width"]
    depth: Float[Tensor, "batch height width"]
    mask: Bool[Tensor, "batch height width"]


def render(
    canonical_depth: Float[Tensor, "batch height width"],
    view: View,
    texture: Float[Tensor, "batch channels height width"],
    camera: Camera,
    depth_range: DepthRange,
    continued: bool = False,
) -> Rendering:
    """Render a textured height field in a view.

    Args:
        canonical_depth: z of the surface on each canonical pixel's ray.
        view: motion from the canonical frame to the view.
        texture: colours (or any channels) of the canonical pixels.
        camera: intrinsics shared by canonical and rendered image.
        depth_range: surfaces beyond its `far + margin` are masked out.
        continued: show where nothing is visible the plane at the border depth in which the map is framed,
            coloured like the map's nearest border pixel, instead of 0; the mask stays the same.

    Raises:
        ShapeError: depth, view, texture and camera do not fit together.

    Source: [SCR] section 3; [U] section 3.2, with visibility and depth computed as in docs/conventions.md.
    """
    _check(canonical_depth, view, camera)
    if texture.shape[0] != canonical_depth.shape[0] or texture.shape[2:] != canonical_depth.shape[1:]:
        raise ShapeError(
            f"texture must be (batch, channels, height, width) = ({canonical_depth.shape[0]}, C, {camera.height}, "
            f"{camera.width}) like the depth, got {tuple(texture.shape)}"
        )
    triangle = visible_triangles(canonical_depth, view, camera)
    motion = Motion.to_canonical(view, canonical_depth)

    def plain(depth: Tensor, texture: Tensor, origin: Tensor, turn: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        motion = Motion(origin, turn)
        sampling = sample(depth, triangle, motion, camera, depth_range)
        if not continued:
            return look_up(texture, sampling), sampling.depth, sampling.mask
        pixels = torch.where(sampling.mask[..., None], sampling.pixels, frame_pixels(motion, camera, depth_range))
        return _bilinear(texture, pixels), sampling.depth, sampling.mask

    inputs = (canonical_depth, texture, motion.origin, motion.turn)
    if fits(canonical_depth) and usable(*inputs):
        limit = depth_range.far + depth_range.margin
        eye = Eye(camera.focal_px, camera.center_px, limit, depth_range.border, GRAZING_COSINE, continued)
        tables = (camera.rays(canonical_depth), _corners(camera, canonical_depth.device).int())
        return Rendering(*seen(plain, inputs, triangle, tables, eye))
    return Rendering(*plain(*inputs))


def sample_view(
    canonical_depth: Float[Tensor, "batch height width"], view: View, camera: Camera, depth_range: DepthRange
) -> ViewSampling:
    """Visibility and depth of a view, and where its pixels lie on the canonical map."""
    _check(canonical_depth, view, camera)
    triangle = visible_triangles(canonical_depth, view, camera)
    return sample(canonical_depth, triangle, Motion.to_canonical(view, canonical_depth), camera, depth_range)


@dataclass(frozen=True)
class Motion:
    """From the frame of a view to the canonical one: X_canonical = turn X_view + origin."""

    origin: Float[Tensor, "batch 3"]
    turn: Float[Tensor, "batch 3 3"]

    @classmethod
    def to_canonical(cls, view: View, like: Tensor) -> Motion:
        """The inverse of a view's motion."""
        origin = canonical_from_view(like.new_zeros(len(view.translation), 3, 1), view)[:, :, 0]
        return cls(origin, rotation_matrix(view.rotation_rad).mT)


def sample(
    canonical_depth: Float[Tensor, "batch height width"],
    triangle: Int[Tensor, "batch height width"],
    motion: Motion,
    camera: Camera,
    depth_range: DepthRange,
) -> ViewSampling:
    """Depth of a view whose visible triangles are known, and where its pixels lie on the canonical map."""
    plane = triangle_planes(canonical_depth, triangle, camera)

    # Seen from the canonical frame, a pixel of the view looks from the origin o along the direction r: it shows
    # the point X = o + z r, where z is its depth in the view. The plane has m.X = 1, so z = (1 - m.o) / (m.r).
    origin = motion.origin[:, :, None, None]
    direction = motion.turn @ camera.rays(canonical_depth).flatten(1)[None]
    direction = direction.unflatten(2, triangle.shape[1:])
    depth = (1 - _dot(plane, origin)) / _steepened(_dot(plane, direction), plane)

    limit = depth_range.far + depth_range.margin
    mask = (triangle >= 0) & (depth < limit) & (depth > 0)
    depth = torch.where(mask, depth, limit)
    shown = torch.addcmul(origin, depth[:, None], direction)
    return ViewSampling(project(shown, camera).movedim(1, -1), depth, mask)


def look_up(
    texture: Float[Tensor, "batch channels height width"], sampling: ViewSampling
) -> Float[Tensor, "batch channels height width"]:
    """Bilinear values of the texture at the sampled canonical pixels, 0 where nothing is visible."""
    return _bilinear(texture, sampling.pixels) * sampling.mask[:, None]


def frame_pixels(motion: Motion, camera: Camera, depth_range: DepthRange) -> Float[Tensor, "batch height width 2"]:
    """Canonical pixel coordinates at which every ray meets the canonical plane z = border depth."""
    rays = camera.rays(motion.origin)
    origin = motion.origin[:, :, None, None]
    direction = (motion.turn @ rays.flatten(1)[None]).unflatten(2, rays.shape[1:])
    cosine = direction[:, 2:].clamp(min=GRAZING_COSINE)
    return project(origin + direction * ((depth_range.border - origin[:, 2:]) / cosine), camera).movedim(1, -1)


def _bilinear(texture: Tensor, pixels: Tensor) -> Tensor:
    if texture.is_cuda and torch.are_deterministic_algorithms_enabled():
        return bilinear_by_entries(texture, pixels)
    height, width = texture.shape[2:]
    scale = _grid_scale(height, width, texture.dtype, texture.device)
    grid = pixels * scale - 1.0
    if texture.is_cuda and torch.is_grad_enabled():
        return _TwiceDifferentiable.apply(texture, grid, scale)
    return _sampled(texture, grid)


def _sampled(texture: Tensor, grid: Tensor) -> Tensor:
    return F.grid_sample(texture, grid, mode="bilinear", padding_mode="border", align_corners=True)


class _TwiceDifferentiable(torch.autograd.Function):
    """`grid_sample` with second derivatives on a GPU too, where PyTorch may have none."""

    @staticmethod
    def forward(ctx: Any, texture: Tensor, grid: Tensor, scale: Tensor) -> Tensor:
        ctx.save_for_backward(texture, grid, scale)
        return _sampled(texture, grid)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        texture, grid, scale = ctx.saved_tensors
        wanted = ctx.needs_input_grad[:2]
        if torch.is_grad_enabled():  # this gradient is to be differentiated again

            def form(texture: Tensor, grid: Tensor) -> Tensor:
                return bilinear_by_entries(texture, (grid + 1.0) / scale)

            by_texture, by_grid = plain_gradients(form, (texture, grid), wanted, (gradient,))
            return by_texture, by_grid, None
        bilinear, border = 0, 1  # as PyTorch numbers them
        by_texture, by_grid = torch.ops.aten.grid_sampler_2d_backward(
            gradient, texture, grid, bilinear, border, True, list(wanted)
        )
        return by_texture if wanted[0] else None, by_grid if wanted[1] else None, None


def bilinear_by_entries(
    texture: Float[Tensor, "batch channels height width"], pixels: Float[Tensor, "batch h w 2"]
) -> Float[Tensor, "batch channels h w"]:
    """What `grid_sample` computes, from four entries each, whose gradients add up in the same order every time.

    The gradient of `grid_sample` on a GPU adds in any order.
    """
    height, width = texture.shape[2:]
    x, y = pixels[..., 0].clamp(0, width - 1), pixels[..., 1].clamp(0, height - 1)
    left, top = x.detach().floor().clamp(max=width - 2), y.detach().floor().clamp(max=height - 2)
    right_share, lower_share = (x - left)[:, None], (y - top)[:, None]
    corner = (top * width + left).long().flatten(1)[:, None].expand(-1, texture.shape[1], -1)
    flat = texture.flatten(2)

    def entry(offset: int) -> Tensor:
        return flat.gather(2, corner + offset).unflatten(2, pixels.shape[1:3])

    upper = torch.lerp(entry(0), entry(1), right_share)
    lower = torch.lerp(entry(width), entry(width + 1), right_share)
    return torch.lerp(upper, lower, lower_share)


@lru_cache(maxsize=64)
def _grid_scale(height: int, width: int, dtype: torch.dtype, device: torch.device) -> Float[Tensor, "2"]:
    return torch.tensor([2.0 / (width - 1), 2.0 / (height - 1)], dtype=dtype, device=device)


@torch.no_grad()
def visible_triangles(
    canonical_depth: Float[Tensor, "batch height width"], view: View, camera: Camera
) -> Int[Tensor, "batch height width"]:
    """Number of the nearest grid triangle at every pixel, -1 where there is none; see `grid_triangles`."""
    corners = screen_corners(canonical_depth, view, camera)
    if corners.device.type == "cpu" and camera.width > LANES:
        return rasterize_grid(corners, camera.height, camera.width)
    triangles = grid_triangles(camera.height, camera.width, corners.device)
    return rasterize(corners.flatten(2).mT, triangles, camera.height, camera.width)


@torch.no_grad()
def screen_corners(
    canonical_depth: Float[Tensor, "batch height width"], view: View, camera: Camera
) -> Float[Tensor, "batch 3 height width"]:
    """The grid's corners in the view: x and y in pixels, in whole sub-pixel steps, and depth; no gradient."""
    # A ray's turned direction times its depth, and what the view makes of the camera's centre.
    rays = camera.rays(canonical_depth).flatten(1)[None]
    shift = view_from_canonical(canonical_depth.new_zeros(len(canonical_depth), 3, 1), view)
    turned = rotation_matrix(view.rotation_rad) @ rays
    points = torch.addcmul(shift, canonical_depth.flatten(1)[:, None], turned)
    steps = project(points, camera).mul_(SUBPIXEL_STEPS).round_()
    points[:, :2] = steps.mul_(1 / SUBPIXEL_STEPS)
    return points.unflatten(2, canonical_depth.shape[1:])


@lru_cache(maxsize=64)
def grid_triangles(height: int, width: int, device: torch.device) -> Int[Tensor, "triangles 3"]:
    """Two triangles per cell of the pixel grid: all upper left ones in row order, then all lower right ones."""
    pixel = torch.arange(height * width, dtype=torch.int32, device=device).view(height, width)
    upper_left, upper_right = pixel[:-1, :-1], pixel[:-1, 1:]
    lower_left, lower_right = pixel[1:, :-1], pixel[1:, 1:]
    first = torch.stack([upper_left, upper_right, lower_left], dim=-1).reshape(-1, 3)
    second = torch.stack([lower_right, lower_left, upper_right], dim=-1).reshape(-1, 3)
    return torch.cat([first, second])


def triangle_planes(
    canonical_depth: Float[Tensor, "batch height width"], triangle: Int[Tensor, "batch height width"], camera: Camera
) -> Float[Tensor, "batch 3 height width"]:
    """The plane m.X = 1 in the canonical frame of the triangle that each pixel shows.

    On a plane that misses the camera the inverse depth q is linear in the ray's slopes, q = m.(x, y, 1). The
    triangles' short sides lie along the axes, so m follows from differences of q between neighbouring pixels.
    """
    corners = _corners(camera, triangle.device)
    index = triangle.clamp(min=0).flatten(1)  # a pixel that shows nothing gets any plane and is masked out
    corner = _entries(corners, index)
    toward = (index < len(corners) // 2).long().mul_(2).sub_(1)  # whether the other corners follow (1) or precede it
    inverse = canonical_depth.flatten(1).reciprocal()
    q = inverse.gather(1, corner)
    q_beside, q_below = inverse.gather(1, corner + toward), inverse.gather(1, corner + toward * camera.width)
    step = toward.to(inverse) * camera.focal_px  # in the depth's type: an integer times a number is float32
    slope_x, slope_y = (q_beside - q) * step, (q_below - q) * step
    x, y, _ = camera.rays(canonical_depth).flatten(1)
    level = q - slope_x * _entries(x, corner) - slope_y * _entries(y, corner)
    return torch.stack([slope_x, slope_y, level], dim=1).unflatten(2, triangle.shape[1:])


def _entries(table: Shaped[Tensor, " entries"], index: Int[Tensor, "batch pixels"]) -> Shaped[Tensor, "batch pixels"]:
    """table[index], several times faster on the CPU."""
    return table.index_select(0, index.flatten()).view_as(index)


@lru_cache(maxsize=64)
def _corners(camera: Camera, device: torch.device) -> Int[Tensor, " triangles"]:
    """Pixel of every triangle's right angle."""
    return grid_triangles(camera.height, camera.width, device)[:, 0].long()


def _dot(first: Float[Tensor, "batch 3 h w"], second: Float[Tensor, "batch 3 #h #w"]) -> Float[Tensor, "batch h w"]:
    (ax, ay, az), (bx, by, bz) = first.unbind(1), second.unbind(1)
    return torch.addcmul(torch.addcmul(ax * bx, ay, by), az, bz)


def _steepened(slope: Float[Tensor, "batch h w"], plane: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch h w"]:
    """m.r, held away from 0 where a ray grazes the plane; there it counts as a constant."""
    with torch.no_grad():
        least = GRAZING_COSINE * _dot(plane, plane).sqrt()
        grazing = slope.abs() < least
    return torch.where(grazing, torch.copysign(least, slope.detach()), slope)


def _check(canonical_depth: Tensor, view: View, camera: Camera) -> None:
    batch = canonical_depth.shape[0]
    if canonical_depth.ndim != 3 or canonical_depth.shape[1:] != (camera.height, camera.width):
        raise ShapeError(
            f"canonical_depth must be (batch, {camera.height}, {camera.width}) for this camera, "
            f"got {tuple(canonical_depth.shape)}"
        )
    if view.rotation_rad.shape != (batch, 3) or view.translation.shape != (batch, 3):
        raise ShapeError(
            f"view must hold {batch} rotations and translations of 3 numbers, got "
            f"{tuple(view.rotation_rad.shape)} and {tuple(view.translation.shape)}"
        )
