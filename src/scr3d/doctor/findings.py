"""What the doctor finds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Level(StrEnum):
    """How bad something is."""

    FINE = "fine"
    """Nothing to do."""
    WARNING = "warning"
    """Something works less well, or a part is missing that not everyone needs."""
    FAULT = "fault"
    """Reconstruction or training does not work."""


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        part: what was looked at, in groups: `packages: torch`.
        value: what was found.
        level: how bad it is.
        advice: what to do about it, on one line; empty where nothing is to be done.
    """

    part: str
    value: str
    level: Level = Level.FINE
    advice: str = ""


@dataclass(frozen=True)
class Report:
    """Everything that was found."""

    findings: tuple[Finding, ...]

    def of(self, level: Level) -> list[Finding]:
        """The findings of a level."""
        return [finding for finding in self.findings if finding.level is level]

    @property
    def exit_code(self) -> int:
        """1 if there is a fault, 0 otherwise."""
        return int(bool(self.of(Level.FAULT)))

    def text(self) -> str:
        """For people: groups, faults and warnings with their advice, and a summary."""
        lines: list[str] = []
        group = ""
        for finding in self.findings:
            found_group, _, part = finding.part.partition(": ")
            if found_group != group:
                group = found_group
                lines += ["", group] if lines else [group]
            mark = {Level.FINE: " ", Level.WARNING: "!", Level.FAULT: "X"}[finding.level]
            lines.append(f" {mark} {part:22} {finding.value}")
            if finding.advice:
                lines.append(f"     -> {finding.advice}")
        counts = (
            f"{len(found)} {level}{'s' if len(found) > 1 else ''}"
            for level in (Level.FAULT, Level.WARNING)
            if (found := self.of(level))
        )
        return "\n".join([*lines, "", ", ".join(counts) or "everything is in order"])

    def as_json(self) -> dict[str, Any]:
        """For programs: plain JSON values."""
        return {"exit_code": self.exit_code, "findings": [asdict(finding) for finding in self.findings]}


def first_line(error: BaseException) -> str:
    """An error on one line."""
    line = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {line}" if line else type(error).__name__
