"""The options of an evaluation; without torch, so that the command line can name them at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from scr3d.errors import ConfigError


@dataclass(frozen=True)
class EvaluateConfig:
    """What is scored and where the results go."""

    data: Path
    """Data set: a folder with stores of the splits, or a folder of images with depth."""
    split: Literal["train", "val", "test"] = "test"
    """Which split."""
    out: Path | None = None
    """Folder of scores.json, scores.csv and table.txt; without it, evaluation/<split> in the run's folder (for the
    shipped model and those of the hub, here)."""
    device: str = "cpu"
    """cpu, cuda or cuda:N."""
    threads: int = 0
    """CPU threads; 0 takes all."""
    batch_size: int = 64
    """Images at a time; scores do not depend on it."""
    limit: int = 1_000_000
    """Score at most so many images."""

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ConfigError(f"--batch-size must be at least 1; got {self.batch_size}")
