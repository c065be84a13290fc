"""From a folder of photos to a data set: crops, without duplicates, split without leaks, in memory-mapped stores.

    OUT/train, OUT/val, OUT/test   the stores, see `scr3d.data.store`
    OUT/samples.csv                where every sample comes from
    OUT/skipped.csv                what was left out, and why
    OUT/contact-sheet.png          some of the samples
    OUT/prepare.json               options and counts; written last

The photos are read in blocks that are kept in OUT/parts until everything is done, so an interrupted run goes on where
it stopped, and memory holds a few blocks however many photos there are.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from scr3d.errors import ConfigError, DataError
from scr3d.files import MALFORMED, read_json, write_json
from scr3d.photos.options import PrepareOptions
from scr3d.photos.parts import Parts
from scr3d.photos.reading import read_entry
from scr3d.photos.selection import select
from scr3d.photos.sources import Collection, collect
from scr3d.photos.writing import write_contact_sheet, write_stores, write_tables
from scr3d.runtime import use_threads
from scr3d.serialization import to_json

FORMAT, VERSION = "scr3d-photos", 1
RECORD = "prepare.json"
PARTS = "parts"


@dataclass(frozen=True)
class PrepareReport:
    """What a preparation did.

    Attributes:
        folder: of the data set.
        layout: what the photos were recognised as.
        photos: number of photos that were looked at.
        samples: number of samples in every split.
        skipped: number of photos, faces or samples that were left out, by reason.
        masked: whether the samples have masks.
    """

    folder: Path
    layout: str
    photos: int
    samples: dict[str, int]
    skipped: dict[str, int]
    masked: bool

    def table(self) -> str:
        """The report as text."""
        lines = [f"{self.folder}: {self.photos:,} photos ({self.layout})"]
        lines += [f"  {name:6} {count:9,} samples" for name, count in self.samples.items()]
        if self.masked:
            lines.append("  with masks, which training uses")
        if self.skipped:
            lines.append(f"  left out (each in {self.folder / 'skipped.csv'}):")
            lines += [f"  {count:9,} {reason}" for reason, count in self.skipped.items()]
        return "\n".join(lines)


def prepare(
    photos: Path | str, out: Path | str, options: PrepareOptions, threads: int = 0, progress: bool = True
) -> PrepareReport:
    """Make a data set of a folder of photos, or go on with one that was interrupted.

    Args:
        photos: the folder, in any layout of `scr3d.data.layout` and `scr3d.photos.published`.
        out: folder of the data set.
        options: what is cut out and left out.
        threads: photos that are read at a time; 0 takes all cores.
        progress: whether to show a progress bar.

    Raises:
        DataError: there are no usable photos, or `out` holds something else.
        ConfigError: an option does not fit the photos.
    """
    out = Path(out)
    _check_place(out)
    if out.resolve().is_relative_to(Path(photos).resolve()):
        raise DataError(f"{out} lies in {photos}, so its own pictures would count as photos; choose another --out")
    collection = collect(Path(photos), options)
    settings = {**collection.description(), "options": _settings(options)}
    if finished := _finished(out, settings):
        return finished
    (out / PARTS).mkdir(parents=True, exist_ok=True)
    write_json(out / PARTS / "settings.json", settings)
    parts = Parts(out / PARTS, len(collection.entries))
    with _progress_bar(progress) as bar:
        _read_all(collection, options, parts, use_threads(threads), bar)
        chosen = select(parts, collection, options)
        if not len(chosen.records):
            raise DataError(_nothing(collection, chosen.skipped))
        masked = write_stores(out, parts, chosen, settings, options.size, bar)
    write_tables(out, collection, chosen)
    write_contact_sheet(out, chosen)
    counts = {name: int((chosen.split == name).sum()) for name in ("train", "val", "test")}
    reasons = dict(Counter(reason for _, reason, _ in chosen.skipped).most_common())
    report = PrepareReport(out, collection.layout, len(collection.entries), counts, reasons, masked)
    record = {"photos": report.photos, "samples": counts, "skipped": reasons, "masked": masked}
    write_json(out / RECORD, {"format": FORMAT, "version": VERSION, "settings": settings, **record})
    shutil.rmtree(out / PARTS)
    return report


def read_record(folder: Path) -> dict[str, Any] | None:
    """What is known about a prepared data set; None if the folder is none."""
    try:
        record = read_json(folder / RECORD)
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and record.get("format") == FORMAT else None


def _settings(options: PrepareOptions) -> dict[str, Any]:
    return json.loads(json.dumps(to_json(options), default=str))


def _check_place(out: Path) -> None:
    """Refuse a folder that holds something else.

    Raises:
        DataError: it does.
    """
    if out.exists() and not out.is_dir():
        raise DataError(f"the data set goes to a folder, but {out} is a file; choose another --out")
    if (
        out.is_dir()
        and any(out.iterdir())
        and read_record(out) is None
        and not (out / PARTS / "settings.json").is_file()
    ):
        raise DataError(f"{out} is there already; choose another folder or remove it")


def _finished(out: Path, settings: dict[str, Any]) -> PrepareReport | None:
    """The report of an earlier run with the same photos and options, if it is complete.

    Raises:
        DataError: an earlier run had other photos or options, or what it has left is damaged.
    """
    record, begun = read_record(out), out / PARTS / "settings.json"
    path = out / RECORD if record else begun
    try:
        found = dict(record["settings"] if record else read_json(begun) if begun.is_file() else settings)
    except MALFORMED as error:
        raise DataError(f"{path} is damaged ({error}); remove {out}") from error
    if found != settings:
        changed = [name for name in settings if found.get(name) != settings[name]]
        raise DataError(
            f"{out} was made of other photos or with other options ({', '.join(changed)}); choose another --out or "
            "remove it"
        )
    if record is None:
        return None
    try:
        samples, skipped = (
            {str(name): int(count) for name, count in record[part].items()} for part in ("samples", "skipped")
        )
        return PrepareReport(out, settings["layout"], int(record["photos"]), samples, skipped, bool(record["masked"]))
    except MALFORMED as error:
        raise DataError(f"{path} is damaged ({error}); remove {out}") from error


def _read_all(collection: Collection, options: PrepareOptions, parts: Parts, threads: int, bar: Progress) -> None:
    """Read the blocks that are missing, several at a time; each has one thread of the kernels."""
    missing = parts.missing()
    done = sum(len(block) for block in parts.blocks) - sum(len(parts.blocks[number]) for number in missing)
    task = bar.add_task("reading photos", total=len(collection.entries), completed=done)

    def read_block(number: int) -> None:
        found = []
        for photo in parts.blocks[number]:
            found.append(read_entry(collection.entries[photo], collection.crop, options))
            bar.advance(task)
        parts.write(number, found)

    use_threads(1)
    try:
        with ThreadPoolExecutor(threads) as pool:
            try:
                for _ in _few_at_a_time(pool, read_block, missing, 2 * threads):
                    pass
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
    except OSError as error:
        raise ConfigError(f"the data set cannot be written: {error.strerror or error}") from error
    finally:
        use_threads(threads)


def _few_at_a_time(pool: ThreadPoolExecutor, work: Any, numbers: list[int], most: int) -> Iterator[None]:
    """Run work for every number with at most so many waiting, so that an interruption ends soon."""
    waiting: set[Future[None]] = set()
    for number in numbers:
        waiting.add(pool.submit(work, number))
        if len(waiting) >= most:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
    for future in waiting:
        yield future.result()


def _nothing(collection: Collection, skipped: list[tuple[str, str, str]]) -> str:
    reasons = ", ".join(f"{count} {reason}" for reason, count in Counter(entry[1] for entry in skipped).most_common())
    hint = "; take --crop center for photos that are cropped already" if collection.crop.name == "face" else ""
    return f"none of the {len(collection.entries)} photos in {collection.root} can be used ({reasons}){hint}"


def _progress_bar(show: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    return Progress(*columns, console=console, disable=not (show and console.is_terminal))
