"""`scr3d doctor`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from scr3d.commands.parsing import parse

ABOUT = """Say what this installation has, whether it works, and what to do where it does not.

The exit code is 1 if there is a fault that stops reconstruction or training, 0 otherwise."""


@dataclass(frozen=True)
class DoctorArgs:
    """Options of `scr3d doctor`."""

    model: Path | None = None
    """Run or model folder to try; without it, the model that comes with scr3d."""
    data: Path | None = None
    """Data set to try: a folder of stores, of shards or of photos."""
    device: str = "cpu"
    """Where to try the model: cpu, cuda or cuda:N."""
    json: bool = False
    """Print for programs instead of people."""


def run(args: list[str]) -> None:
    """Parse the options, look, and print."""
    given = parse(DoctorArgs, args, "doctor", ABOUT)
    from scr3d.doctor.examine import examine

    report = examine(given.model, given.data, given.device)
    print(json.dumps(report.as_json(), indent=1) if given.json else report.text())
    if report.exit_code:
        raise SystemExit(report.exit_code)
