"""Where the mixing weights come from: one module per structure, all behind the same call.

`structure(embeddings) -> Float "factor factor"` (one graph) or `Float "batch factor factor"` (one per image).
Every structure has a buffer `mask`: which edges `mask[child, parent]` it may have. A new structure is one more
class here and one more line in `build_structure`.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from scr3d.causal.acyclicity import project_to_dag
from scr3d.causal.graph import Order, is_acyclic, parse_edges
from scr3d.causal.kinds import DEFAULT_ORDER, Attention, StructureKind, WeightForm
from scr3d.errors import ConfigError
from scr3d.factors import FACTORS

COUNT = len(FACTORS)


class StaticStructure(nn.Module):
    """A fixed mask: independent (all zero), all earlier factors of an order (dense), or edges given by hand.

    Raises:
        ConfigError: the mask is not square or has a cycle.
    """

    mask: Tensor

    def __init__(self, mask: Float[Tensor, "factor factor"]):
        super().__init__()
        if mask.ndim != 2 or mask.shape[0] != mask.shape[1] or not is_acyclic(mask):
            raise ConfigError(
                f"a causal mask is a square matrix without cycles, mask[child, parent]; got {mask.tolist()}"
            )
        self.register_buffer("mask", mask.clone())

    def forward(self, embeddings: Float[Tensor, "batch factor embedding"]) -> Float[Tensor, "factor factor"]:
        """The mask, whatever the images are."""
        return self.mask


class LearnedStructure(nn.Module):
    """One weighted graph, learned with the networks: Generic SCR ([SCR], equations 5 and 6).

    Without an order every edge is possible and a penalty drives the graph towards having no cycles (Eq. 5); the
    graph is then `settle`d, that is projected to one that has none, and stays fixed. Under the mask of an order
    it has none from the start (Eq. 6).
    """

    mask: Tensor
    settled: Tensor
    final_weights: Tensor

    def __init__(self, mask: Float[Tensor, "factor factor"], form: WeightForm = WeightForm.ABSOLUTE):
        """Start from small random weights (absolute) or from weights near one half (low-rank)."""
        super().__init__()
        self.form = form
        self.register_buffer("mask", mask.clone())
        self.register_buffer("settled", torch.tensor(False))
        self.register_buffer("final_weights", torch.zeros_like(mask))
        if form is WeightForm.ABSOLUTE:
            self.free = nn.Parameter(0.1 * torch.randn(mask.shape))
        else:
            self.child_factor = nn.Parameter(0.1 * torch.randn(mask.shape))
            self.parent_factor = nn.Parameter(0.1 * torch.randn(mask.shape))

    def learned_weights(self) -> Float[Tensor, "factor factor"]:
        """The weights as learned: |P|, or sigmoid(U V^T), where the mask has an edge."""
        if self.form is WeightForm.ABSOLUTE:
            return self.free.abs() * self.mask
        return (self.child_factor @ self.parent_factor.T).sigmoid() * self.mask

    def forward(self, embeddings: Float[Tensor, "batch factor embedding"]) -> Float[Tensor, "factor factor"]:
        """The weights, whatever the images are."""
        return torch.where(self.settled, self.final_weights, self.learned_weights())

    @torch.no_grad()
    def settle(self, threshold: float) -> None:
        """Fix the graph as the acyclic projection of what has been learned, see `project_to_dag`."""
        self.final_weights.copy_(project_to_dag(self.learned_weights(), threshold))
        self.settled.fill_(True)


class DynamicStructure(nn.Module):
    """A weighted graph for every image, from its own embeddings, under the mask of an order: Dynamic SCR.

    Sigmoid: sigmoid(<e_i, e_j> / sqrt(dim)); cosine: |cos(e_i, e_j)|; learned: sigmoid(<Q e_i, K e_j> / sqrt(dim))
    with child i and parent j.

    Source: [SCR], section 3.4; the learned form is that of the authors' code.
    """

    mask: Tensor

    def __init__(self, mask: Float[Tensor, "factor factor"], attention: Attention, embedding: int):
        super().__init__()
        self.attention = attention
        self.register_buffer("mask", mask.clone())
        if attention is Attention.LEARNED:
            self.query = nn.Linear(embedding, embedding, bias=False)
            self.key = nn.Linear(embedding, embedding, bias=False)

    def forward(self, embeddings: Float[Tensor, "batch factor embedding"]) -> Float[Tensor, "batch factor factor"]:
        """Weights of every image, in [0, 1]."""
        if self.attention is Attention.COSINE:
            unit = nn.functional.normalize(embeddings, dim=2)
            return (unit @ unit.mT).abs() * self.mask
        children, parents = embeddings, embeddings
        if self.attention is Attention.LEARNED:
            children, parents = self.query(embeddings), self.key(embeddings)
        return (children @ parents.mT / embeddings.shape[2] ** 0.5).sigmoid() * self.mask


def build_structure(
    kind: StructureKind,
    embedding: int,
    order: str | None = None,
    edges: str | None = None,
    attention: Attention = Attention.SIGMOID,
    form: WeightForm = WeightForm.ABSOLUTE,
) -> nn.Module:
    """The structure module of the given kind.

    Args:
        kind: which.
        embedding: length of one factor's embedding.
        order: causes first, as in `VDLA`; needed by dense, optional for generic and dynamic.
        edges: of a graph given by hand, as in `V>D,V>L`.
        attention: of a dynamic structure.
        form: of a learned one.

    Raises:
        ConfigError: what the structure needs is missing, no permutation, cyclic, or not for this structure.
    """
    if order is not None and kind in (StructureKind.INDEPENDENT, StructureKind.GRAPH):
        raise ConfigError(f"--structure {kind} takes no --order; leave it out, or take dense, generic or dynamic")
    if edges is not None and kind is not StructureKind.GRAPH:
        raise ConfigError(f"--edges belong to --structure graph; got --structure {kind}")
    match kind:
        case StructureKind.INDEPENDENT:
            return StaticStructure(torch.zeros(COUNT, COUNT))
        case StructureKind.DENSE:
            if order is None:
                raise ConfigError("a dense structure needs an order, causes first: for instance --order VDLA")
            return StaticStructure(Order.parse(order).mask())
        case StructureKind.GRAPH:
            if edges is None:
                raise ConfigError("a graph needs its edges, parent > child: for instance --edges 'V>D,V>L,D>A'")
            return StaticStructure(parse_edges(edges))
        case StructureKind.GENERIC:
            mask = 1 - torch.eye(COUNT) if order is None else Order.parse(order).mask()
            return LearnedStructure(mask, form)
        case StructureKind.DYNAMIC:
            return DynamicStructure(Order.parse(order or DEFAULT_ORDER).mask(), attention, embedding)
