"""What lets a run survive: one process per folder, steps without finite numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from safetensors.torch import save

from scr3d.data.dataset import Batch
from scr3d.errors import CheckpointError, ConfigError
from scr3d.files import MALFORMED, write_bytes
from scr3d.serialization import from_json

LOCK = ".lock"
BAD_BATCH = "bad-batch.safetensors"
LOWER_AFTER = 5
"""Bad steps in a row after which the learning rate is halved, each time."""
MAX_BAD_STEPS = 20
"""Bad steps in a row after which the run stops."""


@contextmanager
def only_process(run: Path) -> Iterator[None]:
    """Nobody else trains in the folder meanwhile; the system ends the lock with the process, however that ends.

    Raises:
        ConfigError: another process trains there.
    """
    lock = FileLock(run / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ConfigError(f"another process is training in {run}; wait for its end, or give another --out") from None
    try:
        yield
    finally:
        lock.release()


@dataclass(frozen=True)
class Counters:
    """What a checkpoint knows besides tensors.

    Attributes:
        step: number of steps that have been done.
        best_loss: lowest held-out loss so far; None before the first validation.
        bad_steps: as in `BadSteps`.
        collapsed_before: whether the last validation looked like a collapse.
        data: fingerprint of the training data.
        averaged: number of steps in the running average.
    """

    step: int
    best_loss: float | None
    bad_steps: BadSteps
    collapsed_before: bool
    data: str
    averaged: int

    @staticmethod
    def read(state: dict[str, Any], folder: Path) -> Counters:
        """The counters of a checkpoint.

        Raises:
            CheckpointError: they are missing, or cannot be.
        """
        try:
            found = from_json(Counters, {field.name: state[field.name] for field in fields(Counters)}, str(folder))
        except (ConfigError, *MALFORMED) as error:
            raise CheckpointError(f"{folder} is damaged: {error}") from error
        possible = 0 < found.bad_steps.rate_factor <= 1 and found.best_loss == found.best_loss
        if found.step != int(folder.name) or not 0 <= found.averaged <= found.step or not possible:
            raise CheckpointError(f"{folder} is damaged: its counters cannot be those of step {int(folder.name)}")
        return found


@dataclass
class BadSteps:
    """Steps whose loss or gradient was not finite; they change nothing.

    Attributes:
        in_a_row: since the last good one.
        total: in the whole run.
        rate_factor: on the learning rate; halved again and again while they go on, never raised.
    """

    in_a_row: int = 0
    total: int = 0
    rate_factor: float = 1.0

    @property
    def too_many(self) -> bool:
        """Whether the run should stop."""
        return self.in_a_row >= MAX_BAD_STEPS

    def count(self, finite: bool) -> None:
        """Take note of a step."""
        self.in_a_row = 0 if finite else self.in_a_row + 1
        if not finite:
            self.total += 1
            if self.in_a_row % LOWER_AFTER == 0:
                self.rate_factor /= 2

    @property
    def record(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


def save_bad_batch(run: Path, batch: Batch, step: int) -> Path:
    """Keep the images of a step that has no finite loss, in [0, 1]."""
    path = run / BAD_BATCH
    write_bytes(path, save({"image": batch.image.detach().cpu().contiguous()}, metadata={"step": str(step)}))
    return path
