"""The tables of the results page, from the results alone."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scr3d.benchmark.choices import ORDERS, WaitingError, order_results, order_scores
from scr3d.benchmark.config import Stage
from scr3d.benchmark.methods import METHODS, ONLY_REPORTED, Method, Reported
from scr3d.benchmark.protocol import Protocol
from scr3d.benchmark.records import HELDOUT, Result, Results
from scr3d.benchmark.statistics import Interval, groups_differ, over_seeds, paired_ratio, rank_agreement

SIDE, MAD = "side_e2", "mad_deg"
MISSING = "-"
FACTOR_ERRORS = {
    "yaw error (deg, aligned)": "yaw, deg",
    "pitch error (deg, aligned)": "pitch, deg",
    "light azimuth error (deg, aligned)": "light azimuth, deg",
    "light elevation error (deg, aligned)": "light elevation, deg",
}
AIMS = {SIDE: 0.90, MAD: 0.85}
"""Largest ratio of the best row to independent that the project aims at."""


@dataclass(frozen=True)
class Row:
    """A row of the table with the results of its seeds.

    Attributes:
        method: which.
        results: one for each seed.
    """

    method: Method
    results: list[Result]

    def values(self, name: str) -> np.ndarray:
        """A test score [seeds, images], NaN where an image has none."""
        return np.array([result.scores("test", name) for result in self.results], dtype=float)

    def seed_means(self, name: str) -> list[float]:
        """Mean over images for each seed."""
        return [float(np.nanmean(values)) for values in self.values(name)]

    def factor(self, name: str) -> float:
        """Mean of a factor error over the seeds; NaN where it is unknown."""
        found = [result.record["factors"].get(name) for result in self.results]
        known = [value for value in found if value is not None]
        return statistics.fmean(known) if known and len(known) == len(found) else math.nan


def rows(results: Results, stage: Stage = Stage.TABLE) -> dict[str, Row]:
    """The rows that have results of a stage, in the order of the paper's table."""
    found: dict[str, list[Result]] = {name: [] for name in METHODS}
    for result in sorted(results.stage(stage), key=lambda result: result.record["seed"]):
        found[result.record["method"]].append(result)
    return {name: Row(METHODS[name], group) for name, group in found.items() if group}


