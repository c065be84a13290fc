"""The running average of the weights that is validated and kept."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def average_weight(decay: float, count: int) -> float:
    """By how much the average follows the weights after so many steps: more at the start; 1 copies them."""
    return 1 - min(decay, (1 + count) / (10 + count)) if decay and count else 1.0


def running_average(decay: float) -> Any:
    """Averaging rule for `AveragedModel`: exponential, faster at the start; 0 copies the weights."""

    @torch.no_grad()
    def update(averaged: list[Tensor], current: list[Tensor], count: Tensor) -> None:
        torch._foreach_lerp_(averaged, current, average_weight(decay, int(count)))

    return update
