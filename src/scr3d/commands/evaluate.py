"""`scr3d evaluate`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from scr3d.commands.parsing import parse
from scr3d.evaluation_config import EvaluateConfig


@dataclass(frozen=True)
class EvaluateArgs:
    """Options of `scr3d evaluate`."""

    options: EvaluateConfig
    """What is scored and where the results go."""
    run: tyro.conf.Positional[Path | None] = None
    """Run or model folder; without it, the model that comes with scr3d."""


def run(args: list[str]) -> None:
    """Parse the options and evaluate."""
    given = parse(
        EvaluateArgs, args, "evaluate", "Score a run against the truth, next to the baselines, on the same images."
    )
    from scr3d.evaluation import evaluate

    print(evaluate(given.run, given.options).table())
