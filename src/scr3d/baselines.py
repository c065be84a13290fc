"""Predictions that need no learning from images: what any method has to beat."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from scr3d.data.dataset import Dataset
from scr3d.errors import DataError

AVERAGE_BATCH = 1024


def null_depth(size: int, depth: float = 1.0) -> Float[Tensor, "size size"]:
    """A fronto-parallel plane."""
    return torch.full((size, size), depth)


def average_depth(data: Dataset) -> Float[Tensor, "size size"]:
    """Mean true depth of a data set at every pixel, over the images that show foreground there.

    Pixels where no image shows any get the border depth.

    Raises:
        DataError: the data set knows no depth.
    """
    if not data.has_truth:
        raise DataError(f"{data.store.folder} has no true depth, so there is no average depth")
    total = torch.zeros(data.size, data.size, dtype=torch.float64)
    count = torch.zeros(data.size, data.size, dtype=torch.float64)
    for start in range(0, len(data), AVERAGE_BATCH):
        truth = data.batch(np.arange(start, min(start + AVERAGE_BATCH, len(data)))).truth
        assert truth is not None  # has_truth
        total += torch.where(truth.foreground, truth.depth, 0.0).double().sum(0)
        count += truth.foreground.double().sum(0)
    border = data.depth_range.border
    return torch.where(count > 0, total / count.clamp(min=1), border).float()
