"""The causal graph as a small drawing in the page: what was done to a factor, and along which edges it went on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from scr3d.export.graph_layout import NODE_RADIUS, Arrow, Layout, bent_curve
from scr3d.export.graph_picture import number_text
from scr3d.factors import FACTORS, Factor
from scr3d.interventions.apply import InterventionResult, Role
from scr3d.interventions.strip import COLOURS, NODES
from scr3d.studio.markup import escape

PIXELS_PER_UNIT = 46
MARGIN = 0.15
SQUARE, BEND = np.array([5.2, 3.6]), 0.3
"""Sides of the square on which the nodes lie at a fifth and four fifths; how far double arrows bend."""
NUMBER_PLACE = 0.36
"""Numbers stand so far along an arrow: diagonals cross in the middle."""
HEAD_LENGTH, HEAD_WIDTH = 0.22, 0.2
PLAIN = "#5b7fa6"
"""Nodes to which nothing has been done."""


@dataclass(frozen=True)
class Drawing:
    """What is drawn.

    Attributes:
        weights: `[child, parent]`; no arrow where a weight is zero.
        roles: what became of the factors; None before anything has been done.
        carried: edges along which an effect went.
    """

    weights: Float[np.ndarray, "4 4"]
    roles: dict[Factor, Role] | None = None
    carried: Bool[np.ndarray, "4 4"] | None = None


def plain_drawing(weights: Float[Tensor, "4 4"]) -> Drawing:
    """A graph as it is."""
    return Drawing(weights.detach().cpu().double().numpy())


def drawing_of(result: InterventionResult) -> Drawing:
    """The graph of the first image of an intervention, with what came of it."""
    weights = result.before.weights[0].detach().cpu().double().numpy()
    sources = [factor in result.replaced for factor in FACTORS]
    if result.passes_on:
        sources = [source or bool(result.must_follow[0, i]) for i, source in enumerate(sources)]
    reached = result.must_follow[0].cpu().numpy()
    carried = (weights != 0) & reached[:, None] & np.array(sources)[None, :]
    return Drawing(weights, result.roles(), carried)


def in_words(drawing: Drawing) -> str:
    """The edges, and what became of the factors."""
    edges = [
        f"{FACTORS[parent].name.lower()} to {FACTORS[child].name.lower()} {number_text(drawing.weights[child, parent])}"
        for child, parent in np.argwhere(drawing.weights != 0)
    ]
    text = "causal graph: " + (", ".join(edges) or "no edges")
    if drawing.roles:
        text += "; " + ", ".join(f"{factor.name.lower()} {role}" for factor, role in drawing.roles.items())
    return text


def svg(drawing: Drawing) -> str:
    """The drawing; lines and numbers have the colour of the page's text."""
    weights = drawing.weights
    layout = _layout(weights != 0)
    lower, upper = layout.extent()
    low, size = lower - MARGIN, upper - lower + 2 * MARGIN
    strongest = float(np.abs(weights).max()) or 1.0
    numbered = bool(((weights != 0) & (weights != 1)).any())
    parts = []
    for arrow in sorted(layout.arrows, key=lambda arrow: abs(weights[arrow.child, arrow.parent])):
        weight = float(weights[arrow.child, arrow.parent])
        carried = drawing.carried is not None and bool(drawing.carried[arrow.child, arrow.parent])
        faint = drawing.carried is not None and not carried
        parts.append(_arrow(arrow, abs(weight) / strongest, carried, faint))
        if numbered:
            x, y = arrow.number
            parts.append(_text(x, y, number_text(weight), 0.26, halo=True))
    for factor, (x, y) in zip(FACTORS, layout.nodes, strict=True):
        fill = PLAIN if drawing.roles is None else COLOURS[drawing.roles[factor]]
        parts.append(f'<circle cx="{x:.3f}" cy="{-y:.3f}" r="{NODE_RADIUS}" fill="{fill}"/>')
        parts.append(_text(x, y + 0.07, factor.value, 0.36, fill="#fff", weight=700))
        parts.append(_text(x, y - 0.2, factor.name.lower(), 0.17, fill="#fff"))
    frame = f"{low[0]:.3f} {-(low[1] + size[1]):.3f} {size[0]:.3f} {size[1]:.3f}"
    width = size[0] * PIXELS_PER_UNIT
    return (
        f'<svg role="img" aria-label="{escape(in_words(drawing))}" viewBox="{frame}" '
        f'style="display:block;margin:auto;width:{width:.0f}px;max-width:100%" '
        f'font-family="inherit">{"".join(parts)}</svg>'
    )


def _layout(edges: Bool[np.ndarray, "4 4"]) -> Layout:
    """The nodes on the corners of a square, so that graphs can be compared, and straight arrows.

    `lay_out` finds a layout of its own for every graph, and takes seconds for that.
    """
    nodes = np.array([NODES[factor] for factor in FACTORS]) * SQUARE
    arrows = []
    for child, parent in np.argwhere(edges):
        # Two arrows between the same nodes bend away from each other.
        control = bent_curve(nodes[parent], nodes[child], BEND if edges[parent, child] else 0.0)
        share = NUMBER_PLACE
        x = (1 - share) ** 2 * control[0] + 2 * share * (1 - share) * control[1] + share**2 * control[2]
        arrows.append(Arrow(int(parent), int(child), control, x))
    return Layout(nodes, tuple(arrows))


def _arrow(arrow: Arrow, share: float, carried: bool, faint: bool) -> str:
    (x0, y0), (x1, y1), (x2, y2) = arrow.control
    toward = np.array([x2 - x1, y2 - y1])
    toward = toward / max(float(np.linalg.norm(toward)), 1e-9)
    side = np.array([-toward[1], toward[0]])
    tip, back = arrow.control[2], arrow.control[2] - HEAD_LENGTH * toward
    corners = (tip, back + HEAD_WIDTH / 2 * side, back - HEAD_WIDTH / 2 * side)
    points = " ".join(f"{x:.3f},{-y:.3f}" for x, y in corners)
    width = 0.03 + 0.05 * share + (0.03 if carried else 0)
    opacity = 0.3 if faint else 0.45 + 0.55 * share
    return (
        f'<g opacity="{opacity:.2f}"><path d="M{x0:.3f} {-y0:.3f}Q{x1:.3f} {-y1:.3f} {back[0]:.3f} {-back[1]:.3f}" '
        f'fill="none" stroke="currentColor" stroke-width="{width:.3f}"/>'
        f'<polygon points="{points}" fill="currentColor"/></g>'
    )


def _text(
    x: float, y: float, text: str, size: float, *, fill: str = "currentColor", weight: int = 400, halo: bool = False
) -> str:
    around = (
        ' paint-order="stroke" stroke="var(--mantine-color-body,#fff)" stroke-width=".12" stroke-linejoin="round"'
        if halo
        else ""
    )
    return (
        f'<text x="{x:.3f}" y="{-y:.3f}" font-size="{size}" font-weight="{weight}" fill="{fill}" '
        f'text-anchor="middle" dominant-baseline="central"{around}>{escape(text)}</text>'
    )
