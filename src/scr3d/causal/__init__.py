"""Causal structure over the factors: orders, masks, acyclicity and the mixing of embeddings."""

from typing import TYPE_CHECKING

from scr3d.lazy import lazy_names

if TYPE_CHECKING:
    from scr3d.causal.acyclicity import PENALTIES, project_to_dag
    from scr3d.causal.graph import descendants, format_edges, is_acyclic, parse_edges, sub_dags
    from scr3d.causal.kinds import Attention, MixingKind, PenaltyKind, StructureKind, WeightForm
    from scr3d.causal.mixing import build_mixing
    from scr3d.causal.order import Order, all_orders
    from scr3d.causal.structure import DynamicStructure, LearnedStructure, StaticStructure, build_structure

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

__getattr__ = lazy_names(__name__, ("kinds", "order", "graph", "acyclicity", "mixing", "structure"), __all__)
