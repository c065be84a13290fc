"""Files from strangers: no reader crashes, hangs, fills the memory, writes elsewhere, or says more than one line."""

from __future__ import annotations

import random
import resource
import shutil
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mutation import damaged
from strangers import READERS, Reader

from scr3d.errors import Scr3dError

FEW, MANY = 100, 10_000
MEMORY_BYTES = 3 * 2**30
"""Beyond what the process has when a file is read; the largest picture that is allowed takes two gigabytes."""
SECONDS = 60
"""For one file; the machine may be busy."""


@pytest.fixture(autouse=True)
def _as_users_see_it(unchecked: None) -> None:
    """Without the tests' own checks of shapes and types."""


@contextmanager
def little_memory() -> Iterator[None]:
    """Whoever asks for more gets an error instead of the machine's last page."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY_BYTES, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def check_reader(name: str, reader: Reader, root: Path, numbers: range) -> None:
    """Damage the files of a reader again and again; the same name and number always give the same damage."""
    # The reader is at home in `in` and may write to `out`; what lies around them stays as it is.
    valid, folder, out = root / "valid", root / "in", root / "out"
    (root / "hostname").write_text("not yours")
    folder.mkdir()
    reader.make(folder)
    shutil.copytree(folder, valid)
    targets = sorted(p.relative_to(folder) for p in folder.glob(reader.damaged) if p.is_file())
    assert targets, "the pattern names none of the files"
    there, refused = names(folder), 0
    for number in (-1, *numbers):
        out.mkdir(exist_ok=True)
        target = None
        if number >= 0:
            draws = random.Random(f"{name}-{number}")
            target = draws.choice(targets)
            (folder / target).write_bytes(damaged(target.name, (valid / target).read_bytes(), draws))
        error = tried(name, number, reader, folder, out)
        if error is not None:
            assert number >= 0, f"the valid files of {name} are refused: {error}"
            assert str(error).isprintable(), f"{name} {number} says {str(error)!r}"
            assert 10 < len(str(error)) < 1100, f"{name} {number} says {str(error)!r}"
            refused += 1
        around = {path.name for path in root.iterdir()}
        assert around == {"in", "out", "valid", "hostname"}, f"{name} {number} has left {around}"
        if reader.writes:
            shutil.rmtree(folder)
            shutil.copytree(valid, folder)
        else:
            assert names(folder) == there, f"{name} {number} has written to the folder that it reads"
            if target is not None:
                shutil.copyfile(valid / target, folder / target)
        if any(out.iterdir()):
            shutil.rmtree(out)
    assert refused or reader.forgiving, "not one damage was noticed"


def tried(name: str, number: int, reader: Reader, folder: Path, out: Path) -> Scr3dError | None:
    """Read once; what was said if the files were refused."""
    started = time.monotonic()
    try:
        with warnings.catch_warnings(), little_memory():
            warnings.simplefilter("ignore")
            reader.read(folder, out)
        return None
    except Scr3dError as error:
        return error
    except Exception as error:
        raise AssertionError(f"{name} {number}: {type(error).__name__}: {error}") from error
    finally:
        assert time.monotonic() - started < SECONDS, f"{name} {number} took too long"


@pytest.mark.parametrize("name", READERS)
def test_a_hundred_damaged_files_of_each_kind_are_read_or_refused(name: str, tmp_path: Path) -> None:
    reader = READERS[name]
    check_reader(name, reader, tmp_path, range(max(4, int(FEW * reader.share))))


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_ten_thousand_damaged_files_of_each_kind_are_read_or_refused(name: str, tmp_path: Path) -> None:
    reader = READERS[name]
    check_reader(name, reader, tmp_path, range(FEW, FEW + int(MANY * reader.share)))
