"""From image files to 3D: the `reconstruct` command."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scr3d.errors import ConfigError, DataError
from scr3d.export.options import Animation, ReconstructOptions, Texture

if TYPE_CHECKING:
    import torch

    from scr3d.export.gallery import GalleryEntry
    from scr3d.models.autoencoder import PhotoGeometricAutoencoder

__all__ = ["Animation", "ReconstructOptions", "ReconstructReport", "Texture", "reconstruct_files"]

PAGE = "index.html"
LONGEST_NAME = 200
"""Bytes of a folder name; file systems take 255, and a number and a prefix may be added."""


@dataclass(frozen=True)
class ReconstructReport:
    """What a run has done.

    Attributes:
        page: the gallery page.
        folders: one per reconstructed image, in the order of the page.
        skipped: images that could not be used, and why.
        seconds: duration of the run.
    """

    page: Path
    folders: tuple[Path, ...]
    skipped: tuple[tuple[Path, str], ...]
    seconds: float


@dataclass
class _Run:
    """What has been done so far."""

    taken: set[str] = field(default_factory=lambda: {PAGE})
    entries: list[GalleryEntry] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    skipped: list[tuple[Path, str]] = field(default_factory=list)


def reconstruct_files(
    images: Sequence[Path],
    out: Path,
    model: Path | None = None,
    device: str | torch.device = "cpu",
    options: ReconstructOptions | None = None,
) -> ReconstructReport:
    """Reconstruct every image and write the results and a gallery page.

    Each image gets a folder OUT/<stem>/ that appears when it is whole; one of an earlier run is replaced.
    Unusable images are skipped, named and counted.

    Args:
        images: image files, and folders whose images are taken.
        out: folder of the results.
        model: run or weights to use; None takes the shipped model.
        device: where the model runs.
        options: what is written.

    Raises:
        DataError: there is no usable image.
        ConfigError: the results cannot be written to `out`, or the device is not there.
    """
    from rich.console import Console

    options = options or ReconstructOptions()
    console, start, run = Console(), time.monotonic(), _Run()
    paths = _expand(images, run)
    _check_out(out)
    name = "shipped" if model is None else str(model)
    if paths:
        network = _load(model, device)
        try:
            _reconstruct_all(paths, out, network, name, options, run, console)
        except OSError as error:
            raise ConfigError(
                f"cannot write to {out}: {error.strerror or error}; free space or choose another"
            ) from error
    for path, reason in run.skipped:
        console.print(f"skipped {path}: {reason}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    if not run.entries:
        raise DataError(_nothing_left(images, run))
    page = _write_page(out, run, name)
    seconds = time.monotonic() - start
    counted = f"{len(run.folders)} reconstructed" + (f", {len(run.skipped)} skipped" if run.skipped else "")
    console.print(f"{counted} in {seconds:.1f} s", markup=False, highlight=False)
    console.print(f"gallery: {page.resolve()}", markup=False, highlight=False, soft_wrap=True)
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


def _load(model: Path | None, device: str | torch.device) -> PhotoGeometricAutoencoder:
    import torch

    from scr3d.models import load_model

    try:
        place = torch.device(device)
        torch.empty(1, device=place)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device {str(device)!r} is not available here; use --device cpu") from error
    return load_model(model, place).eval()


def _reconstruct_all(
    paths: list[Path],
    out: Path,
    network: PhotoGeometricAutoencoder,
    model_name: str,
    options: ReconstructOptions,
    run: _Run,
    console: Any,
) -> None:
    import torch
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from scr3d.export.outputs import Sample, single

    size = network.config.size
    place = next(network.parameters()).device
    columns = (TextColumn("reconstructing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress, torch.no_grad():
        task = progress.add_task("", total=len(paths))
        for start in range(0, len(paths), options.batch_size):
            chunk = paths[start : start + options.batch_size]
            read = list(_read(chunk, size, options.render_size, run))
            progress.advance(task, len(chunk) - len(read))
            if not read:
                continue
            results = network.reconstruct(torch.stack([image for _, image, _ in read]).to(place))
            for index, (path, _, crop) in enumerate(read):
                name = _printable(path.name)
                one = single(results, index)
                sample = Sample(name, crop, one, network.camera, network.depth_range, model_name)
                _write_one(path, out, sample, options, run)
                progress.advance(task)


def _read(
    paths: Iterable[Path], size: int, display_size: int, run: _Run
) -> Iterator[tuple[Path, torch.Tensor, torch.Tensor]]:
    """(path, image for the model, crop for display) of every readable file."""
    import torch

    from scr3d.data.images import center_square, read_image, resize

    for path in paths:
        try:
            square = center_square(read_image(path))
        except DataError as error:
            run.skipped.append((path, _without_path(str(error), path)))
            continue
        display = resize(square, min(len(square), max(size, display_size)))
        image, crop = (torch.from_numpy(x).movedim(-1, 0).contiguous() for x in (resize(square, size), display))
        yield path, image, crop


def _write_one(path: Path, out: Path, sample: Any, options: ReconstructOptions, run: _Run) -> None:
    from dataclasses import replace

    from scr3d.export.outputs import is_output_folder, write_outputs
    from scr3d.files import atomic_folder

    folder = out / unique_name(path.stem, run.taken)
    # Something of that name which is not a result of this program is nobody's to replace.
    while folder.exists() and not is_output_folder(folder):
        folder = out / unique_name(path.stem, run.taken)
    with atomic_folder(folder) as temporary:
        entry = write_outputs(temporary, sample, options)
    run.entries.append(replace(entry, folder=folder.name))
    run.folders.append(folder)


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
