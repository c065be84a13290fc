"""From image files to 3D: the `reconstruct` command."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from scr3d.errors import ConfigError, DataError
from scr3d.export.options import Animation, Crop, Output, ReconstructOptions, Texture
from scr3d.models.hub import written_name

if TYPE_CHECKING:
    import torch
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from scr3d.export.gallery import GalleryEntry
    from scr3d.models.autoencoder import PhotoGeometricAutoencoder
    from scr3d.photos.look import Found

__all__ = ["Animation", "Crop", "Output", "ReconstructOptions", "ReconstructReport", "Texture", "reconstruct_files"]

PAGE = "index.html"
FINISHING_THREADS = 4
"""Threads that wait for the disk, apart from those that compute."""
LONGEST_NAME = 200
"""Bytes of a folder name; file systems take 255, and a number and a prefix may be added."""


@dataclass(frozen=True)
class ReconstructReport:
    """What a run has done.

    Attributes:
        page: the gallery page; None where it is not wanted.
        folders: one per reconstructed image, in the order of the page.
        skipped: images that could not be used, and why.
        seconds: duration of the run.
    """

    page: Path | None
    folders: tuple[Path, ...]
    skipped: tuple[tuple[Path, str], ...]
    seconds: float


@dataclass
class _Run:
    """What has been done so far."""

    entries: list[GalleryEntry] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    skipped: list[tuple[Path, str]] = field(default_factory=list)

    def add(self, part: _Run) -> None:
        """Append what one part of the photos has led to."""
        self.entries += part.entries
        self.folders += part.folders
        self.skipped += part.skipped


class Stopped(Exception):
    """Another thread has met an error, or the user has interrupted."""


class _Names:
    """Folders of results; threads take new ones for the second and later faces of a photo."""

    def __init__(self, paths: Sequence[Path], out: Path):
        self.out, self.taken, self.lock = out, {PAGE}, threading.Lock()
        self.first = {path: self._new(path.stem) for path in paths}

    def folder(self, path: Path, number: int) -> Path:
        """The folder of a photo's face, numbered from 1."""
        if number == 1:
            return self.first[path]
        with self.lock:
            return self._new(f"{path.stem}-face-{number}")

    def _new(self, stem: str) -> Path:
        from scr3d.export.outputs import is_output_folder

        folder = self.out / unique_name(stem, self.taken)
        # Something of that name which is not a result of this program is nobody's to replace.
        while folder.exists() and not is_output_folder(folder):
            folder = self.out / unique_name(stem, self.taken)
        return folder


@dataclass(frozen=True)
class _Job:
    """What is the same for every photo."""

    network: PhotoGeometricAutoencoder
    model_name: str
    options: ReconstructOptions
    names: _Names
    progress: Progress
    task: TaskID
    stop: threading.Event
    finishing: Executor

    def advance(self) -> None:
        """Count a photo."""
        self.progress.advance(self.task)

    @contextmanager
    def fitting(self, squares: int) -> Iterator[Callable[[int], None]]:
        """A bar of its own while some squares are fitted; what it gives is told the steps taken."""
        task = self.progress.add_task(f"fitting {squares}", total=self.options.refine)

        def advance(step: int) -> None:
            if self.stop.is_set():
                raise Stopped
            self.progress.update(task, completed=step)

        try:
            yield advance
        finally:
            self.progress.remove_task(task)


