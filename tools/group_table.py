"""Scores of the shipped model by group of heads, into results/shipped-model/groups.json and docs/responsible-use.md.

python tools/group_table.py --data DATA        # data: the built-in heads, whose test split says who is who
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy import stats

from scr3d.data.store import Store
from scr3d.evaluation import AGE_GROUPS, ETHNICITIES
from scr3d.files import write_json

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "results" / "shipped-model"
PAGE = ROOT / "docs" / "responsible-use.md"
BEGIN, END = "<!-- group-table -->", "<!-- /group-table -->"
SCORES = {"side_e2": ("model_side", 100.0), "mad_deg": ("model_mad_deg", 1.0)}
AVERAGE = {"side_e2": ("average_depth_side", 100.0), "mad_deg": ("average_depth_mad_deg", 1.0)}
TURNS_DEG = ((0, 15), (15, 30), (30, 60))
SKINS = ("darkest third of albedo", "middle third of albedo", "lightest third of albedo")


def main(data: Path) -> None:
    with (RESULTS / "scores.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    store = Store(data / "test")
    scores = {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}
    found = {name: group(scores, chosen) for name, chosen in members(store, len(rows))}
    write_json(RESULTS / "groups.json", {"source": store.info.source, "level": 0.95, "groups": found})
    write_page()


def members(store: Store, count: int) -> Iterator[tuple[str, np.ndarray]]:
    """Groups by name, each with a mask over the heads."""
    sex, age, mix, view = (store.get(name, slice(0, count)) for name in ("sex", "age", "ethnicity", "view"))
    yield from {"female": sex < 0.5, "male": sex >= 0.5}.items()
    limits = [*(start for start, _ in AGE_GROUPS), np.inf]
    for (low, name), high in zip(AGE_GROUPS, limits[1:], strict=True):
        yield name, (age >= low) & (age < high)
    for number, name in enumerate(ETHNICITIES):
        yield f"mostly {name}", mix.argmax(1) == number
    albedo = store.get("albedo", slice(0, count)).astype(float) / 255
    seen = (store.get("depth", slice(0, count)) > 0)[..., None]
    tone = (albedo * seen).sum((1, 2)).mean(-1) / seen.sum((1, 2, 3))
    third = np.searchsorted(np.quantile(tone, [1 / 3, 2 / 3]), tone)
    for number, name in enumerate(SKINS):
        yield name, third == number
    turn_deg = np.abs(np.rad2deg(view[:, 1]))
    for low, high in TURNS_DEG:
        yield f"turned {low} to {high} degrees", (turn_deg >= low) & (turn_deg < high + (high == TURNS_DEG[-1][1]))


def group(scores: dict[str, np.ndarray], chosen: np.ndarray) -> dict[str, float | list[float]]:
    """Means of a group, and its difference from all other heads with Welch's interval."""
    record: dict[str, float | list[float]] = {"heads": int(chosen.sum())}
    for name, (column, factor) in SCORES.items():
        own, other = factor * scores[column][chosen], factor * scores[column][~chosen]
        interval = stats.ttest_ind(own, other, equal_var=False).confidence_interval(0.95)
        record[name] = float(own.mean())
        record[f"{name}_more_than_others"] = float(own.mean() - other.mean())
        record[f"{name}_more_than_others_interval"] = [float(interval.low), float(interval.high)]
        average, factor = AVERAGE[name]
        record[f"{name}_ratio_to_average_depth"] = float(own.mean() / (factor * scores[average][chosen].mean()))
    return record


def table() -> str:
    """The groups in Markdown."""
    record = json.loads((RESULTS / "groups.json").read_text(encoding="utf-8"))
    lines = [
        "| heads | number | SIDE (x 1e-2) | against all others | MAD (degrees) | against all others | SIDE, MAD over "
        "average depth |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in record["groups"].items():
        cells = [name, f"{row['heads']:,}"]
        for score, digits in (("side_e2", 3), ("mad_deg", 2)):
            low, high = row[f"{score}_more_than_others_interval"]
            cells.append(f"{row[score]:.{digits}f}")
            cells.append(f"{row[f'{score}_more_than_others']:+.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f})")
        cells.append(", ".join(f"{row[f'{score}_ratio_to_average_depth']:.2f}" for score in SCORES))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def write_page() -> None:
    """Put the table into the page."""
    text = PAGE.read_text(encoding="utf-8")
    head, rest = text.split(BEGIN)
    PAGE.write_text(f"{head}{BEGIN}\n{table()}\n{END}{rest.split(END)[1]}", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    main(parser.parse_args().data)
