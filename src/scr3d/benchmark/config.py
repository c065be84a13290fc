"""The options of a benchmark; without torch, so that the command line can name them at once."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal

from scr3d.benchmark.methods import METHODS
from scr3d.benchmark.protocol import PROTOCOLS, Protocol
from scr3d.errors import ConfigError


class Stage(StrEnum):
    """The parts of a benchmark; each needs what the ones before it have found."""

    ORDERS = "orders"
    SHARING = "sharing"
    RATES = "rates"
    TABLE = "table"
    LONGER = "longer"
    CONTROLS = "controls"
    REMEDIES = "remedies"
    EXPRESSIVENESS = "expressiveness"


@dataclass(frozen=True)
class BenchmarkConfig:
    """What is measured and where the results go."""

    protocol: Literal["smoke", "cpu", "paper"] = "cpu"
    """smoke (minutes, to see that it works), cpu (hours on two cores) or paper (days on a GPU, with --data)."""
    methods: tuple[str, ...] = tuple(METHODS)
    """Rows of the table; all unless given."""
    stages: tuple[Stage, ...] = tuple(Stage)
    """orders (the 24 orders), sharing (one network under all orders), rates (learning rate of every row), table (the
    rows), longer (the main rows with more images), controls (structure or capacity?), remedies (what might make the
    order count for more), expressiveness (small known models); all unless given."""
    seeds: int = 0
    """Seeds of the main rows; 0 takes the protocol's number. The other rows have two at most."""
    out: Path = Path("results")
    """Results: one JSON file for each run, in OUT/benchmark/PROTOCOL/STAGE; what is there is not run again."""
    work: Path = Path("benchmark-runs")
    """Runs under way, with checkpoints, and the built-in data."""
    data: Path | None = None
    """Data set with train, val and test and true depth; without it the built-in heads are made in WORK."""
    vgg16_file: Path | None = None
    """torchvision's vgg16-397923af.pth for --protocol paper; without it, it is downloaded."""
    jobs: int = 0
    """Runs at a time on this machine; 0: one for each core, or one on a GPU."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    plan: bool = False
    """Only print what would be done."""
    report: bool = False
    """Train nothing: write the pages and figures from the results that are there."""
    docs: Path = Path("docs")
    """Folder of results.md and of its figures, images/results-*.png."""

    def __post_init__(self) -> None:
        unknown = [name for name in self.methods if name not in METHODS]
        if unknown:
            raise ConfigError(f"--methods are {', '.join(METHODS)}; got {', '.join(unknown)}")
        for name, value in (("seeds", self.seeds), ("jobs", self.jobs)):
            if value < 0:
                raise ConfigError(f"--{name} must be at least 1, or 0 for the usual number; got {value}")
        if self.settings.counts is None and self.data is None and not self.report:
            raise ConfigError(f"--protocol {self.protocol} needs --data: the Basel faces in the papers' layout")

    @property
    def settings(self) -> Protocol:
        """The protocol."""
        return PROTOCOLS[self.protocol]

    @property
    def folder(self) -> Path:
        """Where the results of the protocol lie."""
        return self.out / "benchmark" / self.protocol
