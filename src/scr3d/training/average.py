"""The running average of the weights that is validated and kept."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

Model = TypeVar("Model", bound=nn.Module)


def average_weight(decay: float, count: int) -> float:
    """By how much the average follows the weights after so many steps: more at the start; 1 copies them."""
    return 1 - min(decay, (1 + count) / (10 + count)) if decay and count else 1.0


class RunningAverage(Generic[Model]):
    """A copy of a model whose weights follow the model's: exponentially, faster at the start; buffers are copied.

    `torch.optim.swa_utils.AveragedModel` does the same, and looks for all parameters in every step, which a small
    network's step feels.

    Attributes:
        module: the copy.
        count: steps that were followed.
    """

    def __init__(self, model: Model, decay: float):
        """Copy a model that is where it is trained; its parameters must stay the same objects.

        Args:
            model: is followed.
            decay: of the average, below 1; 0 copies the weights.
        """
        self.module: Model = copy.deepcopy(model)
        self.count = 0
        self._decay = decay
        self._weights: tuple[list[Tensor], list[Tensor]] = list(self.module.parameters()), list(model.parameters())
        self._buffers: tuple[list[Tensor], list[Tensor]] = list(self.module.buffers()), list(model.buffers())

    @property
    def weight(self) -> float:
        """By how much the next step moves the average towards the weights."""
        return average_weight(self._decay, self.count)

    @torch.no_grad()
    def follow(self) -> None:
        """Follow the weights after a step."""
        torch._foreach_lerp_(*self._weights, self.weight)
        for mine, other in zip(*self._buffers, strict=True):
            mine.copy_(other)
        self.count += 1
