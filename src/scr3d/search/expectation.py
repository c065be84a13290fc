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
    known = [observation for observation in found if observation.images <= images]
    if len({observation.name for observation in known}) < ENOUGH:
        return []
    from scr3d.search.surrogate import fit_surrogate, posterior

    model = fit_surrogate([o.name for o in known], [o.score for o in known], kernel, [o.images for o in known])
    means, deviations = posterior(model, space.names, images)
    pairs = zip(space.names, means.tolist(), deviations.tolist(), strict=True)
    return sorted((Expectation(*values) for values in pairs), key=lambda e: (e.mean, e.name))


def predictions(space: Space, names: Sequence[str], scores: Sequence[float]) -> dict[str, dict[str, float]]:
    """By kernel that suits the candidates: how well each score is predicted from the others (`leave_one_out`)."""
    from scr3d.search.surrogate import leave_one_out

    kernels = ("l1", "mallows") if space.parameter == "order" else ("l1",)
    return {kernel: leave_one_out(names, scores, kernel) for kernel in kernels}
