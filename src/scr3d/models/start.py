"""The surface before training."""

from __future__ import annotations

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from scr3d.models.config import DepthStart, ModelConfig

BUMP_HALF_WIDTH, BUMP_HALF_HEIGHT = 0.62, 0.84
"""Outline of the start surface, in half frames."""
BUMP_RIM = 0.05
"""Softness of its rim."""


def start_surface(
    config: ModelConfig, outline: Float[Tensor, "batch 3"] | None = None
) -> Float[Tensor, "*batch size size"]:
    """Raw depth (before tanh) of the surface before training: half an ellipsoid before a plane, or zero.

    It knows the rough extent of an object that fills 0.62 of the frame's width and 0.84 of its height, that it is
    rounded, and that its middle stands out by nearly half of the depth range; no data set enters. Too deep is the safe
    side: under a surface that is too shallow, turns are learned with the wrong sign (docs/training.md).

    Args:
        config: size, kind and depth of the surface.
        outline: for each image, by how much the ellipsoid is wider and higher (logarithms) and lower in the frame
            (half frames); without it, the one surface for all.
    """
    if config.depth_start is DepthStart.FLAT:
        return torch.zeros(config.size, config.size)
    if outline is None:
        axis = _axis(config.size, torch.float32, torch.device("cpu"))
        x, y = axis[None, :] / BUMP_HALF_WIDTH, axis[:, None] / BUMP_HALF_HEIGHT
    else:
        axis = _axis(config.size, outline.dtype, outline.device)
        wider, higher, lower = outline[:, :, None, None].unbind(1)
        x = axis[None, :] / (BUMP_HALF_WIDTH * wider.exp())
        y = (axis[:, None] - lower) / (BUMP_HALF_HEIGHT * higher.exp())
    level = 1 - x**2 - y**2
    height = rounded_off(level).sqrt()
    if config.start_taper != 1:
        height = height * rounded_off(1 - y**2) ** ((config.start_taper - 1) / 2)
    return torch.atanh(config.start_plane - config.start_height * height)


@lru_cache(maxsize=64)
def _axis(size: int, dtype: torch.dtype, device: torch.device) -> Float[Tensor, " size"]:
    return torch.linspace(-1, 1, size).to(dtype=dtype, device=device)


def rounded_off(level: Tensor) -> Tensor:
    """max(0, level) with a soft corner, for the rim, where an ellipsoid is infinitely steep."""
    return (level + torch.sqrt(level**2 + BUMP_RIM**2)) / 2
