"""The numbers of an intervention: as plain JSON values, and as a short table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import scr3d
from scr3d.factors import FACTORS, Factor, Factors
from scr3d.interventions.apply import InterventionResult, Role
from scr3d.interventions.kinds import Intervention, OnCause
from scr3d.models.config import ModelConfig

FORMAT, VERSION = "scr3d-intervention", 1
TABLE_ROW = "{:8} {:10} {:>10} {:>10}  {}"


@dataclass(frozen=True)
class Request:
    """What was asked for.

    Attributes:
        image: name of the image.
        model: name of the model.
        config: of the model.
        interventions: what is done.
        specs: each of them as it was written, `light=from:folder/other.png`.
        labels: the same in short, `do(light=from:other.png)`.
    """

    image: str
    model: str
    config: ModelConfig
    interventions: Sequence[Intervention]
    specs: Sequence[str]
    labels: Sequence[str]


def record(request: Request, result: InterventionResult) -> dict[str, Any]:
    """Everything about the first image as plain JSON values."""
    config = request.config
    return {
        "format": FORMAT,
        "version": VERSION,
        "scr3d": scr3d.__version__,
        "image": request.image,
        "model": request.model,
        "structure": str(config.structure),
        "order": config.order,
        "mixing": str(config.mixing),
        "interventions": [
            {
                "on": "cause" if isinstance(item, OnCause) else "value",
                "factor": item.factor.name.lower(),
                "spec": spec,
            }
            for item, spec in zip(request.interventions, request.specs, strict=True)
        ],
        "weights": {
            "layout": "weights[child][parent], in the order view, depth, light, albedo",
            "before": result.before.weights[0].tolist(),
            "after": result.after.weights[0].tolist(),
        },
        "factors": {factor.name.lower(): _factor_record(result, factor) for factor in FACTORS},
        "image_mean_abs_difference": float(result.movement.image[0]),
    }


def _factor_record(result: InterventionResult, factor: Factor) -> dict[str, Any]:
    column = FACTORS.index(factor)
    return {
        "role": str(result.roles()[factor]),
        "must_follow": bool(result.must_follow[0, column]),
        "changed": bool(result.changed[0, column]),
        "own_embedding_relative_distance": float(result.movement.own_embedding[0, column]),
        "mixed_embedding_relative_distance": float(result.movement.mixed_embedding[0, column]),
        "moved": distances(result, factor),
        "before": _values(result.before.reconstruction.factors, factor),
        "after": _values(result.after.reconstruction.factors, factor),
    }


def distances(result: InterventionResult, factor: Factor) -> dict[str, float]:
    """How far a factor of the first image moved, in its own units."""
    moved = result.movement
    found = {
        Factor.VIEW: {"rotation_deg": moved.rotation_deg, "shift": moved.shift},
        Factor.DEPTH: {"mean_abs_log_depth": moved.log_depth},
        Factor.LIGHT: {
            "direction_deg": moved.light_angle_deg,
            "ambient": moved.ambient,
            "diffuse": moved.diffuse,
        },
        Factor.ALBEDO: {"mean_abs_albedo": moved.albedo},
    }[factor]
    return {name: float(value[0]) for name, value in found.items()}


def _values(factors: Factors, factor: Factor) -> dict[str, float]:
    match factor:
        case Factor.VIEW:
            angles = (math.degrees(angle) for angle in factors.view.rotation_rad[0].tolist())
            names = ("pitch_deg", "yaw_deg", "roll_deg", "x", "y", "z")
            return dict(zip(names, (*angles, *factors.view.translation[0].tolist()), strict=True))
        case Factor.LIGHT:
            x, y, z = factors.light.direction[0].tolist()
            return {
                "ambient": float(factors.light.ambient[0]),
                "diffuse": float(factors.light.diffuse[0]),
                "x": x / z,
                "y": y / z,
            }
        case Factor.DEPTH:
            depth = factors.canonical_depth[0]
            return {"mean": float(depth.mean()), "nearest": float(depth.min()), "farthest": float(depth.max())}
        case Factor.ALBEDO:
            red, green, blue = factors.canonical_albedo[0].mean(dim=(1, 2)).tolist()
            return {"mean_red": red, "mean_green": green, "mean_blue": blue}


def in_words(result: InterventionResult, factor: Factor) -> str:
    """How far a factor of the first image moved, as a short phrase."""
    if not result.changed[0, FACTORS.index(factor)]:
        return "same to the last bit"
    moved = distances(result, factor)
    match factor:
        case Factor.VIEW:
            return f"turned {moved['rotation_deg']:.1f}°, shifted {moved['shift']:.4f}"
        case Factor.LIGHT:
            strengths = f"ambient {moved['ambient']:+.2f}, diffuse {moved['diffuse']:+.2f}"
            return f"direction {moved['direction_deg']:.1f}°, {strengths}"
        case Factor.DEPTH:
            return f"mean |Δ log depth| {moved['mean_abs_log_depth']:.4f}"
        case Factor.ALBEDO:
            return f"mean |Δ albedo| {moved['mean_abs_albedo']:.3f}"


def table(result: InterventionResult) -> str:
    """One line for every factor of the first image and one for the picture."""
    lines = [TABLE_ROW.format("factor", "role", "own emb.", "mixed emb.", "moved")]
    for column, (factor, role) in enumerate(result.roles().items()):
        shares = (result.movement.own_embedding[0, column], result.movement.mixed_embedding[0, column])
        percent = (f"{100 * float(share):.1f} %" if share else "-" for share in shares)
        lines.append(TABLE_ROW.format(factor.name.lower(), role, *percent, in_words(result, factor)))
    difference = f"mean |Δ| {float(result.movement.image[0]):.3f}"
    lines.append(TABLE_ROW.format("picture", "", "", "", difference))
    unexpected = [factor.name.lower() for factor, role in result.roles().items() if role is Role.UNEXPECTED]
    if unexpected:
        lines.append(
            f"{', '.join(unexpected)} changed although the graph leads no effect there: this device does not compute "
            "the same bits twice; use --device cpu"
        )
    return "\n".join(line.rstrip() for line in lines)
