"""How far a weighted graph is from having no cycles, and the acyclic graph nearest at hand.

All penalties act on the squares of the weights, are differentiable, non-negative, and zero exactly on graphs
without a directed cycle: the polynomial one to the last bit, the other two up to rounding.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from scr3d.causal.graph import is_acyclic
from scr3d.causal.kinds import PenaltyKind
from scr3d.errors import ConfigError


def polynomial_penalty(weights: Float[Tensor, "n n"]) -> Float[Tensor, ""]:
    """(tr((I + M*M / n)^n) - n)^2, with M*M elementwise.

    Source: [SCR], equation 5; Yu et al., DAG-GNN, ICML 2019.
    """
    n = len(weights)
    step = torch.eye(n, dtype=weights.dtype, device=weights.device) + weights.square() / n
    return (torch.linalg.matrix_power(step, n).trace() - n).square()


def exponential_penalty(weights: Float[Tensor, "n n"]) -> Float[Tensor, ""]:
    """tr(exp(M*M)) - n.

    Source: Zheng et al., DAGs with NO TEARS, NeurIPS 2018.
    """
    return torch.linalg.matrix_exp(weights.square()).trace() - len(weights)


def logdet_penalty(weights: Float[Tensor, "n n"]) -> Float[Tensor, ""]:
    """-log det(s I - M*M) + n log s, with s one above the largest row sum of M*M.

    The penalty measures cycles only where s exceeds the spectral radius of M*M, which no row sum falls short of;
    s counts as a constant.

    Source: Bello et al., DAGMA, NeurIPS 2022.
    """
    n = len(weights)
    squares = weights.square()
    s = 1 + squares.detach().sum(dim=1).max()
    eye = torch.eye(n, dtype=weights.dtype, device=weights.device)
    return n * s.log() - torch.linalg.slogdet(s * eye - squares).logabsdet


PENALTIES = {
    PenaltyKind.POLYNOMIAL: polynomial_penalty,
    PenaltyKind.EXPONENTIAL: exponential_penalty,
    PenaltyKind.LOGDET: logdet_penalty,
}


def project_to_dag(weights: Float[Tensor, "n n"], threshold: float) -> Float[Tensor, "n n"]:
    """The weights without weak edges and without cycles.

    Edges below `threshold` times the largest weight are dropped; then, while a cycle remains, the weakest edge
    that lies on a cycle (of equal ones the first in row order).

    Args:
        weights: non-negative, `weights[child, parent]`.
        threshold: in [0, 1].

    Raises:
        ConfigError: the threshold lies outside [0, 1].
    """
    if not 0 <= threshold <= 1:
        raise ConfigError(f"the threshold is a share of the largest weight in [0, 1]; got {threshold}")
    kept = torch.where(weights >= threshold * weights.max(), weights, torch.zeros_like(weights))
    kept.fill_diagonal_(0.0)
    while not is_acyclic(kept):
        on_cycle = _edges_on_cycles(kept)
        weakest = torch.where(on_cycle, kept, torch.full_like(kept, math.inf)).argmin()
        kept.view(-1)[weakest] = 0.0
    return kept


def _edges_on_cycles(weights: Tensor) -> Tensor:
    """An edge parent -> child lies on a cycle where a path leads back from the child to the parent."""
    edges = (weights != 0).double()
    reach = edges.clone()  # reach[i, j]: a path of one or more edges leads from j to i
    for _ in range(len(edges)):
        reach = ((reach + reach @ edges) > 0).double()
    return (edges > 0) & (reach.T > 0)
