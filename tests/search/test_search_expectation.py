"""From scores of several lengths to what the surrogate is told, and what it answers."""

from __future__ import annotations

from pathlib import Path

import pytest
from standin import config, score_of

from scr3d.search.config import Strategy
from scr3d.search.expectation import expect, scores_at
from scr3d.search.results import Observation
from scr3d.search.strategies import promising


def observation(name: str, score: float, images: int, seed: int = 0) -> Observation:
    return Observation(name, seed, images, score, 0.1, images, 1.0, "")


FOUND = [
    observation("a", 2.0, 10),
    observation("b", 3.0, 10),
    observation("c", 4.0, 10),
    observation("a", 1.0, 30),
    observation("b", 2.5, 30),
    observation("a", 0.5, 90),
]


def test_scores_of_shorter_trainings_are_carried_over_by_what_the_others_gained() -> None:
    assert scores_at(FOUND, 10) == [("a", 2.0), ("b", 3.0), ("c", 4.0)]
    assert scores_at(FOUND, 30) == [("a", 1.0), ("b", 2.5), ("c", 4.0 - 0.75)]
    assert scores_at(FOUND, 90) == [("a", 0.5), ("b", 2.5 - 0.5), ("c", 4.0 - 0.75 - 0.5)]


def test_scores_of_a_length_from_which_nobody_went_on_are_left_out() -> None:
    assert scores_at(FOUND[:3], 30) == []
    assert scores_at([*FOUND[:3], observation("d", 1.0, 30)], 30) == [("d", 1.0)]


def test_seeds_are_observations_of_their_own() -> None:
    assert scores_at([observation("a", 1.0, 9), observation("a", 2.0, 9, seed=1)], 9) == [("a", 1.0), ("a", 2.0)]


def test_the_surrogate_follows_the_scores_and_is_surer_where_it_has_seen_some(tmp_path: Path) -> None:
    space = config(tmp_path, tmp_path).space
    seen = space.names[::2]
    found = [observation(name, score_of(name), 100) for name in seen]
    expected = expect(space, found, 100, "l1")
    assert {e.name for e in expected} == set(space.names)
    assert [e.mean for e in expected] == sorted(e.mean for e in expected)
    by_name = {e.name: e for e in expected}
    low, high = min(seen, key=score_of), max(seen, key=score_of)
    assert by_name[low].mean < by_name[high].mean
    deviations = [[by_name[n].deviation for n in space.names if (n in seen) is known] for known in (True, False)]
    assert sum(deviations[0]) / 12 < sum(deviations[1]) / 12
    assert expect(space, found[:2], 100, "l1") == []


@pytest.mark.parametrize("count", [2, 12])
def test_the_better_ones_are_promising_with_and_without_surrogate(tmp_path: Path, count: int) -> None:
    settings = config(tmp_path, tmp_path, strategy=Strategy.HALVING)
    names = sorted(settings.space.names, key=score_of)[:: 24 // count][:count]
    found = [observation(name, score_of(name), 40) for name in names]
    assert promising([*reversed(names)], found, 40, settings)[0] == names[0]
    # Who has no score of this length comes last.
    assert promising(names, found[1:], 40, settings)[-1] == names[0]
