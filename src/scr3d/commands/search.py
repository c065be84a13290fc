"""`scr3d search`."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import tyro

from scr3d.commands.parsing import parse, take_option
from scr3d.errors import ConfigError
from scr3d.search.config import DEFAULT_IMAGES, SearchConfig
from scr3d.search.launch_config import LaunchOptions
from scr3d.training.config import TrainConfig, recipe_defaults

ABOUT = """Search for the causal order that suits a data set, or go on with an interrupted search.

Run the same command several times, on any machines that reach --storage and --out, to share the work; --workers submits
it as jobs. Options of `scr3d train` say how each candidate is trained; --recipe robust|paper|supervised chooses their
defaults (now: {recipe})."""
EXTRA = "optuna", "sqlalchemy", "botorch", "gpytorch"


@dataclass(frozen=True)
class SearchArgs:
    """Options of `scr3d search`."""

    search: SearchConfig
    """The search."""
    launch: LaunchOptions = field(default_factory=LaunchOptions)
    """Workers as jobs."""


def run(args: list[str]) -> None:
    """Parse the options, search, and print the table."""
    recipe_name, rest = take_option(args, "--recipe", "robust")
    model, recipe, optimiser = recipe_defaults(recipe_name)
    training = TrainConfig(
        data=tyro.MISSING, out=tyro.MISSING, model=model, recipe=recipe, optimiser=optimiser, images=DEFAULT_IMAGES
    )
    given = parse(SearchArgs, rest, "search", ABOUT.format(recipe=recipe_name), SearchArgs(SearchConfig(training)))
    config = given.search
    try:
        from scr3d.search.study import search
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in EXTRA:
            raise
        raise ConfigError(f"scr3d search needs {error.name}: pip install 'scr3d[search]'") from error
    if given.launch.workers:
        from scr3d.search.launch import Worker, launch

        launch(Worker(run, without_launch(args)), config.folder / "jobs", given.launch)
    report = search(config, works=not given.launch.workers)
    print(report.text())
    print(f"\n{config.folder / 'report.html'} shows it; the runs are in {config.folder / 'trials'}")


def without_launch(args: list[str]) -> list[str]:
    """The arguments of a worker: all but those about jobs."""
    for item in fields(LaunchOptions):
        for name in (item.name, item.name.replace("_", "-")):
            _, args = take_option(args, f"--{name}", "")
    return args