def reconstruct_files(
    images: Sequence[Path],
    out: Path,
    model: Path | None = None,
    device: str | torch.device = "cpu",
    options: ReconstructOptions | None = None,
    threads: int = 0,
) -> ReconstructReport:
    """Reconstruct every image and write the results and a gallery page.

    Each image gets a folder OUT/<stem>/ that appears when it is whole; one of an earlier run is replaced. Further faces
    of a photo get OUT/<stem>-face-2/ and so on.
    Unusable images are skipped, named and counted. Several images are worked on at a time, one in each thread.

    Args:
        images: image files, and folders whose images are taken.
        out: folder of the results.
        model: run or weights to use; None takes the shipped model.
        device: where the model runs.
        options: what is written.
        threads: CPU threads; 0 takes all.

    Raises:
        DataError: there is no usable image.
        ConfigError: the results cannot be written to `out`, or the device is not there.
        MemoryLimitError: a batch does not fit into the memory.
    """
    from rich.console import Console

    options = options or ReconstructOptions()
    console, start, run = Console(), time.monotonic(), _Run()
    paths = _expand(images, run)
    _check_out(out)
    name = "shipped" if model is None else written_name(model)
    if paths:
        from scr3d.models.io import find_model, load_model, read_provenance
        from scr3d.out_of_memory import advised, reconstruction_work
        from scr3d.runtime import find_device, use_threads

        count = use_threads(threads)
        network = load_model(model, find_device(device)).eval()
        try:
            options = replace(options, crop=options.crop.for_model(read_provenance(find_model(model))))
            with advised(reconstruction_work(network, options.batch_size, count), device):
                _reconstruct_all(_Names(paths, out), network, name, options, count, run, console)
        except OSError as error:
            raise ConfigError(
                f"cannot write to {out}: {error.strerror or error}; free space or choose another"
            ) from error
    for path, reason in run.skipped:
        console.print(f"skipped {path}: {reason}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    if not run.folders:
        raise DataError(_nothing_left(images, run))
    page = _write_page(out, run, name) if options.writes(Output.PAGE) else None
    seconds = time.monotonic() - start
    counted = f"{len(run.folders)} reconstructed" + (f", {len(run.skipped)} skipped" if run.skipped else "")
    console.print(f"{counted} in {seconds:.1f} s", markup=False, highlight=False)
    where = f"folders: {out.resolve()}" if page is None else f"gallery: {page.resolve()}"
    console.print(where, markup=False, highlight=False, soft_wrap=True)
    return ReconstructReport(page, tuple(run.folders), tuple(run.skipped), seconds)


def _expand(images: Sequence[Path], run: _Run) -> list[Path]:
    """Files in the given order, every one once, folders replaced by the images in them."""
    from scr3d.data.images import list_images

    if not images:
        raise DataError("expected image files or folders, got none")
    found: dict[Path, Path] = {}
    for given in map(Path, images):
        if given.is_dir():
            inside = list_images(given)
            if not inside:
                run.skipped.append((given, "no images in this folder"))
            for path in inside:
                found.setdefault(path.resolve(), path)
        elif given.exists():
            found.setdefault(given.resolve(), given)
        else:
            run.skipped.append((given, "no such file"))
    return list(found.values())


def _check_out(out: Path) -> None:
    for place in (out, *out.parents):
        if place.exists():
            if not place.is_dir():
                raise ConfigError(f"results go to a folder, but {place} is a file; choose another --out")
            return


def _reconstruct_all(
    names: _Names,
    network: PhotoGeometricAutoencoder,
    model_name: str,
    options: ReconstructOptions,
    threads: int,
    run: _Run,
    console: Console,
) -> None:
    """Every part of the photos goes through reading, network and writing in a thread of its own.

    Most of that time is spent outside of the interpreter. Further threads wait for the disk and put folders in place.
    torch itself has one thread meanwhile: on single photos more gain nothing, and on a busy machine they wait for one
    another.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from scr3d.runtime import use_threads

    paths = list(names.first)
    alone = threads == 1 or len(paths) < 2
    # With several threads the first photo goes by itself: kernels are compiled and loaded in one thread.
    first, rest = ([], paths) if alone else (paths[:1], paths[1:])
    size = max(1, min(options.batch_size, -(-len(rest) // threads)))
    parts = [rest[start : start + size] for start in range(0, len(rest), size)]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress, ThreadPoolExecutor(FINISHING_THREADS) as finishing:
        task = progress.add_task("reconstructing", total=len(paths))
        job = _Job(network, model_name, options, names, progress, task, threading.Event(), finishing)
        use_threads(1)
        try:
            if alone:
                for part in parts:
                    run.add(_reconstruct_part(part, job))
                return
            run.add(_reconstruct_part(first, job))
            with ThreadPoolExecutor(threads) as pool:
                waiting = [pool.submit(_reconstruct_part, part, job) for part in parts]
                try:
                    for done in waiting:
                        run.add(done.result())
                except BaseException:
                    job.stop.set()
                    pool.shutdown(wait=True, cancel_futures=True)
                    raise
        finally:
            use_threads(threads)


def _reconstruct_part(paths: Sequence[Path], job: _Job) -> _Run:
    """Reconstruct the squares of some photos, as many at a time as the network takes."""
    run = _Run()
    waiting: list[tuple[Path, Found]] = []
    for path, found in _look(paths, job):
        if job.stop.is_set():
            return run
        if isinstance(found, DataError):
            run.skipped.append((path, _without_path(str(found), path)))
            job.advance()
        else:
            waiting += [(path, one) for one in found]
    for start in range(0, len(waiting), job.options.batch_size):
        if job.stop.is_set():
            break
        try:
            _reconstruct_squares(waiting[start : start + job.options.batch_size], job, run)
        except Stopped:
            break
    return run


def _reconstruct_squares(squares: Sequence[tuple[Path, Found]], job: _Job, run: _Run) -> None:
    """One batch through the network, and its files."""
    import torch

    from scr3d.export.outputs import Sample, single, write_outputs
    from scr3d.files import PendingFolder
    from scr3d.photos.explain import explain_squares

    network, pictures = job.network, [found for _, found in squares]
    if job.options.refine:
        with job.fitting(len(squares)) as advance:
            results = explain_squares(network, pictures, job.options.refine, advance)
    else:
        results = explain_squares(network, pictures)
    finishing = []
    for index, (path, found) in enumerate(squares):
        if job.stop.is_set():
            break
        number, name = found.record["number"], _printable(path.name)
        sample = Sample.of(found, single(results, index), network, name, job.model_name)
        folder = PendingFolder(job.names.folder(path, number))
        with torch.no_grad(), folder as temporary:
            entry = write_outputs(temporary, sample, job.options)
        finishing.append((job.finishing.submit(folder.finish), folder.path, entry, number == found.record["of"]))
    for finished, place, entry, last in finishing:
        finished.result()
        run.entries.append(replace(entry, folder=place.name))
        run.folders.append(place)
        if last:
            job.advance()


def _look(paths: Sequence[Path], job: _Job) -> Iterator[tuple[Path, list[Found] | DataError]]:
    """The squares of photos, and why those that cannot be used have none."""
    from scr3d.photos.look import look_at_all

    options = job.options
    shown = options.render_size if options.writes(Output.PICTURES) or options.texture is Texture.PHOTO else 0
    return look_at_all(paths, job.network.config.size, shown, options.crop is Crop.FACE)


def unique_name(stem: str, taken: set[str]) -> str:
    """A folder name made of a file's stem that is valid everywhere and not in `taken`; it is added to it.

    Names that differ in case alone count as equal, as they are on Windows and macOS.
    """
    base = re.sub(r'[<>:"/\\|?*\x00-\x1f\x7f]', "_", _printable(stem)).strip(" .")
    while len(base.encode("utf-8")) > LONGEST_NAME:
        base = base[:-1]
    base = base or "image"
    name, number = base, 1
    while name.casefold() in taken:
        number += 1
        name = f"{base}-{number}"
    taken.add(name.casefold())
    return name


def _printable(name: str) -> str:
    """A file name as text; bytes of it that are not UTF-8 become replacement characters."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _without_path(message: str, path: Path) -> str:
    """The reason alone, since the path is printed in front of it."""
    return message.removeprefix(str(path)).lstrip(": ") or message


def _nothing_left(images: Sequence[Path], run: _Run) -> str:
    reasons = "; ".join(f"{_printable(str(path))}: {reason}" for path, reason in run.skipped[:3])
    more = f" and {len(run.skipped) - 3} more" if len(run.skipped) > 3 else ""
    return f"none of the {len(images)} given files and folders holds a usable image ({reasons}{more})"


def _write_page(out: Path, run: _Run, model_name: str) -> Path:
    from scr3d.export.gallery import write_gallery

    page = out / PAGE
    count = "1 image" if len(run.entries) == 1 else f"{len(run.entries)} images, each"
    made_by = "the model shipped with scr3d" if model_name == "shipped" else f"the model {_printable(model_name)}"
    lead = f"{count} explained by a viewpoint, a depth map, a light and an albedo, by {made_by}."
    skipped = [(_printable(str(path)), reason) for path, reason in run.skipped]
    write_gallery(page, run.entries, lead=lead, skipped=skipped)
    return page
