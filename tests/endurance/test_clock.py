"""A clock that jumps, as clocks do when they are set: it decides nothing."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest
from strangers import OBJECTIVE, make_search, make_watched, search_config

from scr3d.search.board import Heartbeat
from scr3d.search.study import search
from scr3d.studio.runs import RunFolder
from scr3d.training.progress import progress_bar

DAY = 86_400.0


@pytest.fixture
def jumping(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every look at the wall clock shows another day."""
    days, real = random.Random(0), time.time
    monkeypatch.setattr(time, "time", lambda: real() + DAY * days.uniform(-1000, 1000))


@pytest.mark.slow
def test_a_search_finds_the_same(tmp_path: Path, jumping: None) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        make_search(tmp_path / name)
    reports = [search(search_config(tmp_path / name), OBJECTIVE) for name in ("first", "second")]
    assert [row.score for row in reports[0].rows] == [row.score for row in reports[1].rows]


def test_signs_of_life_go_on(jumping: None) -> None:
    ticks: list[int] = []
    with Heartbeat(ticks.append, 0.01):
        deadline = time.monotonic() + 30
        while len(ticks) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert ticks[:3] == [1, 2, 3]


def test_the_time_left_is_not_measured_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = []
    monkeypatch.setattr(time, "time", lambda: shown.append(1) or 0.0)
    with progress_bar(100, 0, 4) as advance:
        advance({"total": 1.0}, 1)
    assert not shown, "the progress bar asks the wall clock"


def test_a_run_that_wrote_in_the_future_has_just_written(tmp_path: Path) -> None:
    make_watched(tmp_path)
    log = tmp_path / "first" / "log.jsonl"
    os.utime(log, (time.time() + DAY, time.time() + DAY))
    watched = RunFolder(tmp_path)
    state = watched.state("first", watched.runs()["first"])
    assert state.quiet_s == 0
