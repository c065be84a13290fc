"""`scr3d evaluate`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import tyro

from scr3d.commands.parsing import parse
from scr3d.evaluation_config import EvaluateConfig
from scr3d.training.config import MachineOptions


@dataclass(frozen=True)
class EvaluateArgs:
    """Options of `scr3d evaluate`."""

    options: EvaluateConfig
    """What is scored and where the results go."""
    run: tyro.conf.Positional[Path | None] = None
    """Run or model folder, or hf://owner/name; without it, the model that comes with scr3d."""
    machines: MachineOptions = field(default_factory=MachineOptions)
    """What it uses of its machines."""


def run(args: list[str]) -> None:
    """Parse the options and evaluate."""
    given = parse(
        EvaluateArgs, args, "evaluate", "Score a run against the truth, next to the baselines, on the same images."
    )
    from scr3d.evaluation import evaluate
    from scr3d.runtime import use_threads
    from scr3d.training.fabric import connect, group_of

    use_threads(given.options.threads)
    group = group_of(connect(given.options.device, given.options.threads, given.machines))
    table = evaluate(given.run, given.options, group).table()
    if group.first:
        print(table)
