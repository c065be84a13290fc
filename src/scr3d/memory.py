"""How much memory there is for this process, with what limits it: the machine, the container, the shell."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

if sys.platform != "win32":
    import resource

MEMORY_FILE = Path("/proc/meminfo")
STATUS_FILE = Path("/proc/self/status")
CGROUP_FILES = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)
"""Limit and use of a container's memory, of the second and the first version of Linux's control groups."""
UNLIMITED = 2**60
"""Limits beyond this are none."""
RESERVED = 2**28
"""Address space, not memory, that the C library sets aside for the threads of a run; `ulimit -v` counts it."""


def available_bytes() -> int | None:
    """What this process can still take, the least of all limits; None where the system does not say."""
    found = [free for _, free in limits()]
    return min(found) if found else None


def limits() -> Iterator[tuple[str, int]]:
    """Every limit that is known, with what is left below it in bytes."""
    machine = _machine_bytes()
    if machine is not None:
        yield "machine", machine
    for limit_file, used_file in CGROUP_FILES:
        limit, used = _number(Path(limit_file)), _number(Path(used_file))
        if limit is not None and used is not None and limit < UNLIMITED:
            yield "container", max(limit - used, 0)
            break
    if sys.platform != "win32":
        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        taken = address_space_bytes()
        if 0 <= limit < UNLIMITED and taken is not None:
            yield "ulimit -v", max(limit - taken - RESERVED, 0)


def address_space_bytes() -> int | None:
    """What this process has asked for, used or not; None where the system does not say."""
    try:
        for line in STATUS_FILE.read_text().splitlines():
            if line.startswith("VmSize:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None


def _machine_bytes() -> int | None:
    try:
        for line in MEMORY_FILE.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
