"""Real commands that are killed at random moments: given again, they end with what they would have ended with."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from scr3d.data.images import write_png8
from scr3d.models import load_model

pytestmark = pytest.mark.slow
TRIES = 6
SIZES = ("--size", "32", "--width", "4", "--batch-size", "4", "--validation-images", "8", "--threads", "1")
FLEETING = {"seconds", "timed_images", "machine"}
"""What a result says about the time it took."""


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "scr3d.cli", *map(str, words)]


def run_whole(words: Sequence[str], begun: Path) -> tuple[float, float]:
    """Seconds that it takes until the work itself has begun, and from there to the end.

    Args:
        words: the command.
        begun: what is there from then on.
    """
    started, beginning = time.monotonic(), None
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        if beginning is None and begun.exists():
            beginning = time.monotonic()
        time.sleep(0.01)
    assert process.returncode == 0
    assert beginning is not None
    return beginning - started, time.monotonic() - beginning


def run_killed(words: Sequence[str], begun: Path, seconds: tuple[float, float], seed: str) -> None:
    """Kill the command and its children at random moments of its work, then let it come to its end.

    Args:
        words: the command.
        begun: what is there once the work has begun.
        seconds: that it takes to begin, and to work, when nobody kills it.
        seed: of the moments.
    """
    draws, kills = random.Random(seed), 0
    beginning, working = seconds
    for _ in range(TRIES):
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            if kills:
                process.wait(beginning + draws.uniform(-0.2, 0.5) * working)
            else:  # the first time is seen to fall into the work, however fast the machine is now
                while process.poll() is None and not begun.exists():
                    time.sleep(0.01)
                process.wait(draws.uniform(0, 0.5) * working)
            break  # it has come to its end between two kills
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
    assert kills, "it was never killed"
    ended = subprocess.run(words, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def test_making_heads(tmp_path: Path) -> None:
    def words(name: str) -> list[str]:
        return command("data", "heads", "--count", 3000, "--size", 32, "--threads", 1, "--out", tmp_path / name)

    seconds = run_whole(words("whole"), tmp_path / "whole" / "train" / "store.json")
    run_killed(words("killed"), tmp_path / "killed" / "train" / "store.json", seconds, "heads")
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_preparing_photos(tmp_path: Path) -> None:
    photos, random_colors = tmp_path / "photos", np.random.default_rng(0)
    photos.mkdir()
    for number in range(300):
        coarse = random_colors.integers(0, 256, (9, 9, 3), dtype=np.uint8)
        write_png8(photos / f"{number:03d}.png", coarse.repeat(40, 0).repeat(40, 1))

    def words(name: str) -> list[str]:
        options = ("--crop", "center", "--size", 32, "--threads", 1)
        return command("data", "prepare", photos, "--out", tmp_path / name, *options)

    seconds = run_whole(words("whole"), tmp_path / "whole" / "parts")
    run_killed(words("killed"), tmp_path / "killed" / "parts", seconds, "prepare")
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_searching(heads: Path, tmp_path: Path) -> None:
    def words(name: str) -> list[str]:
        options = ("--strategy", "random", "--trials", 4, "--images", 24, "--validate-every", 12)
        return command("search", "--data", heads, "--out", tmp_path / name, *options, *SIZES)

    def trainings(name: str) -> dict[str, tuple[Any, ...]]:
        record = json.loads((tmp_path / name / "report.json").read_text())
        return {
            t["name"]: (t["seed"], t["images"], t["score"], t["standard_error"], t["collapsed"])
            for t in record["trainings"]
        }

    seconds = run_whole(words("whole"), tmp_path / "whole" / "trials")
    run_killed(words("killed"), tmp_path / "killed" / "trials", seconds, "search")
    whole, killed = trainings("whole"), trainings("killed")
    # A claim that died with its worker has a number, so candidates may be drawn in another order.
    assert len(killed) == len(whole) == 4
    common = whole.keys() & killed.keys()
    assert common
    for name in common:
        assert killed[name] == whole[name]
        assert_same_weights(*(tmp_path / run / "trials" / f"{name}-s0" / "last" for run in ("whole", "killed")))


def assert_same_weights(first: Path, second: Path) -> None:
    a, b = (load_model(folder).state_dict() for folder in (first, second))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_benchmark(tmp_path: Path) -> None:
    def words(name: str) -> list[str]:
        folder = tmp_path / name
        places = ("--out", folder / "results", "--work", folder / "work", "--docs", folder / "docs")
        options = ("--methods", "wu", "--stages", "rates", "--jobs", 1)
        return command("benchmark", "--protocol", "smoke", *options, *places)

    def records(name: str) -> dict[str, dict[str, Any]]:
        found = (tmp_path / name / "results").rglob("*.json")
        read = {path.name: json.loads(path.read_text()) for path in found if path.parent.name == "rates"}
        return {name: {k: without_folders(v) for k, v in r.items() if k not in FLEETING} for name, r in read.items()}

    def without_folders(value: Any) -> Any:
        text = json.dumps(value)
        return json.loads(text.replace("/killed/", "/").replace("/whole/", "/"))

    seconds = run_whole(words("whole"), tmp_path / "whole" / "work" / "smoke")
    run_killed(words("killed"), tmp_path / "killed" / "work" / "smoke", seconds, "benchmark")
    assert records("whole")
    assert records("killed") == records("whole")
