"""Causal mixing: how the embeddings of a factor's parents enter its own.

Embeddings are stacked in the storage order of the factors, `Float[Tensor, "batch factor embedding"]`; weights
are `mask[child, parent]`, one for the whole batch or one per image. Notation: m_i is the mixed embedding that
factor i is decoded from, e_i the embedding of its encoder.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from scr3d.causal.kinds import MixingKind, ParentFlow
from scr3d.factors import FACTORS


def passed_on(
    embeddings: Float[Tensor, "batch factor embedding"], flow: ParentFlow
) -> Float[Tensor, "batch factor embedding"]:
    """What parents hand to their children, see `ParentFlow`."""
    if flow is ParentFlow.DETACHED:
        return embeddings.detach()
    return embeddings.roll(1, 0) if flow is ParentFlow.SHUFFLED else embeddings


class AdditiveMixing(nn.Module):
    """m_i = e_i + sum_j M_ij e_j: one hop, as published ([SCR], section 3.2)."""

    def __init__(self, flow: ParentFlow = ParentFlow.JOINT):
        super().__init__()
        self.flow = flow

    def forward(
        self,
        embeddings: Float[Tensor, "batch factor embedding"],
        weights: Float[Tensor, "*batch factor factor"],
    ) -> Float[Tensor, "batch factor embedding"]:
        """Mix every factor's embedding with those of its parents."""
        return embeddings + weights @ passed_on(embeddings, self.flow)


class RecursiveMixing(nn.Module):
    """m_i = e_i + sum_j M_ij m_j: a linear structural equation, so effects reach all descendants.

    On an acyclic graph of n factors the solution is (I + M + ... + M^(n-1)) e, evaluated by Horner's rule.
    """

    def __init__(self, flow: ParentFlow = ParentFlow.JOINT):
        super().__init__()
        self.flow = flow

    def forward(
        self,
        embeddings: Float[Tensor, "batch factor embedding"],
        weights: Float[Tensor, "*batch factor factor"],
    ) -> Float[Tensor, "batch factor embedding"]:
        """Solve the structural equation in causal order."""
        mixed = embeddings
        for _ in range(embeddings.shape[1] - 1):
            mixed = embeddings + weights @ passed_on(mixed, self.flow)
        return mixed


class ConcatMixing(nn.Module):
    """m_i = C_i [M_i1 e_1, ..., M_in e_n, e_i]: a learned linear map (a 1x1 convolution) of the concatenation."""

    def __init__(self, embedding: int, flow: ParentFlow = ParentFlow.JOINT, factors: int = len(FACTORS)):
        super().__init__()
        self.flow = flow
        self.maps = nn.ModuleList(nn.Linear((factors + 1) * embedding, embedding) for _ in range(factors))

    def forward(
        self,
        embeddings: Float[Tensor, "batch factor embedding"],
        weights: Float[Tensor, "*batch factor factor"],
    ) -> Float[Tensor, "batch factor embedding"]:
        """Mix every factor's embedding with those of its parents."""
        parents = (weights[..., None] * passed_on(embeddings, self.flow)[:, None]).flatten(2)
        joined = torch.cat([parents, embeddings], dim=2)
        return torch.stack([linear(joined[:, i]) for i, linear in enumerate(self.maps)], dim=1)


def build_mixing(kind: MixingKind, embedding: int, flow: ParentFlow = ParentFlow.JOINT) -> nn.Module:
    """The mixing module of the given form."""
    if kind is MixingKind.CONCAT:
        return ConcatMixing(embedding, flow)
    return AdditiveMixing(flow) if kind is MixingKind.ADDITIVE else RecursiveMixing(flow)
