"""Masks over the four factors, and the edges they stand for.

A mask is written `mask[child, parent]`, rows and columns in the storage order of `scr3d.factors.FACTORS`.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from scr3d.causal.order import Order, all_orders
from scr3d.errors import ConfigError
from scr3d.names import FACTORS, Factor

__all__ = ["Order", "all_orders", "descendants", "format_edges", "is_acyclic", "parse_edges", "sub_dags"]


def parse_edges(text: str) -> Float[Tensor, "4 4"]:
    """Mask of edges written parent > child, as in `V>D,V>L,D>A`.

    Raises:
        ConfigError: the text is no list of edges between two of V, D, L, A, or the edges form a cycle.
    """
    mask = torch.zeros(len(FACTORS), len(FACTORS))
    for edge in text.replace(" ", "").upper().split(","):
        try:
            parent, child = (FACTORS.index(Factor(letter)) for letter in edge.split(">"))
        except ValueError:
            raise ConfigError(f"edges are written parent>child, as in V>D,V>L,D>A; got {text!r}") from None
        mask[child, parent] = 1.0
    if not is_acyclic(mask):
        raise ConfigError(f"a causal graph has no cycles; the edges {text} have one")
    return mask


def format_edges(mask: Float[Tensor, "4 4"] | Bool[Tensor, "4 4"]) -> str:
    """The edges of a mask as `parse_edges` reads them, in row order of (parent, child)."""
    pairs = [(p, c) for p in range(len(FACTORS)) for c in range(len(FACTORS)) if mask[c, p] != 0]
    return ",".join(f"{FACTORS[p].value}>{FACTORS[c].value}" for p, c in pairs)


def sub_dags(order: Order) -> Iterator[Float[Tensor, "4 4"]]:
    """The 64 masks whose edges all agree with an order, from none to all of its six."""
    full = order.mask()
    places = torch.nonzero(full)
    for number in range(2 ** len(places)):
        mask = torch.zeros_like(full)
        for bit, (child, parent) in enumerate(places.tolist()):
            mask[child, parent] = float(number >> bit & 1)
        yield mask


def is_acyclic(mask: Float[Tensor, "n n"] | Bool[Tensor, "n n"]) -> bool:
    """Whether the graph of the non-zero entries has no directed cycle (self-loops are cycles)."""
    edges = (mask != 0).double()
    reach = edges
    for _ in range(len(edges)):
        if reach.diagonal().any():
            return False
        reach = ((reach @ edges) > 0).double()
    return True


def descendants(mask: Float[Tensor, "n n"], node: int) -> set[int]:
    """All nodes that a directed path leads to from `node`."""
    found: set[int] = set()
    frontier = {node}
    while frontier:
        children = {int(child) for parent in frontier for child in torch.nonzero(mask[:, parent]).flatten()}
        frontier = children - found
        found |= children
    return found
