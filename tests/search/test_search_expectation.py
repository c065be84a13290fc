"""What the surrogate is told, and what it answers."""

from __future__ import annotations

from pathlib import Path

import pytest
from standin import config, score_of

from scr3d.search.config import Strategy
from scr3d.search.expectation import expect
from scr3d.search.results import Observation
from scr3d.search.strategies import promising


def observation(name: str, score: float, images: int, seed: int = 0) -> Observation:
    return Observation(name, seed, images, score, 0.1, images, 1.0, "")


def test_scores_of_shorter_trainings_carry_over(tmp_path: Path) -> None:
    space = config(tmp_path, tmp_path).space
    long = sorted(space.names, key=score_of)[::6]
    gain = 0.5
    found = [observation(name, score_of(name) + gain, 100) for name in space.names]
    found += [observation(name, score_of(name), 300) for name in long]
    expected = {e.name: e.mean for e in expect(space, found, 300, "l1")}
    # What four candidates have gained by going on is expected of the others.
    errors = [expected[name] - score_of(name) for name in space.names]
    assert max(abs(error) for error in errors) < gain / 2
    later = expect(space, [*found, observation("VDLA", -99.0, 900)], 300, "l1")
    assert {e.name: e.mean for e in later} == expected, "longer trainings than the one asked for do not count"


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
