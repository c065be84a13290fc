"""The picture of benchmarks/growth.py: six panels, both axes logarithmic, slopes in the legends."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness import Report
from scr3d.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLORS = ("#2f6ea8", "#b8503f", "#3b8a45", "#b98500")
MARKERS = ("o", "s", "^", "D")
STYLE: Any = {"svg.hashsalt": "scr3d", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}


def draw(folder: Path, report: Report) -> None:
    """Write growth.png and growth.svg."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(11, 6.4), layout="constrained")
        panels = figure.subplots(2, 3)
        _steps(panels[0, 0], panels[1, 0], report.results["step"], "size")
        _steps(panels[0, 1], panels[1, 1], report.results["step"], "batch")
        _data(panels[0, 2], report.results["data"])
        _search(panels[1, 2], report.results["search"])
        folder.mkdir(parents=True, exist_ok=True)
        for suffix, metadata in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": None})):
            with atomic_path(folder / f"growth.{suffix}") as temporary:
                figure.savefig(temporary, format=suffix, dpi=150, metadata=metadata)


def _steps(above: Axes, below: Axes, step: dict[str, Any], along: str) -> None:
    """Time and memory of a step along the image size or the batch."""
    fixed = "batch" if along == "size" else "size"
    number = 0
    for name, slopes in step["slopes"].items():
        if not name.startswith(along):
            continue
        value = int(name.split()[-1])
        cells = sorted((cell for cell in step["cells"] if cell[fixed] == value), key=lambda cell: cell[along])
        x = [cell[along] for cell in cells]
        label = f"{fixed} {value}"
        _line(above, x, [cell["time"].median_ms for cell in cells], label, slopes["time"]["slope"], number)
        low = [cell["time"].first_quartile_ms for cell in cells]
        high = [cell["time"].third_quartile_ms for cell in cells]
        above.fill_between(x, low, high, color=COLORS[number], alpha=0.2, linewidth=0)
        _line(below, x, [cell["peak_mib"] for cell in cells], label, slopes["peak_mib"]["slope"], number)
        number += 1
    words = "height and width of the images in pixels" if along == "size" else "images in a batch"
    _finish(above, words, "time of a step in ms", "Training step")
    _finish(below, words, "memory of a step in MiB", "")


def _data(axes: Axes, data: dict[str, Any]) -> None:
    x = [cell["images"] for cell in data["cells"]]
    whole = [cell["before_mib"] + cell["own_mib"] for cell in data["cells"]]
    _line(axes, x, whole, "own memory of the process", data["slopes"]["whole_mib"]["slope"], 0)
    _line(
        axes,
        x,
        [cell["own_mib"] for cell in data["cells"]],
        "for the data alone",
        data["slopes"]["own_mib"]["slope"],
        1,
    )
    _finish(axes, "images in the data set", "MiB", "Reading training batches")


def _search(axes: Axes, search: dict[str, Any]) -> None:
    for number, (strategy, found) in enumerate(search.items()):
        x = [cell["orders"] for cell in found["cells"]]
        seconds = [cell["ms"] / 1e3 for cell in found["cells"]]
        whole = [cell["before_mib"] + cell["own_mib"] for cell in found["cells"]]
        _line(axes, x, seconds, f"{strategy}: seconds", found["slopes"]["time"]["slope"], number)
        _line(axes, x, whole, f"{strategy}: MiB", found["slopes"]["whole_mib"]["slope"], number, "--")
    _finish(axes, "orders tried", "seconds, MiB", "Search, trainings not counted")


def _line(
    axes: Axes, x: Sequence[float], y: Sequence[float], name: str, slope: float, number: int, style: str = "-"
) -> None:
    axes.plot(
        x,
        y,
        style,
        color=COLORS[number],
        marker=MARKERS[number],
        markersize=4,
        linewidth=1.4,
        label=f"{name}, slope {slope:.2f}",
    )


def _finish(axes: Axes, along: str, unit: str, title: str) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator

    axes.set_xscale("log")
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    # Level curves should look level: at least a factor of ten from bottom to top.
    middle, half = np.sqrt(low * high), max(np.sqrt(10.0), np.sqrt(high / low))
    axes.set_ylim(middle / half, middle * half)
    places = sorted({float(x) for line in axes.get_lines() for x in line.get_xdata()})
    axes.set_xticks(places, [f"{x:,.0f}" for x in places])
    axes.minorticks_off()
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.set_xlabel(along)
    axes.set_ylabel(unit)
    axes.set_title(title, loc="left", fontsize=10)
    axes.grid(True, which="major", linewidth=0.4, alpha=0.5)
    axes.legend(frameon=False, fontsize=8)
