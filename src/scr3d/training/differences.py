"""The gradient of a loss with respect to what the weights were trained under, back through their steps.

A step of Adam from weights w is w' = A(g), g the gradient of the training loss at w under a graph M. For a later loss
with gradient v at w', the way back through A is arithmetic and gives u, the gradient with respect to g. What is left is

    d<u, g(w, M)> / dM = d/dt dL(w + t u, M)/dM  at t = 0,

and the same with w for M where there was a step before. Differentiating L twice gives the derivative of g where g has
one. But a loss of absolute errors, rectifiers, maxima and a renderer's edges has kinks everywhere, at which g jumps;
any change of M that matters passes thousands of them, and their sum is most of how g changes. A second derivative sees
none of them. So the left side is taken as the right one stands, as a difference between two points whose distance is in
proportion to the step of the weights (`REACH`): each costs an ordinary gradient, with whatever makes that fast, and
nothing is kept. docs/structures.md compares both with what a change of M does.

Source: the difference is that of DARTS (Liu, Simonyan and Yang, ICLR 2019, equation 8), here through Adam, its moments
and clipping, and through several steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from scr3d.training.unroll import CLIP_EPS, AdamRule, AdamState, adam_step, clipping

REACH = 0.5
"""Length of the change of the weights to either side, against that of the step that they took there."""

KINDS = ("weights", "mean", "square")
"""What a state is made of."""

Slopes = Callable[[dict[str, Tensor], int, bool], tuple[list[Tensor], dict[str, Tensor]]]
"""Gradients of the training loss of a step at some weights: with respect to the outer parameters, and, if that is
wanted, to the weights."""


def pull_back(
    slopes: Slopes,
    states: Sequence[AdamState],
    gradients: Sequence[dict[str, Tensor]],
    rule: AdamRule,
    rates: Sequence[float],
    last: dict[str, Tensor],
) -> list[list[Tensor]]:
    """What a loss after the steps owes to the outer parameters by way of the weights.

    Args:
        slopes: see `Slopes`.
        states: before and after the steps, from `unroll`.
        gradients: of the steps.
        rule: the optimiser.
        rates: learning rate of every step.
        last: gradient of that loss with respect to the weights after the last step.

    Returns:
        For each step that something was owed to, one tensor for each outer parameter. Their sum is the gradient.
    """
    found = []
    later = AdamState(last, {}, {}, 0)
    for number in reversed(range(len(rates))):
        before, after = states[number], states[number + 1]
        along, later = _through_adam(before, gradients[number], rule, rates[number], later, number > 0)
        step = _norm([after.weights[name] - before.weights[name] for name in along])
        share = REACH * step / _norm(list(along.values()))
        if not 0 < share < math.inf:  # nothing has moved, or nothing depends on it
            continue
        (outer, weights), (outer_back, weights_back) = (
            slopes(_moved(before.weights, along, side * share), number, number > 0) for side in (1, -1)
        )
        found.append([(up - down) / (2 * share) for up, down in zip(outer, outer_back, strict=True)])
        for name, slope in weights.items():
            change = (slope - weights_back[name]) / (2 * share)
            later.weights[name] = later.weights[name] + change if name in later.weights else change
    return found


def _through_adam(
    before: AdamState, gradients: dict[str, Tensor], rule: AdamRule, rate: float, later: AdamState, state_too: bool
) -> tuple[dict[str, Tensor], AdamState]:
    """Gradients with respect to what went into a step, from those with respect to weights and moments after it.

    A weight that the step left as it was keeps its gradient. One weight after another is taken, but for clipping.

    Returns:
        Gradient with respect to the gradient, and, with `state_too`, to the state before.
    """
    norm, shrink = clipping(gradients, rule)
    kept = [{name: value for name, value in getattr(later, kind).items() if name not in gradients} for kind in KINDS]
    along, earlier = {}, AdamState(kept[0], kept[1], kept[2], before.count)
    for name, gradient in gradients.items():
        given = {kind: getattr(later, kind)[name] for kind in KINDS if name in getattr(later, kind)}
        if not given:
            continue
        own = [(gradient * shrink).requires_grad_()]
        own += [getattr(before, kind)[name].detach().requires_grad_(state_too) for kind in KINDS]
        state = AdamState({name: own[1]}, {name: own[2]}, {name: own[3]}, before.count)
        after, _ = adam_step(state, {name: own[0]}, replace(rule, clip=0.0), rate)
        results = [getattr(after, kind)[name] for kind in given]
        inputs = own if state_too else own[:1]
        found = torch.autograd.grad(results, inputs, list(given.values()), materialize_grads=True)
        along[name] = found[0]
        for kind, value in zip(KINDS, found[1:], strict=False):
            getattr(earlier, kind)[name] = value
    if along and shrink < 1:  # it depends on every gradient
        owed = torch.stack([(value * gradients[name]).sum() for name, value in along.items()]).sum()
        turn = -rule.clip / (norm + CLIP_EPS).square() * owed / norm
        along = {name: shrink * along.get(name, 0.0) + turn * gradient for name, gradient in gradients.items()}
    return along, earlier


def _moved(weights: dict[str, Tensor], along: dict[str, Tensor], share: Tensor) -> dict[str, Tensor]:
    return {name: value + share * along[name] if name in along else value for name, value in weights.items()}


def _norm(values: list[Tensor]) -> Tensor:
    """Length of all tensors together."""
    return torch.stack([value.square().sum() for value in values]).sum().sqrt() if values else torch.zeros(())
