"""How long a photo waits for its 3D: one photo from a cold start, and many at a time, by kind of output.

    python benchmarks/reconstruction.py [--photos 256] [--photo-size 64] [--starts 5] [--repeats 3] [--threads 2]
                                        [--device cpu] [--out results/benchmarks/reconstruction.json]

`cold_start`: whole processes, in turns, `--starts` times each after one round that compiles kernels and fills the
system's cache of files. Its limits are the start of Python by itself and one that only imports torch, in the same
rounds. cpu_ms is the processor time of the process and its children.

`in_bulk`: `reconstruct_files` on `--photos` photos, loading of the model included, by kind of output; the limit is the
network on the same photos, batch by batch, nothing read or written. The shipped model looks for the face of each photo,
unless told to take the middle. Animations take so long that they get a
thirty-second of the photos. `per_photo` are the times divided by the number of photos, of_network the share of the
network's own time in them (of their processor time: of_network_cpu).
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from harness import FOLDER, Report, Timing, common_arguments, measure, prepare, run, settings, summarise, write_report
from scr3d.data.photos import read_photos
from scr3d.errors import ConfigError, Scr3dError
from scr3d.export.options import Animation, Crop, Output, ReconstructOptions
from scr3d.models import load_model
from scr3d.reconstruct import reconstruct_files

EXAMPLES = FOLDER.parent / "examples"
COMMANDS = ("reconstruct", "train", "search", "intervene", "describe", "evaluate", "data heads", "data prepare")
FACTORS = (Output.ARRAYS, Output.DEPTH, Output.MESH)
KINDS: dict[str, ReconstructOptions] = {
    **{str(output): ReconstructOptions(only=(output,)) for output in Output if output is not Output.PAGE},
    "arrays, depth, mesh": ReconstructOptions(only=FACTORS),
    "arrays, no face sought": ReconstructOptions(only=(Output.ARRAYS,), crop=Crop.CENTER),
    "arrays, depth, mesh, no face sought": ReconstructOptions(only=FACTORS, crop=Crop.CENTER),
    "everything but animations": ReconstructOptions(animation=Animation.NONE),
    "everything": ReconstructOptions(),
}
ANIMATED_SHARE = 32


class ProcessError(Scr3dError):
    """A process that was to be timed has failed."""


def start(words: list[str], threads: int) -> tuple[float, float]:
    """Elapsed and processor milliseconds of a process from its start to its end.

    Raises:
        ProcessError: it fails.
    """
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, env=environment)
    elapsed, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ProcessError(f"{' '.join(words)} has ended with code {done.returncode}: {last}")
    return 1e3 * elapsed, 1e3 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def processes(out: Path, threads: int, device: str) -> dict[str, list[str]]:
    """The processes of the cold start by name; the first two are its limits."""
    scr3d = ["-m", "scr3d.cli"]
    one = ["reconstruct", str(EXAMPLES / "head-01.png"), "--device", device, "--threads", str(threads)]
    return {
        "python": ["-c", "pass"],
        "import torch": ["-c", "import torch"],
        "reconstruct, no animations": [*scr3d, *one, "--out", str(out / "still"), "--animation", "none"],
        "reconstruct": [*scr3d, *one, "--out", str(out / "all")],
        "--help": [*scr3d, "--help"],
        **{f"{command} --help": [*scr3d, *command.split(), "--help"] for command in COMMANDS},
    }


def cold_starts(out: Path, starts: int, threads: int, device: str) -> dict[str, Timing]:
    """Every process in turns."""
    calls = processes(out, threads, device)
    wall: dict[str, list[float]] = {name: [] for name in calls}
    processor: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(starts + 1):
        for name, words in calls.items():
            elapsed, spent = start(words, threads)
            if number:
                wall[name].append(elapsed)
                processor[name].append(spent)
    return {name: summarise(wall[name], processor[name]) for name in calls}


def make_photos(folder: Path, count: int, size: int) -> list[Path]:
    """The example photos again and again, scaled to `size` pixels."""
    folder.mkdir()
    examples = sorted(EXAMPLES.glob("*.png"))
    paths = [folder / f"{number:06d}.png" for number in range(count)]
    for number, path in enumerate(paths):
        with Image.open(examples[number % len(examples)]) as photo:
            photo.convert("RGB").resize((size, size), Image.Resampling.LANCZOS).save(path)
    return paths


def bulk_call(
    paths: list[Path], out: Path, options: ReconstructOptions, threads: int, device: str
) -> Callable[[], object]:
    """Reconstruction of many photos; from the second time on it replaces its results."""

    def call() -> object:
        with contextlib.redirect_stdout(io.StringIO()):
            return reconstruct_files(paths, out, device=device, options=options, threads=threads)

    return call


def network_call(paths: list[Path], batch: int, threads: int, device: str) -> Callable[[], object]:
    """The shipped model on photos that have been read, a batch in each thread as in `reconstruct_files`."""
    model = load_model(device=device)
    photos = read_photos(paths, model.config.size).to(device).split(batch)

    def one(part: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return model.reconstruct(part).image

    def call() -> object:
        torch.set_num_threads(1)
        with ThreadPoolExecutor(threads) as pool:
            result = list(pool.map(one, photos))
        torch.set_num_threads(threads)
        return result

    one(photos[0])  # kernels are compiled and loaded in one thread
    return call


def per_photo(timing: Timing, count: int) -> Timing:
    """The times of a call divided by its photos."""
    divided = {field.name: getattr(timing, field.name) / count for field in fields(Timing) if field.name != "repeats"}
    return Timing(**divided, repeats=timing.repeats)


def in_bulk(arguments: argparse.Namespace, root: Path) -> dict[str, Any]:
    """Time for each photo by kind of output."""
    paths = make_photos(root / "photos", arguments.photos, arguments.photo_size)
    few = paths[: max(1, len(paths) // ANIMATED_SHARE)]
    device, threads = arguments.device, arguments.threads
    counts = {name: len(few if options.writes(Output.ANIMATIONS) else paths) for name, options in KINDS.items()}
    batch = ReconstructOptions().batch_size
    calls = {"network": network_call(paths, batch, threads, device)} | {
        name: bulk_call(paths[: counts[name]], root / str(number), options, threads, device)
        for number, (name, options) in enumerate(KINDS.items())
    }
    counts["network"] = len(paths)
    times = measure(calls, arguments.repeats, warmup=1, device=device)
    network = per_photo(times["network"], counts["network"])
    results: dict[str, Any] = {}
    for name, timing in times.items():
        each = per_photo(timing, counts[name])
        results[name] = {
            "photos": counts[name],
            "per_photo": each,
            "photos_per_s": 1e3 / each.median_ms,
            "photos_per_cpu_s": 1e3 / each.cpu_ms,
            "of_network": network.median_ms / each.median_ms,
            "of_network_cpu": network.cpu_ms / each.cpu_ms,
        }
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common_arguments(parser)
    parser.set_defaults(repeats=3, threads=2)
    parser.add_argument("--photos", type=int, default=256, help="photos in bulk")
    parser.add_argument("--photo-size", type=int, default=64, help="their height and width in pixels")
    parser.add_argument("--starts", type=int, default=5, help="processes of each kind; 0 leaves cold starts out")
    arguments = parser.parse_args()
    if arguments.photos < 1 or arguments.photo_size < 1 or arguments.starts < 0:
        raise ConfigError("--photos and --photo-size must be at least 1, --starts at least 0")
    description = prepare(arguments)
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        if arguments.starts:
            starts = cold_starts(root / "cold", arguments.starts, arguments.threads, arguments.device)
            limit = starts["import torch"].median_ms
            results["cold_start"] = starts
            results["cold_start_over_import_torch"] = {
                name: starts[name].median_ms / limit for name in ("reconstruct, no animations", "reconstruct")
            }
        results["in_bulk"] = in_bulk(arguments, root)
    write_report(arguments.out, Report("reconstruction", settings(arguments), description, results))


if __name__ == "__main__":
    run(main)
