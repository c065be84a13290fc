"""What the trials of a study have found, as plain records."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

from optuna.trial import FrozenTrial, TrialState

from scr3d.search.board import Board


@dataclass(frozen=True)
class Observation:
    """The result of one training.

    Attributes:
        name: the candidate.
        seed: of the run.
        images: length of the training.
        score: mean over images, lower is better.
        standard_error: of that mean.
        new_images: what this training has added to a shorter one of the same run.
        seconds: it took.
        collapsed: why it had to stop early; empty if it did not.
    """

    name: str
    seed: int
    images: int
    score: float
    standard_error: float
    new_images: int
    seconds: float
    collapsed: str


@dataclass(frozen=True)
class Row:
    """A candidate in the table: its trainings of the same length together.

    Attributes:
        name: the candidate.
        images: length of the trainings.
        score: mean over seeds.
        spread: standard deviation over seeds; None with one seed.
        standard_error: over images, mean over seeds.
        seeds: how many.
        collapsed: how many of them had to stop early.
    """

    name: str
    images: int
    score: float
    spread: float | None
    standard_error: float
    seeds: int
    collapsed: int


@dataclass(frozen=True)
class Progress:
    """Best score so far, when one more candidate was done."""

    candidates: int
    images: int
    best_name: str
    best_score: float


ATTRIBUTES = {
    **{"seed": int, "images": int, "scored_images": int, "worker": str},
    **{"standard_error": float, "seconds": float, "collapsed": str},
}
"""What trials know about themselves."""


def damage(trial: FrozenTrial) -> str | None:
    """What is wrong with a trial that was read; None if nothing is."""
    for name, kind in ATTRIBUTES.items():
        value = trial.user_attrs.get(name, kind())
        if not (isinstance(value, kind) or (kind is float and isinstance(value, int))) or not _finite(value):
            return f"its {name} is {value!r}"
    if trial.state is TrialState.COMPLETE and not (isinstance(trial.value, int | float) and _finite(trial.value)):
        return f"its score is {trial.value!r}"
    return None


def _finite(value: object) -> bool:
    return not isinstance(value, int | float) or abs(value) < sys.float_info.max


def observations(board: Board, trials: Sequence[FrozenTrial]) -> list[Observation]:
    """The results of a study, in the order in which they came."""
    longest: dict[tuple[str, int], int] = {}
    result = []
    complete = [t for t in trials if t.state is TrialState.COMPLETE]
    for trial in sorted(complete, key=lambda t: (t.datetime_complete, t.number)):
        task = board.task(trial)
        if task is None or trial.value is None:
            continue
        before = longest.get((task.name, task.seed), 0)
        longest[task.name, task.seed] = max(before, task.images)
        attributes = trial.user_attrs
        result.append(
            Observation(
                task.name,
                task.seed,
                task.images,
                trial.value,
                attributes.get("standard_error", 0.0),
                max(0, task.images - before),
                attributes.get("seconds", 0.0),
                attributes.get("collapsed", ""),
            )
        )
    return result


def table(found: Sequence[Observation]) -> list[Row]:
    """One row per candidate and length: longest trainings first, then the best."""
    groups: dict[tuple[str, int], list[Observation]] = {}
    for observation in found:
        groups.setdefault((observation.name, observation.images), []).append(observation)
    rows = []
    for (name, images), group in groups.items():
        scores = [o.score for o in group]
        spread = statistics.stdev(scores) if len(scores) > 1 else None
        errors = statistics.mean(o.standard_error for o in group)
        collapsed = sum(bool(o.collapsed) for o in group)
        rows.append(Row(name, images, statistics.mean(scores), spread, errors, len(group), collapsed))
    return sorted(rows, key=lambda row: (-row.images, row.score))


def progress(found: Sequence[Observation], images: int, seeds: int, images_before: int = 0) -> list[Progress]:
    """Best so far after every candidate whose trainings of the given length are all done.

    Args:
        found: in the order in which they came.
        images: length of a full training; shorter ones cost images but are no results.
        seeds: trainings of a candidate.
        images_before: what had been trained before, as by one-shot.
    """
    steps: list[Progress] = []
    scores: dict[str, list[float]] = {}
    spent, done = images_before, 0
    for observation in found:
        spent += observation.new_images
        if observation.images != images:
            continue
        group = scores.setdefault(observation.name, [])
        group.append(observation.score)
        if len(group) != seeds:
            continue
        done += 1
        score = statistics.mean(group)
        name = observation.name
        if steps and steps[-1].best_score <= score:
            name, score = steps[-1].best_name, steps[-1].best_score
        steps.append(Progress(done, spent, name, score))
    return steps


def expected_best(scores: Sequence[float]) -> list[float]:
    """Expected lowest score after 1, 2, ... draws without repetition: what random search finds.

    With n scores sorted ascending, the i-th is the lowest of k draws in C(n - i, k - 1) of C(n, k) cases.
    """
    ascending, count = sorted(scores), len(scores)
    return [
        sum(comb(count - place, draws - 1) / comb(count, draws) * score for place, score in enumerate(ascending, 1))
        for draws in range(1, count + 1)
    ]
