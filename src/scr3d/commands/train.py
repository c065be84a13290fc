"""`scr3d train`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import tyro

from scr3d.commands.parsing import parse, take_choice, take_option
from scr3d.photos.options import Kind
from scr3d.training.config import MachineOptions, TrainConfig, recipe_defaults
from scr3d.training.objects import images_of_epochs, with_object

ABOUT = """Train a model on a data set, or go on with an interrupted run.

--recipe robust|paper|supervised chooses the defaults of the options below (now: {recipe}): losses and schedules of this
project, those of the papers, or learning from true depth (an upper bound).
--preset face|cat|car|own does likewise for the kind of object (now: {kind}); --preset compact|reference, below, is
about the networks, and both may be given. With --recipe paper it also sets --images to the published epochs."""
REPORTED = ("reconstruction", "side_e2", "mad_deg", "coverage")


@dataclass(frozen=True)
class TrainArgs:
    """Options of `scr3d train`."""

    run: TrainConfig
    """The run."""
    machines: MachineOptions = field(default_factory=MachineOptions)
    """What it uses of its machines."""


def run(args: list[str]) -> None:
    """Parse the options and train."""
    recipe_name, rest = take_option(args, "--recipe", "robust")
    kind_name, rest = take_choice(rest, "--preset", [kind.value for kind in Kind])
    model, recipe, optimiser = recipe_defaults(recipe_name)
    if kind_name is not None:
        model, recipe = with_object(Kind(kind_name), recipe_name, model, recipe)
    defaults = TrainConfig(data=tyro.MISSING, out=tyro.MISSING, model=model, recipe=recipe, optimiser=optimiser)
    about = ABOUT.format(recipe=recipe_name, kind=kind_name or "face")
    given = parse(TrainArgs, rest, "train", about, TrainArgs(defaults))
    config = given.run
    length_given = any(word.startswith("--images") for word in rest)
    if kind_name is not None and recipe_name == "paper" and not length_given:
        images = images_of_epochs(Kind(kind_name), config.data)
        if images is None:
            print(f"--images {config.images}: the usual number; published epochs need a set that is prepared")
        else:
            config = replace(config, images=images)
            print(f"--images {images}: the published number of epochs for --preset {kind_name}")
    from scr3d.training.trainer import train

    scalars = train(config, given.machines)
    print(f"done: {config.out / 'best'} holds the model with the lowest held-out reconstruction loss")
    for name in REPORTED:
        if name in scalars:
            print(f"  {name:16} {scalars[name]:.3f}")