def markdown(heading: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table; all columns but the first are numbers."""
    rule = [":---", *["---:"] * (len(heading) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (heading, rule, *lines))


def number(value: float, digits: int = 3) -> str:
    """A number, or a dash where there is none."""
    return MISSING if math.isnan(value) else f"{value:.{digits}f}"


def plus_minus(values: np.ndarray, digits: int) -> str:
    """Mean and standard deviation over images, means of the seeds'."""
    return f"{np.nanmean(values):.{digits}f} ± {np.nanmean(np.nanstd(values, axis=1)):.{digits}f}"


def interval_text(interval: Interval, digits: int) -> str:
    """Ends of an interval, or a dash for a single seed."""
    if math.isnan(interval.low):
        return MISSING
    return f"{interval.low:.{digits}f} to {interval.high:.{digits}f}"


def ratio_text(ratio: Interval) -> str:
    """A ratio with its interval, bold where that excludes 1."""
    text = f"{ratio.value:.3f} ({interval_text(ratio, 3)})"
    return f"**{text}**" if ratio.excludes(1.0) else text


def reported_text(reported: Reported) -> list[str]:
    """SIDE and MAD that a paper reports."""
    (side, side_std), (mad, mad_std) = reported.side_e2, reported.mad_deg
    return [f"{side:.3f} ± {side_std:.3f}", f"{mad:.2f} ± {mad_std:.2f}"]


def score_table(found: dict[str, Row]) -> str:
    """SIDE, MAD and coverage of every row, with what the papers report on their data."""
    heading = ["method", "SIDE x 1e-2", "MAD, deg", "coverage", "strict SIDE", "strict MAD", "seeds"]
    heading += ["SIDE, 95 % over seeds", "MAD, 95 % over seeds", "*reported SIDE*", "*reported MAD*"]
    lines = []
    for name, method in METHODS.items():
        row = found.get(name)
        cells = [MISSING] * 8
        if row is not None:
            cells = [
                plus_minus(row.values(SIDE), 3),
                plus_minus(row.values(MAD), 2),
                number(float(np.nanmean(row.values("coverage")))),
                number(float(np.nanmean(row.values("strict_side_e2")))),
                number(float(np.nanmean(row.values("strict_mad_deg"))), 2),
                str(len(row.results)),
                interval_text(over_seeds(row.seed_means(SIDE)), 3),
                interval_text(over_seeds(row.seed_means(MAD)), 2),
            ]
        lines.append([method.title, *cells, *(f"*{text}*" for text in reported_text(method.reported))])
    for title, reported in ONLY_REPORTED.items():
        lines.append([title, *[MISSING] * 8, *(f"*{text}*" for text in reported_text(reported))])
    return markdown(heading, lines)


def comparison_table(found: dict[str, Row]) -> str:
    """Every trained row against independent and against Wu et al.: ratio of means with its interval."""
    heading = ["method"]
    others = [name for name in ("independent", "wu") if name in found]
    for other in others:
        heading += [f"SIDE / {METHODS[other].title}", f"MAD / {METHODS[other].title}"]
    lines = []
    for name, row in found.items():
        if not row.method.trained:
            continue
        cells = []
        for other in others:
            for score in (SIDE, MAD):
                if name == other:
                    cells.append("1")
                    continue
                cells.append(ratio_text(paired_ratio(row.values(score), found[other].values(score))))
        lines.append([row.method.title, *cells])
    return markdown(heading, lines)


def longer_table(found: dict[str, Row], longer: dict[str, Row]) -> str:
    """The rows that were also trained for longer: scores at both lengths, and ratios to independent at the longer."""
    heading = ["method"]
    for title in ("SIDE", "MAD"):
        heading += [f"{title}, table", f"{title}, longer", f"{title} / {METHODS['independent'].title}"]
    independent = longer.get("independent")
    lines = []
    for name, row in longer.items():
        cells = []
        for score, digits in ((SIDE, 3), (MAD, 2)):
            short = found.get(name)
            cells.append(MISSING if short is None else plus_minus(short.values(score), digits))
            cells.append(plus_minus(row.values(score), digits))
            if row is independent or independent is None:
                cells.append("1" if row is independent else MISSING)
            else:
                cells.append(ratio_text(paired_ratio(row.values(score), independent.values(score))))
        lines.append([row.method.title, *cells, str(len(row.results))])
    return markdown([*heading, "seeds"], lines)


def factor_table(found: dict[str, Row]) -> str:
    """Errors of albedo, view and light, the learning rate, and what was computed beyond the table's images."""
    heading = ["method", "albedo error", *FACTOR_ERRORS.values(), "rate", "order", "further images", "collapsed"]
    lines = []
    for row in found.values():
        if not row.method.trained:
            continue
        albedo = row.values("albedo_error")
        records = [result.record for result in row.results]
        lines.append(
            [
                row.method.title,
                number(float(np.nanmean(albedo))) if albedo.size else MISSING,
                *(number(row.factor(name), 1) for name in FACTOR_ERRORS),
                f"{records[0]['rate']:g}",
                ", ".join(dict.fromkeys(record["order"] for record in records if record["order"])) or MISSING,
                f"{max(record['extra_images'] for record in records):,}",
                str(sum(bool(record["collapsed"]) for record in records)),
            ]
        )
    return markdown(heading, lines)


def best_row(found: dict[str, Row]) -> Row | None:
    """The row among those that the paper proposes with the lowest MAD on validation."""
    candidates = [row for row in found.values() if row.method.scr]
    if not candidates:
        return None
    return min(candidates, key=lambda row: statistics.fmean(result.mean("validation", MAD) for result in row.results))


def verdicts(found: dict[str, Row]) -> list[str]:
    """The aims, and whether they are reached."""
    lines = []
    best, independent, supervised = best_row(found), found.get("independent"), found.get("supervised")
    if best is None:
        return ["No row that the paper proposes has been measured yet."]
    lines.append(f"Best row by MAD on validation: **{best.method.title}**.")
    if independent is not None:
        for score, label in ((SIDE, "SIDE"), (MAD, "MAD")):
            ratio = paired_ratio(best.values(score), independent.values(score))
            reached = ratio.value <= AIMS[score] and ratio.high < 1
            lines.append(
                f"- {label} against Independent SCR: {ratio.value:.3f} ({interval_text(ratio, 3)}), aim at most "
                f"{AIMS[score]:.2f} with an interval below 1: **{'reached' if reached else 'missed'}**."
            )
    if supervised is not None:
        ratio = paired_ratio(supervised.values(SIDE), best.values(SIDE))
        lines.append(
            f"- SIDE of supervised learning against it: {ratio.value:.3f} ({interval_text(ratio, 3)}); the paper's "
            f"ratio is 0.50, the aim at least 0.50: **{'reached' if ratio.value >= 0.5 else 'missed'}**."
        )
    return lines


def order_table(results: Results, protocol: Protocol) -> tuple[str, list[str]]:
    """All orders ranked by MAD, and what follows: does the order matter, does the score without truth rank them?

    Raises:
        WaitingError: orders are missing.
    """
    runs = order_results(results, protocol)
    names = {HELDOUT: "held-out loss", SIDE: "SIDE x 1e-2", MAD: "MAD, deg"}
    means = {score: order_scores(runs, score) for score in names}
    heading = ["order", *names.values(), "MAD of each seed"]
    lines = []
    independent = [r for r in results.stage(Stage.ORDERS) if r.record["method"] == "independent"]
    groups = {order: runs[order] for order in sorted(ORDERS, key=lambda order: means[MAD][order])}
    for title, group in ({**groups, "(independent)": independent} if independent else groups).items():
        by_seed = [result.mean("validation", MAD) for result in group]
        cells = [
            number(statistics.fmean(result.mean("validation", score) for result in group), digits)
            for score, digits in ((HELDOUT, 4), (SIDE, 3), (MAD, 2))
        ]
        lines.append([title, *cells, ", ".join(f"{value:.2f}" for value in by_seed)])
    return markdown(heading, lines), order_verdicts(runs, means, names)


def order_verdicts(
    runs: dict[str, list[Result]], means: dict[str, dict[str, float]], names: dict[str, str]
) -> list[str]:
    """Whether the order matters beyond the noise of seeds, and whether the held-out loss ranks orders as the truth."""
    lines = []
    if all(len(group) > 1 for group in runs.values()):
        for score, name in names.items():
            values = np.array([[result.mean("validation", score) for result in group] for group in runs.values()])
            test = groups_differ(values)
            answer = "matters beyond the noise of seeds" if test.p < 0.05 else "is not shown to matter"
            lines.append(
                f"- {name}: the order **{answer}** (F = {test.f:.2f}, p = {test.p:.3g} by permutation; "
                f"{test.share:.0%} of the variance lies between orders; deviation between orders {test.between:.3g}, "
                f"between seeds {test.within:.3g})."
            )
    for score in (SIDE, MAD):
        tau, p = rank_agreement(means[HELDOUT], means[score])
        lines.append(f"- Kendall's tau between the held-out loss and {names[score]}: {tau:.2f} (p = {p:.3g}).")
    return lines


def remedy_table(results: Results, protocol: Protocol) -> str | None:
    """Independent and Dense SCR under each remedy, with the ratio of the two; None if none has been tried.

    The first line is the pair without a remedy, from the 24 orders.
    """
    found: dict[tuple[str, str], list[Result]] = {}
    for result in results.stage(Stage.REMEDIES):
        name = result.name.rpartition("-s")[0]
        method = result.record["method"]
        found.setdefault((name.removesuffix(f"-{method}"), method), []).append(result)
    if not found:
        return None
    order = next(group[0].record["order"] for (_, method), group in found.items() if method == "dense-bo")
    orders = results.stage(Stage.ORDERS)
    found["", "independent"] = [r for r in orders if r.record["method"] == "independent"]
    found["", "dense-bo"] = [r for r in orders if r.record["order"] == order]
    names = {"": "as the 24 orders"} | {remedy.name: remedy.about for remedy in protocol.remedies}
    heading = ["", "independent", order, "ratio of SIDE", "independent", order, "ratio of MAD", "seeds"]
    lines = []
    for name, about in names.items():
        pair = [found.get((name, method), []) for method in ("independent", "dense-bo")]
        if not all(pair):
            continue
        cells = []
        for score, digits in ((SIDE, 3), (MAD, 2)):
            independent, dense = (
                np.array([r.scores("validation", score) for r in group], dtype=float) for group in pair
            )
            cells += [number(float(np.nanmean(values)), digits) for values in (independent, dense)]
            cells.append(ratio_text(paired_ratio(dense, independent)))
        lines.append([about, *cells, str(min(map(len, pair)))])
    return markdown(heading, lines)


def control_table(results: Results, protocol: Protocol) -> str | None:
    """Controls beside the runs that they control for; None if there are none."""
    controls: dict[str, list[Result]] = {}
    for result in results.stage(Stage.CONTROLS):
        controls.setdefault(result.name.rpartition("-s")[0], []).append(result)
    if not controls:
        return None
    groups = {"independent": [r for r in results.stage(Stage.ORDERS) if r.record["method"] == "independent"]}
    try:
        runs = order_results(results, protocol)
        by_mad = sorted(ORDERS, key=lambda order: order_scores(runs, MAD)[order])
        groups |= {f"best order ({by_mad[0]})": runs[by_mad[0]], f"worst order ({by_mad[-1]})": runs[by_mad[-1]]}
    except WaitingError:
        pass
    heading = ["run", "held-out loss", "SIDE x 1e-2", "MAD, deg", "MAD of each seed"]
    lines = []
    for title, group in (groups | controls).items():
        if group:
            cells = [
                number(statistics.fmean(result.mean("validation", score) for result in group), digits)
                for score, digits in ((HELDOUT, 4), (SIDE, 3), (MAD, 2))
            ]
            seeds = ", ".join(f"{result.mean('validation', MAD):.2f}" for result in group)
            lines.append([title, *cells, seeds])
    return markdown(heading, lines)
