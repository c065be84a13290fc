"""Adam as a differentiable function: the optimiser's own steps, kept in the graph of the computation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

CLIP_EPS = 1e-6
"""Added to the norm when clipping, as in `torch.nn.utils.clip_grad_norm_`."""


@dataclass(frozen=True)
class AdamRule:
    """The hyperparameters of `torch.optim.Adam`, and the largest norm of the gradient (0 for no limit)."""

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0
    clip: float = 0.0


@dataclass(frozen=True)
class AdamState:
    """Weights and moments between two steps.

    Attributes:
        weights: by name.
        mean: first moment of the gradient.
        square: second moment.
        count: steps taken.
    """

    weights: dict[str, Tensor]
    mean: dict[str, Tensor]
    square: dict[str, Tensor]
    count: int


Gradient = Callable[[dict[str, Tensor], int], tuple[Float[Tensor, ""], dict[str, Tensor]]]
"""Loss of some weights in a step, from 0, and its gradient with respect to those of them that it depends on."""


def unroll(
    gradient: Gradient, state: AdamState, rule: AdamRule, rates: Sequence[float]
) -> tuple[list[AdamState], list[dict[str, Tensor]], list[Tensor], list[Tensor]]:
    """Take steps of Adam, through which a gradient flows as far as `gradient` lets it.

    Args:
        gradient: of the loss of a step.
        state: where to start.
        rule: the optimiser.
        rates: learning rate of every step.

    Returns:
        The states before and after the steps, one more than there are steps; the gradients; the losses; and the norms
        of the gradients before clipping.
    """
    states, gradients, losses, norms = [state], [], [], []
    for number, rate in enumerate(rates):
        value, found = gradient(states[-1].weights, number)
        after, norm = adam_step(states[-1], found, rule, rate)
        states.append(after)
        gradients.append(found)
        losses.append(value.detach())
        norms.append(norm.detach())
    return states, gradients, losses, norms


def adam_step(
    state: AdamState, gradients: dict[str, Tensor], rule: AdamRule, rate: float
) -> tuple[AdamState, Float[Tensor, ""]]:
    """One step of `torch.optim.Adam` after clipping; weights without a gradient stay as they are.

    Where the second moment is zero the step is zero, and so is its derivative: the square root has none there.
    """
    norm, shrink = clipping(gradients, rule)
    if rule.clip > 0:
        gradients = {name: gradient * shrink for name, gradient in gradients.items()}
    count = state.count + 1
    correction1, correction2 = 1 - rule.beta1**count, 1 - rule.beta2**count
    weights, mean, square = dict(state.weights), dict(state.mean), dict(state.square)
    for name, raw in gradients.items():
        gradient = raw + rule.weight_decay * weights[name] if rule.weight_decay else raw
        mean[name] = torch.lerp(mean[name], gradient, 1 - rule.beta1)
        square[name] = rule.beta2 * square[name] + (1 - rule.beta2) * gradient.square()
        positive = square[name] > 0
        root = torch.where(positive, square[name], torch.ones_like(square[name])).sqrt()
        root = torch.where(positive, root, torch.zeros_like(root))
        weights[name] = weights[name] - rate / correction1 * mean[name] / (root / math.sqrt(correction2) + rule.eps)
    return AdamState(weights, mean, square, count), norm


def clipping(gradients: dict[str, Tensor], rule: AdamRule) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Norm of all gradients together, and what they are multiplied by."""
    norm = torch.stack([g.square().sum() for g in gradients.values()]).sum().sqrt()
    return norm, (rule.clip / (norm + CLIP_EPS)).clamp(max=1.0) if rule.clip > 0 else torch.ones_like(norm)
