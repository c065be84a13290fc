"""Losses that are no plain means over the images of a batch, for a batch that is split into equal parts."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

AcrossParts = Callable[[Tensor], Tensor]
"""From a mean over the images of one part to that over all parts, with the gradient of the own part's share."""


def one_part(value: Tensor) -> Tensor:
    """The batch is whole: its mean is the mean."""
    return value
