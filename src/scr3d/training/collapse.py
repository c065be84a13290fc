"""Collapse in plain words: states that training does not come back from by itself."""

from __future__ import annotations

import math

from scr3d.training.recipe import Recipe

GRACE_IMAGES = 25_000
MIN_COVERAGE = 0.5
MIN_ALBEDO_STD = 0.02
MIN_CONVEXITY = -0.3
MIN_DEPTH_RANGE = 0.01
MAX_ROTATION_STD_DEG = 45.0


def find_collapse(scalars: dict[str, float], images_seen: int, recipe: Recipe) -> str | None:
    """What has gone wrong and what to try, or None.

    Args:
        scalars: of `scr3d.training.validation.validate`.
        images_seen: early states are not judged, except for numbers that are not finite.
        recipe: the losses in use, for the advice.
    """
    if not math.isfinite(scalars["reconstruction"]):
        return "the reconstruction loss is not a finite number; lower --rate"
    if recipe.supervised or images_seen < GRACE_IMAGES + recipe.view_warmup:
        return None
    if scalars["coverage_frame"] < MIN_COVERAGE or scalars["yaw_std_deg"] > MAX_ROTATION_STD_DEG:
        advice = (
            "use --recipe robust" if recipe.masked else "raise --rotation-penalty and --view-warmup, or lower --rate"
        )
        return (
            f"views have run away: the surface covers {scalars['coverage_frame']:.0%} of the frame and yaw varies by "
            f"{scalars['yaw_std_deg']:.0f} degrees; {advice}"
        )
    if scalars["albedo_std"] < MIN_ALBEDO_STD:
        return (
            f"albedo is nearly constant (standard deviation {scalars['albedo_std']:.3f}): shape and light explain the "
            "picture alone; raise --smoothness, lower --rate"
        )
    if scalars["convexity"] < MIN_CONVEXITY:
        return (
            "the surface is inside out: its middle lies behind its edge; start from the bump (--depth-start bump), "
            "raise --smoothness, or try another --seed"
        )
    if scalars["depth_range"] < MIN_DEPTH_RANGE:
        return (
            f"the surface is flat (depth varies by {scalars['depth_range']:.3f}): lower --smoothness, and check that "
            "the photos show the object from different sides"
        )
    return None
