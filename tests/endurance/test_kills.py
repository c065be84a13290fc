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
LEAST_KILLS = 3
MOST_KILLS = 6
SIZES = ("--size", "32", "--width", "4", "--batch-size", "4", "--validation-images", "8", "--threads", "1")
FLEETING = {"seconds", "machine"}
"""What a result says about the time it took."""


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "scr3d.cli", *map(str, words)]


def run_whole(words: Sequence[str]) -> float:
    """Seconds that it takes."""
    started = time.monotonic()
    ended = subprocess.run(words, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return time.monotonic() - started


def run_killed(words: Sequence[str], seconds: float, seed: str, begun: Path) -> None:
    """Kill the command and its children at random moments of its work, then let it come to its end.

    Args:
        words: the command.
        seconds: that it takes when nobody kills it.
        seed: of the moments.
        begun: what is there when the work itself has begun; the time before does not count.
    """
    draws, kills = random.Random(seed), 0
    while kills < MOST_KILLS:
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        started = time.monotonic()
        while process.poll() is None and not begun.exists() and time.monotonic() - started < 300:
            time.sleep(0.02)
        # From the second time on, what is there says nothing; the first part of the process's life is its imports.
        left = draws.uniform(0, 0.4 * seconds) + (0.4 * seconds if kills else 0)
        while process.poll() is None and left > 0:
            time.sleep(0.02)
            left -= 0.02
        if process.poll() is not None:
            break
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        kills += 1
    assert kills >= LEAST_KILLS or process.returncode == 0
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

    seconds = run_whole(words("whole"))
    run_killed(words("killed"), seconds, "heads", tmp_path / "killed" / "train" / "store.json")
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

    seconds = run_whole(words("whole"))
    run_killed(words("killed"), seconds, "prepare", tmp_path / "killed" / "parts")
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

    seconds = run_whole(words("whole"))
    run_killed(words("killed"), seconds, "search", tmp_path / "killed" / "trials")
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
        options = ("--methods", "wu", "average-depth", "--stages", "rates", "table", "--jobs", 1)
        return command("benchmark", "--protocol", "smoke", *options, *places)

    def records(name: str) -> dict[str, dict[str, Any]]:
        found = (tmp_path / name / "results").rglob("*.json")
        read = {path.name: json.loads(path.read_text()) for path in found if path.parent.name in ("rates", "table")}
        return {name: {k: without_folders(v) for k, v in r.items() if k not in FLEETING} for name, r in read.items()}

    def without_folders(value: Any) -> Any:
        text = json.dumps(value)
        return json.loads(text.replace("/killed/", "/").replace("/whole/", "/"))

    seconds = run_whole(words("whole"))
    run_killed(words("killed"), seconds, "benchmark", tmp_path / "killed" / "work" / "smoke")
    assert records("whole")
    assert records("killed") == records("whole")
