"""Priors that keep training away from known dead ends; all are mild and most decay."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from scr3d.losses.parts import AcrossParts, one_part

OBJECT_HALF_WIDTH, OBJECT_HALF_HEIGHT = 0.62, 0.84
"""Rough outline of the object, in half frames."""


def smoothness_loss(raw_depth: Float[Tensor, "batch height width"], limit: float = 0.0) -> Float[Tensor, ""]:
    """Mean absolute second difference of raw depth, scaled so that it does not depend on resolution.

    A second difference shrinks with the square of the pixel, so it is multiplied by (width / 32)^2. A scaled
    difference s costs s / (1 + s / limit): proportional where it is small, and never more than `limit`, so that a
    crease at the outline is cheaper than rounding it off.
    """
    scale = (raw_depth.shape[-1] / 32) ** 2
    second_x = scale * (raw_depth[:, :, 2:] - 2 * raw_depth[:, :, 1:-1] + raw_depth[:, :, :-2]).abs()
    second_y = scale * (raw_depth[:, 2:] - 2 * raw_depth[:, 1:-1] + raw_depth[:, :-2]).abs()
    if limit > 0:
        second_x, second_y = (second / (1 + second / limit) for second in (second_x, second_y))
    return second_x.mean() + second_y.mean()


def relief_loss(
    canonical_depth: Float[Tensor, "batch size size"], fov_deg: float, across: AcrossParts = one_part
) -> Float[Tensor, ""]:
    """Squared logarithm of the batch's mean relief against that of a body as deep as it is wide.

    The mean alone is held, so that single objects may be deeper or flatter. Relief is the standard deviation of depth
    inside the object's rough outline. Photos hardly tell it: a deeper relief with smaller turns and more frontal lights
    gives nearly the same pictures (the generalised bas-relief ambiguity). What sets the scale is this prior: an
    ellipsoid of half the outline's width in depth. `across` turns the mean of a part of a batch into that of the whole.
    """
    inside, expected = _round_body(canonical_depth.shape[-1], fov_deg, canonical_depth.device)
    relief = across(canonical_depth.flatten(1).index_select(1, inside).std(dim=1, correction=0).mean())
    return ((relief + 1e-6) / expected).log().square()


def spread_loss(raw_depth: Float[Tensor, "batch height width"], across: AcrossParts = one_part) -> Float[Tensor, ""]:
    """Variance of raw depth over the batch, mean over the pixels. `across` as in `relief_loss`."""
    mean = across(raw_depth.mean(dim=0))
    centre = mean.detach()
    # The variance is the mean square about any centre, less the square of the centre's distance from the mean. That is
    # zero here and has no slope, so threads need no gradients of others; its curvature counts for learned graphs.
    return (raw_depth - centre).square().mean() - (mean - centre).square().mean()


@lru_cache(maxsize=16)
def _round_body(size: int, fov_deg: float, device: torch.device) -> tuple[Tensor, float]:
    """Numbers of the pixels inside the outline, and the standard deviation of the ellipsoid's depth there."""
    axis = torch.linspace(-1, 1, size)
    level = 1 - (axis[None, :] / OBJECT_HALF_WIDTH) ** 2 - (axis[:, None] / OBJECT_HALF_HEIGHT) ** 2
    inside = level > 0
    half_depth = OBJECT_HALF_WIDTH * math.tan(math.radians(fov_deg) / 2)
    return inside.flatten().nonzero()[:, 0].to(device), float((half_depth * level[inside].sqrt()).std(correction=0))
