"""`scr3d data`: make, import or export data sets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from scr3d.commands.parsing import parse
from scr3d.data.heads.config import HeadsConfig
from scr3d.errors import ConfigError


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
class ImportArgs:
    """Options of `scr3d data import`."""

    folder: Path
    """Folder of images, see docs/data.md for its layouts."""
    out: Path
    """Folder of the data set; the split gets a folder in it."""
    size: int = 64
    """Height and width of the stored images in pixels."""
    split: Literal["train", "val", "test"] = "train"
    """Which split."""
    recursive: bool = False
    """Take images in folders within folders as well."""


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


def import_images(args: list[str]) -> None:
    """Turn a folder of images (and depth maps) into a data store."""
    from scr3d.data.folder import import_folder

    given = parse(ImportArgs, args, "data import", import_images.__doc__ or "")
    report = import_folder(given.folder, given.out / given.split, given.size, given.split, recursive=given.recursive)
    depth = "with" if report.has_depth else "without"
    print(f"{report.folder}: {report.imported} images {depth} depth, {len(report.skipped)} skipped")
    for name, reason in report.skipped:
        print(f"  {name}: {reason}")


def export(args: list[str]) -> None:
    """Write a data store as image/ and depth/ PNG files in the papers' layout."""
    from scr3d.data.folder import export_store

    given = parse(ExportArgs, args, "data export", export.__doc__ or "")
    print(f"{given.out}: {export_store(given.store, given.out)} images")


ACTIONS: dict[str, Callable[[list[str]], None]] = {"heads": heads, "import": import_images, "export": export}


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
