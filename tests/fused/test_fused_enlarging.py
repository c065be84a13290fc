"""Enlargement in one kernel against PyTorch's, in double precision."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from scr3d.fused.dispatch import plain
from scr3d.fused.enlarging import doubled


def maps(channels: int, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(channels)
    small = torch.randn(3, channels, height, width, generator=draw)
    added, weight = torch.randn(2, 3, channels, 2 * height, 2 * width, generator=draw)
    return small.requires_grad_(), added.requires_grad_(), weight


def wanted(small: Tensor, added: Tensor | None) -> Tensor:
    size = (2 * small.shape[2], 2 * small.shape[3])
    large = F.interpolate(small, size=size, mode="bilinear", align_corners=True)
    return large if added is None else large + added


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
@pytest.mark.parametrize(("height", "width"), [(4, 4), (32, 32), (16, 8)])
@pytest.mark.parametrize("adding", [False, True])
def test_results_and_gradients(channels: int, height: int, width: int, adding: bool) -> None:
    small, added, weight = maps(channels, height, width)
    inputs = [small, added] if adding else [small]
    found = doubled(small, added if adding else None)
    assert ("Doubled" in type(found.grad_fn).__name__) == (channels < 4)
    double = [x.detach().double().requires_grad_() for x in inputs]
    expected = wanted(double[0], double[1] if adding else None)
    assert (found.double() - expected).norm() <= 1e-6 * expected.norm()  # places are rounded to single precision
    slopes = torch.autograd.grad((found * weight).sum(), inputs)
    for own, true in zip(slopes, torch.autograd.grad((expected * weight.double()).sum(), double), strict=True):
        assert (own.double() - true).norm() <= 1e-6 * true.norm()


def test_derivatives_of_derivatives() -> None:
    small, added, weight = maps(3, 8, 8)

    def twice(small: Tensor, added: Tensor) -> Tensor:
        first = torch.autograd.grad((doubled(small, added).pow(3) * weight.to(small)).sum(), small, create_graph=True)
        return torch.autograd.grad(first[0].square().sum(), small)[0]

    found = twice(small, added)
    true = twice(small.detach().double().requires_grad_(), added.double())
    assert (found.double() - true).norm() <= 1e-5 * true.norm()


def test_can_be_told_to_be_plain() -> None:
    small, added, _ = maps(3, 8, 8)
    with plain():
        assert "Doubled" not in type(doubled(small, added).grad_fn).__name__
