"""Causal orders of the four factors; without torch until a mask is asked for.

An order is written causes first: in `VDLA` the view is the root and the albedo is caused by the other three.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING

from scr3d.errors import ConfigError
from scr3d.names import FACTORS, Factor

if TYPE_CHECKING:
    from torch import Tensor


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

    def mask(self) -> Tensor:
        """The full mask [4, 4] of the order: every earlier factor is a parent."""
        import torch

        rank = torch.tensor(self.rank)
        return (rank[:, None] > rank[None, :]).float()


def all_orders() -> Iterator[Order]:
    """The 24 orders, in lexicographic order of storage indices."""
    return (Order(sequence) for sequence in permutations(FACTORS))
