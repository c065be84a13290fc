"""What a candidate is worth: train it, then score what it has learned, image by image."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from scr3d.data.dataset import Dataset
from scr3d.errors import CollapseError
from scr3d.models.autoencoder import PhotoGeometricAutoencoder
from scr3d.search.config import ScoreKind, SearchConfig, Task
from scr3d.training.recipe import Recipe
from scr3d.training.trainer import Trainer
from scr3d.training.validation import compare_with_truth, evaluation_batches, held_out


@dataclass(frozen=True)
class Outcome:
    """The score of a candidate.

    Attributes:
        score: mean over images; lower is better.
        standard_error: of that mean.
        scored_images: how many images it is a mean of.
        seconds: time of the training (of its last part, if it was interrupted) and the scoring.
        collapsed: why the training had to stop; empty if it did not.
    """

    score: float
    standard_error: float
    scored_images: int
    seconds: float = 0.0
    collapsed: str = ""

    @property
    def attributes(self) -> dict[str, Any]:
        """All but the score, as plain values."""
        return {name: value for name, value in asdict(self).items() if name != "score"}


@dataclass(frozen=True)
class Objective:
    """How candidates are trained and scored; the defaults train networks.

    Attributes:
        alone: trains one candidate by itself.
        shared: trains one network under all candidates and scores each with it.
    """

    alone: Callable[[SearchConfig, Task], Outcome]
    shared: Callable[[SearchConfig], dict[str, Outcome]]


def train_alone(config: SearchConfig, task: Task) -> Outcome:
    """Train a candidate, going on from the checkpoint in its folder, and score the averaged weights at the end.

    A candidate whose training collapses is scored as it is: the collapse is its result.
    """
    started = time.monotonic()
    trainer = Trainer(config.run_config(task))
    collapsed = ""
    try:
        trainer.run(until=task.images)
    except CollapseError as error:
        collapsed = str(error)
    scores = score_images(
        trainer.averaged_model.eval(),
        trainer.features,
        trainer.data.val,
        trainer.config.recipe,
        trainer.data.scored_images,
        config.score,
    )
    return outcome(scores, time.monotonic() - started, collapsed)


def outcome(scores: Float[Tensor, " images"], seconds: float, collapsed: str = "") -> Outcome:
    """Mean and standard error of the scores of images; images without one (NaN: no object in it) do not count.

    The score is NaN if no image has one.
    """
    known = scores[~scores.isnan()].double()
    error = float(known.std(correction=1)) / len(known) ** 0.5 if len(known) > 1 else 0.0
    return Outcome(float(known.mean()), error, len(known), seconds, collapsed)


@torch.no_grad()
def score_images(
    model: PhotoGeometricAutoencoder,
    features: nn.Module,
    data: Dataset,
    recipe: Recipe,
    limit: int,
    kind: ScoreKind,
) -> Float[Tensor, " images"]:
    """Score of each of the first `limit` images; lower is better.

    The held-out loss takes images one by one: in a batch it would weigh them by the pixels that their surface covers.

    Args:
        model: in evaluation mode.
        features: of the perceptual loss.
        data: validation images.
        recipe: the losses.
        limit: how many images.
        kind: which score.
    """
    device = next(model.parameters()).device
    if kind is ScoreKind.HELDOUT:
        count = min(limit, len(data))
        losses = [held_out(model, features, data.batch(np.array([i]), device), recipe)[0] for i in range(count)]
        return torch.tensor(losses)
    scores = []
    for indices in evaluation_batches(len(data), limit):
        batch = data.batch(indices, device)
        assert batch.truth is not None  # the search has seen that there is a truth
        scores.append(compare_with_truth(model, model.reconstruct(batch.image), batch.truth).depth.mad_deg.cpu())
    return torch.cat(scores)
