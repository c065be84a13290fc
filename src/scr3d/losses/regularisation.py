"""Priors that keep training away from known dead ends; all are mild and most decay."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def smoothness_loss(raw_depth: Float[Tensor, "batch height width"]) -> Float[Tensor, ""]:
    """Mean absolute second difference of raw depth, scaled so that it does not depend on resolution.

    A second difference shrinks with the square of the pixel, so it is multiplied by (width / 32)^2.
    """
    scale = (raw_depth.shape[-1] / 32) ** 2
    second_x = raw_depth[:, :, 2:] - 2 * raw_depth[:, :, 1:-1] + raw_depth[:, :, :-2]
    second_y = raw_depth[:, 2:] - 2 * raw_depth[:, 1:-1] + raw_depth[:, :-2]
    return scale * (second_x.abs().mean() + second_y.abs().mean())
