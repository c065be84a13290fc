"""`scr3d data`: make, prepare, check, join or export data sets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import tyro

from scr3d.commands.parsing import parse
from scr3d.data.heads.config import HeadsConfig
from scr3d.errors import ConfigError
from scr3d.photos.options import PrepareOptions


@dataclass(frozen=True)
class HeadsArgs:
    """Options of `scr3d data heads`."""

    out: Path
    """Folder of the data set; the split gets a folder in it."""
    heads: HeadsConfig = field(default_factory=HeadsConfig)
    """Which samples."""
    device: str = "cpu"
    """cpu, cuda or cuda:N."""
    threads: int = 0
    """CPU threads; 0 takes all."""


@dataclass(frozen=True)
class PrepareArgs:
    """Options of `scr3d data prepare`."""

    photos: tyro.conf.Positional[Path]
    """Folder of photos, or a published set, see docs/photos.md for the layouts."""
    out: Path
    """Folder of the data set; each split gets a folder in it."""
    options: PrepareOptions = field(default_factory=PrepareOptions)
    """What is cut out, and what is left out."""
    threads: int = 0
    """Photos that are read at a time; 0 takes all cores."""


@dataclass(frozen=True)
class CheckArgs:
    """Options of `scr3d data check`."""

    data: tyro.conf.Positional[Path]
    """Folder of a data set."""
    out: Path | None = None
    """The report; by default check.html in the data set's folder."""
    limit: int = 2000
    """Samples of each split that are looked at, evenly spread; all are counted and compared."""


@dataclass(frozen=True)
class JoinArgs:
    """Options of `scr3d data join`."""

    sets: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of data sets with images of one size."""
    out: Path
    """Folder of the data set that holds the samples of all."""


@dataclass(frozen=True)
class ShardsArgs:
    """Options of `scr3d data shards`."""

    data: tyro.conf.Positional[Path]
    """Folder of a data set with a store for each split."""
    out: Path
    """Folder that gets the shards."""
    shard_images: int = 10_000
    """Samples of one shard."""


@dataclass(frozen=True)
class ExportArgs:
    """Options of `scr3d data export`."""

    store: Path
    """Folder of one split of a data store."""
    out: Path
    """Folder that gets image/ and depth/."""


def heads(args: list[str]) -> None:
    """Generate synthetic heads with exact depth, normals, albedo, light and view."""
    given = parse(HeadsArgs, args, "data heads", heads.__doc__ or "")
    from scr3d.data.heads.samples import generate
    from scr3d.runtime import use_threads

    use_threads(given.threads)
    print(f"{generate(given.heads, given.out, device=given.device)} is complete")


def prepare(args: list[str]) -> None:
    """Find, crop, sort and split photos into a data set; goes on where it was interrupted."""
    given = parse(PrepareArgs, args, "data prepare", prepare.__doc__ or "")
    from scr3d.photos.prepare import prepare as run_preparation

    print(run_preparation(given.photos, given.out, given.options, given.threads).table())


def check(args: list[str]) -> None:
    """Say whether a data set is ready to be learned from, with pictures and advice."""
    given = parse(CheckArgs, args, "data check", check.__doc__ or "")
    from scr3d.photos.check import check as run_check

    report = run_check(given.data, given.out, given.limit)
    print(report.text())


def join(args: list[str]) -> None:
    """Make one data set of several; goes on where it was interrupted."""
    given = parse(JoinArgs, args, "data join", join.__doc__ or "")
    from scr3d.data.joining import join as join_sets

    counts = join_sets(given.sets, given.out)
    print(f"{given.out}: {', '.join(f'{count:,} samples of {split}' for split, count in counts.items())}")


def shards(args: list[str]) -> None:
    """Write a data set as WebDataset shards, for sets larger than a disk; goes on where it was interrupted."""
    from scr3d.data.shard_writer import write_shards

    given = parse(ShardsArgs, args, "data shards", shards.__doc__ or "")
    written = write_shards(given.data, given.out, given.shard_images)
    print(f"{given.out}: {', '.join(f'{count} shards of {split}' for split, count in written.items())}")


def export(args: list[str]) -> None:
    """Write a data store as image/ and depth/ PNG files in the papers' layout."""
    from scr3d.data.folder import export_store

    given = parse(ExportArgs, args, "data export", export.__doc__ or "")
    print(f"{given.out}: {export_store(given.store, given.out)} images")


ACTIONS: dict[str, Callable[[list[str]], None]] = {
    "heads": heads,
    "prepare": prepare,
    "check": check,
    "join": join,
    "shards": shards,
    "export": export,
}


def run(args: list[str]) -> None:
    """Parse the options and act."""
    if not args or args[0] in ("-h", "--help"):
        print(f"usage: scr3d data {'|'.join(ACTIONS)} [options]\n")
        for name, action in ACTIONS.items():
            print(f"  {name:8} {(action.__doc__ or '').strip()}")
        return
    if args[0] not in ACTIONS:
        raise ConfigError(f"scr3d data expects one of {', '.join(ACTIONS)}; got {args[0]!r}")
    ACTIONS[args[0]](args[1:])
