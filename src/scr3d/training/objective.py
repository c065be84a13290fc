"""The training loss as a module, for the strategies that run it."""

from __future__ import annotations

from torch import Tensor, nn

from scr3d.data.dataset import Batch
from scr3d.losses.features import FeatureNetwork
from scr3d.losses.parts import AcrossParts, one_part
from scr3d.models.autoencoder import PhotoGeometricAutoencoder
from scr3d.training.recipe import Moment, Recipe
from scr3d.training.step import training_loss


class Whole:
    """Carries a batch whole past Fabric, which would round its images to the networks' precision.

    Attributes:
        batch: the images.
        across: makes means over the images those of the joint batch, where others compute with other images.
        weight: share of the joint batch.
    """

    def __init__(self, batch: Batch, across: AcrossParts = one_part, weight: float = 1.0):
        self.batch = batch
        self.across = across
        self.weight = weight

    def weighted(self, loss: Tensor) -> Tensor:
        """What this batch's loss adds to the joint one."""
        return loss if self.weight == 1 else loss * self.weight


class TrainingObjective(nn.Module):
    """Model and frozen features behind one forward call, as the parallel strategies need it."""

    def __init__(self, model: PhotoGeometricAutoencoder, features: FeatureNetwork, recipe: Recipe):
        super().__init__()
        self.model = model
        self.features = features
        self.recipe = recipe

    def forward(
        self, batch: Batch | Whole, when: int | Moment, held_out: bool = False
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of a batch (in training the total, else without regularisers) and the values to log.

        `when`: images seen so far, or the recipe at that moment.
        """
        whole = batch if isinstance(batch, Whole) else Whole(batch)
        losses = training_loss(self.model, self.features, whole.batch, self.recipe, when, whole.across)
        chosen = losses.reconstruction if held_out else losses.total
        return chosen, {name: value.detach() for name, value in losses.parts.items()}
