"""What a result was computed with: machine, versions, commit."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import warp

import scr3d

ROOT = Path(__file__).resolve().parents[2]
"""The clone that the package is part of, if it is."""


def machine(threads: int, device: str) -> dict[str, Any]:
    """Processor, device, versions and commit, as plain JSON values."""
    return {
        "processor": processor_model(),
        "cores": os.cpu_count() or 1,
        "threads": threads,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "device": "cpu" if device == "cpu" else torch.cuda.get_device_name(device),
        "platform": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "warp": warp.__version__,
        "scr3d": scr3d.__version__,
        "commit": commit(),
    }


def processor_model() -> str:
    """The processor's name."""
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


@lru_cache(maxsize=1)
def commit() -> str | None:
    """The commit of the code that runs, with a plus where it differs from it; None outside a clone."""
    try:
        found = git("rev-parse", "HEAD").strip()
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "src", "benchmarks").strip()
    except (OSError, subprocess.CalledProcessError):
        return None
    return found + ("+" if changed else "")


def git(*arguments: str) -> str:
    """Output of git in the clone that the package is part of.

    Raises:
        FileNotFoundError: it is not part of one.
        CalledProcessError: git fails.
    """
    if not (ROOT / ".git").exists():
        raise FileNotFoundError(ROOT / ".git")
    return subprocess.run(["git", "-C", str(ROOT), *arguments], check=True, capture_output=True, text=True).stdout
