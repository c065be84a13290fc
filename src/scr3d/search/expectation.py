"""What the surrogate expects of each candidate after all that has been found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
    return []
