"""Where the mixing weights come from: one module per structure, all behind the same call.

`structure(embeddings) -> Float "factor factor"` (one graph) or `Float "batch factor factor"` (one per image).
"""

from __future__ import annotations

from enum import StrEnum

import torch
from jaxtyping import Float
from torch import Tensor, nn

from scr3d.causal.graph import Order, is_acyclic
from scr3d.errors import ConfigError
from scr3d.factors import FACTORS


class StructureKind(StrEnum):
    """The causal structures."""

    INDEPENDENT = "independent"
    DENSE = "dense"


class StaticStructure(nn.Module):
    """A fixed mask: independent (all zero), or all earlier factors of an order (dense).

    Raises:
        ConfigError: the mask is not 4x4 or has a cycle.
    """

    mask: Tensor

    def __init__(self, mask: Float[Tensor, "4 4"]):
        super().__init__()
        if mask.shape != (len(FACTORS), len(FACTORS)) or not is_acyclic(mask):
            raise ConfigError(f"a causal mask is a 4x4 matrix without cycles, mask[child, parent]; got {mask.tolist()}")
        self.register_buffer("mask", mask.clone())

    def forward(self, embeddings: Float[Tensor, "batch factor embedding"]) -> Float[Tensor, "factor factor"]:
        """The mask, whatever the images are."""
        return self.mask


def build_structure(kind: StructureKind, order: str | None) -> nn.Module:
    """The structure module of the given kind.

    Raises:
        ConfigError: a dense structure without an order, or an order that is no permutation.
    """
    if kind is StructureKind.INDEPENDENT:
        return StaticStructure(torch.zeros(len(FACTORS), len(FACTORS)))
    if order is None:
        raise ConfigError("a dense structure needs an order, causes first: for instance --order VDLA")
    return StaticStructure(Order.parse(order).mask())
