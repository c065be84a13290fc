"""Penalties on cycles over all graphs of four nodes, and the projection to a graph without cycles."""

from itertools import product

import pytest
import torch

from scr3d.causal import PENALTIES, PenaltyKind, is_acyclic, project_to_dag
from scr3d.errors import ConfigError

OFF_DIAGONAL = [(i, j) for i in range(4) for j in range(4) if i != j]


def all_graphs() -> list[torch.Tensor]:
    graphs = []
    for bits in product((0.0, 1.0), repeat=len(OFF_DIAGONAL)):
        graph = torch.zeros(4, 4, dtype=torch.float64)
        for (i, j), bit in zip(OFF_DIAGONAL, bits, strict=True):
            graph[i, j] = bit
        graphs.append(graph)
    return graphs


GRAPHS = all_graphs()
ACYCLIC = [is_acyclic(graph) for graph in GRAPHS]


def test_543_of_the_4096_graphs_have_no_cycle():
    assert len(GRAPHS) == 4096
    assert sum(ACYCLIC) == 543


@pytest.mark.parametrize(("kind", "tolerance"), [("polynomial", 0.0), ("exponential", 1e-12), ("logdet", 1e-12)])
def test_penalties_are_zero_on_acyclic_graphs_alone(kind, tolerance):
    penalty = PENALTIES[PenaltyKind(kind)]
    generator = torch.Generator().manual_seed(0)
    for graph, acyclic in zip(GRAPHS, ACYCLIC, strict=True):
        weights = graph * (0.3 + torch.rand(4, 4, generator=generator, dtype=torch.float64))
        value = float(penalty(weights))
        assert (abs(value) <= tolerance) if acyclic else (value > 1e-7)


@pytest.mark.parametrize("kind", list(PenaltyKind))
def test_gradients_of_penalties(kind):
    weights = torch.rand(4, 4, dtype=torch.float64).fill_diagonal_(0).requires_grad_()
    if kind is PenaltyKind.LOGDET:  # its s counts as a constant, so the check holds it still
        s = float(1 + weights.detach().square().sum(1).max())
        eye = torch.eye(4, dtype=torch.float64)
        slow = -torch.logdet(s * eye - weights.square())
        (expected,) = torch.autograd.grad(slow, weights)
        (found,) = torch.autograd.grad(PENALTIES[kind](weights), weights)
        torch.testing.assert_close(found, expected)
    else:
        assert torch.autograd.gradcheck(PENALTIES[kind], weights)


def test_an_acyclic_graph_survives_the_projection_with_its_strong_edges():
    weights = torch.tensor([[0, 0, 0, 0], [0.9, 0, 0, 0], [0.5, 0.8, 0, 0], [0.05, 0.0, 0.7, 0]])
    expected = weights.clone()
    expected[3, 0] = 0
    assert torch.equal(project_to_dag(weights, 0.3), expected)
    assert torch.equal(project_to_dag(weights, 0.0), weights)


@pytest.mark.parametrize("kind", PENALTIES)
def test_a_learned_graph_keeps_the_edges_of_a_linear_model_with_known_causes(kind):
    """x = W x + noise of equal variance, whose graph can be told from data (Peters and Buehlmann, 2014)."""
    generator = torch.Generator().manual_seed(0)
    true = torch.tensor([[0, 0, 0, 0], [0.9, 0, 0, 0], [0, 0, 0, 0], [0, 0.8, 0.7, 0]], dtype=torch.float64)
    noise = torch.randn(4, 2000, generator=generator, dtype=torch.float64)
    data = torch.linalg.solve(torch.eye(4, dtype=torch.float64) - true, noise)
    free = (0.1 * torch.randn(4, 4, generator=generator, dtype=torch.float64)).requires_grad_()
    optimiser = torch.optim.Adam([free], lr=0.01)
    apart = 1 - torch.eye(4, dtype=torch.float64)
    for step in range(1000):
        weights = free.abs() * apart
        error = (data - weights @ data).square().mean()
        loss = error + 0.01 * weights.sum() + 0.1 * 2.0 ** (step / 100) * PENALTIES[kind](weights)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    learned = (free.abs() * apart).detach()
    assert not is_acyclic(learned)  # small entries are left: the threshold is what removes them
    projected = project_to_dag(learned, 0.3)
    assert is_acyclic(projected)
    assert torch.equal(projected > 0, true > 0)


def test_the_weakest_edge_of_a_cycle_goes_and_edges_off_the_cycle_stay():
    weights = torch.zeros(4, 4)
    weights[1, 0], weights[2, 1], weights[0, 2], weights[3, 0] = 0.9, 0.8, 0.6, 0.4
    expected = weights.clone()
    expected[0, 2] = 0
    assert torch.equal(project_to_dag(weights, 0.3), expected)


def test_every_graph_is_projected_to_one_without_cycles():
    generator = torch.Generator().manual_seed(1)
    for _ in range(200):
        weights = torch.rand(4, 4, generator=generator).fill_diagonal_(0)
        projected = project_to_dag(weights, 0.1)
        assert is_acyclic(projected)
        assert ((projected == 0) | (projected == weights)).all()
        assert projected.max() == weights.max() or not is_acyclic(weights)


def test_a_threshold_out_of_range_is_refused():
    with pytest.raises(ConfigError, match="share of the largest"):
        project_to_dag(torch.zeros(4, 4), 1.5)
