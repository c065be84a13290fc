"""Searches replayed on the recorded scores of all 24 orders: what each finds, for how many images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from scr3d.benchmark.choices import order_results, order_scores, search_recorded
from scr3d.benchmark.config import Stage
from scr3d.benchmark.protocol import Protocol
from scr3d.benchmark.records import HELDOUT, Results
from scr3d.search.kernels import KERNELS
from scr3d.search.results import expected_best
from scr3d.search.surrogate import leave_one_out

REPEATS = 20
"""Replays of Bayesian optimisation, each with other random draws."""


@dataclass(frozen=True)
class Curve:
    """What a search has found after so many images.

    Attributes:
        name: of the search.
        images: trained on so far.
        best: lowest score so far, a mean over the replays.
    """

    name: str
    images: list[int]
    best: list[float]


@dataclass(frozen=True)
class Replay:
    """All searches on one table of scores.

    Attributes:
        score: which was looked up, `heldout` (without truth) or `mad_deg`.
        curves: one for each search.
        top_three: by search, share of the replays that have met one of the three best orders within the trials of the
            protocol.
        trials: that many.
        leave_one_out: by kernel, how well each score is predicted from the others.
    """

    score: str
    curves: list[Curve]
    top_three: dict[str, float]
    trials: int
    leave_one_out: dict[str, dict[str, float]]


def replay(results: Results, protocol: Protocol, score: str = HELDOUT) -> Replay:
    """Replay Bayesian optimisation with each kernel, one-shot, and random search.

    Raises:
        WaitingError: orders are missing.
    """
    scores = order_scores(order_results(results, protocol), score)
    one = protocol.order_images * protocol.order_seeds
    trials = protocol.search_trials
    best = set(sorted(scores, key=lambda order: scores[order])[:3])
    chance = expected_best(list(scores.values()))
    curves = [Curve("random", [one * (k + 1) for k in range(len(chance))], chance)]
    top = {"random": chance_of_top_three(len(scores), trials)}
    for kernel in KERNELS:
        asked = [search_recorded(scores, trials, seed, kernel) for seed in range(REPEATS)]
        best_so_far = np.mean([list(accumulate((scores[order] for order in run), min)) for run in asked], axis=0)
        name = f"Bayesian optimisation, {kernel}"
        curves.append(Curve(name, [one * (k + 1) for k in range(trials)], best_so_far.tolist()))
        top[name] = float(np.mean([bool(best & set(run)) for run in asked]))
    shared = results.get(Stage.SHARING, "all-orders")
    if shared is not None:
        ranking = by_shared_weights(shared.record["shared"])[:trials]
        start = shared.record["images_seen"]
        found = list(accumulate((scores[order] for order in ranking), min))
        curves.append(Curve("one-shot", [start + one * (k + 1) for k in range(len(ranking))], found))
        top["one-shot, three trained alone"] = float(bool(best & set(ranking[:3])))
    accuracy = {kernel: leave_one_out(list(scores), list(scores.values()), kernel) for kernel in KERNELS}
    return Replay(score, curves, top, trials, accuracy)


def by_shared_weights(shared: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Orders by their score with shared weights, best first."""
    return sorted(shared, key=lambda order: (shared[order]["score"], order))


def chance_of_top_three(count: int, trials: int) -> float:
    """Chance that random search without repetition meets one of the three best."""
    missed = 1.0
    for k in range(3):
        missed *= max(0, count - trials - k) / (count - k)
    return 1 - missed
