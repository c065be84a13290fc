"""A layer of the compact networks in one kernel: normalisation and rectifier, then one or two convolutions."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from scr3d.fused import _kernels as kernels
from scr3d.fused.dispatch import in_order, launch, plain_gradients, scratch, usable

GROUP = 8
"""Channels of a group of the normalisation, and numbers of a processor's vector."""
EPSILON = 1e-5
"""Of the normalisation, as in `torch.nn.GroupNorm`."""


class Kind(IntEnum):
    """What is made of the activated maps; convolutions keep a border of zeros."""

    SAME = 0
    """A 3x3 convolution."""
    HALVING = 1
    """A 4x4 convolution with stride 2."""
    ENLARGING = 2
    """A 3x3 convolution of the maps enlarged to twice their size, bilinearly with aligned corners."""
    NONE = 3
    """The activated maps themselves."""


@dataclass(frozen=True)
class Activation:
    """What comes before the convolutions.

    Attributes:
        gains: of GroupNorm with groups of 8 channels, or one of 4; None without normalisation.
        shifts: likewise.
        slope: of the rectifier below 0; 1 for none.
        extra: maps that are put before the activated ones; they get no gradient.
    """

    gains: Float[Tensor, " channels"] | None = None
    shifts: Float[Tensor, " channels"] | None = None
    slope: float = 1.0
    extra: Float[Tensor, "batch extra height width"] | None = None


@dataclass(frozen=True)
class Convolution:
    """One convolution of the activated maps; weights and bias are None where its kind has none."""

    kind: Kind
    weights: Float[Tensor, "outputs inputs side side"] | None = None
    bias: Float[Tensor, " outputs"] | None = None


def layer(
    source: Float[Tensor, "batch channels height width"], activation: Activation, convolutions: list[Convolution]
) -> tuple[Tensor, ...]:
    """Normalise and rectify maps, and convolve the result; one result for each of the one or two convolutions."""
    weights = [tensor for one in convolutions for tensor in (one.weights, one.bias)]
    tensors = (activation.extra, activation.gains, activation.shifts, *weights)
    form = _form(activation.slope, tuple([one.kind for one in convolutions]))
    if form.fits(source, *tensors) and usable(source, *tensors):
        own = (in_order(x) if x is not None and x.ndim == 4 else x for x in (source, *tensors))
        return _FusedLayer.apply(form, *own)
    return form.plain(source, *tensors)


