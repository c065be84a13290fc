"""Losses that are no plain means over the images of a batch, for a batch that is computed in parts."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

AcrossParts = Callable[..., Tensor]
"""`across(value, summed=False)`: from a mean over the images of one part to that over all parts.

With `summed`, the value is a sum over the part's images; the result is the sum over all parts times the part's share of
the images, so that for equal parts it is the same as for a mean. Threads give it the gradient of the own part's share
(`scr3d.training.parallel`), processes that of all parts (`scr3d.processes`).
"""


def one_part(value: Tensor, summed: bool = False) -> Tensor:
    """The batch is whole: its mean is the mean, its sum the sum."""
    return value
