"""How good a reconstruction is, measured against the truth: SIDE, MAD, coverage and factor errors.

All depth maps here are in the **input view**. Foreground is per image; both masks are eroded by one pixel, so
that no normal reaches across a silhouette. A method may not gain by masking pixels away: every score comes with
its coverage, and the strict scores count an uncovered foreground pixel as a fixed large error.

    >>> import torch
    >>> from scr3d.geometry import Camera, DepthRange
    >>> from scr3d.metrics import depth_scores
    >>> true = torch.ones(1, 16, 16)
    >>> seen = torch.ones(1, 16, 16, dtype=torch.bool)
    >>> scores = depth_scores(1.05 * true, seen, true, seen, Camera(16, 16), DepthRange())
    >>> round(float(scores.side), 4), float(scores.coverage)  # a depth that is too large by a factor costs nothing
    (0.0, 1.0)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from scr3d.errors import ShapeError
from scr3d.geometry.camera import Camera, DepthRange
from scr3d.geometry.normals import normals_from_depth

UNCOVERED_ANGLE_DEG = 90.0
"""Normal error of a foreground pixel that the prediction leaves uncovered, in the strict score."""


@dataclass(frozen=True)
class DepthScores:
    """Scores of every image of a batch.

    Attributes:
        side: scale-invariant depth error over valid pixels (not multiplied by 100); NaN where there are none.
        mad_deg: mean angle deviation of normals over valid pixels, in degrees; NaN where there are none.
        coverage: share of the true foreground that is valid.
        strict_side: like `side` over the whole true foreground, uncovered pixels at log(far / near).
        strict_mad_deg: like `mad_deg` over the whole true foreground, uncovered pixels at 90 degrees.
    """

    side: Float[Tensor, " batch"]
    mad_deg: Float[Tensor, " batch"]
    coverage: Float[Tensor, " batch"]
    strict_side: Float[Tensor, " batch"]
    strict_mad_deg: Float[Tensor, " batch"]

    @staticmethod
    def cat(parts: list[DepthScores]) -> DepthScores:
        """Join the scores of several batches."""
        names = [field.name for field in fields(DepthScores)]
        return DepthScores(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


def erode(mask: Bool[Tensor, "batch height width"]) -> Bool[Tensor, "batch height width"]:
    """Pixels whose 3x3 neighbourhood lies in the mask; the outside of the image does not count against them."""
    return F.max_pool2d(-mask.float()[:, None], 3, stride=1, padding=1)[:, 0] == -1


def depth_scores(
    predicted: Float[Tensor, "batch height width"],
    predicted_mask: Bool[Tensor, "batch height width"],
    true: Float[Tensor, "batch height width"],
    foreground: Bool[Tensor, "batch height width"],
    camera: Camera,
    depth_range: DepthRange,
) -> DepthScores:
    """SIDE, MAD and coverage of every image ([U], section 4.1; coverage and strict scores are ours).

    Args:
        predicted: predicted depth in the input view; any finite value outside its mask.
        predicted_mask: pixels the prediction covers.
        true: true depth; any finite value outside the foreground.
        foreground: pixels of the object.
        camera: intrinsics for the normals.
        depth_range: for the error of an uncovered pixel, log(far / near).

    Raises:
        ShapeError: the maps differ in shape.
    """
    angle = angle_deg(normals_from_depth(predicted, camera), normals_from_depth(true, camera))
    return _scores(predicted, predicted_mask, true, foreground, angle, depth_range)


def depth_scores_from_normals(
    predicted: Float[Tensor, "batch height width"],
    predicted_normal: Float[Tensor, "batch 3 height width"],
    true: Float[Tensor, "batch height width"],
    foreground: Bool[Tensor, "batch height width"],
    camera: Camera,
    depth_range: DepthRange,
) -> DepthScores:
    """Like `depth_scores` for a prediction that covers everything and states its own normals."""
    angle = angle_deg(predicted_normal, normals_from_depth(true, camera))
    return _scores(predicted, torch.ones_like(foreground), true, foreground, angle, depth_range)


def angle_deg(
    first: Float[Tensor, "batch 3 height width"], second: Float[Tensor, "batch 3 height width"]
) -> Float[Tensor, "batch height width"]:
    """Angle between unit vectors, in degrees."""
    return torch.rad2deg((first * second).sum(1).clamp(-1, 1).acos())


def masked_image_mean(
    values: Float[Tensor, "batch height width"], mask: Bool[Tensor, "batch height width"]
) -> Float[Tensor, " batch"]:
    """Mean over the masked pixels of every image; NaN where the mask is empty."""
    total = torch.where(mask, values, 0.0).sum(dim=(1, 2))
    return total / mask.sum(dim=(1, 2))


def _scores(
    predicted: Tensor,
    predicted_mask: Tensor,
    true: Tensor,
    foreground: Tensor,
    angle: Tensor,
    depth_range: DepthRange,
) -> DepthScores:
    if not predicted.shape == predicted_mask.shape == true.shape == foreground.shape:
        raise ShapeError(
            "predicted, predicted_mask, true and foreground must have one shape (batch, height, width), got "
            f"{tuple(predicted.shape)}, {tuple(predicted_mask.shape)}, {tuple(true.shape)}, {tuple(foreground.shape)}"
        )
    scored = erode(foreground)
    valid = scored & erode(predicted_mask)
    uncovered = scored & ~valid
    delta = torch.where(valid, predicted.clamp(min=1e-6).log() - true.clamp(min=1e-6).log(), 0.0)
    centered = delta - masked_image_mean(delta, valid).nan_to_num()[:, None, None]
    squared = centered.square()
    worst = math.log(depth_range.far / depth_range.near) ** 2
    return DepthScores(
        side=masked_image_mean(squared, valid).sqrt(),
        mad_deg=masked_image_mean(angle, valid),
        coverage=valid.sum(dim=(1, 2)) / scored.sum(dim=(1, 2)),
        strict_side=masked_image_mean(torch.where(uncovered, worst, squared), scored).sqrt(),
        strict_mad_deg=masked_image_mean(torch.where(uncovered, UNCOVERED_ANGLE_DEG, angle), scored),
    )


def log_depth_parts(
    depth: Float[Tensor, "batch height width"], mask: Bool[Tensor, "batch height width"]
) -> tuple[Float[Tensor, "batch 3"], Float[Tensor, "batch height width"]]:
    """Log depth split into its best-fitting plane and the rest.

    Returns:
        The plane's slopes along x and y (per image width) and its level; and the relief, 0 outside the mask.
    """
    height, width = depth.shape[1:]
    y, x = torch.meshgrid(
        torch.linspace(-0.5, 0.5, height, device=depth.device),
        torch.linspace(-0.5, 0.5, width, device=depth.device),
        indexing="ij",
    )
    basis = torch.stack([x, y, torch.ones_like(x)], dim=-1).flatten(0, 1).double()
    weight = mask.flatten(1).double()
    log_depth = torch.where(mask, depth.clamp(min=1e-6).log(), 0.0).flatten(1).double()
    normal_matrix = torch.einsum("bp,pi,pj->bij", weight, basis, basis) + 1e-9 * torch.eye(3, device=depth.device)
    moments = torch.einsum("bp,pi->bi", weight * log_depth, basis)
    plane = torch.linalg.solve(normal_matrix, moments)
    relief = (log_depth - plane @ basis.T) * weight
    return plane.float(), relief.view_as(depth).float()


def correlation(first: Float[Tensor, " n"], second: Float[Tensor, " n"]) -> float:
    """Pearson correlation; NaN where one of them does not vary."""
    first, second = first.double() - first.double().mean(), second.double() - second.double().mean()
    return float((first * second).sum() / (first.norm() * second.norm()))


def slope(predicted: Float[Tensor, " n"], true: Float[Tensor, " n"]) -> float:
    """Slope of the regression of predicted on true: 1 is right, below 1 is timid."""
    true_centered = true.double() - true.double().mean()
    return float((true_centered * predicted.double()).sum() / true_centered.square().sum())


def scale_invariant_error(
    predicted: Float[Tensor, "batch 3 height width"],
    true: Float[Tensor, "batch 3 height width"],
    mask: Bool[Tensor, "batch height width"],
) -> Float[Tensor, " batch"]:
    """Root mean square error of every image after the best common factor on the prediction.

    Brightness can move between albedo and light, so one factor per image is free.
    """
    weight = mask[:, None].to(predicted)
    product = (weight * predicted * true).sum(dim=(1, 2, 3))
    scale = product / (weight * predicted.square()).sum(dim=(1, 2, 3)).clamp(min=1e-12)
    error = (weight * (scale[:, None, None, None] * predicted - true).square()).sum(dim=(1, 2, 3))
    return (error / (3 * mask.sum(dim=(1, 2)))).sqrt()
