"""Reconstruction losses with learned confidence: minus log likelihoods of Laplace and normal errors."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from scr3d.errors import ShapeError
from scr3d.fused.dispatch import usable
from scr3d.fused.losses import confidence_loss
from scr3d.losses.parts import AcrossParts, one_part

EPSILON = 1e-7


def photometric_loss(
    reconstruction: Float[Tensor, "batch 3 height width"],
    target: Float[Tensor, "batch 3 height width"],
    sigma: Float[Tensor, "batch height width"],
    mask: Float[Tensor, "batch height width"] | None = None,
    across: AcrossParts = one_part,
) -> Float[Tensor, ""]:
    """Mean of sqrt(2) |delta| / (sigma + eps) + log(sigma + eps) over pixels and channels.

    Args:
        reconstruction: images in the scale of [-1, 1], not clamped.
        target: images in [-1, 1].
        sigma: expected error, positive.
        mask: weight of every pixel in [0, 1]; None weighs all alike. An empty mask gives 0.
        across: see `masked_mean`.

    Raises:
        ShapeError: the arguments do not fit together.

    Source: [U], equation 4.
    """
    _check(reconstruction, target, sigma, mask)

    def plain(reconstruction: Tensor, target: Tensor, sigma: Tensor) -> Tensor:
        scale = sigma[:, None] + EPSILON
        loss = math.sqrt(2) * (reconstruction - target).abs() / scale + scale.log()
        return masked_mean(loss, mask, across)

    return _mean(plain, reconstruction, target, sigma, mask, squared=False)


def perceptual_loss(
    reconstruction: Float[Tensor, "batch channels height width"],
    target: Float[Tensor, "batch channels height width"],
    sigma: Float[Tensor, "batch height width"],
    mask: Float[Tensor, "batch height width"] | None = None,
    across: AcrossParts = one_part,
) -> Float[Tensor, ""]:
    """Mean of delta^2 / (2 sigma^2 + eps) + log(sigma + eps) over positions and channels of features.

    Args:
        reconstruction: features of the reconstruction.
        target: features of the image.
        sigma: expected error, positive.
        mask: weight of every position in [0, 1]; None weighs all alike. An empty mask gives 0.
        across: see `masked_mean`.

    Raises:
        ShapeError: the arguments do not fit together.

    Source: [U], equation 7.
    """
    _check(reconstruction, target, sigma, mask)

    def plain(reconstruction: Tensor, target: Tensor, sigma: Tensor) -> Tensor:
        sigma = sigma[:, None]
        loss = (reconstruction - target).square() / (2 * sigma.square() + EPSILON) + (sigma + EPSILON).log()
        return masked_mean(loss, mask, across)

    return _mean(plain, reconstruction, target, sigma, mask, squared=True)


def _mean(
    plain: Callable[[Tensor, Tensor, Tensor], Tensor],
    reconstruction: Tensor,
    target: Tensor,
    sigma: Tensor,
    mask: Tensor | None,
    *,
    squared: bool,
) -> Tensor:
    """The plain form's value, by the kernel where it can: it knows no mask and gives the target no gradient."""
    inputs = (reconstruction, target, sigma)
    if mask is None and not target.requires_grad and usable(*inputs):
        return confidence_loss(plain, *inputs, squared, EPSILON)
    return plain(*inputs)


def masked_mean(
    values: Float[Tensor, "batch channels height width"],
    mask: Float[Tensor, "batch height width"] | None,
    across: AcrossParts = one_part,
) -> Float[Tensor, ""]:
    """Mean over the batch, channels and positions, weighted by the mask; 0 for an empty mask.

    In a batch that is computed in parts, `across` turns a part's total weight into its share of all parts'.
    """
    if mask is None:
        return values.mean()
    weight = mask[:, None].to(values)
    # `where` keeps an infinite or undefined value under a zero weight out of the sum.
    weighted = torch.where(weight > 0, values, 0.0) * weight
    return weighted.sum() / (across(weight.sum(), summed=True) * values.shape[1]).clamp(min=EPSILON)


def _check(reconstruction: Tensor, target: Tensor, sigma: Tensor, mask: Tensor | None) -> None:
    plane = (reconstruction.shape[0], *reconstruction.shape[2:])
    if reconstruction.ndim != 4 or reconstruction.shape != target.shape:
        raise ShapeError(
            f"reconstruction and target must be the same (batch, channels, height, width), got "
            f"{tuple(reconstruction.shape)} and {tuple(target.shape)}"
        )
    for name, value in (("sigma", sigma), ("mask", mask)):
        if value is not None and value.shape != plane:
            raise ShapeError(f"{name} must be (batch, height, width) = {plane}, got {tuple(value.shape)}")
