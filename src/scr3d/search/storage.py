"""Where a study is kept: SQLite by default, any database that Optuna knows, or a journal file."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError, SQLAlchemyError

from scr3d.errors import ConfigError
from scr3d.files import MALFORMED, parse_json
from scr3d.offline import is_local, refuse_offline

DATABASE = "search.db"
JOURNAL = "journal:"
RECORD_START = b'{"op_code":'
BUSY_SECONDS = 60
CONNECT_SECONDS = 10
OPEN_ATTEMPTS = 4

STORAGE_ERRORS = (SQLAlchemyError, optuna.exceptions.StorageInternalError, OSError)


def storage_url(url: str | None, folder: Path) -> str:
    """The URL of a study's storage; without one, a SQLite file in the folder of the search."""
    return url or f"sqlite:///{(folder / DATABASE).absolute()}"


def shown(url: str) -> str:
    """A URL without its password."""
    return re.sub(r"(://[^:/@]*):[^@/]*@", r"\1:***@", url)


def open_storage(url: str) -> BaseStorage:
    """Open a storage, or make it.

    Raises:
        ConfigError: it cannot be reached, is damaged, or its driver is not installed.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        storage = _journal(url.removeprefix(JOURNAL)) if url.startswith(JOURNAL) else _database(url)
        for study in storage.get_all_studies():  # all that is there is read once, so that it is known to be whole
            storage.get_all_trials(study._study_id, deepcopy=False)
        return storage
    except ImportError as error:
        raise ConfigError(
            f"--storage {shown(url)} needs a driver that is not installed (for PostgreSQL: pip install "
            "'psycopg[binary]' and postgresql+psycopg://; for MySQL: pip install pymysql and mysql+pymysql://)"
        ) from error
    except (SQLAlchemyError, optuna.exceptions.OptunaError, OSError, RuntimeError, AssertionError, *MALFORMED) as error:
        raise unreachable(url, error) from error


@contextmanager
def storage_errors(url: str) -> Iterator[None]:
    """Turns what a storage raises when it is lost into one line."""
    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        raise unreachable(url, error) from error


def unreachable(url: str, error: BaseException) -> ConfigError:
    """The error of a storage that does not answer."""
    cause = getattr(error, "orig", None) or error.__cause__ or error
    cause = getattr(cause, "orig", None) or cause
    reason = " ".join(str(cause).split()) or type(cause).__name__
    return ConfigError(
        f"the storage {shown(url)} cannot be used: {reason}; check --storage, and that it can be reached"
    )


def _journal(path: str) -> BaseStorage:
    file = Path(path.removeprefix("//"))
    if not path or not file.absolute().parent.is_dir():
        raise OSError(f"expected {JOURNAL}FILE in a folder that exists, got {JOURNAL}{path}")
    content = file.read_bytes() if file.exists() else b""
    records, _, half = content.rpartition(b"\n")
    if half and not _begins_record(half):
        raise ValueError("it is no journal of a search")
    if records:
        parse_json(records.rpartition(b"\n")[2])  # Optuna says nothing about the last one until another follows
    return JournalStorage(Journal(str(file), JournalLock(str(file))))


def _begins_record(half: bytes) -> bool:
    """Whether bytes are the beginning of a record, so that no other file is taken for a journal and cut."""
    return half.startswith(RECORD_START) or RECORD_START.startswith(half)


class JournalLock(JournalFileSymlinkLock):
    """A journal's lock; who takes it finds a journal of whole records.

    A process that dies while it writes, or meets a full disk, leaves half a record. Optuna would append the next one to
    it, and the journal could not be read any more.
    """

    def __init__(self, path: str):
        super().__init__(path)
        self._journal = Path(path)

    def acquire(self) -> bool:
        """Wait for the lock, then remove half a record."""
        taken = super().acquire()
        with self._journal.open("rb") as file:
            last = max(0, file.seek(0, os.SEEK_END) - 1)
            file.seek(last)
            whole = file.read() in (b"", b"\n")
        if not whole:
            content = self._journal.read_bytes()
            start = content.rfind(b"\n") + 1
            if _begins_record(content[start:]):
                os.truncate(self._journal, start)
        return taken


class Journal(JournalFileBackend):
    """A journal file that says what has happened when its lock is lost.

    Others take the lock of a process that stands still for half a minute. Optuna raises a bare RuntimeError then.
    """

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append records under the lock."""
        try:
            super().append_logs(logs)
        except RuntimeError:
            raise optuna.exceptions.StorageInternalError(
                "this process stood still while it held the lock of the journal, and another took it"
            ) from None


def _database(url: str) -> BaseStorage:
    host = make_url(url).host or ""
    if not is_local(host):
        refuse_offline(f"the storage {shown(url)}")
    for attempt in range(1, OPEN_ATTEMPTS + 1):
        try:
            return RDBStorage(url, engine_kwargs=_engine_options(url))
        except (OperationalError, ProgrammingError, IntegrityError) as error:
            # Two workers that start at once both make the tables; one of them is refused and finds them made.
            raced = not isinstance(error, OperationalError) or "exists" in str(error) or "locked" in str(error)
            if attempt == OPEN_ATTEMPTS or not raced:
                raise
            time.sleep(0.2 * attempt)
    raise AssertionError  # not reached: the last attempt returns or raises


def _engine_options(url: str) -> dict[str, Any]:
    if url.startswith("sqlite"):
        return {"connect_args": {"timeout": BUSY_SECONDS}}
    return {"connect_args": {"connect_timeout": CONNECT_SECONDS}, "pool_pre_ping": True}
