"""Pictures that show the same: perceptual hashes, and groups of pictures whose hashes are close.

A hash tells for 64 low frequencies of a small grey copy whether they are above their median; scaling, compression and
brightness hardly change it (the DCT hash of Zauner, "Implementation and benchmarking of perceptual image hash
functions", 2010).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int, UInt64

from scr3d.data.images import resize

HASH_BITS = 64
COARSE_SIDE = 32
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
PAIRS_AT_A_TIME = 2**22


def perceptual_hash(image: Float[np.ndarray, "height width 3"]) -> int:
    """64 bits that are alike for pictures that look alike."""
    grey = resize(np.asarray(image, np.float32) @ LUMA, COARSE_SIDE)
    frequencies = (_COSINES @ grey @ _COSINES.T).ravel()
    # The mean of the picture, the first of them, is left out of the median: it is far above all others.
    bits = frequencies > np.median(frequencies[1:])
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def close_pairs(hashes: UInt64[np.ndarray, " n"], distance: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Blocks of indices (first < second) of all pairs whose hashes differ in at most `distance` bits.

    The bits are cut into `distance + 1` bands: hashes that close agree in at least one, so only pictures that share a
    band are compared. Memory stays small; a pair may come several times.
    """
    bands = distance + 1
    edges = np.linspace(0, HASH_BITS, bands + 1).astype(int)
    for low, high in pairwise(edges):
        mask = np.uint64((1 << int(high)) - (1 << int(low)))
        keys = hashes & mask
        order = np.argsort(keys, kind="stable")
        starts = np.flatnonzero(np.r_[True, keys[order][1:] != keys[order][:-1]])
        sizes = np.diff(np.r_[starts, len(order)])
        for start, size in zip(starts[sizes > 1], sizes[sizes > 1], strict=True):
            members = np.sort(order[start : start + size])
            yield from _within(members, hashes, distance)


def _within(members: np.ndarray, hashes: np.ndarray, distance: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Close pairs among pictures that share a band, a few rows at a time."""
    rows = max(1, PAIRS_AT_A_TIME // len(members))
    for start in range(0, len(members), rows):
        block = members[start : start + rows]
        differing = np.bitwise_count(hashes[block][:, None] ^ hashes[members][None, :])
        first, second = np.nonzero(differing <= distance)
        later = block[first] < members[second]
        if later.any():
            yield block[first[later]], members[second[later]]


class Groups:
    """Disjoint groups of pictures that grow together."""

    def __init__(self, count: int):
        """Every picture is a group of its own."""
        self.parent = np.arange(count)

    def find(self, index: int) -> int:
        """The smallest picture of a group, which stands for it."""
        root = index
        while self.parent[root] != root:
            root = int(self.parent[root])
        while self.parent[index] != root:
            self.parent[index], index = root, int(self.parent[index])
        return root

    def join(self, first: int, second: int) -> None:
        """Make one group of two."""
        one, other = self.find(first), self.find(second)
        self.parent[max(one, other)] = min(one, other)

    def labels(self) -> Int[np.ndarray, " n"]:
        """The picture that stands for each picture's group."""
        return np.array([self.find(index) for index in range(len(self.parent))], dtype=np.int64)


def links(hashes: UInt64[np.ndarray, " n"], distance: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Fewer pairs than `close_pairs`, which lead to the same groups.

    Pictures with one hash are linked in a row, and only the first of them is compared with others: ten thousand blank
    pages would be fifty million pairs.
    """
    values, firsts, of_value = np.unique(hashes, return_index=True, return_inverse=True)
    order = np.argsort(of_value, kind="stable")
    same = of_value[order][1:] == of_value[order][:-1]
    yield order[:-1][same], order[1:][same]
    for first, second in close_pairs(values, distance):
        yield firsts[first], firsts[second]


def group_by_hash(hashes: UInt64[np.ndarray, " n"], distance: int) -> Groups:
    """Groups of pictures that are linked by hashes of at most that distance."""
    groups = Groups(len(hashes))
    for first, second in links(hashes, distance):
        for one, other in zip(first.tolist(), second.tolist(), strict=True):
            groups.join(one, other)
    return groups


_COSINES = np.cos(np.pi / COARSE_SIDE * (np.arange(COARSE_SIDE) + 0.5) * np.arange(8)[:, None]).astype(np.float32)
