"""Files and folders that are either whole or not there: written under a temporary name, flushed, renamed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

PARTIAL_MARK = ".partial-"
"""Start of the name of a file or folder that is still being written."""
_noted: ContextVar[list[Path] | None] = ContextVar("noted", default=None)
"""Files of the pending folder that is being filled, which are flushed later."""
MOST_JSON_BYTES = 2**28
"""Larger JSON is not read; what this program writes stays far below."""
MALFORMED = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""What is raised where the content of a file is not what its reader takes it for."""


def partial_name(path: Path) -> Path:
    """Where `path` is written before it is whole: hidden, next to it, with the same suffix.

    The suffix stays because writers choose the format by it.
    """
    return path.with_name(PARTIAL_MARK + path.name)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path to write to; it becomes `path` when the block ends without an error."""
    temporary, noted = partial_name(path), _noted.get()
    try:
        yield temporary
        if noted is None:
            flush(temporary)
        else:
            noted.append(path)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


class PendingFolder:
    """A temporary folder to fill, in a block; it replaces `path` when `finish` is called, from any thread.

    Files are flushed by `finish`, all at once, since none of them counts before. An error in the block removes the
    temporary folder.
    """

    def __init__(self, path: Path):
        self.path, self.temporary = path, partial_name(path)
        self._files: list[Path] = []

    def __enter__(self) -> Path:
        shutil.rmtree(self.temporary, ignore_errors=True)
        self.temporary.mkdir(parents=True)
        self._outer = _noted.set(self._files)
        return self.temporary

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        _noted.reset(self._outer)
        if kind is not None:
            shutil.rmtree(self.temporary, ignore_errors=True)

    def finish(self) -> None:
        """Put the folder in its place, or remove it where that fails."""
        replaced = self.temporary.with_name(self.temporary.name + ".old")
        try:
            for file in self._files:
                flush(file)
            shutil.rmtree(replaced, ignore_errors=True)
            if self.path.exists():
                self.path.rename(replaced)
            self.temporary.rename(self.path)
            shutil.rmtree(replaced, ignore_errors=True)
        finally:
            shutil.rmtree(self.temporary, ignore_errors=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A temporary folder to fill; it replaces `path` when the block ends without an error."""
    folder = PendingFolder(path)
    with folder as temporary:
        yield temporary
    folder.finish()


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file or none."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, value: Any) -> None:
    """Write JSON, the whole file or none."""
    write_bytes(path, (json.dumps(value, indent=1) + "\n").encode())


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no JSON, too large, or nested too deeply.
    """
    if path.stat().st_size > MOST_JSON_BYTES:
        raise ValueError(f"more than {MOST_JSON_BYTES // 2**20} MB")
    return parse_json(path.read_bytes())


def parse_json(content: bytes) -> Any:
    """What JSON in UTF-8 holds.

    Raises:
        ValueError: it is no JSON, or nested too deeply.
    """
    try:
        return json.loads(content.decode("utf-8"))
    except RecursionError:
        raise ValueError("brackets nested too deeply") from None


def flush(path: Path) -> None:
    """Wait until the system has put the file on the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
