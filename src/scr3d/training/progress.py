"""The progress bar of a training run."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


@contextmanager
def no_bar(steps: int, done: int, batch_size: int) -> Iterator[Any]:
    """In place of `progress_bar` where another process shows it."""
    yield lambda parts, taken: None


@contextmanager
def progress_bar(steps: int, done: int, batch_size: int) -> Iterator[Any]:
    """A bar over images with rate, loss and time left; yields the function that advances it."""
    columns = (
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("images  {task.fields[rate]:.0f}/s  loss {task.fields[loss]:.3f}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, refresh_per_second=2) as progress:
        task = progress.add_task("", total=steps * batch_size, completed=done * batch_size, rate=0.0, loss=math.nan)

        def advance(parts: dict[str, float], taken: int) -> None:
            progress.update(task, advance=taken * batch_size, loss=parts["total"], rate=progress.tasks[0].speed or 0.0)

        yield advance
