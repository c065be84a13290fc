"""Fitting to one photo: from the network's answer on, with the losses of training.

What is fitted are the four embeddings from which the factors are decoded, after the causal structure has mixed them, so
every fitted factor is still one that the decoders know. Confidence and features stay those of the network. Adam takes
steps of its own size for each factor: views and lights gain from long ones, a shape moves little before it gets worse.
The rates were chosen on the validation heads and scored on the test heads: docs/photos.md, results/refine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor

from scr3d.errors import ConfigError
from scr3d.factors import FACTORS, Factor
from scr3d.losses.features import squeezenet_features
from scr3d.models.autoencoder import PhotoGeometricAutoencoder, Reconstruction, explain
from scr3d.models.confidence import Confidence
from scr3d.models.layers import widened
from scr3d.training.recipe import Recipe
from scr3d.training.step import Target, explain_sides, reconstruction_losses

BETAS = (0.9, 0.99)
"""Decay of Adam's moments; the second is shorter than usual, since so are the fits."""


@dataclass(frozen=True)
class RefineOptions:
    """How a photo is fitted."""

    steps: int = 40
    """Steps of Adam."""
    view_rate: float = 0.05
    """Step of the view's embedding; 0 keeps the network's view."""
    light_rate: float = 0.05
    """Likewise for the light."""
    albedo_rate: float = 0.03
    """Likewise for the albedo."""
    depth_rate: float = 0.01
    """Likewise for the depth."""
    depth_weight: float = 0.0
    """Weight of the mean squared difference of raw depth from the network's."""
    view_weight: float = 0.0
    """Likewise for the raw view."""
    symmetry: bool = True
    """The object is symmetric: the reconstruction from flipped maps counts as in training."""
    flip_weight: float = 0.5
    """Weight of that reconstruction."""

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ConfigError(f"a fit takes at least one step; got {self.steps}")
        for item in fields(self):
            if item.name.endswith(("_rate", "_weight")) and getattr(self, item.name) < 0:
                raise ConfigError(f"{item.name} must not be negative; got {getattr(self, item.name)}")

    @property
    def rates(self) -> dict[Factor, float]:
        """Step of every factor's embedding."""
        return {
            Factor.VIEW: self.view_rate,
            Factor.DEPTH: self.depth_rate,
            Factor.LIGHT: self.light_rate,
            Factor.ALBEDO: self.albedo_rate,
        }


def refine(
    model: PhotoGeometricAutoencoder,
    image: Float[Tensor, "batch 3 size size"],
    options: RefineOptions | None = None,
    mask: Float[Tensor, "batch size size"] | None = None,
    after_step: Callable[[int], None] | None = None,
) -> Reconstruction:
    """Explain photos, each fitted by itself: what comes of one does not depend on the others of the batch.

    Args:
        model: a model; its weights are not changed.
        image: RGB in [0, 1].
        options: how to fit.
        mask: share of each pixel that shows the object; None counts all pixels.
        after_step: told the number of steps taken, after each.
    """
    options = options or RefineOptions()
    features = squeezenet_features().to(image.device)
    recipe = Recipe(symmetry=options.symmetry, flip_weight=options.flip_weight)
    with torch.no_grad():
        embeddings = model.encode(image)
        start = model.mixing(embeddings, model.structure(embeddings))
        confidence = model.estimate_confidence(image)
        before = model.decode_mixed(start)
    moves = {
        factor: torch.zeros_like(start[:, number]).requires_grad_()
        for number, factor in enumerate(FACTORS)
        if options.rates[factor] > 0
    }
    if not moves:
        return _explained(model, start, confidence)

    def moved() -> Tensor:
        rows = [start[:, n] + moves[f] if f in moves else start[:, n] for n, f in enumerate(FACTORS)]
        return torch.stack(rows, dim=1)

    optimiser = torch.optim.Adam([{"params": [m], "lr": options.rates[f]} for f, m in moves.items()], betas=BETAS)
    for step in range(1, options.steps + 1):
        with torch.enable_grad():
            raw = model.decode_mixed(moved())
            sides = explain_sides(raw.factors, confidence, model, recipe)
            loss = reconstruction_losses(*sides, Target(image, mask), features, recipe).total
            loss = loss + options.depth_weight * (raw.raw_depth - before.raw_depth).square().mean()
            loss = loss + options.view_weight * (raw.raw_view - before.raw_view).square().mean()
            gradients = torch.autograd.grad(loss, list(moves.values()))
        for move, gradient in zip(moves.values(), gradients, strict=True):
            # The loss is a mean over the batch, but Adam's step does not depend on the scale of its gradients.
            move.grad = gradient * len(image)
        optimiser.step()
        if after_step is not None:
            after_step(step)
    with torch.no_grad():
        return _explained(model, moved(), confidence)


def _explained(model: PhotoGeometricAutoencoder, mixed: Tensor, confidence: Confidence) -> Reconstruction:
    """The reconstruction from mixed embeddings."""
    maps = widened(confidence.pixel[:, 0]), widened(confidence.perceptual[:, 0])
    return explain(model.decode_mixed(mixed).factors, model.camera, model.config, *maps)
