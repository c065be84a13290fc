"""How `scr3d data prepare` grows with the number of photos: time, and memory of its process.

    python benchmarks/preparation.py [--photos 1000 10000 100000] [--crop center] [--heads DATA] [--kill-at 0.5]
                                     [--threads 1] [--work FOLDER] [--out results/benchmarks/preparation.json]
    python benchmarks/preparation.py --photos 300 3000 --crop face --heads DATA --out .../preparation-faces.json

The photos are JPEG files of 160x120 pixels, made here: blobs of random colours, or with `--heads` a head of that data
set's training split pasted into blobs, which `--crop face` finds. Every hundredth is a copy of the one before in a
lower quality, and every thousandth is cut off in the middle of its file; the report holds how many were left out, and
why.

The command runs as a process of its own. The largest set's is killed (SIGKILL) when `--kill-at` of its photos are read,
and started again. `own_mib` is the process's own memory (RssAnon of /proc) at its largest, `seconds` the time of all
its starts. `again_seconds` is what the same command takes when everything is done.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from growth import fit, numbers
from harness import Report, common_arguments, prepare, run, settings, write_report
from reconstruction import ProcessError
from scr3d.data.store import Store
from scr3d.errors import ConfigError
from scr3d.photos.parts import PHOTOS_IN_A_PART

WIDTH, HEIGHT = 160, 120
HEAD_PX = 96
BLOBS = (6, 8)
FOLDER_PHOTOS = 1000
COPY_EVERY, BROKEN_EVERY = 100, 1000
QUALITY, COPY_QUALITY = 85, 60
WATCH_SECONDS = 0.02


def picture(number: int, heads: np.ndarray | None) -> Image.Image:
    """The photo of a number: blobs, and a head before them if there are some."""
    generator = np.random.default_rng(number)
    small = generator.integers(0, 256, (*BLOBS, 3), dtype=np.uint8)
    blobs = Image.fromarray(small).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    if heads is not None:
        head = Image.fromarray(heads[number % len(heads)]).resize((HEAD_PX, HEAD_PX), Image.Resampling.BICUBIC)
        blobs.paste(head, (int(generator.integers(0, WIDTH - HEAD_PX)), int(generator.integers(0, HEIGHT - HEAD_PX))))
    return blobs


def write_photos(root: Path, count: int, heads: np.ndarray | None) -> None:
    """`count` files in folders of a thousand; goes on where it was interrupted."""
    for number in range(count):
        path = root / f"{number // FOLDER_PHOTOS:04d}" / f"{number:07d}.jpg"
        if path.is_file():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        copied = number % COPY_EVERY == COPY_EVERY - 1
        picture(number - copied, heads).save(path, quality=COPY_QUALITY if copied else QUALITY)
        if number % BROKEN_EVERY == BROKEN_EVERY // 2:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def own_mib(pid: int) -> float:
    """Memory of a process that no file stands behind; 0 when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon:")), 0.0)


def prepared(photos: Path, out: Path, crop: str, threads: int, kill_after: int | None = None) -> tuple[float, float]:
    """Run the command, until it ends or so many photos are read.

    Returns:
        Seconds, and MiB of its own memory at its largest.

    Raises:
        ProcessError: it fails.
    """
    words = ["data", "prepare", str(photos), "--out", str(out), "--crop", crop, "--recursive"]
    start, most = time.perf_counter(), 0.0
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            [sys.executable, "-m", "scr3d.cli", *words, "--threads", str(threads)],
            stdout=subprocess.DEVNULL,
            stderr=errors,
        ) as process,
    ):
        while process.poll() is None:
            most = max(most, own_mib(process.pid))
            if kill_after is not None and len(list((out / "parts").glob("*.npz"))) * PHOTOS_IN_A_PART >= kill_after:
                process.send_signal(signal.SIGKILL)
                process.wait()
                return time.perf_counter() - start, most
            time.sleep(WATCH_SECONDS if kill_after is None else 10 * WATCH_SECONDS)
        errors.seek(0)
        last = errors.read().decode(errors="replace").strip().splitlines()[-1:]
    if process.returncode or kill_after is not None:
        raise ProcessError(f"data prepare has ended with code {process.returncode}: {' '.join(last) or 'no message'}")
    return time.perf_counter() - start, most


def cell(photos: Path, out: Path, count: int, crop: str, threads: int, kill_at: float | None) -> dict[str, Any]:
    """One set: time, memory and what came of its photos."""
    shutil.rmtree(out, ignore_errors=True)
    starts = []
    if kill_at is not None:
        starts.append(prepared(photos, out, crop, threads, int(kill_at * count)))
    starts.append(prepared(photos, out, crop, threads))
    again, _ = prepared(photos, out, crop, threads)
    record = json.loads((out / "prepare.json").read_text(encoding="utf-8"))
    stored = {split: len(Store(out / split)) for split in record["samples"] if record["samples"][split]}
    if stored != {split: number for split, number in record["samples"].items() if number}:
        raise ProcessError(f"prepare.json says {record['samples']}, the stores hold {stored}")
    if record["photos"] != count:
        raise ProcessError(f"{record['photos']} of {count} photos were looked at")
    seconds = sum(one for one, _ in starts)
    return {
        "photos": count,
        "starts": len(starts),
        "killed_after_photos": None if kill_at is None else int(kill_at * count),
        "seconds": seconds,
        "ms_per_photo": 1e3 * seconds / count,
        "own_mib": max(most for _, most in starts),
        "again_seconds": again,
        "samples": record["samples"],
        "skipped": record["skipped"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common_arguments(parser)
    parser.set_defaults(repeats=1)
    parser.add_argument("--photos", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--crop", choices=("center", "face"), default="center")
    parser.add_argument("--heads", type=Path, help="data set whose heads are pasted into the photos")
    parser.add_argument("--kill-at", type=float, default=0.5, help="share of the largest set's photos")
    parser.add_argument("--work", type=Path, help="folder for photos and data sets, kept; otherwise a temporary one")
    arguments = parser.parse_args()
    counts = numbers(arguments.photos, "photos")
    if not 0 < arguments.kill_at < 1:
        raise ConfigError(f"--kill-at must lie between 0 and 1; got {arguments.kill_at}")
    description = prepare(arguments)
    heads = None if arguments.heads is None else Store(arguments.heads / "train").arrays["image"]
    cells = []
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary)
        for count in counts:
            photos = work / f"photos-{count}"
            write_photos(photos, count, heads)
            kill_at = arguments.kill_at if count == counts[-1] else None
            cells.append(cell(photos, work / f"set-{count}", count, arguments.crop, arguments.threads, kill_at))
            print(cells[-1], file=sys.stderr, flush=True)
    slopes = {
        name: fit({one["photos"]: one[name] for one in cells}) for name in ("seconds", "own_mib", "again_seconds")
    }
    kept = {k: v for k, v in settings(arguments).items() if k not in ("work", "heads", "repeats")}
    content = {"cells": cells, "slopes": slopes, "heads": heads is not None}
    write_report(arguments.out, Report("preparation", kept, description, content))


if __name__ == "__main__":
    run(main)
