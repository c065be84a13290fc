"""Tar files wherever they lie: patterns of names, a bounded cache of what is fetched, and an index of each."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from filelock import FileLock

from scr3d.errors import ConfigError, DataError, OfflineError
from scr3d.files import MALFORMED, atomic_path, read_json, write_bytes
from scr3d.offline import refuse_offline

DEFAULT_CACHE_BYTES = 20 * 10**9
SMALL_BYTES = 2**28
LOCAL_PROTOCOLS = ("file://", "local://", "memory://")
LARGEST_BYTES = 2**43
"""Of a shard; also what file systems hold at most in a file."""
INDEX_VERSION = 1
Member = tuple[int, int]
"""Where a file lies in a tar file: first byte, number of bytes."""


def location_of(root: Path | str) -> str:
    """A path or URL as text; in a `Path` the second slash of a URL has been lost."""
    text = str(root)
    return re.sub(r"^([A-Za-z][A-Za-z0-9+.-]+):/(?!/)", r"\1://", text).rstrip("/") or "/"


def pieces(place: str) -> list[str]:
    """The tar files of a folder, or those that a pattern with braces names, sorted.

    Raises:
        DataError: the pattern cannot be read, or one of its files is missing.
        ConfigError: braces need a package that is missing.
    """
    if not place.endswith(".tar"):
        return sorted(str(path) for path in Path(place).glob("[!.]*.tar"))
    if "{" not in place:
        return [place]
    try:
        from braceexpand import braceexpand
    except ModuleNotFoundError as error:
        raise ConfigError("braces in --data need braceexpand: pip install 'scr3d[shards]'") from error
    try:
        found = sorted(set(braceexpand(place)))
    except ValueError as error:
        raise DataError(
            f"{place} is no pattern of files ({error}); write it as train-{{000000..000009}}.tar"
        ) from error
    if missing := [one for one in found if "://" not in one and not Path(one).is_file()]:
        raise DataError(f"{missing[0]} is missing, and {len(missing) - 1} more of the {len(found)} shards of {place}")
    return found


def read_small(place: str) -> bytes | None:
    """Content of a small file, None if there is none.

    Raises:
        DataError: it cannot be read.
    """
    if "://" not in place:
        if not Path(place).is_file():
            return None
        with Path(place).open("rb") as file:
            return file.read(SMALL_BYTES)
    try:
        with _open_remote(place) as file:
            return file.read(SMALL_BYTES)
    except FileNotFoundError:
        return None


@contextmanager
def _open_remote(place: str) -> Iterator[Any]:
    """A remote file, opened for reading; what its protocol reports becomes a `DataError`, but for a missing file."""
    import fsspec

    if not place.startswith(LOCAL_PROTOCOLS):
        refuse_offline(f"fetching {place}")
    try:
        with fsspec.open(place, "rb") as file:
            yield file
    except (FileNotFoundError, DataError, OfflineError):
        raise
    except OSError as error:
        if error.errno == errno.ENOSPC:  # here, not there
            raise
        raise DataError(f"{place} cannot be read ({_one_line(error)}); is it there, and may you read it?") from error
    except Exception as error:  # every protocol has errors of its own
        raise DataError(f"{place} cannot be read ({_one_line(error)}); is it there, and may you read it?") from error


class ShardCache:
    """A folder of shards that have been fetched, and of indices; the shards in it take a bounded space."""

    def __init__(self, folder: Path | str, limit_bytes: int = DEFAULT_CACHE_BYTES):
        self.folder = Path(folder)
        self.limit_bytes = limit_bytes

    def name(self, place: str, ending: str) -> Path:
        """What belongs to a shard."""
        digest = hashlib.blake2b(place.encode(), digest_size=12).hexdigest()
        return self.folder / f"{digest}-{Path(place).stem[:40]}{ending}"

    def fetch(self, place: str) -> Path:
        """A local file with the content of a shard.

        Raises:
            DataError: it cannot be fetched.
        """
        path = self.name(place, ".tar")
        if self._touch(path):
            return path
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.name(place, ".lock")):
            if self._touch(path):  # another process has fetched it meanwhile
                return path
            try:
                with _open_remote(place) as source, atomic_path(path) as temporary, temporary.open("wb") as target:
                    while block := source.read(2**22):
                        target.write(block)
            except FileNotFoundError as error:
                raise DataError(f"{place} is missing; is the pattern right?") from error
        self._make_room(path)
        return path

    @staticmethod
    def _touch(path: Path) -> bool:
        """Note that a file is in use; whether it is there."""
        try:
            os.utime(path)
        except FileNotFoundError:
            return False
        return True

    def _make_room(self, newest: Path) -> None:
        """Remove shards that have not been used for longest; a process that reads one keeps what it has opened."""
        found = []
        for path in self.folder.glob("[!.]*.tar"):  # what others are fetching begins with a dot
            try:
                found.append((path.stat().st_mtime_ns, path.stat().st_size, path))
            except FileNotFoundError:  # another process has just removed it
                continue
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self.limit_bytes:
                return
            if path != newest:
                path.unlink(missing_ok=True)
                total -= size


class Shard:
    """A tar file of samples."""

    def __init__(self, location: str, cache: ShardCache):
        self.location = location
        self.cache = cache

    @property
    def name(self) -> str:
        """Its file name."""
        return self.location.rsplit("/", 1)[-1]

    @property
    def is_local(self) -> bool:
        """Whether it is read where it lies."""
        return "://" not in self.location

    def local_state(self) -> list[int]:
        """Size and time of change.

        Raises:
            DataError: it is gone.
        """
        try:
            status = Path(self.location).stat()
        except OSError as error:
            raise DataError(f"{self.location} cannot be read any more ({error.strerror})") from error
        return [status.st_size, status.st_mtime_ns]

    @cached_property
    def index(self) -> list[dict[str, Member]]:
        """Where the files of every sample lie, by ending.

        Raises:
            DataError: it is no tar file.
        """
        path = self.cache.name(self.location, ".json")
        state = self.local_state() if self.is_local else []
        try:
            kept = read_json(path)
            if kept["version"] == INDEX_VERSION and kept["state"] == state:
                return [{end: _member(at, size) for end, (at, size) in one.items()} for one in kept["samples"]]
        except (OSError, *MALFORMED):
            pass  # there is none, or it is damaged: the shard itself tells
        with self._open() as file:
            samples = scan(file, self.location)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {"version": INDEX_VERSION, "state": state, "samples": samples}
        write_bytes(path, json.dumps(content, separators=(",", ":")).encode())
        return samples

    def read(self, sample: int, endings: Sequence[str]) -> bytes:
        """Content of a sample's file, the first of the endings that there is.

        Raises:
            DataError: there is none.
        """
        members = self.index[sample]
        chosen = next((ending for ending in endings if ending in members), None)
        if chosen is None:
            raise DataError(f"sample {sample} of {self.location} has {', '.join(members)}; expected {endings[0]}")
        start, size = members[chosen]
        with self._open() as file:
            file.seek(start)
            return file.read(size)

    def _open(self) -> Any:
        for _ in range(3):  # another process may make room between fetching and opening
            path = Path(self.location) if self.is_local else self.cache.fetch(self.location)
            try:
                return path.open("rb")
            except FileNotFoundError:
                if self.is_local:
                    break
        raise DataError(f"{self.location} is missing; are other runs using the same cache with too little space?")


def _member(start: Any, size: Any) -> Member:
    """A place in a file.

    Raises:
        ValueError: it is none.
    """
    place = int(start), int(size)
    if not all(0 <= number < LARGEST_BYTES for number in place):
        raise ValueError(f"{place} is no place in a file")
    return place


def scan(file: Any, place: str) -> list[dict[str, Member]]:
    """The samples of a tar file in their order: files whose names are the same up to the first dot.

    Raises:
        DataError: it is no tar file, or is cut short.
    """
    samples: list[dict[str, Member]] = []
    before = None
    end = file.seek(0, os.SEEK_END)
    file.seek(0)
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for entry in archive:
                folder, _, base = entry.name.rpartition("/")
                key, _, ending = base.partition(".")
                if not entry.isfile() or entry.issparse() or base.startswith("."):
                    continue
                if entry.offset_data + entry.size > end:
                    raise tarfile.ReadError("unexpected end of data")
                if (folder, key) != before:
                    samples.append({})
                    before = (folder, key)
                samples[-1][ending.lower()] = (entry.offset_data, entry.size)
    except (tarfile.TarError, EOFError, ValueError, OverflowError, OSError) as error:
        raise DataError(f"{place} is damaged or no uncompressed tar file ({_one_line(error)})") from error
    return samples


def _one_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
