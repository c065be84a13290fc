"""What is minimised: the weights of the losses and how they change during training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from scr3d.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor


class Moment(NamedTuple):
    """What changes with the images seen: numbers, or tensors of one number where a captured step reads them.

    Attributes:
        view_scale: factor on the view.
        weights: of the regularisers that are in use, by name.
    """

    view_scale: float | Tensor
    weights: Mapping[str, float | Tensor]


@dataclass(frozen=True)
class Recipe:
    """Loss weights and schedules; lengths of schedules are in images seen, so they hold for any batch size.

    The defaults are the project's own recipe, which does not collapse on the built-in benchmark
    (docs/training.md says what each part is for); `RECIPES["paper"]` is that of the papers.
    """

    supervised: bool = False
    """Learn the depth of the input view from true depth; every other loss is off."""
    flip_weight: float = 0.5
    """Weight of the loss of the reconstruction from the flipped canonical maps (the symmetry prior)."""
    symmetry: bool = True
    """The objects are symmetric: without it (--no-symmetry) nothing is flipped and --flip-weight is not used."""
    perceptual_weight: float = 1.0
    """Weight of the perceptual against the photometric term."""
    masked: bool = False
    """Score only pixels that both reconstructions cover (the papers); otherwise an uncovered pixel counts as black."""
    continued: bool = True
    """Fill uncovered pixels by continuing the frame of the canonical map; otherwise they are black."""
    smoothness: float = 12.0
    """Weight of the second differences of depth at the start."""
    smoothness_end: float = 0.1
    """Weight that it decays to."""
    smoothness_decay: float = 40_000
    """Images after which the excess has fallen to 1/e."""
    smoothness_limit: float = 0.0
    """Most that one second difference of depth can cost, so that outlines may be creases; 0 for no limit."""
    rotation_penalty: float = 0.03
    """Weight of the mean square of the raw angles at the start, which keeps them off their limit; it decays to 0."""
    rotation_penalty_decay: float = 20_000
    """Images after which it has fallen to 1/e."""
    translation_penalty: float = 0.05
    """Weight of the mean square of the raw shifts: a shift that does a turn's work makes turns timid."""
    shape_penalty: float = 30.0
    """Weight of the variance of raw depth over a batch, outlines apart: objects of one kind have one shape, from which
    single ones differ little, and a view that is not found must not hide in the shape."""
    light_penalty: float = 0.02
    """Weight of the mean square of the light's slopes (lx, ly) at the start, so that dark hair is not lit away."""
    light_penalty_end: float = 0.0
    """Weight that it decays to: where it stays, lights get too frontal and the relief too deep."""
    light_penalty_decay: float = 50_000
    """Images after which the excess has fallen to 1/e."""
    relief_penalty: float = 0.3
    """Weight of the prior that the object is about as deep as it is wide, which photos alone hardly tell."""
    relief_start: float = 60_000
    """Images before that prior sets in; a deep surface finds the sign of turns, so it comes first."""
    relief_rampup: float = 40_000
    """Images over which its weight grows to its full value."""
    view_warmup: float = 12_800
    """Images over which the view is scaled from 0 to its full size; 0 for none."""

    def __post_init__(self) -> None:
        for name in ("smoothness_decay", "rotation_penalty_decay", "light_penalty_decay"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"--{name.replace('_', '-')} must be a positive number of images")

    @property
    def flips(self) -> bool:
        """Whether the reconstruction from flipped maps counts."""
        return self.symmetry and self.flip_weight > 0

    def smoothness_at(self, images: int) -> float:
        """Weight of the smoothness term after so many images."""
        return _decay(self.smoothness, self.smoothness_end, self.smoothness_decay, images)

    def rotation_penalty_at(self, images: int) -> float:
        """Weight of the rotation penalty after so many images."""
        return _decay(self.rotation_penalty, 0.0, self.rotation_penalty_decay, images)

    def light_penalty_at(self, images: int) -> float:
        """Weight of the light penalty after so many images."""
        return _decay(self.light_penalty, self.light_penalty_end, self.light_penalty_decay, images)

    def relief_penalty_at(self, images: int) -> float:
        """Weight of the relief prior after so many images."""
        return self.relief_penalty * min(1.0, max(0.0, (images - self.relief_start) / max(1.0, self.relief_rampup)))

    def view_scale_at(self, images: int) -> float:
        """Factor on the view after so many images."""
        return 1.0 if self.view_warmup <= 0 else min(1.0, images / self.view_warmup)

    def at(self, images: int) -> Moment:
        """Everything that changes, after so many images."""
        weights = {
            "smoothness": self.smoothness_at(images),
            "rotation_penalty": self.rotation_penalty_at(images),
            "translation_penalty": self.translation_penalty,
            "relief_penalty": self.relief_penalty_at(images),
            "shape_penalty": self.shape_penalty,
            "light_penalty": self.light_penalty_at(images),
        }
        return Moment(self.view_scale_at(images), {name: weight for name, weight in weights.items() if weight > 0})


def _decay(start: float, end: float, constant: float, images: int) -> float:
    return end + (start - end) * math.exp(-images / constant)


RECIPES: dict[str, Recipe] = {
    "robust": Recipe(),
    "paper": Recipe(
        masked=True,
        continued=False,
        smoothness=0.0,
        smoothness_end=0.0,
        rotation_penalty=0.0,
        translation_penalty=0.0,
        shape_penalty=0.0,
        relief_penalty=0.0,
        light_penalty=0.0,
        view_warmup=0.0,
    ),
    "supervised": Recipe(supervised=True),
}
"""The named recipes; `paper` and `supervised` also change defaults of the model, see `scr3d.training.config`."""
