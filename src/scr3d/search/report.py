"""The report of a search: plain records and a table."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import optuna
import torch

import scr3d
from scr3d.search.board import Board
from scr3d.search.candidates import label
from scr3d.search.config import SCORE_NAMES, SearchConfig
from scr3d.search.expectation import Expectation, expect, predictions
from scr3d.search.results import Observation, Progress, Row, expected_best, observations, progress, table


@dataclass(frozen=True)
class SearchReport:
    """What a search has found.

    Attributes:
        about: what was searched, how and on what, as plain JSON values.
        score_name: what the scores are.
        rows: candidates, longest trainings first, then the best.
        found: single trainings in the order in which they came.
        steps: best so far after every candidate.
        expectations: the surrogate's posterior for every candidate, best first; empty with too few scores.
        shared: score and standard error of every candidate with shared weights (one-shot).
        random_best: expected best of random search after 1, 2, ... candidates; known when all have been tried.
        leave_one_out: by kernel, how well each score is predicted from the others; known when all have been tried.
        full_images: length of a full training.
        images_per_candidate: images that random search spends on a candidate.
    """

    about: dict[str, Any]
    score_name: str
    rows: list[Row]
    found: list[Observation]
    steps: list[Progress]
    expectations: list[Expectation]
    shared: dict[str, dict[str, float]]
    random_best: list[float]
    leave_one_out: dict[str, dict[str, float]]
    full_images: int
    images_per_candidate: int

    @property
    def full_rows(self) -> list[Row]:
        """Candidates that were trained to the full length, best first."""
        return [row for row in self.rows if row.images == self.full_images]

    @property
    def best(self) -> Row | None:
        """The best candidate that was trained to the full length."""
        return next(iter(self.full_rows), None)

    @property
    def record(self) -> dict[str, Any]:
        """Everything as plain JSON values."""
        return {
            **self.about,
            "best": asdict(self.best) if self.best else None,
            "candidates": [asdict(row) for row in self.rows],
            "posterior": [asdict(e) for e in self.expectations],
            "shared_weights": self.shared,
            "rank_correlation_of_shared_weights": rank_correlation(self.shared, self.full_rows),
            "leave_one_out": self.leave_one_out,
            "best_so_far": [asdict(step) for step in self.steps],
            "expected_best_of_random_search": self.random_best,
            "trainings": [asdict(observation) for observation in self.found],
        }

    def columns(self) -> list[str]:
        """Headings of the table."""
        headings = ["candidate", "images", "score", "± over images", "± over seeds", "seeds", "expected"]
        return headings + (["shared weights"] if self.shared else []) + ["note"]

    def cells(self) -> list[list[str]]:
        """The table: candidates that were trained, then (by what the surrogate expects) those that were not."""
        expected = {e.name: e for e in self.expectations}
        trained = {row.name for row in self.rows}
        lines = [self._cells(row.name, row, expected.get(row.name)) for row in self.rows]
        left = [e.name for e in self.expectations] or list(self.shared)
        return lines + [self._cells(name, None, expected.get(name)) for name in left if name not in trained]

    def _cells(self, name: str, row: Row | None, expected: Expectation | None) -> list[str]:
        if row is None:
            cells = [label(name), "", "", "", "", ""]
        else:
            spread = "" if row.spread is None else f"{row.spread:.4f}"
            cells = [label(name), f"{row.images:,}", f"{row.score:.4f}", f"{row.standard_error:.4f}", spread]
            cells.append(str(row.seeds))
        cells.append(f"{expected.mean:.4f} ± {expected.deviation:.4f}" if expected else "")
        if self.shared:
            shared = self.shared.get(name)
            cells.append(f"{shared['score']:.4f} ± {shared['standard_error']:.4f}" if shared else "")
        notes = []
        if row is not None and self.best is not None and row == self.best:
            notes.append("best")
        if row is not None and row.collapsed:
            notes.append(f"{row.collapsed} collapsed")
        return [*cells, ", ".join(notes)]

    def summary(self) -> str:
        """What was searched, in a sentence or two."""
        about = self.about
        spent = self.steps[-1].images if self.steps else sum(o.new_images for o in self.found)
        text = (
            f"Strategy {about['strategy']}, score: {self.score_name} on {about['scored_images']} validation images "
            f"(mean over images, lower is better); {len(self.found)} trainings, {spent:,} images."
        )
        if self.best is not None:
            text += f" Best: {label(self.best.name)} with {self.best.score:.4f}."
        correlation = rank_correlation(self.shared, self.full_rows)
        if correlation is not None:
            text += (
                f" Rank correlation of scores with shared weights and alone: {correlation:.2f} "
                f"(of {len(self.full_rows)})."
            )
        return text

    def accuracy(self) -> str:
        """How well each kernel predicts the scores, in a sentence; empty unless all candidates have been tried."""
        if not self.leave_one_out:
            return ""
        parts = (
            f"{kernel} error {one['rmse']:.4f}, correlation {one['correlation']:.2f}, "
            f"log density {one['log_density']:.2f}"
            for kernel, one in self.leave_one_out.items()
        )
        return (
            f"Each score predicted from the {len(self.full_rows) - 1} others: {'; '.join(parts)} "
            f"(the mean of the others: error {self._error_of_mean():.4f})."
        )

    def _error_of_mean(self) -> float:
        scores = [row.score for row in self.full_rows]
        return statistics.pstdev(scores) * len(scores) / (len(scores) - 1)

    def text(self) -> str:
        """Summary and table for the terminal."""
        lines = [self.columns(), *self.cells()]
        widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
        aligned = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
        accuracy = ["", self.accuracy()] if self.leave_one_out else []
        return "\n".join([self.summary(), "", *(line.rstrip() for line in aligned), *accuracy])


def build_report(
    config: SearchConfig,
    board: Board,
    identity: Mapping[str, Any],
    storage: str,
    shared: dict[str, dict[str, float]],
) -> SearchReport:
    """The report on the state of a study.

    Args:
        config: the search.
        board: its study.
        identity: what the study is about.
        storage: where it is, without passwords.
        shared: scores with shared weights, of one-shot, best first; else empty.
    """
    found = observations(board, board.trials())
    images = config.training.images
    rows = table(found)
    full = [row for row in rows if row.images == images]
    seeds = min((row.seeds for row in full), default=config.seeds)
    everything = len(full) == len(config.space)
    scores = [row.score for row in full]
    counts = [t.user_attrs.get("scored_images", 0) for t in board.trials()]
    about = {
        "format": "scr3d-search",
        "version": 1,
        "scr3d": scr3d.__version__,
        "torch": torch.__version__,
        "optuna": optuna.__version__,
        "strategy": config.strategy.value,
        "score": config.score.value,
        "score_name": SCORE_NAMES[config.score],
        "scored_images": max(counts, default=0),
        "searched": config.space.plural,
        "kernel": config.kernel,
        "study": config.study_name,
        "storage": storage,
        "seeds": config.seeds,
        "identity": dict(identity),
    }
    return SearchReport(
        about=about,
        score_name=SCORE_NAMES[config.score],
        rows=rows,
        found=found,
        steps=progress(found, images, seeds, images if shared else 0),
        expectations=expect(config.space, found, images, config.kernel),
        shared=shared,
        random_best=expected_best(scores) if everything else [],
        # Where all scores are the same there is nothing to predict.
        leave_one_out=predictions(config.space, [row.name for row in full], scores)
        if everything and min(scores) < max(scores)
        else {},
        full_images=images,
        images_per_candidate=images * seeds,
    )


def rank_correlation(shared: Mapping[str, Mapping[str, float]], rows: Sequence[Row]) -> float | None:
    """Spearman's correlation of the scores with shared weights and alone; None for fewer than three."""
    both = [(shared[row.name]["score"], row.score) for row in rows if row.name in shared]
    if len(both) < 3:
        return None
    first, second = (torch.tensor(values).double() for values in zip(*both, strict=True))
    # Ranks of equal scores are shared out evenly: the mean of how many are below and how many are not above.
    ranks = [((v[:, None] > v).sum(1) + (v[:, None] >= v).sum(1)).double() for v in (first, second)]
    value = float(torch.corrcoef(torch.stack(ranks))[0, 1])
    return None if value != value else value
