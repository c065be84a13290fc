"""Real worker processes on one study, one of them killed half-way: on files and on database servers."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from standin import notes, notes_by_process

from running import IN_BACKGROUND, all_gone, children
from scr3d.search.storage import open_storage

TRAINING_SECONDS = 0.3
CANDIDATES = 24
WAIT_SECONDS = 500
STAND_IN = Path(__file__).with_name("standin.py")


def worker(
    data: Path,
    out: Path,
    storage: str,
    log: Path,
    strategy: str = "exhaustive",
    heartbeat_s: float = 30.0,
    kind: str = "steady",
) -> subprocess.Popen[bytes]:
    words = [kind, data, out, storage, TRAINING_SECONDS, strategy, CANDIDATES, heartbeat_s]
    with log.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, str(STAND_IN), *map(str, words)],
            stdout=file,
            stderr=file,
        )


def wait_for(count: int, out: Path, event: str = "end") -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        if len(notes(out, event)) >= count:
            return
        time.sleep(0.05)
    raise AssertionError(f"{count} times {event} did not come in {WAIT_SECONDS} s")


def check_kill_half_way(data: Path, out: Path, url: str, storage: str = "-") -> None:
    logs = [out.with_name(f"{name}.log") for name in ("first", "second", "third")]
    first, second = (worker(data, out, storage, log) for log in logs[:2])
    wait_for(CANDIDATES // 3, out)
    second.send_signal(signal.SIGKILL)
    second.wait()
    assert len(notes(out, "end")) < CANDIDATES
    third = worker(data, out, storage, logs[2])
    for process, log in ((first, logs[0]), (third, logs[2])):
        assert process.wait(WAIT_SECONDS) == 0, log.read_text()
    check_nothing_lost_or_doubled(out, {second.pid}, url)
    study = optuna.load_study(storage=open_storage(url), study_name="scr3d-search")
    assert study.best_trial.params["order"] == "VDLA"
    assert (out / "report.html").is_file()


def check_nothing_lost_or_doubled(out: Path, killed: set[int], url: str) -> None:
    """Each order is trained to its end once, begun again only where a killed worker was, and complete once."""
    ended, begun = Counter(notes(out, "end")), Counter(notes(out, "begin"))
    assert ended == dict.fromkeys(begun, 1)
    assert len(ended) == CANDIDATES
    last_of_killed = dict(note for note in notes_by_process(out, "begin") if note[0] in killed)
    again = begun - Counter(begun.keys())
    assert again <= Counter(last_of_killed.values()), "only what a killed worker was at is begun again"
    study = optuna.load_study(storage=open_storage(url), study_name="scr3d-search")
    complete = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    assert Counter(t.params["order"] for t in complete) == dict.fromkeys((name for name, _, _ in ended), 1)
    assert not study.get_trials(states=[TrialState.RUNNING])


def test_two_workers_on_sqlite_one_killed(heads: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    check_kill_half_way(heads, out, f"sqlite:///{out}/search.db")


@pytest.mark.slow
def test_two_workers_on_a_journal_one_killed(heads: Path, tmp_path: Path) -> None:
    url = f"journal:{tmp_path}/search.log"
    check_kill_half_way(heads, tmp_path / "out", url, url)


@pytest.mark.slow
def test_two_workers_on_postgresql_one_killed(heads: Path, tmp_path: Path, postgresql: str) -> None:
    check_kill_half_way(heads, tmp_path / "out", postgresql, postgresql)


@pytest.mark.slow
def test_two_workers_on_mysql_one_killed(heads: Path, tmp_path: Path, mysql: str) -> None:
    check_kill_half_way(heads, tmp_path / "out", mysql, mysql)


@pytest.mark.slow
def test_two_workers_on_bayesian_optimisation_one_killed(heads: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first, second = (worker(heads, out, "-", tmp_path / f"{n}.log", "bo") for n in range(2))
    wait_for(6, out)
    second.send_signal(signal.SIGKILL)
    second.wait()
    assert first.wait(WAIT_SECONDS) == 0, (tmp_path / "0.log").read_text()
    check_nothing_lost_or_doubled(out, {second.pid}, f"sqlite:///{out}/search.db")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_the_search_that_has_started_them(heads: Path, tmp_path: Path, number: signal.Signals) -> None:
    out = tmp_path / "out"
    options = ("--strategy", "exhaustive", "--images", "100000", "--jobs", "2", "--threads", "1", "--size", "32")
    words = [sys.executable, "-m", "scr3d.cli", "search", "--data", str(heads), "--out", str(out), *options]
    log = tmp_path / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*IN_BACKGROUND, *words, "--width", "4", "--batch-size", "4"], stdout=file, stderr=file
        )
    deadline = time.monotonic() + WAIT_SECONDS
    while len(list(out.glob("trials/*/log.jsonl"))) < 2:
        assert time.monotonic() < deadline, log.read_text()
        assert process.poll() is None, log.read_text()
        time.sleep(0.1)
    started = children(process.pid)
    assert len(started) >= 1
    process.send_signal(number)
    process.wait(120)
    if number == signal.SIGTERM:
        assert process.returncode == 75, log.read_text()
    assert all_gone(started, 60), "a worker has outlived its search"
    assert len(list(out.glob("trials/*/checkpoints/*"))) >= (2 if number == signal.SIGTERM else 1)


@pytest.mark.slow
def test_a_worker_killed_again_and_again_at_any_moment_comes_to_the_end(heads: Path, tmp_path: Path) -> None:
    out, log = tmp_path / "out", tmp_path / "log"
    moments = random.Random(0)
    process = worker(heads, out, "-", log)
    wait_for(1, out)
    killed: set[int] = set()
    while process.poll() is None and len(killed) < 5:
        time.sleep(moments.uniform(0.1, 5.0))
        if process.poll() is None:
            killed.add(process.pid)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process = worker(heads, out, "-", log)
    assert process.wait(WAIT_SECONDS) == 0, log.read_text()
    assert len(killed) > 1
    check_nothing_lost_or_doubled(out, killed, f"sqlite:///{out}/search.db")


@pytest.mark.slow
def test_a_worker_that_only_seemed_dead_does_no_harm(heads: Path, tmp_path: Path) -> None:
    out, url = tmp_path / "out", f"journal:{tmp_path}/search.log"
    logs = [tmp_path / name for name in ("frozen", "other")]
    frozen = worker(heads, out, url, logs[0], heartbeat_s=1.0, kind="freezing")
    wait_for(1, out, "freeze")
    time.sleep(TRAINING_SECONDS)
    try:
        other = worker(heads, out, url, logs[1], heartbeat_s=1.0)
        assert other.wait(WAIT_SECONDS) == 0, logs[1].read_text()
    finally:
        frozen.send_signal(signal.SIGCONT)
    assert frozen.wait(WAIT_SECONDS) == 0, logs[0].read_text()
    assert "had been given to another worker" in logs[0].read_text()
    study = optuna.load_study(storage=open_storage(url), study_name="scr3d-search")
    complete = Counter(t.params["order"] for t in study.get_trials(states=[TrialState.COMPLETE]))
    assert len(complete) == complete.total() == CANDIDATES
    assert not study.get_trials(states=[TrialState.RUNNING])
