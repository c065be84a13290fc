"""What is searched: the 24 orders, or the 64 sub-DAGs of one of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from scr3d.causal.kinds import StructureKind
from scr3d.causal.order import Order, all_orders
from scr3d.errors import ConfigError
from scr3d.models.config import ModelConfig
from scr3d.names import FACTORS

if TYPE_CHECKING:
    from torch import Tensor

ORDERED = (StructureKind.DENSE, StructureKind.GENERIC, StructureKind.DYNAMIC)
"""Structures that an order constrains."""


@dataclass(frozen=True)
class Space:
    """The candidates of a search.

    Attributes:
        parameter: name of the trials' parameter: `order` or `edges`.
        names: its values: orders such as `VDLA`, or edges such as `V>D,V>L` (empty: no edge).
    """

    parameter: Literal["order", "edges"]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def plural(self) -> str:
        """What the candidates are called."""
        return "orders" if self.parameter == "order" else "sub-DAGs"

    def model(self, template: ModelConfig, name: str) -> ModelConfig:
        """The template with a candidate's structure."""
        if self.parameter == "order":
            return replace(template, order=name)
        if not name:
            return replace(template, structure=StructureKind.INDEPENDENT, order=None, edges=None)
        return replace(template, structure=StructureKind.GRAPH, order=None, edges=name)

    def mask(self, name: str) -> Tensor:
        """Which edges mask[child, parent] [4, 4] a candidate allows."""
        import torch

        from scr3d.causal.graph import parse_edges

        if self.parameter == "order":
            return Order.parse(name).mask()
        return parse_edges(name) if name else torch.zeros(len(FACTORS), len(FACTORS))


def search_space(template: ModelConfig, sub_dags_of: str | None) -> Space:
    """The candidates for a model.

    Args:
        template: the model; the search sets its order or its edges.
        sub_dags_of: an order; its 64 sub-DAGs are the candidates. None: the 24 orders.

    Raises:
        ConfigError: the template names an order or edges itself, or its structure has none to search for.
    """
    if template.order is not None or template.edges is not None:
        raise ConfigError(
            "scr3d search sets the order itself: leave out --order and --edges "
            "(to search within one order, give it as --sub-dags-of)"
        )
    if sub_dags_of is not None:
        if template.structure is not StructureKind.DENSE:
            raise ConfigError(f"--sub-dags-of searches over fixed graphs; leave out --structure {template.structure}")
        from scr3d.causal.graph import format_edges, sub_dags

        return Space("edges", tuple(format_edges(mask) for mask in sub_dags(Order.parse(sub_dags_of))))
    if template.structure not in ORDERED:
        raise ConfigError(
            f"--structure {template.structure} has no order to search for; take one of {', '.join(ORDERED)}"
        )
    return Space("order", tuple(str(order) for order in all_orders()))


def label(name: str) -> str:
    """A candidate's name for people."""
    return name or "no edges"


def folder_name(name: str) -> str:
    """A candidate's name as a part of a path on any system: `VDLA`, `VD-VL`, `none`."""
    return name.replace(">", "").replace(",", "-") or "none"