@dataclass(frozen=True)
class _Form:
    """All of a layer that is not a tensor. The tensors: source, extra, gains, shifts, then weights and bias of each."""

    slope: float
    kinds: tuple[Kind, ...]

    def plain(self, source: Tensor, *tensors: Tensor | None) -> tuple[Tensor, ...]:
        """What the kernel computes, in PyTorch."""
        extra, gains, shifts, *rest = tensors
        maps = source
        if gains is not None:
            maps = F.group_norm(maps, max(1, maps.shape[1] // GROUP), gains, shifts, EPSILON)
        if self.slope != 1:
            maps = maps.relu() if self.slope == 0 else F.leaky_relu(maps, self.slope)
        if extra is not None:
            maps = torch.cat([extra, maps], dim=1)
        results = []
        for kind, weights, bias in zip(self.kinds, rest[::2], rest[1::2], strict=True):
            if weights is None:
                results.append(maps)
                continue
            seen = maps
            if kind is Kind.ENLARGING:
                size = (2 * maps.shape[2], 2 * maps.shape[3])
                seen = F.interpolate(maps, size=size, mode="bilinear", align_corners=True)
            results.append(F.conv2d(seen, weights, bias, stride=2 if kind is Kind.HALVING else 1, padding=1))
        return tuple(results)

    def fits(self, source: Tensor, extra: Tensor | None, gains: Tensor | None, *_: Tensor | None) -> bool:
        """Whether the kernel is made for such maps."""
        height, width = source.shape[2:]
        if height % 4 or width % 4 or (extra is not None and extra.requires_grad):
            return False
        return gains is None or len(gains) % GROUP == 0 or (len(gains) == GROUP // 2 and height * width % 32 == 0)


_form = lru_cache(maxsize=None)(_Form)
"""Forms are few, and made in every layer of every step."""


class _FusedLayer(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, form: _Form, source: Tensor, *tensors: Tensor | None) -> tuple[Tensor, ...]:
        extra, gains, shifts, *rest = tensors
        batch, channels, height, width = source.shape
        inputs = channels + (0 if extra is None else extra.shape[1])
        results = []
        for kind, weights in zip(form.kinds, rest[::2], strict=True):
            size = [2 * s if kind is Kind.ENLARGING else s // 2 if kind is Kind.HALVING else s for s in (height, width)]
            outputs = inputs if weights is None else weights.shape[0]
            results.append(torch.empty((batch, outputs, *size), memory_format=torch.channels_last))
        statistics = None if gains is None else torch.empty(batch, max(1, channels // GROUP), 2)
        numbers = layer_numbers(source, extra, gains, shifts, statistics, len(form.kinds))
        for kind, weights, bias, result in zip(form.kinds, rest[::2], rest[1::2], results, strict=True):
            numbers += convolution_numbers(kind, weights, bias, result)
        own = scratch(scratch_size(form.kinds, source, extra, rest[::2]))
        launch(kernels.layer_forward, [own, *numbers], form.slope, EPSILON)
        ctx.save_for_backward(source, extra, gains, shifts, statistics, *rest)
        ctx.form = form
        return tuple(results)

    @staticmethod
    def backward(ctx: Any, *given: Tensor | None) -> Any:
        source, extra, gains, shifts, statistics, *rest = ctx.saved_tensors
        form, wanted = ctx.form, ctx.needs_input_grad[1:]
        if torch.is_grad_enabled():
            return None, *plain_gradients(form.plain, (source, extra, gains, shifts, *rest), wanted, given)
        given = tuple(None if g is None else in_order(g) for g in given)
        source_gradient = torch.empty_like(source, memory_format=torch.channels_last) if wanted[0] else None
        sums = (None, None) if gains is None else torch.zeros(2, len(gains)).unbind()
        numbers = layer_numbers(source, extra, gains, shifts, statistics, len(form.kinds), (source_gradient, *sums))
        gradients: list[Tensor | None] = []
        for number, (kind, result) in enumerate(zip(form.kinds, given, strict=True)):
            weights, bias = rest[2 * number : 2 * number + 2]
            for_weights, for_bias = wanted[4 + 2 * number : 6 + 2 * number]
            found = found_bias = None
            if result is not None and for_weights:
                found = torch.empty_like(weights, memory_format=torch.channels_last)
            if result is not None and for_bias:
                found_bias = torch.zeros_like(bias)
            numbers += convolution_numbers(kind, weights, bias, result, (found, found_bias))
            gradients += [found, found_bias]
        own = scratch(scratch_size(form.kinds, source, extra, rest[::2]))
        launch(kernels.layer_backward, [own, *numbers], form.slope)
        return None, source_gradient, None, *sums, *gradients


def layer_numbers(
    source: Tensor,
    extra: Tensor | None,
    gains: Tensor | None,
    shifts: Tensor | None,
    statistics: Tensor | None,
    count: int,
    gradients: tuple[Tensor | None, ...] = (None, None, None),
) -> list[int | Tensor | None]:
    """`LAYER` after the scratch memory."""
    batch, channels, height, width = source.shape
    sizes = [batch, height, width, 0 if extra is None else extra.shape[1], channels, count]
    return [source, extra, gains, shifts, statistics, *sizes, *gradients]


def convolution_numbers(
    kind: Kind,
    weights: Tensor | None,
    bias: Tensor | None,
    result: Tensor | None,
    gradients: tuple[Tensor | None, Tensor | None] = (None, None),
) -> list[int | Tensor | None]:
    """`CONVOLUTION`."""
    outputs = weights.shape[0] if weights is not None else 0 if result is None else result.shape[1]
    return [int(kind), outputs, weights, bias, result, *gradients]


def scratch_size(kinds: tuple[Kind, ...], source: Tensor, extra: Tensor | None, weights: list[Tensor | None]) -> int:
    """Numbers that either kernel needs for one image and the weights, at most."""
    _, channels, height, width = source.shape
    inputs = _filled(channels) + (0 if extra is None else extra.shape[1])
    size = (height + 2) * (width + 2) * inputs + 2 * inputs + height * width * inputs + 32 * (height + width) + 8
    for kind, one in zip(kinds, weights, strict=True):
        if one is None:
            continue
        outputs = _filled(one.shape[0])
        scale = 2 if kind is Kind.ENLARGING else 1
        maps = (scale * height + 2) * (scale * width + 2) * outputs
        size += 2 * maps + 2 * one.shape[2] * one.shape[3] * inputs * outputs
        if kind is Kind.ENLARGING:
            size += 6 * height * width * outputs + 9 * max(64, width) * outputs
    return size


def _filled(channels: int) -> int:
    """The number of channels with those that fill up a vector."""
    return -(-channels // GROUP) * GROUP
