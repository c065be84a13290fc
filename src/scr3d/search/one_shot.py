"""One network for all candidates: each step trains it under another one, then it scores them all.

The network learns to work with any of the graphs, so its held-out score under each tells, at the cost of one training,
which of them suit the data. The best few are then trained alone.
"""

from __future__ import annotations

import time
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from scr3d.data.dataset import batch_indices
from scr3d.search.config import SearchConfig
from scr3d.search.objective import Outcome, outcome, score_images
from scr3d.training.config import TrainConfig
from scr3d.training.trainer import Trainer

DRAW_STREAM = 0x6F7264657273
FOLDER = "one-shot"


class OneShotTrainer(Trainer):
    """Trains under another mask in every step.

    The masks come in shuffled rounds, each mask once a round, determined by seed and step alone: none is trained more
    than another, and a resumed run draws what an uninterrupted one draws.
    """

    def __init__(self, config: TrainConfig, masks: Float[Tensor, "candidate 4 4"]):
        """Open the run.

        Args:
            config: its model's structure has a `mask`, which only stands in for those that are drawn.
            masks: of the candidates, mask[child, parent].
        """
        super().__init__(config)
        self.masks = masks.to(self.fabric.device)

    def drawn(self, step: int) -> int:
        """Which mask a step trains under."""
        return int(batch_indices(len(self.masks), 1, self.config.seed ^ DRAW_STREAM, step)[0])

    def train_step(self) -> dict[str, float]:
        """One step, under the mask drawn for it."""
        set_mask(self.model, self.masks[self.drawn(self.step)])
        return super().train_step()


def set_mask(model: torch.nn.Module, mask: Float[Tensor, "4 4"]) -> None:
    """Let a model's structure have the edges of a mask, and no others."""
    structure = model.get_submodule("structure")
    structure.get_buffer("mask").copy_(mask)


def train_shared(config: SearchConfig) -> dict[str, Outcome]:
    """Train one network under all candidates, in the folder `one-shot`, and score each candidate with it."""
    started = time.monotonic()
    space = config.space
    template = config.training
    stand_in = space.model(template.model, space.names[-1])
    settings = replace(template, out=config.folder / FOLDER, model=stand_in)
    trainer = OneShotTrainer(settings, torch.stack([space.mask(name) for name in space.names]))
    trainer.run()
    model = trainer.averaged_model.eval()
    outcomes = {}
    for name in space.names:
        set_mask(model, space.mask(name))
        scores = score_images(
            model, trainer.features, trainer.data.val, settings.recipe, trainer.data.scored_images, config.score
        )
        outcomes[name] = outcome(scores, time.monotonic() - started)
    return outcomes
