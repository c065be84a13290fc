"""`scr3d search`."""

from __future__ import annotations

import tyro

from scr3d.commands.parsing import parse, take_option
from scr3d.errors import ConfigError
from scr3d.search.config import DEFAULT_IMAGES, SearchConfig
from scr3d.training.config import TrainConfig, recipe_defaults

ABOUT = """Search for the causal order that suits a data set, or go on with an interrupted search.

Run the same command several times, on any machines that reach --storage and --out, to share the work. Options of
`scr3d train` say how each candidate is trained; --recipe robust|paper|supervised chooses their defaults (now:
{recipe})."""
EXTRA = "optuna", "sqlalchemy", "botorch", "gpytorch"


def run(args: list[str]) -> None:
    """Parse the options, search, and print the table."""
    recipe_name, rest = take_option(args, "--recipe", "robust")
    model, recipe, optimiser = recipe_defaults(recipe_name)
    training = TrainConfig(
        data=tyro.MISSING, out=tyro.MISSING, model=model, recipe=recipe, optimiser=optimiser, images=DEFAULT_IMAGES
    )
    config = parse(SearchConfig, rest, "search", ABOUT.format(recipe=recipe_name), SearchConfig(training))
    try:
        from scr3d.search.study import search
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in EXTRA:
            raise
        raise ConfigError(f"scr3d search needs {error.name}: pip install 'scr3d[search]'") from error
    report = search(config)
    print(report.text())
    print(f"\n{config.folder / 'report.html'} shows it; the runs are in {config.folder / 'trials'}")
