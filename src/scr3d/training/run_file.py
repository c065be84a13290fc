"""`config.json` of a run: its options, which it can only go on with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scr3d.errors import ConfigError
from scr3d.files import MALFORMED, read_json, write_json
from scr3d.serialization import from_json, to_json
from scr3d.training.config import TrainConfig, comparable, different_options, in_todays_words

NAME = "config.json"
FORMAT = "scr3d-run"
VERSION = 3
"""Of the options of a run; whoever adds a field to them adds one to this, since an unfinished run of an older program
cannot go on as if it had been meant. `in_todays_words` knows what an older version's options are called today."""


def write_run_file(config: TrainConfig) -> None:
    """Write the options of a run into its folder."""
    write_json(config.out / NAME, {"format": FORMAT, "version": VERSION, **to_json(config)})


def check_run_file(config: TrainConfig) -> None:
    """See that a folder holds no run, or one with the same options.

    Raises:
        ConfigError: it holds one with other options, of another version, or a damaged one.
    """
    path = config.out / NAME
    if not path.exists():
        return
    found = comparable(read_run_file(path))
    if found != comparable(config):
        changed = different_options(found, comparable(config))
        raise ConfigError(
            f"{config.out} holds a run with other options ({changed}); give the same ones to go on, or another --out"
        )


def read_run_file(path: Path) -> TrainConfig:
    """The options of a run.

    Raises:
        ConfigError: the file is damaged, or of another version.
    """
    try:
        record: dict[str, Any] = dict(read_json(path))
    except (OSError, *MALFORMED) as error:
        raise ConfigError(f"{path} is damaged ({error}); put it back, or train in another --out") from error
    # Version 1 wrote neither; its last runs have all options of today.
    kind, version = record.pop("format", FORMAT), record.pop("version", 1)
    if kind != FORMAT or version not in range(1, VERSION + 1):
        raise ConfigError(f"{path} is of format {kind} {version}, this program reads {FORMAT} 1 to {VERSION}")
    try:
        return from_json(TrainConfig, in_todays_words(record), str(path))
    except ConfigError as error:
        if version == VERSION:
            raise
        raise ConfigError(
            f"{error}; a run of version {version} cannot go on with this program (version {VERSION}), but the models "
            "in best/ and last/ can be used: train in another --out, or use the program that began the run"
        ) from error
