"""What the surrogate expects of each candidate after all that has been found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import mean

from scr3d.search.candidates import Space
from scr3d.search.results import Observation

ENOUGH = 3
"""Scores of different candidates below which the surrogate is not asked."""


@dataclass(frozen=True)
class Expectation:
    """Posterior of a candidate's score.

    Attributes:
        name: the candidate.
        mean: of its score.
        deviation: standard deviation, of the score without the noise of a training.
    """

    name: str
    mean: float
    deviation: float


def expect(space: Space, found: Sequence[Observation], images: int, kernel: str) -> list[Expectation]:
    """Posterior of all candidates at a length of training, best first; empty with too few scores.

    Args:
        space: the candidates.
        found: scores, also those of shorter trainings.
        images: length of the training that is asked for.
        kernel: `l1` or `mallows`.
    """
    scores = scores_at(found, images)
    if len({name for name, _ in scores}) < ENOUGH:
        return []
    from scr3d.search.surrogate import fit_surrogate, posterior

    names, values = zip(*scores, strict=True)
    means, deviations = posterior(fit_surrogate(names, values, kernel=kernel), space.names)
    found_all = zip(space.names, means, deviations, strict=True)
    return sorted((Expectation(n, float(m), float(d)) for n, m, d in found_all), key=lambda e: (e.mean, e.name))


def scores_at(found: Sequence[Observation], images: int) -> list[tuple[str, float]]:
    """Scores as they would be at a length of training: one for each run, from its longest training so far.

    Scores of shorter trainings are shifted by how much the runs that went on have changed on average from there; those
    of a length from which none went on are left out.
    """
    runs: dict[tuple[str, int], dict[int, float]] = {}
    for observation in found:
        if observation.images <= images:
            runs.setdefault((observation.name, observation.seed), {})[observation.images] = observation.score
    lengths = sorted({length for scores in runs.values() for length in scores})
    shifts: dict[int, float] = {images: 0.0}
    for shorter, longer in reversed(list(pairwise(lengths))):
        changes = [scores[longer] - scores[shorter] for scores in runs.values() if scores.keys() >= {shorter, longer}]
        if changes and longer in shifts:
            shifts[shorter] = shifts[longer] + mean(changes)
    longest = ((name, max(scores)) for (name, _), scores in runs.items())
    pairs = zip(longest, runs.values(), strict=True)
    return [(name, scores[length] + shifts[length]) for (name, length), scores in pairs if length in shifts]
