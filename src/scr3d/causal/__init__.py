"""Causal structure over the factors: orders, masks, acyclicity and the mixing of embeddings."""

from scr3d.causal.acyclicity import PENALTIES, PenaltyKind, project_to_dag
from scr3d.causal.graph import Order, all_orders, descendants, format_edges, is_acyclic, parse_edges, sub_dags
from scr3d.causal.mixing import MixingKind, build_mixing
from scr3d.causal.structure import (
    Attention,
    DynamicStructure,
    LearnedStructure,
    StaticStructure,
    StructureKind,
    WeightForm,
    build_structure,
)

__all__ = [
    "PENALTIES",
    "Attention",
    "DynamicStructure",
    "LearnedStructure",
    "MixingKind",
    "Order",
    "PenaltyKind",
    "StaticStructure",
    "StructureKind",
    "WeightForm",
    "all_orders",
    "build_mixing",
    "build_structure",
    "descendants",
    "format_edges",
    "is_acyclic",
    "parse_edges",
    "project_to_dag",
    "sub_dags",
]
