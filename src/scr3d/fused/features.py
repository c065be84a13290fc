"""The front of SqueezeNet in one kernel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from scr3d.fused import _kernels as kernels
from scr3d.fused.dispatch import in_order, launch, plain_gradients

FIRST, SQUEEZED, CHANNELS = 64, 16, 128
"""Channels of the first convolution, of the squeezed maps and of the result."""


def front(plain: Callable[[Tensor], Tensor], image: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """Features of images from which the mean has been subtracted.

    Args:
        plain: the same in PyTorch.
        image: [batch, 3, height, width], sides multiples of 4.
        parameters: weights and bias of every convolution, frozen.
    """
    return _Front.apply(plain, [in_order(x) if x.ndim == 4 else x for x in parameters], in_order(image))


class _Front(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, plain: Callable[[Tensor], Tensor], parameters: list[Tensor], image: Tensor) -> Tensor:
        batch, _, height, width = image.shape
        kept = bool(ctx.needs_input_grad[2])
        pixels = (batch if kept else 1) * (height // 4) * (width // 4)
        result = torch.empty((batch, CHANNELS, height // 4, width // 4), memory_format=torch.channels_last)
        between = [torch.empty(pixels, FIRST), torch.empty(pixels, FIRST, dtype=torch.uint8)]
        between += [torch.empty(pixels, channels) for channels in (SQUEEZED, CHANNELS, SQUEEZED)]
        scratch = torch.empty(scratch_size(height, width))
        sizes = [batch, height, width, kept]
        launch(kernels.front_forward, [image, result, *between, scratch, *sizes, None, None, *parameters])
        if kept:
            ctx.save_for_backward(image, result, *between)
        ctx.plain, ctx.parameters = plain, parameters
        return result

    @staticmethod
    def backward(ctx: Any, given: Tensor) -> Any:
        image, result, *between = ctx.saved_tensors
        if torch.is_grad_enabled():
            return None, None, *plain_gradients(ctx.plain, [image], [True], [given])
        batch, _, height, width = image.shape
        found = torch.empty_like(image)
        sizes = [batch, height, width, True]
        scratch = torch.empty(scratch_size(height, width))
        launch(
            kernels.front_backward,
            [image, result, *between, scratch, *sizes, in_order(given), found, *ctx.parameters],
        )
        return None, None, found


def scratch_size(height: int, width: int) -> int:
    """Numbers that either kernel needs for one image and the weights, at most."""
    first = (height // 2 + 2) * (width // 2 + 2) * FIRST
    last = (height // 4 + 2) * (width // 4 + 2) * 3 * CHANNELS
    return first + last + 8 * (height + 2) * (width + 2) + 64 * 1024
