"""Pictures of causal graphs, as PNG and SVG.

An arrow leads from a cause to its effect; the stronger it is, the thicker and darker. The same graph makes the same
bytes; text in an SVG is drawn as outlines, so that it looks the same everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from torch import Tensor

from scr3d.errors import ConfigError, ShapeError
from scr3d.export.graph_layout import NODE_RADIUS, Arrow, Layout, lay_out
from scr3d.factors import FACTORS, Factor
from scr3d.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg")
INCHES_PER_UNIT = 0.8
MARGIN, TITLE_ROOM, NOTE_ROOM, PANEL_GAP = 0.25, 0.45, 0.35, 0.5
"""In inches."""
CHARACTER_WIDTH = 0.105
"""Inches that a character of a title takes, at most."""
DOTS_PER_INCH = 160
INK, FAINT, PAPER = "#20262e", "#b4bcc6", "#ffffff"
FILLS = {Factor.VIEW: "#cfe3f6", Factor.DEPTH: "#d5ecd4", Factor.LIGHT: "#fdeab0", Factor.ALBEDO: "#f7d5cf"}
RIMS = {Factor.VIEW: "#2f6ea8", Factor.DEPTH: "#3b8a45", Factor.LIGHT: "#b98500", Factor.ALBEDO: "#b8503f"}
STYLE = {"svg.fonttype": "path", "svg.hashsalt": "scr3d", "font.family": "DejaVu Sans", "path.simplify": False}


@dataclass(frozen=True)
class GraphPanel:
    """One graph of a picture.

    Attributes:
        mean: weights `[child, parent]`; no arrow where a weight is zero.
        spread: standard deviation over images; None where all images have the same graph.
        title: one line above it.
        note: one line below it.
        numbered: whether the arrows show their weights; otherwise they are all alike.
    """

    mean: Float[Tensor, "4 4"]
    spread: Float[Tensor, "4 4"] | None = None
    title: str = ""
    note: str = ""
    numbered: bool = True

    def __post_init__(self) -> None:
        shape = (len(FACTORS), len(FACTORS))
        for values in (self.mean, self.spread):
            if values is not None and tuple(values.shape) != shape:
                raise ShapeError(f"a graph of the factors has {shape} weights, [child, parent]; got {values.shape}")
            if values is not None and not bool(values.isfinite().all()):
                raise ConfigError("the graph has weights that are not finite numbers; it cannot be drawn")


def draw_graph(
    mean: Float[Tensor, "4 4"],
    spread: Float[Tensor, "4 4"] | None,
    path: Path,
    title: str = "",
    note: str = "",
) -> None:
    """Draw a causal graph over the four factors.

    Args:
        mean: weights `[child, parent]`.
        spread: standard deviation over images, or None.
        path: the file, .png or .svg.
        title: one line above the graph.
        note: one line below the graph.

    Raises:
        ShapeError: the weights are no 4x4 matrix.
        ConfigError: weights are not finite, or the file has another suffix.
    """
    draw_graphs([GraphPanel(mean, spread, title, note)], path)


def draw_graphs(panels: Sequence[GraphPanel], path: Path) -> None:
    """Draw graphs side by side, on one scale of widths.

    Raises:
        ConfigError: there is no graph, or the suffix is neither .png nor .svg.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ConfigError(f"a picture of a graph is a file that ends in {' or '.join(SUFFIXES)}; got {path.name}")
    if not panels:
        raise ConfigError("expected at least one graph to draw, got none")
    from matplotlib import style

    with style.context(["default", STYLE]), atomic_path(path) as temporary:
        figure = _figure(panels)
        if suffix == ".svg":
            described = {"Title": "Causal graph", "Description": "; ".join(map(describe_panel, panels))}
            figure.savefig(temporary, format="svg", metadata={"Date": None, "Creator": None, **described})
        else:
            figure.savefig(temporary, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})


def describe_panel(panel: GraphPanel) -> str:
    """A graph in words: its title and its edges."""
    edges = []
    for child, parent in np.argwhere(_edges(panel)).tolist():
        text = f" {weight_text(panel, child, parent)}".replace("\n", " ") if panel.numbered else ""
        edges.append(f"{FACTORS[parent].name.lower()} → {FACTORS[child].name.lower()}{text}")
    return ": ".join(part for part in (panel.title, ", ".join(edges) or "no edges") if part)


def weight_text(panel: GraphPanel, child: int, parent: int) -> str:
    """The number of an arrow."""
    text = number_text(float(panel.mean[child, parent]))
    return text if panel.spread is None else f"{text}\n± {float(panel.spread[child, parent]):.2f}"


def number_text(weight: float) -> str:
    """A weight in two decimals; whole numbers without, and nothing but zero looks like zero."""
    if weight == round(weight):
        return f"{weight:.0f}"
    if abs(weight) < 0.005:
        return "<0.01" if weight > 0 else ">-0.01"
    return f"{weight:.2f}"


def _edges(panel: GraphPanel) -> np.ndarray:
    edges = panel.mean != 0
    if panel.spread is not None:
        edges = edges | (panel.spread != 0)
    found = edges.detach().cpu().numpy().copy()
    np.fill_diagonal(found, False)
    return found


