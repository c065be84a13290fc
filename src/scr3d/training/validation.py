"""Scores of a model on held-out images, and the signs that tell a good run from a stuck one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from scr3d.data.dataset import Batch, Dataset, Truth
from scr3d.evaluation_config import EvaluateConfig
from scr3d.factors import Factors
from scr3d.metrics import (
    DepthScores,
    correlation,
    depth_scores,
    log_depth_parts,
    scale_invariant_error,
    slope,
)
from scr3d.models.autoencoder import PhotoGeometricAutoencoder, Reconstruction
from scr3d.models.config import DepthStart
from scr3d.models.start import start_surface
from scr3d.processes import ALONE, Group
from scr3d.rendering import look_up, sample_view
from scr3d.training.recipe import Recipe
from scr3d.training.step import Target, explain_sides, reconstruction_losses, supervised_losses

EVALUATION_BATCH = EvaluateConfig.batch_size


@dataclass(frozen=True)
class TrueComparison:
    """Predictions against the truth, per image.

    Attributes:
        depth: SIDE, MAD and coverage.
        relief_correlation: of log depth without its best-fitting plane.
        tilt: slopes (x, y) of the plane of predicted log depth.
        true_tilt: likewise for the truth.
        albedo_error: scale-invariant root mean square error; NaN where unknown.
        rotation_rad: predicted angles.
        true_rotation_rad: true angles; NaN where unknown.
        light_direction: predicted direction in the canonical frame.
        true_light_direction: true direction; NaN where unknown.
    """

    depth: DepthScores
    relief_correlation: Float[Tensor, " batch"]
    tilt: Float[Tensor, "batch 2"]
    true_tilt: Float[Tensor, "batch 2"]
    albedo_error: Float[Tensor, " batch"]
    rotation_rad: Float[Tensor, "batch 3"]
    true_rotation_rad: Float[Tensor, "batch 3"]
    light_direction: Float[Tensor, "batch 3"]
    true_light_direction: Float[Tensor, "batch 3"]

    @staticmethod
    def cat(parts: list[TrueComparison]) -> TrueComparison:
        """Join the comparisons of several batches."""
        joined = {
            name: torch.cat([getattr(part, name) for part in parts])
            for name in TrueComparison.__dataclass_fields__
            if name != "depth"
        }
        return TrueComparison(DepthScores.cat([part.depth for part in parts]), **joined)


def evaluation_batches(count: int, limit: int, batch_size: int = EVALUATION_BATCH) -> Iterator[np.ndarray]:
    """Indices of the first `limit` samples in blocks."""
    for start in range(0, min(count, limit), batch_size):
        yield np.arange(start, min(start + batch_size, count, limit))


def compare_with_truth(model: PhotoGeometricAutoencoder, explained: Reconstruction, truth: Truth) -> TrueComparison:
    """Score the reconstructions of a batch against the truth."""
    scores = depth_scores(
        explained.view_depth, explained.mask, truth.depth, truth.foreground, model.camera, model.depth_range
    )
    valid = truth.foreground & explained.mask
    tilt, relief = log_depth_parts(explained.view_depth, valid)
    true_tilt, true_relief = log_depth_parts(truth.depth, valid)
    product = (relief * true_relief).sum(dim=(1, 2))
    norm = relief.square().sum(dim=(1, 2)).sqrt() * true_relief.square().sum(dim=(1, 2)).sqrt()
    batch = len(valid)
    unknown = torch.full((batch, 3), math.nan, device=valid.device)
    albedo_error = unknown[:, 0]
    if truth.albedo is not None:
        sampling = sample_view(
            explained.factors.canonical_depth, explained.factors.view, model.camera, model.depth_range
        )
        albedo_error = scale_invariant_error(look_up(explained.factors.canonical_albedo, sampling), truth.albedo, valid)
    return TrueComparison(
        scores,
        product / norm.clamp(min=1e-12),
        tilt[:, :2],
        true_tilt[:, :2],
        albedo_error,
        explained.factors.view.rotation_rad,
        unknown if truth.view is None else truth.view.rotation_rad,
        explained.factors.light.direction,
        unknown if truth.light is None else truth.light.direction,
    )


@dataclass(frozen=True)
class Block:
    """What is known of one block of validation images.

    Attributes:
        loss: held-out loss, times the number of images.
        coverage: share of the frame that is covered, of every image.
        factors: predicted.
        comparison: with the truth, if there is one.
    """

    loss: float
    coverage: Float[Tensor, " batch"]
    factors: Factors
    comparison: TrueComparison | None


@torch.no_grad()
def validate(
    model: PhotoGeometricAutoencoder,
    features: nn.Module,
    data: Dataset,
    recipe: Recipe,
    limit: int,
    group: Group = ALONE,
) -> dict[str, float]:
    """Scalars of a model on the first `limit` images; the processes of a group share them, and get the same scalars.

    Returns:
        `reconstruction` (held-out loss), `coverage_frame`, spreads of view and light; where truth exists also
        `side_e2` (x 1e-2), `mad_deg`, `coverage`, and the correlations of relief, tilt, yaw and light.
    """
    device = next(model.parameters()).device
    own = []
    for number, indices in group.own(evaluation_batches(len(data), limit)):
        batch = data.batch(indices, device)
        loss, explained = held_out(model, features, batch, recipe)
        compared = None if batch.truth is None else compare_with_truth(model, explained, batch.truth)
        coverage = explained.mask.float().mean(dim=(1, 2))
        own.append((number, Block(loss * len(indices), coverage, explained.factors, compared)))
    blocks = group.in_order(own)
    coverage = torch.cat([block.coverage for block in blocks])
    loss = sum(block.loss for block in blocks) / len(coverage)
    scalars = {"reconstruction": loss, "coverage_frame": float(coverage.mean())}
    scalars |= spreads([block.factors for block in blocks], model)
    comparisons = [block.comparison for block in blocks if block.comparison is not None]
    if comparisons:
        scalars |= summarise(TrueComparison.cat(comparisons))
    return scalars


def held_out(
    model: PhotoGeometricAutoencoder, features: nn.Module, batch: Batch, recipe: Recipe
) -> tuple[float, Reconstruction]:
    """Loss of a batch without regularisers (plain plus flipped, as in training), and the plain reconstruction."""
    factors = model.decode(model.encode(batch.image)).factors
    plain, flipped = explain_sides(factors, model.estimate_confidence(batch.image), model, recipe)
    if recipe.supervised:
        return float(supervised_losses(factors.canonical_depth, batch.truth, batch.mask).total), plain
    target = Target(batch.explained, batch.mask)
    return float(reconstruction_losses(plain, flipped, target, features, recipe).total), plain


def spreads(factors: list[Factors], model: PhotoGeometricAutoencoder) -> dict[str, float]:
    """What is seen without truth: how much the predictions vary, and whether the surface still is convex."""
    rotation = torch.rad2deg(torch.cat([f.view.rotation_rad for f in factors]))
    light = torch.cat([f.light.direction for f in factors])
    depth = torch.cat([f.canonical_depth for f in factors])
    albedo = torch.cat([f.canonical_albedo for f in factors])
    bump = start_surface(replace(model.config, depth_start=DepthStart.BUMP)).to(depth).flatten()
    return {
        "pitch_std_deg": float(rotation[:, 0].std(correction=0)),
        "yaw_std_deg": float(rotation[:, 1].std(correction=0)),
        "rotation_max_deg": float(rotation.abs().max()),
        "light_x_std": float(light[:, 0].std(correction=0)),
        "ambient": float(torch.cat([f.light.ambient for f in factors]).mean()),
        "diffuse": float(torch.cat([f.light.diffuse for f in factors]).mean()),
        "depth_range": float((depth.amax(dim=(1, 2)) - depth.amin(dim=(1, 2))).mean()),
        "convexity": correlation(depth.mean(0).flatten(), bump),
        "albedo_std": float(albedo.std(dim=(2, 3)).mean()),
    }


def summarise(comparison: TrueComparison) -> dict[str, float]:
    """Means and correlations over images."""
    scores = comparison.depth
    result = {
        "side_e2": 100 * float(scores.side.nanmean()),
        "mad_deg": float(scores.mad_deg.nanmean()),
        "coverage": float(scores.coverage.nanmean()),
        "strict_side_e2": 100 * float(scores.strict_side.nanmean()),
        "strict_mad_deg": float(scores.strict_mad_deg.nanmean()),
        "relief_correlation": float(comparison.relief_correlation.mean()),
        "tilt_x_correlation": correlation(comparison.tilt[:, 0], comparison.true_tilt[:, 0]),
        "tilt_y_correlation": correlation(comparison.tilt[:, 1], comparison.true_tilt[:, 1]),
    }
    if not comparison.albedo_error.isnan().all():
        result["albedo_error"] = float(comparison.albedo_error.nanmean())
    if not comparison.true_rotation_rad.isnan().any():
        yaw, true_yaw = comparison.rotation_rad[:, 1], comparison.true_rotation_rad[:, 1]
        pitch, true_pitch = comparison.rotation_rad[:, 0], comparison.true_rotation_rad[:, 0]
        result |= {
            "yaw_correlation": correlation(yaw, true_yaw),
            "yaw_slope": slope(yaw, true_yaw),
            "pitch_correlation": correlation(pitch, true_pitch),
            "pitch_slope": slope(pitch, true_pitch),
        }
    if not comparison.true_light_direction.isnan().any():
        light, true_light = comparison.light_direction, comparison.true_light_direction
        result["light_x_correlation"] = correlation(light[:, 0], true_light[:, 0])
        result["light_y_correlation"] = correlation(light[:, 1], true_light[:, 1])
    return result
