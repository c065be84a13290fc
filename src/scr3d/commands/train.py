"""`scr3d train`."""

from __future__ import annotations

import tyro

from scr3d.commands.parsing import parse, take_option
from scr3d.training.config import TrainConfig, recipe_defaults

ABOUT = """Train a model on a data set, or go on with an interrupted run.

--recipe robust|paper|supervised chooses the defaults of the options below (now: {recipe}): losses and schedules of this
project, those of the papers, or learning from true depth (an upper bound)."""
REPORTED = ("reconstruction", "side_e2", "mad_deg", "coverage")


def run(args: list[str]) -> None:
    """Parse the options and train."""
    recipe_name, rest = take_option(args, "--recipe", "robust")
    model, recipe, optimiser = recipe_defaults(recipe_name)
    defaults = TrainConfig(data=tyro.MISSING, out=tyro.MISSING, model=model, recipe=recipe, optimiser=optimiser)
    config = parse(TrainConfig, rest, "train", ABOUT.format(recipe=recipe_name), defaults)
    from scr3d.training.trainer import train

    scalars = train(config)
    print(f"done: {config.out / 'best'} holds the model with the lowest held-out reconstruction loss")
    for name in REPORTED:
        if name in scalars:
            print(f"  {name:16} {scalars[name]:.3f}")
