"""The unrolled optimiser: its steps are those of torch's Adam; derivatives through them, both ways."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from scr3d.training import differences
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


def gradient_of(loss: Callable[[dict[str, Tensor], int], Tensor], tracked: bool):
    """Loss and gradient as `unroll` takes them; `tracked`: to be differentiated again."""

    def gradient(weights: dict[str, Tensor], number: int) -> tuple[Tensor, dict[str, Tensor]]:
        own = {name: w if w.requires_grad else w.detach().requires_grad_() for name, w in weights.items()}
        value = loss(own, number)
        found = torch.autograd.grad(value, list(own.values()), create_graph=tracked)
        return value, dict(zip(own, found, strict=True))

    return gradient


@pytest.mark.parametrize("clip", [0.0, 0.3, 100.0])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("tracked", [False, True])
def test_steps_equal_those_of_torch(clip, weight_decay, tracked):
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
    states, _, losses, norms = unroll(gradient_of(loss, tracked), start(initial), rule, [RATE] * 5)
    found = states[-1]
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(found.weights[name], parameter, rtol=1e-9, atol=1e-11)
        torch.testing.assert_close(found.mean[name], optimiser.state[parameter]["exp_avg"], rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(found.square[name], optimiser.state[parameter]["exp_avg_sq"], rtol=1e-9, atol=1e-12)
    assert found.count == 5
    assert len(losses) == len(norms) == len(states) - 1 == 5


class Outer:
    """A loss after steps of Adam as a function of what the steps were taken under, 5 numbers `graph`.

    The moments are those of a run under way: a fresh Adam moves by its gradient's sign and has hardly a derivative.
    """

    def __init__(self, steps: int, clip: float, weight_decay: float = 0.0):
        self.network, self.inputs, self.targets = problem()
        self.held_out = torch.randn(16, 5, dtype=torch.float64)
        self.rule = AdamRule(clip=clip, weight_decay=weight_decay)
        self.rates = [RATE * 0.9**number for number in range(steps)]
        weights = {name: value.detach().clone() for name, value in self.network.named_parameters()}
        mean = {name: 0.1 * torch.randn_like(value) for name, value in weights.items()}
        square = {name: 0.1 * torch.rand_like(value) + 1e-3 for name, value in weights.items()}
        self.start = AdamState(weights, mean, square, 20)

    def loss(self, weights: dict[str, Tensor]) -> Tensor:
        return (torch.func.functional_call(self.network, weights, (self.held_out,)) - self.targets).square().mean()

    def by_autograd(self, graph: Tensor) -> Tensor:
        loss = loss_of(self.network, self.inputs, self.targets, graph)
        states, *_ = unroll(gradient_of(loss, True), self.start, self.rule, self.rates)
        return self.loss(states[-1].weights)

    def gradient_by_differences(self, graph: Tensor) -> Tensor:
        loss = loss_of(self.network, self.inputs, self.targets, graph)
        states, gradients, *_ = unroll(gradient_of(loss, False), self.start, self.rule, self.rates)
        after = {name: value.detach().requires_grad_() for name, value in states[-1].weights.items()}
        last = torch.autograd.grad(self.loss(after), list(after.values()))

        def slopes(weights: dict[str, Tensor], number: int, of_weights: bool) -> tuple[list[Tensor], dict[str, Tensor]]:
            own = {name: value.detach().requires_grad_() for name, value in weights.items()}
            wanted = list(own.values()) if of_weights else []
            found = torch.autograd.grad(loss(own, number), [graph, *wanted])
            return [found[0]], dict(zip(own if of_weights else (), found[1:], strict=True))

        owed = differences.pull_back(
            slopes, states, gradients, self.rule, self.rates, dict(zip(after, last, strict=True))
        )
        assert len(owed) == len(self.rates)
        return torch.stack([parts[0] for parts in owed]).sum(0)


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("clip", [0.0, 0.3])
def test_derivative_through_the_steps_against_finite_differences(steps, clip):
    outer = Outer(steps, clip)
    graph = torch.rand(5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(outer.by_autograd, graph, eps=1e-6, atol=1e-7)
    (gradient,) = torch.autograd.grad(outer.by_autograd(graph), graph)
    assert gradient.abs().max() > 1e-5


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("clip", [0.0, 0.3])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_derivative_by_differences_of_a_smooth_loss_is_that_of_autograd(steps, clip, weight_decay, monkeypatch):
    outer = Outer(steps, clip, weight_decay)
    graph = torch.rand(5, dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(outer.by_autograd(graph), graph)
    apart = []
    for reach in (1e-1, 1e-2, 1e-3):
        monkeypatch.setattr(differences, "REACH", reach)
        apart.append(float((outer.gradient_by_differences(graph) - expected).norm() / expected.norm()))
    assert apart[0] < 0.05
    assert apart[1] / apart[0] == pytest.approx(0.01, rel=0.5)  # a central difference errs with the square
    assert apart[2] < 1e-4


def test_differences_see_the_kinks_of_absolute_errors():
    """Steps on the mean of absolute errors: their gradient jumps wherever an error changes its sign."""
    draw = torch.Generator().manual_seed(0)
    inputs = torch.randn(200_000, 3, generator=draw, dtype=torch.float64)
    targets = inputs.sum(1) + torch.randn(200_000, generator=draw, dtype=torch.float64)
    rule, rates = AdamRule(), [0.5]
    weights = {"w": torch.tensor([0.5, 1.5, 0.8], dtype=torch.float64)}
    state = AdamState(weights, {"w": torch.zeros(3).double()}, {"w": torch.full((3,), 0.1).double()}, 20)

    def loss(weights: dict[str, Tensor], number: int, graph: Tensor) -> Tensor:
        return ((inputs * graph) @ weights["w"] - targets).abs().mean()

    def outer(graph: Tensor, tracked: bool = False) -> Tensor:
        states, *_ = unroll(gradient_of(lambda w, n: loss(w, n, graph), tracked), state, rule, rates)
        return (states[-1].weights["w"] - 1).square().sum()

    graph = torch.tensor([1.0, 0.7, 1.2], dtype=torch.float64, requires_grad=True)
    changes = 0.02 * torch.eye(3, dtype=torch.float64)
    measured = torch.stack([(outer(graph + c) - outer(graph - c)) / 0.04 for c in changes]).detach()
    (twice,) = torch.autograd.grad(outer(graph, tracked=True), graph)

    def slopes(weights: dict[str, Tensor], number: int, of_weights: bool) -> tuple[list[Tensor], dict[str, Tensor]]:
        return list(torch.autograd.grad(loss(weights, number, graph), [graph])), {}

    states, gradients, *_ = unroll(gradient_of(lambda w, n: loss(w, n, graph), False), state, rule, rates)
    last = {"w": 2 * (states[-1].weights["w"] - 1)}
    (found,) = differences.pull_back(slopes, states, gradients, rule, rates, last)
    assert (found[0] - measured).norm() < 0.1 * measured.norm()
    assert (twice - measured).norm() > 0.5 * measured.norm()


def test_nothing_is_owed_where_no_weight_moves_or_none_matters():
    outer = Outer(1, 0.0)
    states, gradients, *_ = unroll(
        gradient_of(loss_of(outer.network, outer.inputs, outer.targets, torch.ones(5).double()), False),
        outer.start,
        outer.rule,
        [0.0],
    )

    def never(*_: object) -> tuple[list[Tensor], dict[str, Tensor]]:
        raise AssertionError

    ones = {name: torch.ones_like(value) for name, value in outer.start.weights.items()}
    assert differences.pull_back(never, states, gradients, outer.rule, [0.0], ones) == []
    assert differences.pull_back(never, states, gradients, outer.rule, [0.0], {}) == []


def test_steps_that_are_not_tracked_carry_no_derivative():
    network, inputs, targets = problem()
    graph = torch.ones(5, dtype=torch.float64, requires_grad=True)
    initial = {name: value.detach().clone() for name, value in network.named_parameters()}
    loss = loss_of(network, inputs, targets, graph)
    states, *_ = unroll(gradient_of(loss, False), start(initial), AdamRule(), [RATE] * 2)
    assert all(weight.grad_fn is None for weight in states[-1].weights.values())


def test_weights_with_zero_gradient_stay_and_have_a_finite_derivative():
    scale = torch.tensor([1.0, 0.0], dtype=torch.float64, requires_grad=True)
    weights = {"w": torch.ones(2, dtype=torch.float64, requires_grad=True), "unused": torch.ones(1)}
    (gradient,) = torch.autograd.grad((weights["w"] * scale).sum(), weights["w"], create_graph=True)
    after, _ = adam_step(start(weights), {"w": gradient}, AdamRule(), RATE)
    assert after.weights["w"][1] == 1
    assert after.weights["unused"] is weights["unused"]
    (derivative,) = torch.autograd.grad(after.weights["w"].sum(), scale)
    assert derivative.isfinite().all()
