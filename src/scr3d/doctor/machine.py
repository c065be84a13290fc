"""Processor, memory, disk and Python."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from pathlib import Path

from scr3d.doctor.findings import Finding, Level
from scr3d.memory import limits

INSTRUCTION_SETS = ("sse4_2", "avx", "avx2", "fma", "avx512f", "avx512_bf16", "amx_tile", "neon", "asimd", "sve")
"""Those that decide how fast networks are computed, as Linux names them."""
OLDEST_PYTHON = (3, 11)
LITTLE_MEMORY = 2**31
LITTLE_DISK = 2**30
PROCESSOR_FILE = Path("/proc/cpuinfo")


def findings() -> list[Finding]:
    """All of the machine."""
    return [_python(), *_processor(), *_memory(), *_disk()]


def _python() -> Finding:
    version = f"{platform.python_version()}, {sys.executable}"
    if sys.version_info < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        return Finding("machine: Python", version, Level.FAULT, f"install Python {oldest} or newer, and scr3d into it")
    return Finding("machine: Python", version)


def _processor() -> list[Finding]:
    name, flags = platform.processor() or platform.machine(), set[str]()
    try:
        for line in PROCESSOR_FILE.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                name = value.strip()
            if key.strip() in ("flags", "Features"):
                flags = set(value.split())
                break
    except OSError:
        pass
    sets = ", ".join(kind for kind in INSTRUCTION_SETS if kind in flags) or "not known"
    # What this process may use: a container or `taskset` can leave fewer than the machine has.
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    slow = "x86" in platform.machine() and flags and "avx2" not in flags
    return [
        Finding("machine: system", f"{platform.system()} {platform.release()}, {platform.machine()}"),
        Finding("machine: processor", name),
        Finding(
            "machine: instruction sets",
            sets,
            Level.WARNING if slow else Level.FINE,
            "without AVX2 everything takes several times as long; use another machine for training" if slow else "",
        ),
        Finding("machine: cores", f"{usable} of {os.cpu_count()} can be used"),
    ]


def _memory() -> list[Finding]:
    found = []
    for name, free in limits():
        little = free < LITTLE_MEMORY
        advice = "end other programs, raise the limit, or take a smaller --batch-size" if little else ""
        level = Level.WARNING if little else Level.FINE
        found.append(Finding(f"machine: memory ({name})", f"{free / 1e9:.1f} GB free", level, advice))
    return found or [Finding("machine: memory", "not known")]


def _disk() -> list[Finding]:
    found = []
    for name, folder in (("here", Path.cwd()), ("temporary files", Path(os.environ.get("TMPDIR", "/tmp")))):
        try:
            free = shutil.disk_usage(folder).free
        except OSError as error:
            advice = "set TMPDIR to a folder that is there" if name != "here" else "change to a folder that is there"
            found.append(Finding(f"machine: disk ({name})", f"{folder}: {error.strerror}", Level.WARNING, advice))
            continue
        little = free < LITTLE_DISK
        found.append(
            Finding(
                f"machine: disk ({name})",
                f"{free / 1e9:.1f} GB free in {folder}",
                Level.WARNING if little else Level.FINE,
                "free some space, or work in another folder" if little else "",
            )
        )
    return found
