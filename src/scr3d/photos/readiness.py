"""What a check of a data set finds."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import numpy as np

EXAMPLES = 12
"""Images shown for a finding."""


class Level(StrEnum):
    """How serious a finding is."""

    FINE = "fine"
    ADVICE = "advice"
    WARNING = "warning"
    STOP = "stop"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        level: how serious it is.
        title: what was looked at, and the number.
        text: what that means, and what to do.
        examples: indices of images of the training split that show it.
        values: numbers for a histogram, with their unit.
    """

    level: Level
    title: str
    text: str
    examples: list[int] = field(default_factory=list)
    values: tuple[np.ndarray, str] | None = None


@dataclass(frozen=True)
class Readiness:
    """A check's outcome.

    Attributes:
        folder: the data set.
        counts: number of samples in every split.
        size: side of the images in pixels.
        findings: what was looked at.
        page: the report.
    """

    folder: Path
    counts: dict[str, int]
    size: int
    findings: list[Finding]
    page: Path

    @property
    def verdict(self) -> str:
        """In a sentence."""
        levels = [finding.level for finding in self.findings]
        if Level.STOP in levels:
            return "Not ready: training on this set cannot work as it is."
        if Level.WARNING in levels:
            return "Can be tried, but read the warnings first."
        return "Ready to train."

    def text(self) -> str:
        """The report in lines."""
        splits = ", ".join(f"{count:,} {name}" for name, count in self.counts.items())
        lines = [f"{self.folder}: {splits}; {self.size}x{self.size} pixels"]
        lines += [f"  {finding.level.value:8} {finding.title}: {finding.text}" for finding in self.findings]
        return "\n".join([*lines, self.verdict, f"report: {self.page.resolve()}"])
