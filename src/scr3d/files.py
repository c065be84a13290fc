"""Files and folders that are either whole or not there: written under a temporary name, flushed, renamed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PARTIAL_MARK = ".partial-"
"""Start of the name of a file or folder that is still being written."""
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
    temporary = partial_name(path)
    try:
        yield temporary
        flush(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A temporary folder to fill; it replaces `path` when the block ends without an error."""
    temporary = partial_name(path)
    replaced = temporary.with_name(temporary.name + ".old")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        shutil.rmtree(replaced, ignore_errors=True)
        if path.exists():
            path.rename(replaced)
        temporary.rename(path)
        shutil.rmtree(replaced, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


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
