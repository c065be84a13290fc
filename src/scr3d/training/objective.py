"""The training loss as a module, for the strategies that run it."""

from __future__ import annotations

from torch import Tensor, nn

from scr3d.data.dataset import Batch
from scr3d.losses.features import FeatureNetwork
from scr3d.losses.parts import AcrossParts, one_part
from scr3d.models.autoencoder import PhotoGeometricAutoencoder
from scr3d.training.recipe import Recipe
from scr3d.training.step import training_loss


class Whole:
    """Carries a batch past Fabric, which would round its images to the networks' precision."""

    def __init__(self, batch: Batch):
        self.batch = batch


class TrainingObjective(nn.Module):
    """Model and frozen features behind one forward call, as the parallel strategies need it."""

    def __init__(self, model: PhotoGeometricAutoencoder, features: FeatureNetwork, recipe: Recipe):
        super().__init__()
        self.model = model
        self.features = features
        self.recipe = recipe

    def forward(
        self, batch: Batch | Whole, images_seen: int, held_out: bool = False, across: AcrossParts = one_part
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of a batch (in training the total, else without regularisers) and the values to log."""
        if isinstance(batch, Whole):
            batch = batch.batch
        losses = training_loss(self.model, self.features, batch, self.recipe, images_seen, across)
        chosen = losses.reconstruction if held_out else losses.total
        return chosen, {name: value.detach() for name, value in losses.parts.items()}
