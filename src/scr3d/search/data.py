"""The data of a search: read once for all candidates, and named in the study."""

from __future__ import annotations

import json
import os
import shutil
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

from scr3d.data.dataset import Dataset, open_dataset
from scr3d.data.layout import folder_source
from scr3d.data.store import is_store, read_info
from scr3d.errors import DataError
from scr3d.files import PARTIAL_MARK
from scr3d.search.config import ScoreKind, SearchConfig, Strategy
from scr3d.training.config import comparable

USED_SPLITS = ("train", "val")
CACHE = "data"


def prepare_data(config: SearchConfig) -> SearchConfig:
    """The search with data that all candidates read as it is: photos are imported once, into the search's folder.

    Of several workers that import at the same time, the first to finish is kept.

    Raises:
        DataError: the data cannot be read, or the photos have changed since they were imported.
    """
    training = config.training
    root = Path(training.data)
    if any(is_store(folder) for folder in (root, *(root / split for split in USED_SPLITS))):
        return config
    cache = config.folder / CACHE
    if not cache.is_dir():
        temporary = cache.with_name(f"{PARTIAL_MARK}{CACHE}-{socket.gethostname()}-{os.getpid()}")
        try:
            for split in USED_SPLITS:
                open_dataset(root, split, training.model.size, temporary)
            if not cache.is_dir():
                temporary.rename(cache)
        except OSError:
            if not cache.is_dir():  # otherwise another worker was faster
                raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    for split in USED_SPLITS:
        if not folder_source(root, split).items() <= read_info(cache / split).source.items():
            raise DataError(
                f"the photos in {root} have changed since {cache} was made of them; search in another --out"
            )
    return replace(config, training=replace(training, data=cache))


def study_identity(config: SearchConfig) -> dict[str, Any]:
    """What a study is about: workers whose searches differ in any of this must not share one.

    The numbers of candidates and of seeds may differ: a search can be taken further. So may the strategies that
    train every candidate to the full length and alone.

    Raises:
        DataError: the data cannot be read, or does not give the score.
    """
    training = config.training
    train, val = (open_split(config, split) for split in USED_SPLITS)
    if config.score is ScoreKind.NORMALS and not val.has_truth:
        raise DataError(
            f"--score normals needs true depth, which the validation images of {training.data} do not have; "
            "take --score heldout"
        )
    own = {Strategy.HALVING, Strategy.ONE_SHOT}
    identity = {
        "data": {"train": train.fingerprint(), "val": val.fingerprint()},
        "score": config.score.value,
        "sub_dags_of": config.sub_dags_of and config.sub_dags_of.upper(),
        "strategy": config.strategy.value if config.strategy in own else "any other",
        "lengths": list(config.lengths),
        "training": comparable(training),
    }
    return json.loads(json.dumps(identity))  # as it comes back from a storage


def open_split(config: SearchConfig, split: str) -> Dataset:
    """A split of the search's data."""
    training = config.training
    return open_dataset(training.data, split, training.model.size, config.folder / CACHE)
