"""Defaults of training for kinds of objects; without torch, since these are options.

`PAPER` holds what the authors of [U] published for their sets (their experiment files of CelebA faces, cats and
synthetic cars): shifts along the line of sight, border depth, smoothness, weights and epochs. What they have and this
program has not: the flipped loss of cats sets in after ten epochs; cars have no confidence and a diffuse light of at
least one half. `ROBUST` holds this project's choices for its own recipe; those for faces are measured
(docs/training.md), the others are not.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from scr3d.data.store import is_store, read_info
from scr3d.geometry.depth_range import DepthRange
from scr3d.models.config import ModelConfig
from scr3d.photos.options import Kind
from scr3d.training.recipe import Recipe


@dataclass(frozen=True)
class ObjectDefaults:
    """What is different for a kind of object.

    Attributes:
        model: options of the model.
        recipe: options of the losses.
        epochs: length of the run in passes over the training images; None leaves the usual number of images.
    """

    model: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    epochs: int | None = None


CAR_BORDER = DepthRange(border_share=0.9)
"""A border depth of 1.08."""
ROUND = {"start_taper": 1.0}
"""A start surface that is as round from top to bottom as from side to side; only heads stand on necks."""
PAPER = {
    Kind.FACE: ObjectDefaults(epochs=30),
    Kind.CAT: ObjectDefaults({"max_translation_z": 0.1}, epochs=200),
    Kind.CAR: ObjectDefaults(
        {"depth_range": CAR_BORDER},
        {"smoothness": 0.1, "smoothness_end": 0.1, "perceptual_weight": 0.01, "flip_weight": 1.0},
        epochs=100,
    ),
    Kind.OWN: ObjectDefaults({"max_translation_z": 0.1}),
}
ROBUST = {
    Kind.FACE: ObjectDefaults(),
    Kind.CAT: ObjectDefaults({"max_translation_z": 0.02, **ROUND}),
    # A car is longer than it is deep as seen from its side: the prior of a round body would be wrong.
    Kind.CAR: ObjectDefaults({"depth_range": CAR_BORDER, **ROUND}, {"flip_weight": 1.0, "relief_penalty": 0.0}),
    Kind.OWN: ObjectDefaults({"max_translation_z": 0.02, **ROUND}, {"relief_penalty": 0.0}),
}


def with_object(kind: Kind, recipe_name: str, model: ModelConfig, recipe: Recipe) -> tuple[ModelConfig, Recipe]:
    """Defaults of a named recipe (`scr3d.training.config.recipe_defaults`), changed for a kind of object.

    `supervised` learns from true depth and is the same for every kind.
    """
    if recipe_name == "supervised":
        return model, recipe
    chosen = (PAPER if recipe_name == "paper" else ROBUST)[kind]
    return replace(model, **chosen.model), replace(recipe, **chosen.recipe)


def images_of_epochs(kind: Kind, data: Path) -> int | None:
    """Length of the published run in images; None where the number of training images is not known yet."""
    epochs = PAPER[kind].epochs
    for folder in (data / "train", data):
        if epochs is not None and is_store(folder):
            return epochs * read_info(folder).count
    return None
