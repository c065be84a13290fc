"""Claims on one study: no task lost or doubled, whatever the workers do and whenever they die."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from scr3d.errors import ConfigError
from scr3d.search.board import Board, Stage
from scr3d.search.config import Task
from scr3d.search.storage import open_storage, storage_errors
from scr3d.search.workers import has_died, worker_identity

NAMES = tuple("abcdef")
HEARTBEAT_S = 1000.0
"""So long that a busy machine kills nobody; the tests of silence move the clock."""


class AlwaysFirst(optuna.samplers.BaseSampler):
    """Proposes the same candidate to everybody: as many races as can be."""

    def infer_relative_search_space(self, study, trial):
        return {}

    def sample_relative(self, study, trial, search_space):
        return {}

    def sample_independent(self, study, trial, name, distribution):
        return distribution.choices[0]


@pytest.fixture(params=["sqlite", "journal"])
def look(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Board]:
    """Makes further workers of one study, each with a storage of its own."""
    url = f"sqlite:///{tmp_path}/s.db" if request.param == "sqlite" else f"journal:{tmp_path}/s.log"

    def board() -> Board:
        storage = open_storage(url)
        study = optuna.create_study(
            storage=storage, study_name="s", direction="minimize", sampler=AlwaysFirst(), load_if_exists=True
        )
        return Board(study, storage, "order", NAMES, HEARTBEAT_S)

    return board


def stage(quota: int = 4, seeds: tuple[int, ...] = (0,), ranking: tuple[str, ...] | None = NAMES) -> Stage:
    return Stage(100, quota, seeds, ranking)


def running(board: Board) -> list[Task]:
    return [board.task(t) for t in board.trials() if t.state is TrialState.RUNNING and board.task(t)]


def test_tasks_are_taken_in_the_order_of_the_ranking_seeds_of_a_candidate_together(look: Callable[[], Board]) -> None:
    board = look()
    wanted = stage(quota=2, seeds=(5, 6), ranking=("c", "a", "b"))
    claims = []
    while (claim := board.claim(wanted)) is not None:
        claims.append(claim)
    assert [claim.task for claim in claims] == [
        Task("c", 5, 100),
        Task("c", 6, 100),
        Task("a", 5, 100),
        Task("a", 6, 100),
    ]
    assert not board.is_complete(wanted)
    for claim in claims:
        assert board.finish(claim, 1.0, {"seconds": 2.0})
    assert board.is_complete(wanted)
    assert board.claim(wanted) is None


def test_a_sampler_that_always_proposes_the_same_is_led_on_to_free_candidates(look: Callable[[], Board]) -> None:
    board = look()
    taken = [board.claim(stage(ranking=None)).task.name for _ in range(4)]
    assert taken == ["a", "b", "c", "d"]
    withdrawn = [t for t in board.trials() if t.state is TrialState.FAIL]
    assert len(withdrawn) == 3
    assert all(board.task(t) is None for t in withdrawn)


def test_workers_at_once_share_the_tasks_without_loss_or_double(look: Callable[[], Board]) -> None:
    boards = [look() for _ in range(4)]
    taken: list[Task] = []
    start = threading.Barrier(len(boards))

    def work(board: Board) -> None:
        start.wait()
        while (claim := board.claim(stage(quota=5, ranking=None))) is not None:
            taken.append(claim.task)

    threads = [threading.Thread(target=work, args=(board,)) for board in boards]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(taken) == Counter(Task(name, 0, 100) for name in "abcde")


@pytest.mark.parametrize("marked", [False, True])
def test_a_claim_waits_for_earlier_trials_that_have_not_said_what_they_claim(
    look: Callable[[], Board], marked: bool
) -> None:
    first, second = look(), look()
    undecided = first.study.ask()
    for name, value in (("worker", "elsewhere"), ("seed", 0), ("images", 100)):
        undecided.set_user_attr(name, value)
    if marked:  # as a reader sees it who had read the parameters before they were written, and the mark afterwards
        undecided.set_user_attr("claimed", True)
    found = []
    thread = threading.Thread(target=lambda: found.append(second.claim(stage(quota=1, ranking=("b", "a")))))
    thread.start()
    thread.join(0.3)
    assert thread.is_alive()
    undecided.suggest_categorical("order", NAMES)
    undecided.set_user_attr("claimed", True)
    thread.join(60)
    # The only place of the stage went to the earlier trial, so there is nothing left.
    assert found == [None]
    assert running(first) == [Task("a", 0, 100)]


def test_a_silent_worker_loses_its_task_and_a_living_one_does_not(
    look: Callable[[], Board], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("scr3d.search.board.time.monotonic", lambda: now[0])
    silent, living, other = look(), look(), look()
    silent.worker, living.worker = "elsewhere 1", "elsewhere 2"
    lost, kept = silent.claim(stage()), living.claim(stage())
    for tick in range(11):
        living.storage.set_trial_user_attr(kept.trial_id, "tick", tick)
        other.release_dead()
        assert (lost.task in running(other)) is (now[0] <= 4 * HEARTBEAT_S)
        assert kept.task in running(other)
        now[0] += HEARTBEAT_S / 2
    again = other.claim(stage())
    assert again.task == lost.task
    assert not silent.finish(lost, 1.0, {})
    assert other.finish(again, 2.0, {})
    assert other.finished(other.trials())[lost.task].value == 2.0


def test_a_claim_that_this_process_has_left_behind_is_given_up_as_well(
    look: Callable[[], Board], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("scr3d.search.board.time.monotonic", lambda: now[0])
    left = look().claim(stage())
    later = look()
    later.release_dead()
    now[0] += 5 * HEARTBEAT_S
    assert later.claim(stage()).task == left.task


def test_a_heartbeat_ticks_until_its_block_ends_or_the_task_is_gone(look: Callable[[], Board]) -> None:
    board = look()
    claim = board.claim(stage())
    board.heartbeat_s = 0.01

    def tick() -> int:
        return next(t for t in board.trials() if t.number == claim.number).user_attrs.get("tick", 0)

    with board.heartbeat(claim):
        deadline = time.monotonic() + 60
        while tick() < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        board.give_back(claim, "for a test")
    after = tick()
    assert after >= 3
    time.sleep(0.05)
    assert tick() == after


def test_the_task_of_a_process_that_has_ended_here_is_open_at_once(look: Callable[[], Board]) -> None:
    code = "from scr3d.search.workers import worker_identity; print(worker_identity())"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    if "|" not in ended:
        pytest.skip("this system does not tell which processes have ended")
    assert has_died(ended)
    assert not has_died(worker_identity())
    assert not has_died("another machine|1|1")
    board, other = look(), look()
    board.worker, other.heartbeat_s = ended, 1000.0
    lost = board.claim(stage())
    assert other.claim(stage()).task == lost.task


def test_a_task_given_back_is_taken_up_again_and_a_spoiled_one_is_not(look: Callable[[], Board]) -> None:
    board = look()
    wanted = stage(quota=2)
    first = board.claim(wanted)
    board.give_back(first, "interrupted")
    again = board.claim(wanted)
    assert (again.task, again.number) == (first.task, 1)
    board.spoil(again, "no finite score")
    assert board.finish(board.claim(wanted), 1.0, {})
    assert board.is_complete(wanted)
    assert [t.name for t in board.finished(board.trials())] == ["a", "b"]
    assert board.is_complete(stage(quota=1))
    assert not board.is_complete(stage(quota=3))


def test_a_process_that_lost_the_lock_of_a_journal_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = open_storage(url := f"journal:{tmp_path}/s.log")
    optuna.create_study(storage=storage, study_name="s")
    fsync = os.fsync

    def stolen(file: int) -> None:
        (tmp_path / "s.log.lock").unlink()
        fsync(file)

    monkeypatch.setattr("os.fsync", stolen)
    with pytest.raises(ConfigError, match=r"cannot be used: .* held the lock of the journal"), storage_errors(url):
        optuna.create_study(storage=storage, study_name="t")


def test_stages_of_other_lengths_do_not_mix(look: Callable[[], Board]) -> None:
    board = look()
    short, long = Stage(50, 2, (0,), NAMES), Stage(100, 1, (0,), ("b",))
    for _ in range(2):
        board.finish(board.claim(short), 1.0, {})
    assert board.claim(long).task == Task("b", 0, 100)
    assert board.accepted(short, board.trials()) == ["a", "b"]
    assert board.accepted(long, board.trials()) == ["b"]
