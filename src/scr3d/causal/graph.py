"""Causal orders and masks over the four factors.

A mask is written `mask[child, parent]`, rows and columns in the storage order of `scr3d.factors.FACTORS`. An
order is written causes first: in `VDLA` the view is the root and the albedo is caused by the other three.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from scr3d.errors import ConfigError
from scr3d.factors import FACTORS, Factor


@dataclass(frozen=True)
class Order:
    """A permutation of the factors, causes first.

    Raises:
        ConfigError: the sequence is no permutation of the four factors.
    """

    sequence: tuple[Factor, ...]

    def __post_init__(self) -> None:
        if sorted(self.sequence) != sorted(FACTORS):
            raise ConfigError(f"an order names each of V, D, L, A once, as in VDLA; got {''.join(self.sequence)!r}")

    @classmethod
    def parse(cls, text: str) -> Order:
        """Read an order such as `VDLA`.

        Raises:
            ConfigError: the text is no permutation of the letters V, D, L, A.
        """
        try:
            return cls(tuple(Factor(letter) for letter in text.strip().upper()))
        except ValueError:
            raise ConfigError(f"an order names each of V, D, L, A once, as in VDLA; got {text!r}") from None

    def __str__(self) -> str:
        return "".join(self.sequence)

    @property
    def rank(self) -> tuple[int, ...]:
        """Place of every factor in the order, in storage order (0 is the root)."""
        return tuple(self.sequence.index(factor) for factor in FACTORS)

    def mask(self) -> Float[Tensor, "4 4"]:
        """The full mask of the order: every earlier factor is a parent."""
        rank = torch.tensor(self.rank)
        return (rank[:, None] > rank[None, :]).float()


def all_orders() -> Iterator[Order]:
    """The 24 orders, in lexicographic order of storage indices."""
    return (Order(sequence) for sequence in permutations(FACTORS))


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
