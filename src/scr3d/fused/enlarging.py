"""Bilinear enlargement of maps of few channels to twice their size, and what is added to the result, in one kernel."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from scr3d.fused import _kernels as kernels
from scr3d.fused.dispatch import in_order, launch, plain_gradients, scratch, usable

MOST_CHANNELS = 3
"""That the kernels are made for; networks have no larger outputs."""
TABLES = 32
"""Numbers that the kernels need for a row or a column of the small maps: shares and places."""


def doubled(
    maps: Float[Tensor, "batch channels height width"],
    added: Float[Tensor, "batch channels height*2 width*2"] | None = None,
) -> Float[Tensor, "batch channels height*2 width*2"]:
    """Maps of twice the size, bilinear with aligned corners, with `added` added to them."""
    fits = maps.shape[1] <= MOST_CHANNELS and maps.shape[2] % 4 == 0 and maps.shape[3] % 4 == 0
    if fits and usable(maps, added):
        return _Doubled.apply(in_order(maps), None if added is None else in_order(added))
    return _plain(maps, added)


def _plain(maps: Tensor, added: Tensor | None = None) -> Tensor:
    size = (2 * maps.shape[2], 2 * maps.shape[3])
    large = F.interpolate(maps, size=size, mode="bilinear", align_corners=True)
    return large if added is None else large + added


class _Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, added: Tensor | None) -> Tensor:
        batch, channels, height, width = maps.shape
        ctx.shape = maps.shape
        result = torch.empty((batch, channels, 2 * height, 2 * width), memory_format=torch.channels_last)
        launch(kernels.enlarge_forward, [_scratch(maps.shape), maps, added, result, *_sizes(maps.shape), None, None])
        return result

    @staticmethod
    def backward(ctx: Any, given: Tensor) -> Any:
        for_maps, for_added = ctx.needs_input_grad
        found: Tensor | None = None
        if for_maps and torch.is_grad_enabled():
            # Linear, so that the maps themselves do not matter.
            zeros = given.new_zeros(ctx.shape).requires_grad_()
            (found,) = plain_gradients(_plain, [zeros], [True], [given])
        elif for_maps:
            found = torch.empty(ctx.shape, memory_format=torch.channels_last)
            own = in_order(given)
            launch(kernels.enlarge_backward, [_scratch(ctx.shape), None, None, None, *_sizes(ctx.shape), own, found])
        return found, given if for_added else None


def _sizes(shape: torch.Size) -> list[int]:
    batch, channels, height, width = shape
    return [batch, height, width, channels]


def _scratch(shape: torch.Size) -> Tensor:
    _, channels, height, width = shape
    return scratch(2 * height * width * channels + TABLES * (height + width))
