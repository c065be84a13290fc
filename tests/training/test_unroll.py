"""The unrolled optimiser: its steps are those of torch's Adam, its derivatives those of finite differences."""

import pytest
import torch
from torch import nn

from scr3d.training.unroll import AdamRule, AdamState, adam_step, unroll

RATE = 0.05


def start(weights: dict[str, torch.Tensor]) -> AdamState:
    zeros = {name: torch.zeros_like(value) for name, value in weights.items()}
    return AdamState(weights, zeros, dict(zeros), 0)


def problem(seed: int = 0) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 2)).double()
    return network, torch.randn(16, 5, dtype=torch.float64), torch.randn(16, 2, dtype=torch.float64)


def loss_of(network: nn.Module, inputs: torch.Tensor, targets: torch.Tensor, graph: torch.Tensor):
    def loss(weights: dict[str, torch.Tensor], number: int) -> torch.Tensor:
        seen = torch.func.functional_call(network, weights, (inputs * graph,))
        return (seen - targets * (1 + number)).square().mean()

    return loss


@pytest.mark.parametrize("clip", [0.0, 0.3, 100.0])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("first_order", [False, True])
def test_steps_equal_those_of_torch(clip, weight_decay, first_order):
    network, inputs, targets = problem()
    graph = torch.ones(5, dtype=torch.float64)
    loss = loss_of(network, inputs, targets, graph)
    initial = {name: value.detach().clone() for name, value in network.named_parameters()}
    optimiser = torch.optim.Adam(network.parameters(), lr=RATE, weight_decay=weight_decay)
    for number in range(5):
        optimiser.zero_grad()
        loss(dict(network.named_parameters()), number).backward()
        if clip:
            nn.utils.clip_grad_norm_(network.parameters(), clip)
        optimiser.step()
    rule = AdamRule(weight_decay=weight_decay, clip=clip)
    found, losses, norms = unroll(loss, start(initial), rule, [RATE] * 5, first_order)
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(found.weights[name], parameter, rtol=1e-9, atol=1e-11)
        torch.testing.assert_close(found.mean[name], optimiser.state[parameter]["exp_avg"], rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(found.square[name], optimiser.state[parameter]["exp_avg_sq"], rtol=1e-9, atol=1e-12)
    assert found.count == 5
    assert len(losses) == len(norms) == 5


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("clip", [0.0, 0.3])
def test_derivative_through_the_steps_against_finite_differences(steps, clip):
    network, inputs, targets = problem()
    held_out = torch.randn(16, 5, dtype=torch.float64)
    rule = AdamRule(clip=clip)
    weights = {name: value.detach().clone() for name, value in network.named_parameters()}
    # Moments of a run under way: a fresh Adam moves by the sign of its gradient and has hardly a derivative.
    warm = AdamState(
        weights,
        {name: 0.1 * torch.randn_like(value) for name, value in weights.items()},
        {name: 0.1 * torch.rand_like(value) + 1e-3 for name, value in weights.items()},
        20,
    )

    def outer(graph: torch.Tensor) -> torch.Tensor:
        state = AdamState({n: w.clone() for n, w in warm.weights.items()}, warm.mean, warm.square, warm.count)
        after, _, _ = unroll(loss_of(network, inputs, targets, graph), state, rule, [RATE] * steps)
        return (torch.func.functional_call(network, after.weights, (held_out,)) - targets).square().mean()

    graph = torch.rand(5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(outer, graph, eps=1e-6, atol=1e-7)
    (gradient,) = torch.autograd.grad(outer(graph), graph)
    assert gradient.abs().max() > 1e-5


def test_the_first_order_result_carries_no_derivative():
    network, inputs, targets = problem()
    graph = torch.ones(5, dtype=torch.float64, requires_grad=True)
    initial = {name: value.detach().clone() for name, value in network.named_parameters()}
    after, _, _ = unroll(
        loss_of(network, inputs, targets, graph), start(initial), AdamRule(), [RATE] * 2, first_order=True
    )
    assert all(weight.grad_fn is None for weight in after.weights.values())


def test_weights_with_zero_gradient_stay_and_have_a_finite_derivative():
    scale = torch.tensor([1.0, 0.0], dtype=torch.float64, requires_grad=True)
    weights = {"w": torch.ones(2, dtype=torch.float64, requires_grad=True), "unused": torch.ones(1)}
    (gradient,) = torch.autograd.grad((weights["w"] * scale).sum(), weights["w"], create_graph=True)
    after, _ = adam_step(start(weights), {"w": gradient}, AdamRule(), RATE)
    assert after.weights["w"][1] == 1
    assert after.weights["unused"] is weights["unused"]
    (derivative,) = torch.autograd.grad(after.weights["w"].sum(), scale)
    assert derivative.isfinite().all()
