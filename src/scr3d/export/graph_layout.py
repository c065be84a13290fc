"""Where the nodes, arrows and numbers of a picture of a causal graph go.

Lengths are in units of the drawing, in which a node has the radius `NODE_RADIUS`. Causes lie left of their effects:
a column for every causal depth. A graph with cycles has no such depth; its nodes lie on the corners of a square.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

NODE_RADIUS = 0.42
COLUMN_STEP, ROW_STEP, SQUARE_STEP = 2.2, 1.7, 3.2
BENDS = (0.0, 0.35, -0.35, 0.7, -0.7, 1.0, -1.0, 1.3, -1.3, 1.6, -1.6, 1.9, -1.9)
"""How far the middle of an arrow may lie beside the straight line between its nodes."""
NUMBER_PLACES = (0.5, 0.42, 0.58, 0.34, 0.66, 0.26, 0.74)
"""Where on an arrow its number may stand, as a share of its length."""
ARROW_GAP = 0.05
"""Distance of an arrow's ends from its nodes."""
NODE_CLEARANCE, ARROW_CLEARANCE, END_CLEARANCE = 0.3, 0.35, 0.28
"""Distances from other nodes' rims, from other arrows, and between ends of arrows, below which a path costs."""
SAMPLES = 25
SWEEPS = 10
STARTS = 40

Points = Float[np.ndarray, "_ 2"]


@dataclass(frozen=True)
class Arrow:
    """An arrow from the rim of one node to that of another.

    Attributes:
        parent: node it leaves.
        child: node it points to.
        control: the three control points of a quadratic Bezier curve.
        number: centre of its number.
    """

    parent: int
    child: int
    control: Points
    number: Float[np.ndarray, " 2"]


@dataclass(frozen=True)
class Layout:
    """Places of everything.

    Attributes:
        nodes: centres, in storage order.
        arrows: one for every edge, by child, then by parent.
    """

    nodes: Points
    arrows: tuple[Arrow, ...]

    def extent(self) -> tuple[Float[np.ndarray, " 2"], Float[np.ndarray, " 2"]]:
        """Lower left and upper right corner of all nodes and arrows."""
        curves = [bezier(arrow.control) for arrow in self.arrows]
        points = np.concatenate([self.nodes - NODE_RADIUS, self.nodes + NODE_RADIUS, *curves])
        return points.min(axis=0), points.max(axis=0)


def lay_out(edges: Bool[np.ndarray, "n n"], number_size: tuple[float, float]) -> Layout:
    """Place a graph.

    Args:
        edges: `edges[child, parent]`, without self-loops; may have cycles.
        number_size: width and height of the numbers.
    """
    nodes = place_nodes(edges)
    pairs = [(int(parent), int(child)) for child, parent in np.argwhere(edges)]
    curves = route(nodes, pairs)
    numbers = place_numbers(nodes, curves, number_size)
    arrows = (Arrow(*pair, curve, number) for pair, curve, number in zip(pairs, curves, numbers, strict=True))
    return Layout(nodes, tuple(arrows))


