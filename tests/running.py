"""Which processes are there."""

from __future__ import annotations

import subprocess
import time

IN_BACKGROUND = ("sh", "-c", """trap '' INT; exec "$@" """, "sh")
"""Before the words of a command: starts it as a script starts what ends in `&`, where SIGINT is ignored."""


def state(pid: int) -> str:
    """First letter of a process's state as `ps` says it; empty if there is none."""
    return subprocess.run(["ps", "-o", "state=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()[:1]


def children(pid: int) -> list[int]:
    """The processes that one has started."""
    listed = subprocess.run(["ps", "--ppid", str(pid), "-o", "pid="], capture_output=True, text=True)
    return [int(word) for word in listed.stdout.split()]


def all_gone(pids: list[int], within_s: float) -> bool:
    """Whether all of these have ended by then; one that nobody has asked for its exit code counts as ended."""
    deadline = time.monotonic() + within_s
    while any(state(pid) not in ("", "Z") for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