def _figure(panels: Sequence[GraphPanel]) -> Figure:
    from matplotlib.figure import Figure

    has_spread = [panel.spread is not None for panel in panels]
    number_sizes = [(0.62, 0.52) if spread else (0.56, 0.3) for spread in has_spread]
    layouts = [lay_out(_edges(panel), size) for panel, size in zip(panels, number_sizes, strict=True)]
    extents = [layout.extent() for layout in layouts]
    sizes = [(upper - lower) * INCHES_PER_UNIT + 2 * MARGIN for lower, upper in extents]
    widths = [
        max(float(size[0]), CHARACTER_WIDTH * len(panel.title), 0.75 * CHARACTER_WIDTH * len(panel.note))
        for panel, size in zip(panels, sizes, strict=True)
    ]
    title_room = TITLE_ROOM if any(panel.title for panel in panels) else 0.0
    note_room = NOTE_ROOM if any(panel.note for panel in panels) else 0.0
    graph_height = float(max(size[1] for size in sizes))
    height = graph_height + title_room + note_room
    width = sum(widths) + PANEL_GAP * (len(panels) - 1)
    figure = Figure(figsize=(width, height), facecolor=PAPER)
    strongest = max(float(panel.mean.abs().max()) for panel in panels)
    left = 0.0
    for number, (panel, layout, panel_width) in enumerate(zip(panels, layouts, widths, strict=True)):
        axes = figure.add_axes((left / width, note_room / height, panel_width / width, graph_height / height))
        lower, upper = extents[number]
        half = np.array([panel_width, graph_height]) / INCHES_PER_UNIT / 2
        centre = (lower + upper) / 2
        axes.set_xlim(centre[0] - half[0], centre[0] + half[0])
        axes.set_ylim(centre[1] - half[1], centre[1] + half[1])
        axes.set_axis_off()
        _draw_panel(axes, panel, layout, strongest, f"graph{number + 1}")
        middle = (left + panel_width / 2) / width
        if panel.title:
            y = 1 - 0.55 * title_room / height
            figure.text(middle, y, panel.title, ha="center", va="center", fontsize=11, color=INK, weight="bold")
        if panel.note:
            figure.text(middle, 0.6 * note_room / height, panel.note, ha="center", va="center", fontsize=8, color=INK)
        left += panel_width + PANEL_GAP
    return figure


def _draw_panel(axes: Axes, panel: GraphPanel, layout: Layout, strongest: float, prefix: str) -> None:
    # Weak arrows first, so that strong ones lie on top.
    for arrow in sorted(layout.arrows, key=lambda arrow: abs(float(panel.mean[arrow.child, arrow.parent]))):
        share = abs(float(panel.mean[arrow.child, arrow.parent])) / strongest if panel.numbered and strongest else 0.4
        _draw_arrow(axes, arrow, share, prefix)
    for arrow in layout.arrows:
        if panel.numbered:
            text = weight_text(panel, arrow.child, arrow.parent)
            box = {"boxstyle": "round,pad=0.15", "facecolor": PAPER, "edgecolor": "none"}
            x, y = (float(value) for value in arrow.number)
            axes.text(
                x,
                y,
                text,
                ha="center",
                va="center",
                fontsize=8.5,
                color=INK,
                bbox=box,
                zorder=3,
                linespacing=1.0,
            )
    for factor, centre in zip(FACTORS, layout.nodes, strict=True):
        _draw_node(axes, factor, centre, prefix)


def _draw_arrow(axes: Axes, arrow: Arrow, share: float, prefix: str) -> None:
    from matplotlib.colors import to_rgb
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path as Outline

    width = 0.8 + 2.6 * share
    mixed = 0.15 + 0.85 * share
    color = tuple(mixed * dark + (1 - mixed) * pale for dark, pale in zip(to_rgb(INK), to_rgb(FAINT), strict=True))
    curve = Outline(arrow.control, [Outline.MOVETO, Outline.CURVE3, Outline.CURVE3])
    patch = FancyArrowPatch(
        path=curve,
        arrowstyle="-|>,head_length=0.5,head_width=0.25",
        mutation_scale=11 + 5 * share,
        linewidth=width,
        color=color,
        capstyle="butt",
        joinstyle="miter",
        zorder=1 + share / 2,
    )
    patch.set_gid(f"{prefix}-edge-{FACTORS[arrow.parent].value}-{FACTORS[arrow.child].value}")
    axes.add_patch(patch)


def _draw_node(axes: Axes, factor: Factor, centre: np.ndarray, prefix: str) -> None:
    from matplotlib.patches import Circle

    x, y = (float(value) for value in centre)
    circle = Circle((x, y), NODE_RADIUS, facecolor=FILLS[factor], edgecolor=RIMS[factor], linewidth=1.6, zorder=4)
    circle.set_gid(f"{prefix}-node-{factor.value}")
    axes.add_patch(circle)
    axes.text(x, y + 0.1, factor.value, ha="center", va="center", fontsize=14, weight="bold", color=INK, zorder=5)
    axes.text(x, y - 0.18, factor.name.lower(), ha="center", va="center", fontsize=8, color=INK, zorder=5)
