"""Learning the causal graph with the networks: the bilevel problem of Generic SCR, and its joint form.

Outer problem: the graph M lowers the loss on images that the weights never see. Inner problem: the weights follow
their own optimiser on training images under M. One outer step unrolls k inner steps exactly, differentiates the
held-out loss through them, moves M, and keeps the weights:

    min over M of L_val(W_k(M), M) + lambda H(M),    W_k = k steps of Adam on L_train(., M)

Source: [SCR], equations 5 and 6; H and its schedule as in docs/structures.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from scr3d.causal import PENALTIES, LearnedStructure, format_edges, is_acyclic, project_to_dag
from scr3d.data.dataset import Batch
from scr3d.errors import CollapseError
from scr3d.files import write_json
from scr3d.fused.dispatch import plain
from scr3d.models.autoencoder import PhotoGeometricAutoencoder
from scr3d.processes import ALONE, Group
from scr3d.training.config import GraphConfig, TrainConfig
from scr3d.training.differences import pull_back
from scr3d.training.objective import Whole
from scr3d.training.unroll import AdamRule, AdamState, unroll

MODEL_PREFIX = "model."
STRUCTURE_PREFIX = "structure."


@dataclass(frozen=True)
class OuterStep:
    """What one outer step has found.

    Attributes:
        gradients: of the outer problem with respect to the parameters of the graph.
        losses: training loss of every inner step.
        norms: norm of the gradient of every inner step.
        held_out: held-out loss after the inner steps.
        penalty: acyclicity penalty, unweighted.
        finite: whether everything was finite; if not, nothing has changed.
    """

    gradients: list[Tensor]
    losses: list[Tensor]
    norms: list[Tensor]
    held_out: Tensor
    penalty: Tensor
    finite: bool


class GraphLearner:
    """The outer problem: the graph's parameters, their optimiser and schedules."""

    def __init__(self, config: TrainConfig, model: PhotoGeometricAutoencoder, group: Group = ALONE):
        """Take the learned structure of a model; the processes of `group` share the batches."""
        assert isinstance(model.structure, LearnedStructure)  # the trainer asks for a learner only then
        self.structure = model.structure
        self.model = model
        self.group = group
        self.config: GraphConfig = config.graph
        self.constrained = is_acyclic(self.structure.mask)
        fine_tuned = 0.0 if self.constrained else self.config.fine_tune
        self.learning_steps = max(1, round(config.steps * (1 - fine_tuned)))
        self.round = self.config.inner_steps + self.config.plain_steps if self.bilevel else 1
        """Steps of the weights from one step of the graph to the next."""
        self.rate = self.config.graph_reach / max(1, self.learning_steps // self.round)
        self.optimiser = torch.optim.Adam(self.structure.parameters(), lr=self.rate)
        optimiser = config.optimiser
        self.rule = AdamRule(
            optimiser.beta1,
            optimiser.beta2,
            weight_decay=optimiser.weight_decay,
            clip=optimiser.gradient_clip,
        )

    @property
    def bilevel(self) -> bool:
        """Whether the graph is learned on held-out images (otherwise on the training loss)."""
        return self.config.graph_learning == "bilevel"

    def learns_at(self, step: int) -> bool:
        """Whether the graph still changes."""
        return step < self.learning_steps

    def unrolls_at(self, step: int) -> bool:
        """Whether a step of the graph through steps of the weights begins here."""
        return self.bilevel and self.learns_at(step) and step % self.round == 0

    def penalty_weight(self, step: int) -> float:
        """Weight of the acyclicity penalty: doubled at equal distances; 0 under the mask of an order."""
        if self.constrained:
            return 0.0
        progress = min(1.0, step / self.learning_steps)
        return self.config.dag_weight * 2.0 ** (self.config.dag_doublings * progress)

    def penalty(self) -> Tensor:
        """Acyclicity penalty of the graph as it is."""
        return PENALTIES[self.config.dag_penalty](self.structure.learned_weights())

    def joint_loss(self, step: int) -> Tensor | None:
        """What joint learning adds to the training loss."""
        weight = 0.0 if self.bilevel or not self.learns_at(step) else self.penalty_weight(step)
        return None if weight == 0 else weight * self.penalty()

    def joint_step(self, step: int) -> None:
        """Move the graph along the gradients that the training loss has left on it."""
        if self.learns_at(step) and not self.bilevel:
            self.optimiser.step()

    def outer_step(
        self,
        objective: nn.Module,
        optimiser: torch.optim.Optimizer,
        inner_batch: Callable[[int], tuple[Whole | Batch, int]],
        outer_batch: tuple[Whole | Batch, int],
        rates: Sequence[float],
        step: int,
    ) -> OuterStep:
        """Unroll inner steps, move the graph, and keep the weights and their moments.

        Args:
            objective: (image, images seen, held_out) -> (loss, parts), holding the model as `model`.
            optimiser: Adam over the weights.
            inner_batch: images and images seen of an inner step.
            outer_batch: images the weights never train on, and images seen.
            rates: learning rate of the weights in every inner step.
            step: of the weights' optimiser, before the inner steps.
        """
        found, after = self.hypergradient(objective, optimiser, inner_batch, outer_batch, rates, step)
        if found.finite:
            for parameter, gradient in zip(self.structure.parameters(), found.gradients, strict=True):
                parameter.grad = gradient
            self.optimiser.step()
            self._keep(after, optimiser)
        self.optimiser.zero_grad(set_to_none=True)
        return found

    def hypergradient(
        self,
        objective: nn.Module,
        optimiser: torch.optim.Optimizer,
        inner_batch: Callable[[int], tuple[Whole | Batch, int]],
        outer_batch: tuple[Whole | Batch, int],
        rates: Sequence[float],
        step: int,
    ) -> tuple[OuterStep, AdamState]:
        """Gradient of the outer problem, and the weights after the inner steps; nothing changes. See `outer_step`."""
        graph = {STRUCTURE_PREFIX + name: value for name, value in self.structure.named_parameters()}
        parameters = list(graph.values())
        by = self.config.graph_gradient
        # Inner steps are differentiated a second time, which the fused kernels are not made for.
        twice = by == "autograd"
        batches = [inner_batch(number) for number in range(len(rates))]

        def call(weights: dict[str, Tensor], images: tuple[Whole | Batch, int], held_out: bool) -> Tensor:
            whole = images[0] if isinstance(images[0], Whole) else Whole(images[0])
            named = {MODEL_PREFIX + name: value for name, value in (weights | graph).items()}
            with plain() if twice and not held_out else nullcontext():
                result: tuple[Tensor, Any] = functional_call(objective, named, (whole, images[1], held_out))
            return whole.weighted(result[0])

        def gradient(weights: dict[str, Tensor], number: int) -> tuple[Tensor, dict[str, Tensor]]:
            tracked = _tracked(weights)
            value = call(tracked, batches[number], False)
            found = torch.autograd.grad(value, list(tracked.values()), create_graph=twice, allow_unused=True)
            return value, self._joined(tracked, found)

        def slopes(weights: dict[str, Tensor], number: int, of_weights: bool) -> tuple[list[Tensor], dict[str, Tensor]]:
            tracked = _tracked(weights) if of_weights else {}
            value = call(weights | tracked, batches[number], False)
            found = torch.autograd.grad(value, [*parameters, *tracked.values()], allow_unused=True)
            return list(found[: len(graph)]), self._joined(tracked, found[len(graph) :])

        states, gradients, losses, norms = unroll(gradient, self.weights_and_moments(optimiser), self.rule, rates)
        after = _tracked(states[-1].weights)
        held_out = call(after, outer_batch, True)
        penalty = self.penalty()
        # Every process has the same penalty: each counts its share of it.
        weighted = self.penalty_weight(step) * penalty / self.group.size
        sources = list(after.values()) if by == "differences" else []
        found = torch.autograd.grad(held_out + weighted, [*parameters, *sources], allow_unused=True)
        terms = [list(found[: len(graph)])]
        if by == "differences":
            terms += pull_back(slopes, states, gradients, self.rule, rates, self._joined(after, found[len(graph) :]))
        summed = [torch.stack([value.detach() for value in same]).sum(0) for same in zip(*terms, strict=True)]
        joined = self.group.sum_all(summed)
        *losses, held_out = self.group.sum_all([*losses, held_out.detach()])
        outer = held_out + self.group.size * weighted.detach()
        finite = all(bool(torch.isfinite(x).all()) for x in (*losses, *norms, outer, *joined))
        return OuterStep(joined, losses, norms, held_out, penalty.detach(), finite), states[-1]

    def _joined(self, named: dict[str, Tensor], found: Sequence[Tensor | None]) -> dict[str, Tensor]:
        """The gradients that there are, by name, of the whole batch."""
        there = {name: value for name, value in zip(named, found, strict=True) if value is not None}
        return dict(zip(there, self.group.sum_all(list(there.values())), strict=True))

    def weights_and_moments(self, optimiser: torch.optim.Optimizer) -> AdamState:
        """The optimiser's state as the start of the inner problem."""
        weights, mean, square, count = {}, {}, {}, 0
        for name, parameter in self._inner_parameters():
            state = optimiser.state.get(parameter, {})
            weights[name] = parameter.detach().clone()
            mean[name] = state.get("exp_avg", torch.zeros_like(parameter)).detach()
            square[name] = state.get("exp_avg_sq", torch.zeros_like(parameter)).detach()
            count = max(count, int(state.get("step", 0)))
        return AdamState(weights, mean, square, count)

    @torch.no_grad()
    def _keep(self, after: AdamState, optimiser: torch.optim.Optimizer) -> None:
        for name, parameter in self._inner_parameters():
            parameter.copy_(after.weights[name])
            moments = {"exp_avg": after.mean[name], "exp_avg_sq": after.square[name]}
            state = {key: torch.empty_like(parameter).copy_(value) for key, value in moments.items()}
            steps = torch.tensor(float(after.count), device=parameter.device)
            optimiser.state[parameter] = {"step": steps, **state}

    def _inner_parameters(self) -> list[tuple[str, nn.Parameter]]:
        return [(n, p) for n, p in self.model.named_parameters() if not n.startswith(STRUCTURE_PREFIX)]

    def settle_if_due(self, step: int, keep_going: bool = False) -> bool:
        """Fix the graph as its acyclic projection once it has been learned; returns whether that happened now.

        Raises:
            CollapseError: no edge is left.
        """
        if self.constrained or self.learns_at(step) or bool(self.structure.settled):
            return False
        self.structure.settle(self.config.dag_threshold)
        if not self.structure.final_weights.any() and not keep_going:
            raise CollapseError(
                "the learned graph has no edge left; lower --dag-weight or --dag-doublings, or raise --graph-reach"
            )
        return True

    def record(self) -> dict[str, Any]:
        """The graph as learned and as its acyclic projection, as plain JSON values."""
        learned = self.structure.learned_weights().detach()
        settled = bool(self.structure.settled)
        if self.constrained:
            projected = learned
        else:
            projected = self.structure.final_weights if settled else project_to_dag(learned, self.config.dag_threshold)
        return {
            "learned": learned.tolist(),
            "penalty": float(self.penalty().detach()),
            "settled": settled,
            "projected": projected.tolist(),
            "edges": [edge for edge in format_edges(projected).split(",") if edge],
        }

    def write(self, folder: Path) -> None:
        """Write graph.json."""
        write_json(folder / "graph.json", self.record())


def _tracked(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same values, each of which a gradient can be asked for."""
    return {name: w if w.requires_grad else w.detach().requires_grad_() for name, w in weights.items()}
