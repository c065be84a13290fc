"""The running average of the weights that is validated and kept."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def running_average(decay: float) -> Any:
    """Averaging rule for `AveragedModel`: exponential, faster at the start; 0 copies the weights."""

    @torch.no_grad()
    def update(averaged: list[Tensor], current: list[Tensor], count: Tensor) -> None:
        weight = 1 - min(decay, (1 + int(count)) / (10 + int(count))) if decay else 1.0
        torch._foreach_lerp_(averaged, current, weight)

    return update
