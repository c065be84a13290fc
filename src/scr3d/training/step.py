"""The loss of one batch: the forward pass of training, from images to one number."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from scr3d.data.dataset import Batch, Truth
from scr3d.errors import DataError
from scr3d.factors import Factors, cat_factors
from scr3d.losses import perceptual_loss, photometric_loss, relief_loss, smoothness_loss, spread_loss
from scr3d.losses.parts import AcrossParts, one_part
from scr3d.models.autoencoder import PhotoGeometricAutoencoder, RawFactors, Reconstruction, explain
from scr3d.models.confidence import Confidence
from scr3d.models.layers import widened
from scr3d.training.recipe import Moment, Recipe


@dataclass(frozen=True)
class Losses:
    """The loss of a batch and its parts.

    Attributes:
        total: what is minimised.
        reconstruction: photometric plus perceptual loss, of the plain plus the flipped reconstruction.
        parts: single terms without their weights, by name.
    """

    total: Float[Tensor, ""]
    reconstruction: Float[Tensor, ""]
    parts: dict[str, Tensor]


@dataclass(frozen=True)
class Target:
    """What a reconstruction is compared with.

    Attributes:
        image: RGB in [0, 1].
        mask: weight of each pixel in [0, 1]; None weighs all alike.
    """

    image: Float[Tensor, "batch 3 size size"]
    mask: Float[Tensor, "batch size size"] | None = None


def training_loss(
    model: PhotoGeometricAutoencoder,
    features: nn.Module,
    batch: Batch,
    recipe: Recipe,
    when: int | Moment,
    across: AcrossParts = one_part,
) -> Losses:
    """Loss of a batch of images in [0, 1] ([U], section 3; [SCR], equation 2; regularisers are ours).

    `when` is the number of images seen so far, or the recipe at that moment. For a part of a batch, `across` turns its
    means into those of the whole batch, see `scr3d.training.parallel`. Nothing here waits for the device or sends it
    numbers, so that a CUDA graph can repeat it (`scr3d.training.captured`).
    """
    image, moment = batch.image, recipe.at(when) if isinstance(when, int) else when
    if recipe.supervised:
        return supervised_losses(model.decode(model.encode(image)).factors.canonical_depth, batch.truth, batch.mask)
    raw = model.decode(model.encode(image), moment.view_scale)
    plain, flipped = explain_sides(raw.factors, model.estimate_confidence(image), model, recipe)
    losses = reconstruction_losses(plain, flipped, Target(batch.explained, batch.mask), features, recipe, across)
    regularisers = regularisation(raw, moment.weights, recipe.smoothness_limit, model.config.fov_deg, across)
    total = losses.total + sum(moment.weights[name] * term for name, term in regularisers.items())
    return replace(losses, total=total, parts=losses.parts | regularisers)


def supervised_losses(
    depth: Float[Tensor, "batch size size"],
    truth: Truth | None,
    mask: Float[Tensor, "batch size size"] | None = None,
) -> Losses:
    """Mean absolute error of log depth over the true foreground, after the best common scale of each image.

    The upper bound that a depth network reaches when it is told the depth ([U], section 4.2: L1).

    Raises:
        DataError: the data knows no depth.
    """
    if truth is None:
        raise DataError("--recipe supervised needs true depth, which this data set does not have")
    weight = truth.foreground.float() if mask is None else truth.foreground * mask
    count = weight.sum(dim=(1, 2)).clamp(min=1)
    error = depth.log() - truth.depth.log()
    mean = (error * weight).sum(dim=(1, 2)) / count
    loss = (100 * ((error - mean[:, None, None]).abs() * weight).sum(dim=(1, 2)) / count).mean()
    return Losses(loss, loss, {"depth": loss})


def explain_sides(
    factors: Factors, confidence: Confidence, model: PhotoGeometricAutoencoder, recipe: Recipe
) -> tuple[Reconstruction, Reconstruction | None]:
    """The plain reconstruction, and that from the flipped canonical maps where the recipe wants it."""
    if recipe.flips:
        return explain_both(factors, confidence, model, recipe.continued)
    maps = widened(confidence.pixel)[:, 0], widened(confidence.perceptual)[:, 0]
    return explain(factors, model.camera, model.config, *maps, recipe.continued), None


def explain_both(
    factors: Factors, confidence: Confidence, model: PhotoGeometricAutoencoder, continued: bool
) -> tuple[Reconstruction, Reconstruction]:
    """The plain reconstruction and that from the flipped canonical maps, rendered in one go."""
    both = explain(
        cat_factors([factors, flip_canonical(factors)]),
        model.camera,
        model.config,
        widened(confidence.pixel).transpose(0, 1).flatten(0, 1),
        widened(confidence.perceptual).transpose(0, 1).flatten(0, 1),
        continued,
    )
    size = len(factors.canonical_depth)
    return both[:size], both[size:]


def flip_canonical(factors: Factors) -> Factors:
    """The factors with mirrored depth and albedo, the same view and light: a symmetric object does not change."""
    return replace(
        factors,
        canonical_depth=factors.canonical_depth.flip(-1),
        canonical_albedo=factors.canonical_albedo.flip(-1),
    )


def reconstruction_losses(
    plain: Reconstruction,
    flipped: Reconstruction | None,
    target: Target,
    features: nn.Module,
    recipe: Recipe,
    across: AcrossParts = one_part,
) -> Losses:
    """Photometric and perceptual losses of the reconstructions; masks carry no gradient.

    Pixels count by the mask that came with the image, if there is one, and with `recipe.masked` only where every
    reconstruction covers them.
    """
    image, mask = target.image, target.mask
    sides = {"plain": plain} if flipped is None else {"plain": plain, "flipped": flipped}
    with torch.no_grad():
        target_features = features(image)
    seen_features = features(torch.cat([side.image for side in sides.values()])).chunk(len(sides))
    if recipe.masked:
        covered = torch.stack([side.mask for side in sides.values()]).all(0).float()
        mask = covered if mask is None else covered * mask
    coarse_mask = None if mask is None else F.avg_pool2d(mask, mask.shape[-1] // target_features.shape[-1])
    terms = {
        name: (
            photometric_loss(side.image * 2 - 1, image * 2 - 1, side.confidence, mask, across),
            perceptual_loss(seen, target_features, side.perceptual_confidence, coarse_mask, across),
        )
        for (name, side), seen in zip(sides.items(), seen_features, strict=True)
    }
    total = sum_terms(terms["plain"], recipe)
    parts = {"photometric": terms["plain"][0], "perceptual": terms["plain"][1]}
    if flipped is not None:
        total = total + recipe.flip_weight * sum_terms(terms["flipped"], recipe)
        parts |= {"flipped_photometric": terms["flipped"][0], "flipped_perceptual": terms["flipped"][1]}
    return Losses(total, total, parts | {"coverage": plain.mask.float().mean()})


def sum_terms(terms: tuple[Tensor, Tensor], recipe: Recipe) -> Tensor:
    """Photometric plus weighted perceptual term."""
    return terms[0] + recipe.perceptual_weight * terms[1]


def regularisation(
    raw: RawFactors,
    names: Iterable[str],
    smoothness_limit: float,
    fov_deg: float,
    across: AcrossParts = one_part,
) -> dict[str, Tensor]:
    """Value of every regulariser that is named."""
    slopes = raw.factors.light.direction[:, :2] / raw.factors.light.direction[:, 2:]
    terms = {
        "smoothness": lambda: smoothness_loss(raw.raw_depth, smoothness_limit),
        "rotation_penalty": lambda: raw.raw_view[:, :3].square().mean(),
        "translation_penalty": lambda: raw.raw_view[:, 3:].square().mean(),
        "relief_penalty": lambda: relief_loss(raw.factors.canonical_depth, fov_deg, across),
        "shape_penalty": lambda: spread_loss(raw.raw_depth, across),
        "light_penalty": lambda: slopes.square().mean(),
    }
    return {name: terms[name]() for name in names}
