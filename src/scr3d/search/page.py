"""The files of a search's report: record, table, picture, and a page that needs no other file."""

from __future__ import annotations

import base64
import html
import io
from pathlib import Path
from typing import TYPE_CHECKING

from scr3d.files import write_bytes, write_json
from scr3d.search.candidates import label
from scr3d.search.report import SearchReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FOUND, EXPECTED, RANDOM = "#1f4e79", "#c46210", "#777777"
ROW_INCHES = 0.2
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #1b1b1b; }
img { max-width: 100%; height: auto; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 0.2rem 0.8rem; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap; }
th:first-child, td:first-child, th:last-child, td:last-child { text-align: left; }
"""


def write_report(folder: Path, report: SearchReport) -> None:
    """Write report.json, report.txt, report.png and report.html, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "report.json", report.record)
    write_bytes(folder / "report.txt", (report.text() + "\n").encode())
    picture = draw(report)
    write_bytes(folder / "report.png", picture)
    write_bytes(folder / "report.html", page(report, picture).encode())


def draw(report: SearchReport) -> bytes:
    """PNG: scores and what the surrogate expects, and the best so far against candidates and images."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = shown_names(report)
    figure = Figure(figsize=(13, max(4.5, 1.5 + ROW_INCHES * len(names))), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 2, width_ratios=(1.2, 1))
    draw_scores(figure.add_subplot(grid[:, 0]), report, names)
    draw_progress(figure.add_subplot(grid[0, 1]), report, against_images=False)
    draw_progress(figure.add_subplot(grid[1, 1]), report, against_images=True)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=120)
    return stream.getvalue()


def shown_names(report: SearchReport) -> list[str]:
    """Candidates from best to worst: by score, then by what is expected."""
    names = [row.name for row in report.full_rows]
    rest = [e.name for e in report.expectations] or [row.name for row in report.rows] or list(report.shared)
    return list(dict.fromkeys(names + rest))


def draw_scores(axes: Axes, report: SearchReport, names: list[str]) -> None:
    """One line for each candidate: scores with their spread, and the surrogate's posterior."""
    place = {name: number for number, name in enumerate(names)}
    expectations = [e for e in report.expectations if e.name in place]
    if expectations:
        axes.errorbar(
            [e.mean for e in expectations],
            [place[e.name] + 0.2 for e in expectations],
            xerr=[2 * e.deviation for e in expectations],
            fmt="o",
            color=EXPECTED,
            markersize=3,
            linewidth=1,
            label="surrogate: mean ± 2 standard deviations",
        )
    rows = report.full_rows
    if rows:
        axes.errorbar(
            [row.score for row in rows],
            [place[row.name] - 0.1 for row in rows],
            xerr=[2 * row.standard_error if row.spread is None else row.spread for row in rows],
            fmt="D",
            color=FOUND,
            markersize=4,
            label="score ± " + ("2 standard errors over images" if rows[0].spread is None else "deviation over seeds"),
        )
    if report.shared:
        axes.plot(
            [report.shared[n]["score"] for n in names if n in report.shared],
            [place[n] for n in names if n in report.shared],
            "|",
            color=RANDOM,
            markersize=9,
            label="with shared weights",
        )
    axes.set_yticks(range(len(names)), [label(name) for name in names], family="monospace", fontsize=8)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlabel(report.score_name)
    axes.grid(axis="x", alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)


def draw_progress(axes: Axes, report: SearchReport, against_images: bool) -> None:
    """Best so far, against candidates or images trained, next to random search where that is known."""
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    unit = report.images_per_candidate if against_images else 1
    positions = [step.images if against_images else step.candidates for step in report.steps]
    axes.step(
        positions, [s.best_score for s in report.steps], "-o", where="post", color=FOUND, markersize=3, label="search"
    )
    if report.random_best:
        draws = range(1, len(report.random_best) + 1)
        axes.plot([unit * d for d in draws], report.random_best, "--", color=RANDOM, label="random search, expected")
    if against_images:
        axes.set_xlim(left=0)
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    else:
        axes.set_xlim(0.5, max([1, len(report.random_best), *positions]) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
    axes.ticklabel_format(axis="y", useOffset=False)
    axes.set_xlabel("images trained" if against_images else "candidates trained")
    axes.set_ylabel("best so far")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)


def page(report: SearchReport, picture: bytes) -> str:
    """The page, with the picture inside."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in report.columns())
    body = "\n".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>" for cells in report.cells()
    )
    source = "data:image/png;base64," + base64.b64encode(picture).decode("ascii")
    about = report.about
    facts = (
        f"Study {about['study']} in {about['storage']}; data {about['identity']['data']['train']}; "
        f"scr3d {about['scr3d']}, torch {about['torch']}, Optuna {about['optuna']}."
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Search over {html.escape(about["searched"])}</title>
<link rel="icon" href="data:,">
<style>{STYLE}</style></head>
<body><h1>Search over {html.escape(about["searched"])}</h1>
<p>{html.escape(report.summary())}</p>
<img src="{source}" alt="Scores of the candidates, and the best so far">
<div class="wide"><table>
<thead><tr>{head}</tr></thead>
<tbody>
{body}
</tbody></table></div>
<p>{html.escape(report.accuracy())}</p>
<p><small>{html.escape(facts)}</small></p>
</body></html>
"""
