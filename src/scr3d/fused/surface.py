"""The lit surface, and its look from another view, in one kernel each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from scr3d.fused import _kernels as kernels
from scr3d.fused.dispatch import in_order, launch, plain_gradients, usable

LANES = 8
"""Pixels that are worked on side by side."""


@dataclass(frozen=True)
class Eye:
    """What the kernels are told of camera and depth range.

    Attributes:
        focal_px: focal length in pixels.
        center_px: principal point.
        limit: depth from which on nothing is seen.
        border: depth of the plane in which the map is framed.
        grazing: least cosine between a ray and the plane that it meets.
        continued: show that plane where the surface is not seen.
    """

    focal_px: float
    center_px: tuple[float, float]
    limit: float
    border: float
    grazing: float
    continued: bool

    def numbers(self) -> tuple[float, ...]:
        """The kernels' options."""
        return self.focal_px, *self.center_px, self.limit, self.border, self.grazing


def fits(depth: Tensor) -> bool:
    """Whether the kernels are made for maps of this size."""
    return depth.ndim == 3 and depth.shape[2] % LANES == 0 and depth.shape[1] > 2 and usable(depth)


Lit = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]


def lit(plain: Lit, inputs: tuple[Tensor, ...], rays: Tensor, focal_px: float, guard: float) -> tuple[Tensor, ...]:
    """Normals, shading and picture of surfaces under a light.

    Args:
        plain: the same in PyTorch.
        inputs: depth, albedo, ambient, diffuse and direction of the light.
        rays: of the camera.
        focal_px: of the camera.
        guard: added to the squared length of a cross product.
    """
    depth, albedo, *light = inputs
    parts = (part.contiguous() for part in light)
    return _Lit.apply(plain, rays, focal_px, guard, depth.contiguous(), in_order(albedo), *parts)


class _Lit(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, plain: Lit, rays: Tensor, focal_px: float, guard: float, depth: Tensor, albedo: Tensor, *light: Tensor
    ) -> tuple[Tensor, ...]:
        batch, height, width = depth.shape
        normal = torch.empty(batch, 3, height, width)
        shading, image = torch.empty_like(depth), torch.empty_like(albedo, memory_format=torch.channels_last)
        sizes = [None, batch, height, width, *[None] * 8]
        launch(kernels.lit_forward, [depth, albedo, *light, rays, normal, shading, image, *sizes], focal_px, guard)
        ctx.save_for_backward(depth, albedo, *light, normal, shading)
        ctx.plain, ctx.rays, ctx.options = plain, rays, (focal_px, guard)
        ctx.set_materialize_grads(False)
        return normal, shading, image

    @staticmethod
    def backward(ctx: Any, by_normal: Tensor | None, by_shading: Tensor | None, by_image: Tensor | None) -> Any:
        depth, albedo, ambient, diffuse, direction, normal, shading = ctx.saved_tensors
        inputs = (depth, albedo, ambient, diffuse, direction)
        given = (by_normal, by_shading, by_image)
        if torch.is_grad_enabled():
            return None, None, None, None, *plain_gradients(ctx.plain, inputs, ctx.needs_input_grad[4:], given)
        by_normal, by_shading = (None if g is None else g.contiguous() for g in (by_normal, by_shading))
        by_image = None if by_image is None else in_order(by_image)
        gradients = [torch.zeros_like(depth), torch.zeros_like(albedo), *(torch.empty_like(x) for x in inputs[2:])]
        scratch = torch.empty(6 * depth.shape[2])
        tensors = [*inputs, ctx.rays, normal, shading, None, scratch, *depth.shape, by_image, by_shading, by_normal]
        launch(kernels.lit_backward, [*tensors, *gradients], *ctx.options)
        return None, None, None, None, *gradients


Seen = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]


def seen(
    plain: Seen, inputs: tuple[Tensor, ...], triangle: Tensor, tables: tuple[Tensor, Tensor], eye: Eye
) -> tuple[Tensor, Tensor, Tensor]:
    """Picture, depth and mask of a view.

    Args:
        plain: the same in PyTorch.
        inputs: depth, texture, the view's origin [batch, 3] and its turn [batch, 3, 3], both to the canonical frame.
        triangle: that each pixel shows.
        tables: the camera's rays, and the pixel of every triangle's right angle (int32).
        eye: camera and range.
    """
    depth, texture, origin, turn = inputs
    own = (depth.contiguous(), in_order(texture), origin.contiguous(), turn.contiguous())
    return _Seen.apply(plain, triangle, tables, eye, *own)


class _Seen(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, plain: Seen, triangle: Tensor, tables: tuple[Tensor, Tensor], eye: Eye, *inputs: Tensor
    ) -> tuple[Tensor, ...]:
        depth, texture, origin, turn = inputs
        image = torch.empty_like(texture, memory_format=torch.channels_last)
        view_depth, mask = torch.empty_like(depth), torch.empty(depth.shape, dtype=torch.bool)
        scratch = torch.empty(2, *depth.shape[1:])
        ctx.triangle, ctx.tables, ctx.eye, ctx.plain = triangle.contiguous(), tables, eye, plain
        ctx.sizes = [*depth.shape, texture.shape[1], len(tables[1]), eye.continued]
        tensors = [depth, texture, origin, turn, ctx.triangle, tables[1], tables[0]]
        launch(
            kernels.seen_forward,
            [*tensors, image, view_depth, mask, scratch, *ctx.sizes, *[None] * 4],
            *eye.numbers(),
        )
        ctx.save_for_backward(depth, texture, origin, turn)
        ctx.mark_non_differentiable(mask)
        ctx.set_materialize_grads(False)
        return image, view_depth, mask

    @staticmethod
    def backward(ctx: Any, by_image: Tensor | None, by_depth: Tensor | None, by_mask: Tensor | None) -> Any:
        inputs = ctx.saved_tensors
        if torch.is_grad_enabled():
            wanted = ctx.needs_input_grad[4:]
            return None, None, None, None, *plain_gradients(ctx.plain, inputs, wanted, (by_image, by_depth, None))
        depth, texture, origin, turn = inputs
        if by_image is None:
            by_image = torch.zeros_like(texture)
        by_image = in_order(by_image)
        by_depth = None if by_depth is None else by_depth.contiguous()
        to_texture = torch.zeros_like(texture) if ctx.needs_input_grad[5] else None
        gradients = [torch.empty_like(depth), to_texture, torch.empty_like(origin), torch.empty_like(turn)]
        scratch = torch.empty(2, *depth.shape[1:])
        tensors = [*inputs, ctx.triangle, ctx.tables[1], ctx.tables[0], by_image, by_depth, None, scratch]
        launch(kernels.seen_backward, [*tensors, *ctx.sizes, *gradients], *ctx.eye.numbers())
        return None, None, None, None, *gradients
