"""Worker processes do not outlive who has started them; real processes, which are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from running import all_gone

PARENT = """
import multiprocessing, os, sys, time
from pathlib import Path
from scr3d.signals import Warnings, end_with_parent

def work(folder, listens):
    if listens is not None:
        end_with_parent()
    warnings = Warnings()
    if listens:
        with warnings.listening():
            (folder / "pid").write_text(str(os.getpid()))
            while warnings.received is None:
                time.sleep(0.02)
            (folder / "saved").write_text(warnings.received)
    else:
        (folder / "pid").write_text(str(os.getpid()))
    time.sleep(600)

if __name__ == "__main__":
    process = multiprocessing.get_context("spawn").Process(target=work, args=(Path(sys.argv[1]), eval(sys.argv[2])))
    process.start()
    process.join()
"""


@pytest.fixture
def orphan(tmp_path: Path, request: pytest.FixtureRequest):
    """A worker whose parent has just been killed."""
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    parent = subprocess.Popen([sys.executable, str(script), str(tmp_path), repr(request.param)])
    deadline = time.monotonic() + 60
    while not (tmp_path / "pid").is_file() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    pid = int((tmp_path / "pid").read_text())
    parent.kill()
    parent.wait()
    yield pid
    if not all_gone([pid], 0):
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("orphan", [True], indirect=True)
def test_a_worker_that_listens_saves_and_then_ends(orphan: int, tmp_path: Path) -> None:
    assert all_gone([orphan], 30)
    assert (tmp_path / "saved").read_text() == "SIGTERM"


@pytest.mark.parametrize("orphan", [False], indirect=True)
def test_a_worker_that_does_not_listen_ends_at_once(orphan: int, tmp_path: Path) -> None:
    assert all_gone([orphan], 30)


@pytest.mark.parametrize("orphan", [None], indirect=True)
def test_without_it_a_worker_would_stay(orphan: int) -> None:
    """So the tests above can fail."""
    assert not all_gone([orphan], 3)
