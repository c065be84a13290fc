"""Random numbers that depend on (seed, split, stream, index) alone."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from jaxtyping import Float

SPLIT_CODES = {"train": 0, "val": 1, "test": 2}


class Stream(IntEnum):
    """Independent sources of randomness of one split."""

    IDENTITY = 0
    SCENE = 1
    PHOTO = 6
    """Beyond those of the third split, whose keys are 4 and 5."""


class Draws:
    """A row of uniform numbers per sample, handed out column by column in a fixed order.

    Philox is a counter-based generator: the key is (seed, split and stream), the counter starts at the sample's
    index, so each sample's numbers can be made alone and no two splits share any.
    """

    def __init__(self, seed: int, split: str, stream: Stream, indices: np.ndarray, columns: int):
        """Make `columns` numbers for each of `indices`."""
        key = np.array([seed, 2 * SPLIT_CODES[split] + stream], np.uint64)
        raw = np.stack([np.random.Philox(key=key, counter=[0, 0, 0, int(i)]).random_raw(columns) for i in indices])
        # Odd multiples of 2^-54: neither 0 nor 1 occurs, so logarithms are finite.
        self._uniform = ((raw >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
        self._next = 0

    def unit(self, count: int) -> Float[np.ndarray, "samples count"]:
        """Uniform in (0, 1)."""
        start, self._next = self._next, self._next + count
        if self._next > self._uniform.shape[1]:
            raise IndexError(f"{self._next} random numbers asked for, {self._uniform.shape[1]} made")
        return self._uniform[:, start : self._next]

    def uniform(self, low: float, high: float, count: int = 1) -> Float[np.ndarray, "samples count"]:
        """Uniform in (low, high)."""
        return low + (high - low) * self.unit(count)

    def normal(self, sigma: float, limit: float, count: int = 1) -> Float[np.ndarray, "samples count"]:
        """Normal about 0 with standard deviation `sigma`, clipped to +-`limit` (Box-Muller)."""
        radius = np.sqrt(-2 * np.log(self.unit(count)))
        return np.clip(sigma * radius * np.cos(2 * np.pi * self.unit(count)), -limit, limit)
