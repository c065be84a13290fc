"""Training runs and searches in a folder, read while they go on."""

from __future__ import annotations

import os
import re
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from jaxtyping import Float, UInt8

from scr3d.data.images import decode_image, to_uint8
from scr3d.errors import DataError
from scr3d.files import MALFORMED, PARTIAL_MARK, parse_json, read_json

LOG, CONFIG, TRIALS = "log.jsonl", "config.json", "trials"
DEPTH = 3
"""Folders of folders that are looked into."""
QUIET_SECONDS = 300.0
"""A run that has written nothing for so long is taken to stand still."""
POINTS = 400
"""Points of a curve; longer ones are thinned."""
RECORDS_KEPT = 20_000
"""Of a group of a log; beyond, every second record is dropped."""
LARGEST_NUMBER = 1e30
RESULT = re.compile(r"result-(\d+)\.json")
TRIAL = re.compile(r"(?P<name>.+)-s(?P<seed>\d+)")


@dataclass(frozen=True)
class Curve:
    """A scalar over the images seen."""

    images: Float[np.ndarray, " points"]
    values: Float[np.ndarray, " points"]


@dataclass
class RunLog:
    """The log of a run, of which only what is new is read.

    Attributes:
        path: the run's log.jsonl.
        groups: records by group (`train`, `validation`), oldest first.
    """

    path: Path
    groups: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    _read: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def update(self) -> None:
        """Read the lines that have been added; a last line that is not whole yet is left for the next time."""
        with self._lock:
            try:
                if self.path.stat().st_size < self._read:  # the run was begun anew
                    self.groups, self._read = {}, 0
                with self.path.open("rb") as file:
                    file.seek(self._read)
                    added = file.read()
            except OSError:
                return  # a run that is being moved or removed shows what is known
            whole = added[: added.rfind(b"\n") + 1]
            self._read += len(whole)
            for line in whole.splitlines():
                self._add(line)

    def _add(self, line: bytes) -> None:
        try:
            record = parse_json(line)
            if not (_number(record["images"]) and record["images"] >= 0):
                return
            group = self.groups.setdefault(str(record["group"]), [])
            # A run that goes on from a checkpoint repeats what came after it.
            while group and group[-1]["images"] >= record["images"]:
                group.pop()
            group.append(record)
            if len(group) > RECORDS_KEPT:
                del group[1:-1:2]
        except MALFORMED:
            return  # a line that was torn by a crash

    def names(self, group: str) -> list[str]:
        """Scalars of a group that are numbers, in the order of the log."""
        records = self.groups.get(group, [])
        return [name for name, value in (records[-1] if records else {}).items() if name != "images" and _number(value)]

    def curve(self, group: str, name: str) -> Curve:
        """A scalar over the images seen."""
        records = self.groups.get(group, [])
        pairs = [(r["images"], r[name]) for r in records if _number(r.get(name))]
        pairs = pairs[:: max(1, -(-len(pairs) // POINTS))] + (pairs[-1:] if len(pairs) > POINTS else [])
        images, values = np.array(pairs, dtype=np.float64).reshape(-1, 2).T
        return Curve(images, values)

    def latest(self, group: str) -> dict[str, Any]:
        """The last record of a group; empty if there is none."""
        records = self.groups.get(group, [])
        return records[-1] if records else {}


@dataclass(frozen=True)
class RunState:
    """Where a run stands.

    Attributes:
        name: its folder, relative to the watched one.
        folder: its folder.
        structure: kind, order and mixing, in words.
        images: seen so far.
        planned: of the whole run; 0 where unknown.
        quiet_s: seconds since it has last written.
        scores: of the last validation.
    """

    name: str
    folder: Path
    structure: str
    images: int
    planned: int
    quiet_s: float
    scores: dict[str, float]

    @property
    def state(self) -> str:
        """In a word."""
        if self.planned and self.images >= self.planned * 0.999:
            return "done"
        return "training" if self.quiet_s < QUIET_SECONDS else "stands still"


@dataclass(frozen=True)
class Candidate:
    """What is known about a candidate of a search.

    Attributes:
        name: an order, or edges.
        scores: by seed, of its longest training that has been scored.
        images: length of that training.
        training: whether one of its runs is being written to.
    """

    name: str
    scores: dict[int, float]
    images: int
    training: bool

    @property
    def score(self) -> float | None:
        """Mean over seeds; lower is better."""
        return float(np.mean(list(self.scores.values()))) if self.scores else None


class RunFolder:
    """A folder of runs and searches. Browsers choose by name among what it has found; they never send a path."""

    def __init__(self, root: Path):
        """Watch a folder that exists."""
        self.root = root
        self._logs: dict[Path, RunLog] = {}
        self._lock = threading.Lock()

    def runs(self) -> dict[str, Path]:
        """Folders of runs by name, those that wrote last first."""
        found = [path for path in self._folders() if (path / LOG).is_file() and (path / CONFIG).is_file()]
        found.sort(key=lambda path: -_changed(path / LOG))
        return {self._name(path): path for path in found}

    def searches(self) -> dict[str, Path]:
        """Folders of searches by name."""
        return {self._name(path): path for path in sorted(self._folders()) if (path / TRIALS).is_dir()}

    def log(self, folder: Path) -> RunLog:
        """A run's log, read up to its end."""
        with self._lock:
            log = self._logs.setdefault(folder, RunLog(folder / LOG))
        log.update()
        return log

    def state(self, name: str, folder: Path) -> RunState:
        """Where a run stands."""
        log, config = self.log(folder), _read_json(folder / CONFIG)
        model = _dictionary(config.get("model"))
        parts = (model.get("structure"), model.get("order") or model.get("edges"))
        structure = " ".join(str(part) for part in parts if part)
        images = max((int(group[-1]["images"]) for group in log.groups.values() if group), default=0)
        scores = {key: value for key, value in log.latest("validation").items() if key != "images" and _number(value)}
        quiet_s = max(0.0, time.time() - _changed(folder / LOG))  # a clock that was set back makes no past
        planned = config.get("images")
        return RunState(name, folder, structure, images, int(planned) if _number(planned) else 0, quiet_s, scores)

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix() if path != self.root else path.resolve().name

    def _folders(self) -> list[Path]:
        """The folder and those in it, down to a depth; what runs write is not looked into."""
        found, level = [self.root], [self.root]
        for _ in range(DEPTH):
            level = [child for folder in level for child in _children(folder)]
            found += level
        return found


def latest_picture(folder: Path) -> tuple[str, UInt8[np.ndarray, "height width 3"]] | None:
    """Name and pixels of the newest picture of a run; None where there is none that can be read."""
    for path in sorted((folder / "pictures").glob("*.png"), reverse=True)[:2]:
        try:
            return path.stem, to_uint8(decode_image(path.read_bytes(), path.name))
        except (OSError, DataError):
            continue  # it is being written; the one before is whole
    return None


def candidates(search: Path) -> list[Candidate]:
    """What a search has found so far: scored candidates, best first, then those without a score."""
    known: dict[str, Candidate] = {}
    for folder in _children(search / TRIALS):
        match = TRIAL.fullmatch(folder.name)
        if match is None:
            continue
        name, seed = _candidate_name(folder, match["name"]), int(match["seed"])
        training = time.time() - _changed(folder / LOG) < QUIET_SECONDS
        images, score = _longest_result(folder)
        before = known.get(name, Candidate(name, {}, 0, False))
        scores = dict(before.scores) if images == before.images else {} if images > before.images else before.scores
        if score is not None and images >= before.images:
            scores = {**scores, seed: score}
        busy = before.training or (training and score is None)
        known[name] = Candidate(name, scores, max(images, before.images), busy)
    return sorted(known.values(), key=lambda one: (one.score is None, -one.images, one.score or 0.0, one.name))


def _longest_result(folder: Path) -> tuple[int, float | None]:
    found = [(int(match[1]), path) for path in folder.glob("result-*.json") if (match := RESULT.fullmatch(path.name))]
    for images, path in sorted(found, reverse=True):
        score = _dictionary(_read_json(path).get("outcome")).get("score")
        if score is not None and _number(score):
            return images, float(score)
    return 0, None


def _candidate_name(folder: Path, name: str) -> str:
    """The edges of a sub-DAG, which its folder's name tells without their arrows."""
    model = _dictionary(_read_json(folder / CONFIG).get("model"))
    return str(model.get("order") or model.get("edges") or name)


def _children(folder: Path) -> list[Path]:
    skipped = ("checkpoints", "pictures", "tensorboard", "best", "last", "data", "evaluation")
    try:
        return [
            Path(entry)
            for entry in os.scandir(folder)
            if entry.is_dir() and entry.name not in skipped and not entry.name.startswith((".", PARTIAL_MARK))
        ]
    except OSError:
        return []


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return _dictionary(read_json(path))
    except (OSError, ValueError):
        return {}


def _dictionary(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: object) -> TypeGuard[int | float]:
    """Whether a value can be shown and drawn; JSON's whole numbers may be larger than any float."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST_NUMBER
