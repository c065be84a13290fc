"""Several models on one photo, side by side, with scores where the truth is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from scr3d.errors import ShapeError
from scr3d.export.media import colorize, normal_colors, to_uint8
from scr3d.models.autoencoder import Reconstruction
from scr3d.studio.library import NamedModel
from scr3d.studio.markup import box, escape, image, note, table
from scr3d.studio.photos import Frame, Photo
from scr3d.training.validation import compare_with_truth


@dataclass(frozen=True)
class Scores:
    """A model's scores on one synthetic head.

    Attributes:
        side_e2: scale-invariant depth error, x 1e-2.
        mad_deg: mean angle between normals, in degrees.
        coverage: share of the head that was scored.
    """

    side_e2: float
    mad_deg: float
    coverage: float


@dataclass(frozen=True)
class Comparison:
    """What one model makes of a photo.

    Attributes:
        model: which.
        result: its reconstruction.
        image_error: mean absolute difference of photo and reconstruction where the surface is seen, in [0, 1].
        scores: None where no truth is known.
    """

    model: NamedModel
    result: Reconstruction
    image_error: float
    scores: Scores | None


@torch.no_grad()
def compare(photo: Photo, frame: Frame, models: Sequence[NamedModel]) -> list[Comparison]:
    """Reconstruct a photo with every model.

    Args:
        photo: the photo; a synthetic head is rendered anew in each model's size, with its truth.
        frame: of the photo; truth is known for the plain frame alone.
        models: one or more.
    """
    if not models:
        raise ShapeError("expected at least one model to compare, got none")
    found = []
    for model in models:
        network = model.network
        size = network.config.size
        picture = photo.image(size, frame).to(network.border.device)
        result = network.reconstruct(picture)
        error = (result.image.clamp(0, 1) - picture).abs().mean(1)[result.mask].mean()
        scores = None
        if photo.head is not None and frame == Frame():
            depth = compare_with_truth(network, result, photo.head.truth(size)).depth
            scores = Scores(100 * float(depth.side[0]), float(depth.mad_deg[0]), float(depth.coverage[0]))
        found.append(Comparison(model, result, float(error), scores))
    return found


def as_table(photo: Photo, found: Sequence[Comparison]) -> str:
    """The comparison as HTML; the best score of each kind is bold."""
    scored = [one.scores for one in found if one.scores is not None]
    best = (min(s.side_e2 for s in scored), min(s.mad_deg for s in scored)) if scored else (None, None)
    rows = []
    for one in found:
        structure = f"<span style='font-weight:400;opacity:.75'>{escape(one.model.structure)}</span>"
        name = f"{escape(one.model.name)}<br>{structure}"
        result = one.result
        inner = result.factors.canonical_depth[0]
        pictures = {
            "reconstruction": to_uint8(result.image[0]),
            "depth": to_uint8(colorize(-result.view_depth[0], -float(inner.max()), -float(inner.min()))),
            "normals": to_uint8(normal_colors(result.canonical_normal[0])),
            "albedo": to_uint8(result.factors.canonical_albedo[0]),
        }
        style = "width:100%;min-width:3.2em"
        shown = [image(pixels, f"{what}, {one.model.name}", style) for what, pixels in pictures.items()]
        rows.append([name, *shown])
        words = f"image error {one.image_error:.3f}"
        if one.scores is not None:
            side, mad = (
                f"<b>{text}</b>" if value == least else text
                for text, value, least in (
                    (f"SIDE {one.scores.side_e2:.3f}", one.scores.side_e2, best[0]),
                    (f"MAD {one.scores.mad_deg:.2f}°", one.scores.mad_deg, best[1]),
                )
            )
            words = f"{side}<br>{mad}<br>coverage {one.scores.coverage:.2f}<br>{words}"
        rows[-1][0] += f"<div style='font-weight:400;white-space:nowrap'>{words}</div>"
    known = (
        "SIDE is x 1e-2 and MAD in degrees; lower is better. One head says little: scr3d evaluate scores a whole split."
    )
    unknown = "Nothing true is known about this photo: take a synthetic head to see SIDE and MAD."
    heading = ("", "picture", "depth", "normals", "albedo")
    return box(table(heading, rows)) + note(known if scored else unknown)
