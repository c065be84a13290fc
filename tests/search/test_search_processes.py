"""Real worker processes on one study, one of them killed half-way: on SQLite, on a journal, and on PostgreSQL."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from standin import notes, notes_by_process

from scr3d.search.storage import open_storage

TRAINING_SECONDS = 0.3
CANDIDATES = 24
WAIT_SECONDS = 500
STAND_IN = Path(__file__).with_name("standin.py")


def worker(
    data: Path, out: Path, storage: str, log: Path, strategy: str = "exhaustive", heartbeat_s: float = 30.0
) -> subprocess.Popen[bytes]:
    words = [data, out, storage, TRAINING_SECONDS, strategy, CANDIDATES, heartbeat_s]
    with log.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, str(STAND_IN), *map(str, words)],
            stdout=file,
            stderr=file,
        )


def wait_for(done: int, out: Path) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        if (out / "notes.txt").exists() and len(notes(out, "end")) >= done:
            return
        time.sleep(0.05)
    raise AssertionError(f"{done} trainings did not end in {WAIT_SECONDS} s")


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
def test_two_workers_on_bayesian_optimisation_one_killed(heads: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first, second = (worker(heads, out, "-", tmp_path / f"{n}.log", "bo") for n in range(2))
    wait_for(6, out)
    second.send_signal(signal.SIGKILL)
    second.wait()
    assert first.wait(WAIT_SECONDS) == 0, (tmp_path / "0.log").read_text()
    check_nothing_lost_or_doubled(out, {second.pid}, f"sqlite:///{out}/search.db")


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
    frozen = worker(heads, out, url, logs[0], heartbeat_s=1.0)
    wait_for(3, out)
    frozen.send_signal(signal.SIGSTOP)
    try:
        other = worker(heads, out, url, logs[1], heartbeat_s=1.0)
        assert other.wait(WAIT_SECONDS) == 0, logs[1].read_text()
    finally:
        frozen.send_signal(signal.SIGCONT)
    assert frozen.wait(WAIT_SECONDS) == 0, logs[0].read_text()
    study = optuna.load_study(storage=open_storage(url), study_name="scr3d-search")
    complete = Counter(t.params["order"] for t in study.get_trials(states=[TrialState.COMPLETE]))
    assert len(complete) == complete.total() == CANDIDATES
    assert not study.get_trials(states=[TrialState.RUNNING])


@pytest.fixture
def postgresql() -> Iterator[str]:
    """URL of a database server that runs for the test alone, in a folder of its own."""
    pytest.importorskip("psycopg", reason="the PostgreSQL driver is not installed: pip install 'psycopg[binary]'")
    found = [*Path("/usr/lib/postgresql").glob("*/bin/initdb"), *filter(None, [shutil.which("initdb")])]
    if not found:
        pytest.skip("PostgreSQL is not installed (Debian: apt install postgresql)")
    programs = Path(found[0]).parent
    root = Path(tempfile.mkdtemp(prefix="scr3d-pg-"))  # pytest's own folders are closed to other users
    prefix: list[str] = []
    if os.geteuid() == 0:
        # The server refuses to run as root; Debian's package makes a user for it.
        if not (shutil.which("runuser") and _user_exists("postgres")):
            pytest.skip("PostgreSQL does not run as root, and there is no user postgres to run it as")
        shutil.chown(root, "postgres")
        prefix = ["runuser", "-u", "postgres", "--"]
    data, port = root / "data", free_port()

    def call(*words: object) -> None:
        subprocess.run([*prefix, *map(str, words)], check=True, capture_output=True, cwd=root)

    try:
        call(programs / "initdb", "-D", data, "-U", "scr3d", "--auth=trust", "--no-sync")
        options = f"-p {port} -h 127.0.0.1 -k {root} -F"
        call(programs / "pg_ctl", "-D", data, "-l", root / "server.log", "-o", options, "-w", "start")
        try:
            yield f"postgresql+psycopg://scr3d@127.0.0.1:{port}/postgres"
        finally:
            call(programs / "pg_ctl", "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(root, ignore_errors=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _user_exists(name: str) -> bool:
    import pwd

    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True
