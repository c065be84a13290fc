"""The training step against that of an earlier commit.

    python benchmarks/against_commit.py [--commit d906e9a] [--size 64] [--preset compact] [--batch 32]
                                        [--rounds 10] [--repeats 5] [--threads 1] [--device cpu]

The commit's source is unpacked into a temporary folder, and a process of its own trains with each version, on the same
images. They take turns: in a round every process takes `--repeats` steps while the others wait. The commit predicts
depth at half the resolution, so three are compared:

    commit          the earlier version
    same network    this version with the earlier depth decoder (--model.depth-stride 2)
    default         this version with its own depth decoder

`times_as_fast` is the median of the earlier version over that of this one in a round; the report gives the median and
the quartiles over the rounds.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness import FOLDER, Report, common_arguments, prepare, run, settings, summarise, write_report
from runs import IMAGES, IMAGES_SEEN, ORDER
from scr3d.data.heads import HeadsConfig, sample, to_arrays
from scr3d.data.images import write_png8
from scr3d.errors import ConfigError
from scr3d.models import Preset
from scr3d.provenance import git

FIRST_STAGE = "d906e9a"
"""The end of the project's first stage."""
EARLIER = "commit"
VERSIONS: dict[str, dict[str, Any]] = {EARLIER: {}, "same network": {"depth_stride": 2}, "default": {}}
"""What each side's model is given beyond preset, size and order."""
WARMUP = 2


@dataclass(frozen=True)
class Worker:
    """A process that trains with one version.

    Attributes:
        process: takes numbers of steps, answers with their times.
        errors: where its error output goes.
    """

    process: subprocess.Popen[str]
    errors: Path

    def answer(self) -> Any:
        """Its next answer.

        Raises:
            ConfigError: it has ended.
        """
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            said = self.errors.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise ConfigError(
                f"the process of {self.errors.stem} has ended: {said[-1] if said else 'it said nothing'}; its version "
                "may lack what benchmarks/worker.py uses"
            )
        return json.loads(line)

    def steps(self, count: int) -> np.ndarray:
        """Elapsed and processor time of so many steps, in milliseconds, [steps, 2]."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        return np.array(self.answer())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common_arguments(parser)
    parser.set_defaults(repeats=5)
    parser.add_argument("--commit", default=FIRST_STAGE)
    parser.add_argument("--preset", choices=[str(preset) for preset in Preset], default=str(Preset.COMPACT))
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=10, help="each takes --repeats steps with every version")
    arguments = parser.parse_args()
    if arguments.rounds < 1 or arguments.repeats < 1:
        raise ConfigError(
            f"expected at least one round and one step, got {arguments.rounds} and {arguments.repeats}; "
            "give --rounds 10 --repeats 5, say"
        )
    description = prepare(arguments)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        full_name = unpack(arguments.commit, root / "earlier")
        make_photos(root / "photos", arguments.size, arguments.batch)
        times = alternate(root, arguments)
    versions = {
        name: summarise(*(found.reshape(-1, 2)[:, kind].tolist() for kind in (0, 1))) for name, found in times.items()
    }
    times_as_fast = {}
    for name, found in times.items():
        if name != EARLIER:
            times_as_fast[name] = {
                "elapsed": ratio(times[EARLIER], found, 0),
                "processor": ratio(times[EARLIER], found, 1),
            }
    results = {"commit": full_name, "versions": versions, "times_as_fast": times_as_fast}
    write_report(arguments.out, Report("against_commit", settings(arguments), description, results))


def unpack(commit: str, target: Path) -> str:
    """Write the package of a commit to a folder; returns the commit's full name.

    Raises:
        ConfigError: this clone does not have it.
    """
    try:
        name = git("rev-parse", "--verify", f"{commit}^{{commit}}").strip()
        command = ["git", "-C", str(FOLDER.parent), "archive", name, "src"]
        packed = subprocess.run(command, check=True, capture_output=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise ConfigError(
            f"--commit {commit}: this clone has no such commit; fetch the whole history (git fetch --unshallow)"
        ) from error
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(target, filter="data")
    return name


def make_photos(root: Path, size: int, batch: int) -> None:
    """As many pictures as a batch holds: then every step of every version sees the same ones.

    Files of the papers' layout, which every version reads.
    """
    for split in ("train", "val"):
        folder = root / split / "image"
        folder.mkdir(parents=True)
        images = to_arrays(sample(HeadsConfig(split=split, count=batch, size=size), np.arange(batch)))["image"]
        for number, image in enumerate(images):
            write_png8(folder / f"{number:04d}.png", image)


def alternate(root: Path, arguments: argparse.Namespace) -> dict[str, np.ndarray]:
    """Times of every version, [rounds, steps, (elapsed, processor)]."""
    sources = {name: root / "earlier" / "src" if name == EARLIER else FOLDER.parent / "src" for name in VERSIONS}
    with ExitStack() as stack:
        workers = {
            name: stack.enter_context(started(name, source, root, arguments)) for name, source in sources.items()
        }
        for name, worker in workers.items():
            found = Path(worker.answer()["scr3d"])
            if not found.is_relative_to(sources[name]):
                raise ConfigError(
                    f"the process of {name} has found {found}, expected {sources[name]}; unset PYTHONPATH"
                )
            worker.steps(WARMUP)
        rounds = [
            {name: worker.steps(arguments.repeats) for name, worker in workers.items()} for _ in range(arguments.rounds)
        ]
    return {name: np.stack([found[name] for found in rounds]) for name in VERSIONS}


@contextmanager
def started(name: str, source: Path, root: Path, arguments: argparse.Namespace) -> Iterator[Worker]:
    """The process of one version, ended afterwards."""
    wanted = {
        "data": str(root / "photos"),
        "out": str(root / f"run {name}"),
        "model": {"preset": arguments.preset, "size": arguments.size, "order": ORDER} | VERSIONS[name],
        "batch": arguments.batch,
        "images": IMAGES,
        "images_seen": IMAGES_SEEN,
        "threads": arguments.threads,
        "device": arguments.device,
    }
    errors = root / f"{name}.txt"
    with errors.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            [sys.executable, str(FOLDER / "worker.py"), json.dumps(wanted)],
            env=os.environ | {"PYTHONPATH": str(source)},
            cwd=root,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
        )
    try:
        yield Worker(process, errors)
    finally:
        process.terminate()
        process.communicate()


def ratio(earlier: np.ndarray, present: np.ndarray, kind: int) -> dict[str, float]:
    """How many times as fast the present version is, over the rounds."""
    by_round = np.median(earlier[:, :, kind], axis=1) / np.median(present[:, :, kind], axis=1)
    low, median, high = np.percentile(by_round, [25, 50, 75])
    return {
        "median": float(median),
        "first_quartile": float(low),
        "third_quartile": float(high),
        "of_all_steps": float(np.median(earlier[:, :, kind]) / np.median(present[:, :, kind])),
        "rounds": len(by_round),
    }


if __name__ == "__main__":
    run(main)
