"""The compact networks layer by layer with fused kernels: the same modules and weights, other code."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from scr3d.fused.convolution import Activation, Convolution, Kind, layer


def activation_of(modules: Iterable[nn.Module], extra: Tensor | None = None) -> Activation:
    """What the layers behind a convolution do: normalisation, if there is any, and rectifier."""
    gains = shifts = None
    slope = 1.0
    for module in modules:
        if isinstance(module, nn.GroupNorm):
            gains, shifts = module.weight, module.bias
        elif isinstance(module, nn.LeakyReLU):
            slope = module.negative_slope
        elif isinstance(module, nn.ReLU):
            slope = 0.0
    return Activation(gains, shifts, slope, extra)


def _convolution(kind: Kind, module: nn.Module) -> Convolution:
    module = cast(nn.Conv2d, module)
    return Convolution(kind, module.weight, module.bias)


def encode(stages: Iterable[tuple[nn.Sequential, bool]], head: nn.Sequential, image: Tensor) -> Tensor:
    """The embedding of an image.

    Args:
        stages: convolution of stride 2, normalisation and rectifier; and whether the next stage also sees the image at
            the size of the result.
        head: a convolution that covers the whole map, a rectifier, and perhaps one linear layer.
        image: [batch, 3, size, size].
    """
    maps, activation = image, Activation()
    for stage, pools in stages:
        (maps,) = layer(maps, activation, [_convolution(Kind.HALVING, stage[0])])
        image = halved(image) if pools else image
        activation = activation_of(stage, image if pools else None)
    (maps,) = layer(maps, activation, [Convolution(Kind.NONE)])
    values = maps.permute(0, 2, 3, 1).flatten(1)  # as the maps lie in memory
    for module in head:
        if isinstance(module, nn.Conv2d):
            values = F.linear(values, module.weight.permute(0, 2, 3, 1).flatten(1))
        else:
            values = module(values)
    return values


def halved(image: Tensor) -> Tensor:
    """Means of 2x2 pixels, as `F.avg_pool2d` but for rounding, which is slow for so few channels."""
    batch, channels, height, width = image.shape
    rows = image.permute(0, 2, 3, 1).reshape(batch, height // 2, 2, width // 2, 2 * channels)
    pairs = rows[:, :, 0] + rows[:, :, 1]
    return ((pairs[..., :channels] + pairs[..., channels:]) / 4).permute(0, 3, 1, 2)


def decode(
    start: Tensor, stages: Iterable[nn.Sequential], outputs: nn.ModuleDict, first_activation: Activation
) -> list[Tensor]:
    """Every output of a decoder of maps, coarsest first.

    Args:
        start: maps of 4x4.
        stages: two convolutions with normalisation and rectifier each.
        outputs: convolutions of the stages that have an output, by resolution.
        first_activation: of the start.
    """
    found: list[Tensor] = []
    maps, activation = start, first_activation
    head: Convolution | None = None
    for number, stage in enumerate(stages):
        kind = Kind.ENLARGING if number else Kind.SAME
        convolutions = [_convolution(kind, stage[0])] + ([head] if head else [])
        maps, *more = layer(maps, activation, convolutions)
        found += more
        (maps,) = layer(maps, activation_of(list(stage)[1:3]), [_convolution(Kind.SAME, stage[3])])
        activation = activation_of(list(stage)[4:])
        name = str(maps.shape[-1])
        head = _convolution(Kind.SAME, outputs[name]) if name in outputs else None
    if head is not None:
        found += layer(maps, activation, [head])
    return found
