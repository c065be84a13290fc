"""What a step does beside its kernels, against the slow ways of PyTorch."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim.swa_utils import AveragedModel

from scr3d.fused.networks import halved
from scr3d.training.average import RunningAverage, average_weight
from scr3d.training.parallel import write_sum

DECAY = 0.9


def small_model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def test_the_average_is_that_of_pytorch() -> None:
    model = small_model()

    def rule(averaged: torch.Tensor, current: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
        return averaged + (current - averaged) * average_weight(DECAY, int(count))

    reference, own = AveragedModel(model, avg_fn=rule), RunningAverage(model, DECAY)
    start = copy.deepcopy(own.module.state_dict())
    for _ in range(15):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
        model(torch.randn(8, 3))  # moves the buffers
        reference.update_parameters(model)
        own.follow()
    assert own.count == int(reference.n_averaged) == 15
    expected = reference.module.state_dict()
    for name, value in own.module.state_dict().items():
        torch.testing.assert_close(value, expected[name])
        assert not torch.equal(value, start[name])


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_sum_of_parts_leaves_shared_gradients_alone(count: int) -> None:
    parameters = [nn.Parameter(torch.zeros(3)) for _ in range(3)]
    shared = torch.tensor([1.0, 2.0, 3.0])
    other = torch.tensor([5.0, 0.0, 1.0])
    write_sum(parameters, [(shared, None, shared), *[(other, None, shared)] * (count - 1)])
    torch.testing.assert_close(parameters[0].grad, shared + (count - 1) * other)
    assert parameters[1].grad is None
    torch.testing.assert_close(parameters[2].grad, count * shared)
    assert parameters[0].grad is not None
    parameters[0].grad.zero_()
    torch.testing.assert_close(parameters[2].grad, count * shared)
    torch.testing.assert_close(shared, torch.tensor([1.0, 2.0, 3.0]))


def test_parts_without_gradients_leave_none() -> None:
    parameter = nn.Parameter(torch.zeros(3))
    parameter.grad = torch.ones(3)
    write_sum([parameter], [(None,), (None,)])
    assert parameter.grad is None


def test_halved_images_are_means_of_four_pixels() -> None:
    for channels in (1, 3):
        image = torch.rand(2, channels, 8, 12).contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(halved(image), F.avg_pool2d(image, 2))
