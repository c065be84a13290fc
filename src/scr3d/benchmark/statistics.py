"""Statistics of the table: intervals over seeds and images, paired ratios, and whether the order matters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import stats

RESAMPLES = 10_000
CHUNK = 500
"""Resamples at a time."""
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval of confidence.

    Attributes:
        value: the estimate.
        low: lower end.
        high: upper end.
    """

    value: float
    low: float
    high: float

    def excludes(self, value: float) -> bool:
        """Whether a value lies outside."""
        return not self.low <= value <= self.high


def over_seeds(means: Sequence[float], level: float = LEVEL) -> Interval:
    """Mean of the seeds' means with Student's interval; without ends (NaN) for a single seed."""
    values = np.asarray(means, dtype=float)
    mean = float(values.mean())
    if len(values) < 2:
        return Interval(mean, float("nan"), float("nan"))
    half = float(stats.t.ppf((1 + level) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return Interval(mean, mean - half, mean + half)


def paired_ratio(
    first: Float[np.ndarray, "seeds images"],
    second: Float[np.ndarray, "other_seeds images"],
    seed: int = 0,
    level: float = LEVEL,
) -> Interval:
    """Ratio of two methods' mean scores on the same images, with a bootstrap interval over images and seeds.

    Each resample draws images, the same for both methods, and seeds of each method, all with replacement. With one
    seed of a method the interval knows nothing of its spread over seeds and is too narrow.

    Args:
        first: scores of the method; an image without a score (NaN) under either method is left out.
        second: scores of the method that it is compared with.
        seed: of the resampling.
        level: of confidence.
    """
    known = np.isfinite(first).all(0) & np.isfinite(second).all(0)
    first, second = first[:, known], second[:, known]
    random = np.random.default_rng(seed)
    images = first.shape[1]
    ratios = []
    for start in range(0, RESAMPLES, CHUNK):
        count = min(CHUNK, RESAMPLES - start)
        drawn = random.integers(images, size=(count, images)) + images * np.arange(count)[:, None]
        times = np.bincount(drawn.ravel(), minlength=count * images).reshape(count, images)
        means = []
        for scores in (first, second):
            seeds = random.integers(len(scores), size=(count, len(scores)))
            means.append(np.take_along_axis(times @ scores.T, seeds, axis=1).mean(axis=1))
        ratios.append(means[0] / means[1])
    low, high = np.quantile(np.concatenate(ratios), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(first.mean() / second.mean()), float(low), float(high))


@dataclass(frozen=True)
class GroupTest:
    """Whether groups differ by more than the noise within them.

    Attributes:
        p: chance of differences as large if the groups did not differ, by permutation.
        f: ratio of the variances between and within the groups.
        share: estimated share of the variance that lies between the groups (intraclass correlation; at least 0).
        between: estimated standard deviation between the groups.
        within: standard deviation within them.
    """

    p: float
    f: float
    share: float
    between: float
    within: float


def groups_differ(scores: Float[np.ndarray, "groups repeats"], seed: int = 0) -> GroupTest:
    """One-way analysis of variance with the p-value by permuting all scores among the groups.

    Args:
        scores: of each group, as many repeats in each; at least two groups and two repeats.
        seed: of the permutations.
    """
    random = np.random.default_rng(seed)
    found = _f_ratio(scores)
    flat = scores.ravel()
    permuted = [_f_ratio(random.permutation(flat).reshape(scores.shape)) for _ in range(RESAMPLES)]
    p = (1 + sum(value >= found for value in permuted)) / (1 + RESAMPLES)
    repeats = scores.shape[1]
    within = float(scores.var(axis=1, ddof=1).mean())
    between = max(0.0, (float(scores.mean(1).var(ddof=1)) - within / repeats))
    total = between + within
    return GroupTest(p, found, between / total if total else 0.0, between**0.5, within**0.5)


def _f_ratio(scores: Float[np.ndarray, "groups repeats"]) -> float:
    between = scores.shape[1] * scores.mean(1).var(ddof=1)
    within = scores.var(axis=1, ddof=1).mean()
    return float(between / within) if within else float("inf")


def rank_agreement(first: Mapping[str, float], second: Mapping[str, float]) -> tuple[float, float]:
    """Kendall's tau of two scores of the same things, and the chance of one as far from zero without any relation."""
    names = sorted(first)
    result = stats.kendalltau([first[name] for name in names], [second[name] for name in names])
    return float(result.statistic), float(result.pvalue)
