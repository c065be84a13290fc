"""`scr3d studio`."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import tyro

from scr3d.cli import INTERRUPTED
from scr3d.commands.parsing import parse
from scr3d.errors import ConfigError
from scr3d.studio.config import StudioConfig

ABOUT = """Open a page on which the factors of a photo can be seen and moved.

Turn and relight the reconstruction, intervene on its causes, compare models, watch training runs and searches."""
EXTRA = ("viser", "websockets", "msgspec", "zstandard")


@dataclass(frozen=True)
class StudioArgs:
    """Options of `scr3d studio`."""

    images: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Photos, or folders of photos, to begin with; others can be added in the page."""
    config: StudioConfig = field(default_factory=StudioConfig)
    """What is served, and where."""


def run(args: list[str]) -> None:
    """Parse the options and serve until interrupted."""
    given = parse(StudioArgs, args, "studio", ABOUT)
    try:
        import viser  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in EXTRA:
            raise
        raise ConfigError(f"scr3d studio needs {error.name}: pip install 'scr3d[studio]'") from error
    from scr3d.studio.app import Studio
    from scr3d.studio.ending import PATIENCE_SECONDS, leave, running_threads, second_interrupt_leaves

    studio = Studio(given.config, given.images)
    try:
        print(f"studio: {studio.address}  (Ctrl-C ends it)", flush=True)
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        with second_interrupt_leaves(INTERRUPTED):
            studio.close()
            print("scr3d: interrupted", file=sys.stderr)
            if running_threads(PATIENCE_SECONDS):
                leave(INTERRUPTED)
        raise SystemExit(INTERRUPTED) from None
