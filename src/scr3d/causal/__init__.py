"""Causal structure over the factors: orders, masks and the mixing of embeddings."""

from scr3d.causal.graph import Order, all_orders, descendants, is_acyclic
from scr3d.causal.mixing import MixingKind, build_mixing
from scr3d.causal.structure import StaticStructure, StructureKind, build_structure

__all__ = [
    "MixingKind",
    "Order",
    "StaticStructure",
    "StructureKind",
    "all_orders",
    "build_mixing",
    "build_structure",
    "descendants",
    "is_acyclic",
]
