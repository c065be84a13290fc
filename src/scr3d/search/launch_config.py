"""How workers of a search are started as jobs; without torch, since these are options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from scr3d.errors import ConfigError


@dataclass(frozen=True)
class LaunchOptions:
    """Jobs that work at a search together."""

    workers: int = 0
    """Workers that are submitted as jobs of their own; 0 searches in this process."""
    launcher: Literal["slurm", "local"] = "slurm"
    """Who runs the jobs: Slurm, or processes on this machine."""
    job_minutes: int = 1440
    """Time limit of a job; Slurm starts a job again that has reached it, and the search goes on."""
    job_cpus: int = 8
    """Cores of a job."""
    job_gpus: int = 1
    """GPUs of a job; 0 for none."""
    partition: str = ""
    """Slurm's partition; empty for the usual one."""

    def __post_init__(self) -> None:
        if self.workers < 0 or self.job_minutes < 1 or self.job_cpus < 1 or self.job_gpus < 0:
            raise ConfigError("--workers and --job-gpus must not be negative, --job-minutes and --job-cpus be positive")