def place_nodes(edges: Bool[np.ndarray, "n n"]) -> Points:
    """Centres of the nodes: in columns by causal depth, in a row without edges, in a square with cycles."""
    count = len(edges)
    depth = causal_depth(edges)
    if depth is None:
        corners = [(column, -row) for row in range((count + 1) // 2) for column in range(2)]
        return np.array(corners[:count], dtype=float) * SQUARE_STEP
    if not edges.any():
        return np.stack([np.arange(count) * COLUMN_STEP, np.zeros(count)], axis=1)
    nodes = np.zeros((count, 2))
    for column in range(max(depth) + 1):
        members = [node for node in range(count) if depth[node] == column]
        for row, node in enumerate(members):
            nodes[node] = column * COLUMN_STEP, ((len(members) - 1) / 2 - row) * ROW_STEP
    return nodes


def causal_depth(edges: Bool[np.ndarray, "n n"]) -> list[int] | None:
    """Length of the longest path to every node from a node without causes; None where there are cycles."""
    depth = np.zeros(len(edges), dtype=int)
    for _ in range(len(edges)):
        deeper = np.where(edges, depth[None, :] + 1, 0).max(axis=1)
        if (deeper == depth).all():
            return depth.tolist()
        depth = deeper
    return None


def bezier(control: Points, count: int = SAMPLES) -> Points:
    """Points along a quadratic Bezier curve, ends included."""
    t = np.linspace(0, 1, count)[:, None]
    return (1 - t) ** 2 * control[0] + 2 * t * (1 - t) * control[1] + t**2 * control[2]


def route(nodes: Points, pairs: Sequence[tuple[int, int]]) -> list[Points]:
    """Control points of an arrow for every (parent, child), bent around nodes and other arrows.

    From several starts, arrows are bent one after the other, each as is best beside all others, until none changes;
    the best result is taken.
    """
    if not pairs:
        return []
    # The two arrows of a mutual pair would lie on one another if they were straight.
    curves = [
        [bent_curve(nodes[parent], nodes[child], bend) for bend in BENDS if bend or (child, parent) not in pairs]
        for parent, child in pairs
    ]
    alone = [
        np.array([_path_cost(curve, np.delete(nodes, pair, axis=0)) for curve in choices])
        for pair, choices in zip(pairs, curves, strict=True)
    ]
    together = [[_crossing_costs(first, second) for second in curves] for first in curves]
    generator = np.random.default_rng(0)
    best, best_cost = [0] * len(pairs), np.inf
    for start in range(STARTS):
        chosen = [0 if start == 0 else int(generator.integers(len(choices))) for choices in curves]
        cost = _descend(chosen, alone, together)
        if cost < best_cost - 1e-6:
            best, best_cost = chosen, cost
    return [choices[number] for choices, number in zip(curves, best, strict=True)]


def _descend(chosen: list[int], alone: list[np.ndarray], together: list[list[np.ndarray]]) -> float:
    """Improve a choice of curves in place until no single change helps; returns its cost."""
    count = len(chosen)
    for _ in range(SWEEPS):
        before = list(chosen)
        for this in range(count):
            costs = alone[this] + sum(together[this][o][:, chosen[o]] for o in range(count) if o != this)
            # Rounded, so that equal costs stay equal whatever the order of summation; the first of them is taken.
            chosen[this] = int(np.argmin(np.round(costs, 6)))
        if chosen == before:
            break
    pairs = [(i, j) for i in range(count) for j in range(i)]
    return float(
        sum(alone[i][chosen[i]] for i in range(count)) + sum(together[i][j][chosen[i], chosen[j]] for i, j in pairs)
    )


def bent_curve(start: Float[np.ndarray, " 2"], stop: Float[np.ndarray, " 2"], bend: float) -> Points:
    """Curve between the rims of two nodes whose middle lies `bend` to the left of the straight line."""
    along = (stop - start) / np.linalg.norm(stop - start)
    left = np.array([-along[1], along[0]])
    # The middle of a quadratic curve lies half-way between its chord and its control point.
    control = np.stack([start, (start + stop) / 2 + 2 * bend * left, stop])
    fine = bezier(control, 400)
    reach = NODE_RADIUS + ARROW_GAP
    outside = np.flatnonzero(
        (np.linalg.norm(fine - start, axis=1) >= reach) & (np.linalg.norm(fine - stop, axis=1) >= reach)
    )
    return _part(control, outside[0] / 399, outside[-1] / 399)


def place_numbers(nodes: Points, curves: Sequence[Points], size: tuple[float, float]) -> list[Float[np.ndarray, " 2"]]:
    """Centre of the number of every curve: on it, and clear of nodes, other curves and other numbers."""
    placed: list[np.ndarray] = []
    for number, curve in enumerate(curves):
        points = bezier(curve, 101)
        others = [bezier(other, 101) for index, other in enumerate(curves) if index != number]
        costs = []
        for place in NUMBER_PLACES:
            centre = points[round(place * 100)]
            cost = abs(place - 0.5)
            cost += sum(_inside(other, centre, size) > 0 for other in others)
            cost += 4 * sum(_inside(other[None], centre, (2 * size[0], 2 * size[1])) > 0 for other in placed)
            wide = (size[0] + 2 * NODE_RADIUS, size[1] + 2 * NODE_RADIUS)
            cost += 2 * _inside(nodes, centre, wide)
            costs.append(cost)
        placed.append(points[round(NUMBER_PLACES[int(np.argmin(costs))] * 100)])
    return placed


def _inside(points: Points, centre: np.ndarray, size: tuple[float, float]) -> int:
    """How many points lie in a box."""
    return int((np.abs(points - centre) < np.array(size) / 2).all(axis=1).sum())


def _path_cost(control: Points, distant: Points) -> float:
    """Cost of a curve's detour and of passing nodes closely."""
    points = bezier(control)
    length = np.linalg.norm(np.diff(points, axis=0), axis=1).sum()
    cost = 0.25 * (length - np.linalg.norm(control[2] - control[0]))
    for node in distant:
        gap = np.linalg.norm(points - node, axis=1).min() - NODE_RADIUS
        cost += 20 * max(0.0, NODE_CLEARANCE - gap)
    return float(cost)


def _crossing_costs(first: Sequence[Points], second: Sequence[Points]) -> Float[np.ndarray, "first second"]:
    """Cost of every pair of curves of two arrows: for crossing, for close middles, for close ends."""
    one, two = (np.stack([bezier(curve) for curve in curves]) for curves in (first, second))

    def gaps(these: np.ndarray, those: np.ndarray) -> np.ndarray:
        return np.linalg.norm(these[:, None, :, None] - those[None, :, None, :], axis=4).min(axis=(2, 3))

    middle, ends, heads = slice(6, -6), [0, -1], [-1]
    cost = 2 * np.maximum(0.0, ARROW_CLEARANCE - gaps(one[:, middle], two[:, middle]))
    cost += np.maximum(0.0, END_CLEARANCE - gaps(one[:, ends], two[:, ends]))
    # Heads are broad, so two of them need more room than two tails.
    cost += 4 * np.maximum(0.0, END_CLEARANCE - gaps(one[:, heads], two[:, heads]))
    return cost + 1.5 * _crossings(one, two)


def _crossings(one: Float[np.ndarray, "first n 2"], two: Float[np.ndarray, "second n 2"]) -> np.ndarray:
    """How often every pair of two families of polylines crosses."""
    start, stop = one[:, None, :-1, None], one[:, None, 1:, None]
    begin, end = two[None, :, None, :-1], two[None, :, None, 1:]

    def side(a: np.ndarray, b: np.ndarray, point: np.ndarray) -> np.ndarray:
        along, to = b - a, point - a
        return along[..., 0] * to[..., 1] - along[..., 1] * to[..., 0] > 0

    apart = side(start, stop, begin) != side(start, stop, end)
    return (apart & (side(begin, end, start) != side(begin, end, stop))).sum(axis=(2, 3))


def _part(control: Points, start: float, stop: float) -> Points:
    """Control points of the piece of a quadratic curve between two of its parameters."""

    def blossom(s: float, t: float) -> np.ndarray:
        return (1 - s) * (1 - t) * control[0] + (s * (1 - t) + t * (1 - s)) * control[1] + s * t * control[2]

    return np.stack([blossom(start, start), blossom(start, stop), blossom(stop, stop)])
