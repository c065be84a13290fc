"""Who trains a candidate, and whether that process is still there."""

from __future__ import annotations

import os
from pathlib import Path
from uuid import uuid4

_PROC = Path("/proc")


def worker_identity() -> str:
    """A name of this process that no other process ever had: start of the machine, process number and its start.

    A random name where the system does not tell (anything but Linux); heartbeats alone then show who is alive.
    """
    pid = os.getpid()
    machine, birth = _machine(), _birth(pid)
    return f"{machine}|{pid}|{birth}" if machine and birth else uuid4().hex


def has_died(identity: str) -> bool:
    """Whether a worker ran on this machine and has ended; False where that cannot be known from here."""
    process, _, birth = identity.rpartition("|")
    machine, _, pid = process.rpartition("|")
    if not machine or not pid.isdigit() or machine != _machine():
        return False
    return _birth(int(pid)) != birth


def _machine() -> str:
    """This start of the machine and this process namespace: numbers of processes are unique within both."""
    try:
        start = (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{start}|{os.readlink(_PROC / 'self/ns/pid')}"
    except OSError:
        return ""


def _birth(pid: int) -> str:
    """When a process was started, in ticks since the machine was; empty if it has ended."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    # The name in parentheses may contain anything; the state and the rest follow the last one.
    fields = text.rpartition(")")[2].split()
    return "" if fields[0] in "ZX" else fields[19]
