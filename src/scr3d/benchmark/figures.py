"""The figures of the results page, from the results alone."""

from __future__ import annotations

import io
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from scr3d.benchmark.choices import ORDERS, order_results, order_scores
from scr3d.benchmark.config import Stage
from scr3d.benchmark.pictures import PICTURED
from scr3d.benchmark.pictures import ROWS as PICTURE_ROWS
from scr3d.benchmark.protocol import Protocol
from scr3d.benchmark.records import HELDOUT, Results
from scr3d.benchmark.replay import Replay
from scr3d.benchmark.tables import MAD, SIDE, Row
from scr3d.export.graph_picture import GraphPanel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = (1, 3)
"""Columns of the stored pictures that the picture of all methods shows."""
SHOWN_ROWS = ("reconstruction", "depth", "normals", "textureless")
DOTS_PER_INCH = 110
NAMES = {HELDOUT: "held-out loss", SIDE: "SIDE x 1e-2", MAD: "MAD, deg"}
COLOURS = {
    "supervised": "#444444",
    "wu": "#b3541e",
    "independent": "#c8a415",
    "dense-random": "#8fb6d9",
    "dense-bo": "#1f5f99",
    "generic-eq5": "#79b87f",
    "generic-eq6": "#2c7a38",
    "dynamic-sigmoid": "#c78ac9",
    "dynamic-cosine": "#7d3f98",
}
WORLD_COLOURS = ("#c8a415", "#1f5f99", "#8fb6d9", "#7d3f98")


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches, that belongs to no window."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def png(figure: Figure) -> bytes:
    """The figure as a file."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=DOTS_PER_INCH)
    smaller = io.BytesIO()
    Image.open(stream).convert("RGB").save(smaller, format="PNG", optimize=True)
    return smaller.getvalue()


def draw_orders(results: Results, protocol: Protocol) -> bytes:
    """All orders, ranked, with every seed, beside the independent structure."""
    runs = order_results(results, protocol)
    independent = [r for r in results.stage(Stage.ORDERS) if r.record["method"] == "independent"]
    figure = new_figure(13, 5.5)
    for number, (score, name) in enumerate(NAMES.items()):
        axes = figure.add_subplot(1, 3, number + 1)
        means = order_scores(runs, score)
        ranked = sorted(ORDERS, key=lambda order: means[order])
        for place, order in enumerate(ranked):
            values = [result.mean("validation", score) for result in runs[order]]
            axes.plot(values, [place] * len(values), "o-", color=COLOURS["dense-bo"], markersize=4, alpha=0.7)
            axes.plot(means[order], place, "|", color="black", markersize=9)
        if independent:
            values = [result.mean("validation", score) for result in independent]
            axes.axvspan(min(values), max(values), color=COLOURS["independent"], alpha=0.3)
            axes.axvline(statistics.fmean(values), color=COLOURS["independent"], label="independent")
        if independent and number == 0:
            axes.legend(frameon=False, loc="upper right")
        axes.locator_params(axis="x", nbins=6)
        axes.set_yticks(range(len(ranked)), ranked, family="monospace", fontsize=8)
        axes.invert_yaxis()
        axes.set_xlabel(name)
        axes.grid(axis="x", alpha=0.3)
    return png(figure)


def draw_search(replays: Sequence[Replay]) -> bytes:
    """Best score so far against images trained on."""
    figure = new_figure(6 * len(replays), 4.2)
    for number, one in enumerate(replays):
        axes = figure.add_subplot(1, len(replays), number + 1)
        for curve in one.curves:
            style = "--" if curve.name == "random" else "-"
            axes.plot([i / 1e6 for i in curve.images], curve.best, style, marker=".", label=curve.name)
        axes.set_xlabel("million images trained on")
        axes.set_ylabel(f"best {NAMES[one.score]} so far")
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    return png(figure)


def draw_curves(found: dict[str, Row]) -> bytes:
    """SIDE, MAD and held-out loss on validation during training; one line for each seed."""
    figure = new_figure(13, 4.2)
    for number, score in enumerate(("reconstruction", SIDE, MAD)):
        axes = figure.add_subplot(1, 3, number + 1)
        for method, row in found.items():
            if score == "reconstruction" and row.method.supervised:
                continue  # its loss is another one
            for seed, result in enumerate(row.results):
                points = [point for point in result.record["curve"] if score in point]
                axes.plot(
                    [point["images"] / 1e3 for point in points],
                    [point[score] for point in points],
                    color=COLOURS.get(method, "black"),
                    linewidth=1.2,
                    label=row.method.title if seed == 0 and points else None,
                )
        axes.set_xlabel("thousand images seen")
        axes.set_ylabel(NAMES.get(score, NAMES[HELDOUT]))
        axes.grid(alpha=0.3)
    figure.axes[-1].legend(frameon=False, fontsize=8, loc="upper right")
    return png(figure)


def draw_pictures(folder: Path, found: dict[str, Row]) -> bytes | None:
    """The same test images under every method: reconstruction, depth, normals, textureless; None without pictures.

    Who learns depth alone reconstructs no image; there the place stays empty.
    """
    tiles: dict[str, list[np.ndarray | None]] = {}
    inputs: list[np.ndarray] = []
    for row in found.values():
        path = folder / Stage.TABLE / f"{row.results[0].name}.png"
        if not path.is_file():
            continue
        whole = np.asarray(Image.open(path).convert("RGB"))
        side = whole.shape[0] // len(PICTURE_ROWS)
        columns = [c for c in SHOWN if c < min(PICTURED, whole.shape[1] // side)]

        def tile(name: str, column: int, whole: np.ndarray = whole, side: int = side) -> np.ndarray:
            top = PICTURE_ROWS.index(name) * side
            return whole[top : top + side, column * side : (column + 1) * side]

        inputs = inputs or [tile("input", column) for column in columns]
        missing = "reconstruction" if row.method.supervised else ""
        tiles[row.method.title] = [
            None if name == missing else tile(name, column) for column in columns for name in SHOWN_ROWS
        ]
    if not tiles:
        return None
    width = 1 + len(SHOWN_ROWS)
    figure = new_figure(1.05 * width * len(inputs) + 1.5, 1.05 * len(tiles) + 0.4)
    axes = figure.subplots(len(tiles), width * len(inputs), squeeze=False)
    for line, (title, pictures) in enumerate(tiles.items()):
        for block, picture in enumerate(inputs):
            shown = [picture, *pictures[block * len(SHOWN_ROWS) : (block + 1) * len(SHOWN_ROWS)]]
            for column, content in enumerate(shown):
                cell = axes[line, block * width + column]
                cell.imshow(np.full_like(picture, 255) if content is None else content, interpolation="bilinear")
                cell.set_xticks([])
                cell.set_yticks([])
                if line == 0:
                    cell.set_title(("input", *SHOWN_ROWS)[column], fontsize=8)
        axes[line, 0].set_ylabel(title, rotation=0, ha="right", va="center", fontsize=8)
    return png(figure)


def graph_panels(found: dict[str, Row]) -> list[GraphPanel]:
    """The learned graphs, as they were projected, and the means over images of the dynamic ones: the first seeds."""
    panels = []
    for row in found.values():
        graph: dict[str, Any] | None = row.results[0].record["graph"]
        if graph is not None:
            dynamic = "mean" in graph
            weights = torch.tensor(graph["mean" if dynamic else "projected"])
            panels.append(
                GraphPanel(weights, title=row.method.title, note="mean over images" if dynamic else "learned")
            )
    return panels


def draw_expressiveness(record: dict[str, Any]) -> bytes:
    """How far each structure stays below the truth's log-likelihood."""
    worlds = record["worlds"]
    figure = new_figure(4 * len(worlds), 3.6)
    for number, (name, world) in enumerate(worlds.items()):
        axes = figure.add_subplot(1, len(worlds), number + 1)
        for place, values in enumerate(world["held_out"].values()):
            gaps = [world["truth"] - value for value in values]
            axes.bar(place, statistics.fmean(gaps), color=WORLD_COLOURS[place])
            axes.plot([place] * len(gaps), gaps, "k.", markersize=3)
        axes.set_xticks(range(len(world["held_out"])), [s.replace(", ", ",\n") for s in world["held_out"]], fontsize=8)
        axes.set_title(name)
        axes.grid(axis="y", alpha=0.3)
    figure.axes[0].set_ylabel("nats below the truth")
    return png(figure)
