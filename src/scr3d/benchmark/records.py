"""The results: one JSON file for each run, checked against schema.json; they are the state of a benchmark."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib import resources
from pathlib import Path
from types import NoneType
from typing import Any

import jsonschema

from scr3d.benchmark.config import Stage
from scr3d.benchmark.plan import Run
from scr3d.errors import DataError
from scr3d.files import read_json, write_bytes

FORMAT = "scr3d-benchmark-run"
VERSION = 1
DIGITS = 5
"""Significant digits of scores in a file."""
HELDOUT = "heldout"
"""Name of the score without truth: the reconstruction loss of an image, lower is better."""


@dataclass(frozen=True)
class Result:
    """What a run has found, see schema.json for the fields.

    Attributes:
        record: as in the file.
    """

    record: dict[str, Any]

    @property
    def name(self) -> str:
        """Of the run, unique in its stage."""
        return self.record["name"]

    def scores(self, split: str, name: str) -> list[float]:
        """One score of every image of `validation` or `test`, NaN where an image has none; empty if not scored."""
        values = (self.record[split] or {}).get(name, [])
        return [math.nan if value is None else value for value in values]

    def mean(self, split: str, name: str) -> float:
        """Mean over the images that have the score; NaN if there are none."""
        known = [value for value in self.scores(split, name) if not math.isnan(value)]
        return sum(known) / len(known) if known else math.nan

    @cached_property
    def heldout(self) -> float:
        """Mean held-out loss on validation, by which choices without truth are made."""
        return self.mean("validation", HELDOUT)


@lru_cache(maxsize=1)
def _validator() -> jsonschema.Draft202012Validator:
    text = resources.files("scr3d.benchmark").joinpath("schema.json").read_text(encoding="utf-8")
    return jsonschema.Draft202012Validator(json.loads(text))


def check(record: Any, source: str) -> None:
    """Compare a record with the schema.

    Raises:
        DataError: it has another form.
    """
    error = jsonschema.exceptions.best_match(_validator().iter_errors(_thinned(record)))
    if error is not None:
        where = "/".join(str(part) for part in error.absolute_path) or "the record"
        raise DataError(f"{source} is no result of a benchmark: {where}: {error.message[:200]}; remove it to run again")


def _thinned(record: Any) -> Any:
    """The record with one number instead of thousands, where all are numbers: the schema looks at each for long."""
    if not isinstance(record, dict):
        return record

    def first(values: Any) -> Any:
        plain = isinstance(values, list) and all(type(value) in (int, float, NoneType) for value in values)
        return values[:1] if plain else values

    short = {
        split: {name: first(values) for name, values in record[split].items()}
        for split in ("validation", "test")
        if isinstance(record.get(split), dict)
    }
    return record | short


def write_result(folder: Path, record: dict[str, Any]) -> Path:
    """Write a record, whole or not at all; lists of numbers take one line each."""
    record = {"format": FORMAT, "version": VERSION, **record}
    check(record, record["name"])
    path = folder / record["stage"] / f"{record['name']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f" {json.dumps(key)}: {json_lines(value)}" for key, value in record.items()]
    write_bytes(path, ("{\n" + ",\n".join(lines) + "\n}\n").encode())
    return path


def json_lines(value: Any) -> str:
    """JSON with one line for each entry of the outermost dictionary or list of dictionaries."""
    if isinstance(value, dict) and value:
        return "{\n" + ",\n".join(f"  {json.dumps(key)}: {json.dumps(entry)}" for key, entry in value.items()) + "\n }"
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n" + ",\n".join(f"  {json.dumps(entry)}" for entry in value) + "\n ]"
    return json.dumps(value)


def rounded(values: Iterable[float]) -> list[float | None]:
    """Numbers with few digits; None for those that are not finite."""
    return [float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None for value in values]


@lru_cache(maxsize=10_000)
def read_result(path: Path, time_ns: int, size: int) -> Result:
    """Read and check a result, only once as long as its file stays the same: a benchmark looks at all of them often.

    Args:
        path: of the file.
        time_ns: when it was changed.
        size: in bytes.

    Raises:
        DataError: it is damaged, or no result.
        FileNotFoundError: it is gone.
    """
    try:
        record = read_json(path)
    except ValueError as error:
        raise DataError(f"{path} is damaged ({error}); remove it to run again") from error
    check(record, str(path))
    return Result(record)


class Results:
    """All results of a folder."""

    def __init__(self, folder: Path, found: Sequence[Result]):
        self.folder = folder
        self._by_key = {(result.record["stage"], result.name): result for result in found}

    @staticmethod
    def read(folder: Path) -> Results:
        """Read every file below OUT/benchmark/PROTOCOL.

        Raises:
            DataError: a file is damaged, or results are of different data.
        """
        found = []
        for path in sorted(folder.glob("*/*.json")):
            with suppress(FileNotFoundError):  # removed since, to be run again
                file = path.stat()
                found.append(read_result(path, file.st_mtime_ns, file.st_size))
        data = {json.dumps(result.record["data"], sort_keys=True) for result in found}
        if len(data) > 1:
            raise DataError(f"the results in {folder} are of {len(data)} different data sets; keep one of them there")
        return Results(folder, found)

    def get(self, stage: Stage, name: str) -> Result | None:
        """The result of a run; None if it has not been done."""
        return self._by_key.get((stage.value, name))

    def of(self, run: Run) -> Result | None:
        """The result of a planned run; None if it has not been done."""
        return self.get(run.stage, run.name)

    def stage(self, stage: Stage) -> list[Result]:
        """All results of a stage."""
        return [result for (found, _), result in self._by_key.items() if found == stage.value]

    def __len__(self) -> int:
        return len(self._by_key)
