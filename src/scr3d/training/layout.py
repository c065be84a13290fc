"""Where the numbers of a gradient lie in memory."""

from __future__ import annotations

import torch
from torch import Tensor


def laid_out_as(gradient: Tensor, parameter: Tensor) -> Tensor:
    """The gradient in the memory format of its parameter.

    A fused optimiser goes through both as they lie in memory: in another order, numbers meet that do not belong
    together, and on the CPU nothing says so.
    """
    return gradient if gradient.stride() == parameter.stride() else torch.empty_like(parameter).copy_(gradient)
