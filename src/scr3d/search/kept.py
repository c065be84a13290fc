"""Results in the folders of the candidates, so that what has been trained and scored is told to the study alone.

A worker writes the result before it tells the study. If it dies in between, whoever takes the task up again finds the
result and reports it.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scr3d.errors import ConfigError, DataError
from scr3d.files import MALFORMED, read_json, write_json
from scr3d.search.config import SearchConfig, Task
from scr3d.search.objective import Outcome
from scr3d.serialization import from_json


def result_path(config: SearchConfig, task: Task) -> Path:
    """Where the result of a task is kept."""
    return config.run_config(task).out / f"result-{task.images:09d}.json"


def keep_result(config: SearchConfig, task: Task, identity: dict[str, Any], outcome: Outcome) -> None:
    """Write a result with a finite score."""
    path = result_path(config, task)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"study": config.study_name, "identity": identity, "outcome": asdict(outcome)})


def kept_result(config: SearchConfig, task: Task, identity: dict[str, Any]) -> Outcome | None:
    """The result of a task, if a worker of the same search has left one.

    Raises:
        DataError: the file is damaged.
    """
    path = result_path(config, task)
    try:
        record = read_json(path)
        if (record["study"], record["identity"]) != (config.study_name, identity):
            return None
        outcome = from_json(Outcome, record["outcome"], str(path))
        if not math.isfinite(outcome.score + outcome.standard_error + outcome.seconds):
            raise ValueError("its score is not finite")
        return outcome
    except FileNotFoundError:
        return None
    except (ConfigError, *MALFORMED) as error:
        raise DataError(f"{path} is damaged ({error}); remove it to score the candidate again") from error
