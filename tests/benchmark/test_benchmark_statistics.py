import math

import numpy as np
import pytest

from scr3d.benchmark.replay import chance_of_top_three
from scr3d.benchmark.statistics import groups_differ, over_seeds, paired_ratio, rank_agreement


def test_interval_over_seeds_is_students() -> None:
    interval = over_seeds([1.0, 2.0, 3.0])
    half = 4.302652729749464 * 1.0 / math.sqrt(3)  # t at 97.5 % with two degrees of freedom
    assert interval.value == 2.0
    assert interval.low == pytest.approx(2 - half)
    assert interval.high == pytest.approx(2 + half)
    assert math.isnan(over_seeds([1.0]).low)


def test_interval_over_seeds_covers_the_truth_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    covered = [not over_seeds(random.normal(size=3).tolist()).excludes(0.0) for _ in range(1000)]
    assert 0.93 < np.mean(covered) < 0.97


def test_paired_ratio_finds_a_difference_that_hides_in_the_spread_of_images() -> None:
    """Images differ by 30 %, methods by 2 %: only pairing shows it."""
    random = np.random.default_rng(1)
    images = 1 + 0.3 * random.normal(size=500)
    second = np.stack([images * (1 + 0.005 * random.normal(size=500)) for _ in range(3)])
    first = 0.98 * np.stack([images * (1 + 0.005 * random.normal(size=500)) for _ in range(3)])
    ratio = paired_ratio(first, second)
    assert ratio.value == pytest.approx(0.98, abs=1e-3)
    assert ratio.high < 1
    assert paired_ratio(second, second).low == pytest.approx(1.0, abs=2e-3)


def test_paired_ratio_counts_the_spread_over_seeds() -> None:
    random = np.random.default_rng(2)
    images = 1 + 0.1 * random.normal(size=300)
    level = np.array([0.85, 1.0, 1.1])[:, None]
    ratio = paired_ratio(level * images, np.stack([images] * 3))
    assert not ratio.excludes(1.0)
    assert ratio.high - ratio.low > 0.15


def test_paired_ratio_leaves_out_images_without_a_score() -> None:
    first, second = np.full((2, 4), 2.0), np.ones((1, 4))
    first[0, 1] = np.nan
    ratio = paired_ratio(first, second)
    assert (ratio.value, ratio.low, ratio.high) == (2.0, 2.0, 2.0)


def test_groups_that_differ_are_told_from_noise() -> None:
    random = np.random.default_rng(3)
    level = random.normal(size=(24, 1))
    clear = groups_differ(level + 0.2 * random.normal(size=(24, 2)))
    assert clear.p < 0.01
    assert clear.share > 0.8
    assert clear.within == pytest.approx(0.2, rel=0.4)
    noise = [groups_differ(random.normal(size=(6, 2)), seed).p < 0.05 for seed in range(20)]
    assert sum(noise) <= 4


def test_rank_agreement_is_kendalls() -> None:
    first = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0}
    assert rank_agreement(first, first)[0] == 1.0
    second = {"a": 1.0, "b": 3.0, "c": 2.0, "d": 4.0}  # one of six pairs the other way round
    assert rank_agreement(first, second)[0] == pytest.approx(4 / 6)


def test_chance_of_random_search_to_meet_one_of_the_three_best() -> None:
    assert chance_of_top_three(24, 24) == 1
    assert chance_of_top_three(24, 1) == pytest.approx(3 / 24)
    random = np.random.default_rng(4)
    drawn = [random.permutation(24)[:8].min() < 3 for _ in range(4000)]
    assert chance_of_top_three(24, 8) == pytest.approx(np.mean(drawn), abs=0.03)
