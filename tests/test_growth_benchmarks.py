"""Benchmarks of growth, reconstruction and runs side by side: what they compute, on little work."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from growth import cells, fit, numbers, predicted_mib
from growth_children import data_cost, noise_store, search_cost, sparse_store
from growth_picture import draw
from harness import Report, Timing, machine, report_json
from preparation import cell as prepared_set
from preparation import write_photos
from reconstruction import KINDS, ProcessError, make_photos, per_photo, start
from same_scores import FORMS, SCORES, scores_of, tasks
from same_scores import compare as compare_scores
from scr3d.data.store import Store
from scr3d.errors import ConfigError
from scr3d.export.options import Output
from side_by_side import TURNS, Work, compare, summary

TIMING = Timing(2.0, 1.5, 2.5, 1.0, 1.9, 7)


def test_slopes_are_those_of_powers() -> None:
    assert fit({x: 3 * x**2 for x in (1, 2, 4, 8)}) == pytest.approx({"slope": 2.0, "last_slope": 2.0})
    assert fit({10.0**n: 7.0 for n in range(3, 7)}) == pytest.approx({"slope": 0.0, "last_slope": 0.0})
    bent = fit({1: 10, 2: 10, 4: 20})
    assert bent["last_slope"] == pytest.approx(1.0)
    assert 0 < bent["slope"] < 1
    with pytest.raises(ConfigError, match="two measurements"):
        fit({1: 1.0})


def test_cells_are_two_crossing_rows_and_the_large_are_predicted() -> None:
    arguments = argparse.Namespace(sizes=[32, 64, 128], at_batch=8, at_size=[32], batches=[1, 8, 64])
    assert cells(arguments) == [(32, 1), (32, 8), (32, 64), (64, 8), (128, 8)]
    assert predicted_mib({}, 32, 1) == 0.0
    assert predicted_mib({(32, 8): 10.0}, 128, 8) == pytest.approx(160.0)
    assert predicted_mib({(32, 8): 10.0, (64, 8): 30.0}, 128, 8) == pytest.approx(120.0)
    assert predicted_mib({(32, 8): 10.0, (64, 16): 1.0}, 32, 32) == pytest.approx(40.0)
    assert numbers([4, 1, 4], "batches") == [1, 4]
    with pytest.raises(ConfigError, match="--batches"):
        numbers([4], "batches")


def test_sparse_stores_are_complete_and_take_no_disk(tmp_path: Path) -> None:
    sparse_store(tmp_path / "store", 20_000)
    store = Store(tmp_path / "store")
    assert len(store) == 20_000
    assert not store.get("image", np.array([0, 19_999])).any()
    file = (tmp_path / "store" / "image.npy").stat()
    assert file.st_size > 60e6
    assert file.st_blocks * 512 < 1e6


OWN_MEMORY = """
import sys
import numpy as np
from growth_children import largest_memory
from scr3d.data.store import Store

with largest_memory() as memory:
    held = np.ones(40 * 2**20, dtype=np.uint8)
    del held
print(memory[1] - memory[0])
mapped = Store(sys.argv[1]).arrays["image"]
with largest_memory() as memory:
    assert int(mapped.sum()) == 0
print(memory[1] - memory[0])
"""


def test_own_memory_counts_arrays_but_not_pages_of_files(tmp_path: Path) -> None:
    """In a process of its own: this one may have kept freed memory, from which the array would be taken."""
    sparse_store(tmp_path / "store", 20_000)
    command = [sys.executable, "-c", OWN_MEMORY, str(tmp_path / "store")]
    folder = Path(__file__).parent.parent / "benchmarks"
    found = subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder).stdout.split()
    array, mapped = (float(value) for value in found[-2:])
    assert 35 < array < 60
    assert mapped < 20


def test_costs_are_measured(tmp_path: Path) -> None:
    sparse_store(tmp_path / "store", 1000)
    cost = data_cost(tmp_path / "store", 1)
    assert cost["own_mib"] < 50 < cost["before_mib"]
    assert cost["ms"] > 0
    for split, count in (("train", 8), ("val", 4)):
        noise_store(tmp_path / "noise" / split, count, 32)
    cost = search_cost(tmp_path / "noise", tmp_path / "out", "random", 3)
    assert cost["cpu_ms"] > 0
    assert len(list((tmp_path / "out" / "trials").iterdir())) == 3


def test_the_picture_tells_slopes(tmp_path: Path) -> None:
    steps = [
        {"size": size, "batch": batch, "peak_mib": 2.0 * batch, "time": TIMING}
        for size, batch in ((32, 2), (64, 2), (32, 4))
    ]
    slope = {"slope": 1.23456, "last_slope": 1.0}
    memory = {"before_mib": 200.0, "own_mib": 3.0}
    results = {
        "step": {
            "cells": steps,
            "left_out": [],
            "slopes": {name: {"time": slope, "peak_mib": slope} for name in ("size, batch 2", "batch, size 32")},
        },
        "data": {
            "cells": [{"images": n, **memory} for n in (1000, 10_000)],
            "slopes": {"own_mib": slope, "whole_mib": slope, "time": slope},
        },
        "search": {
            "bo": {
                "cells": [{"orders": n, "ms": 10.0 * n, **memory} for n in (3, 6)],
                "slopes": {"time": slope, "whole_mib": slope},
            }
        },
    }
    report = Report("growth", {}, machine(1, "cpu"), results)
    report_json(report)
    draw(tmp_path, report)
    first = (tmp_path / "growth.svg").read_bytes()
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")
    draw(tmp_path, report)
    assert (tmp_path / "growth.svg").read_bytes() == first
    assert first.count(b"slope 1.23") >= 4


def test_processes_are_timed_with_their_own_processor_time() -> None:
    busy = "import time\nend = time.process_time() + 0.2\nwhile time.process_time() < end: pass"
    elapsed, spent = start(["-c", busy], 1)
    assert elapsed >= 200 <= spent < 2000
    with pytest.raises(ProcessError, match="no such thing"):
        start(["-c", "raise SystemExit('no such thing')"], 1)


def test_bulk_covers_every_kind_of_output(tmp_path: Path) -> None:
    alone = {options.only[0] for options in KINDS.values() if len(options.only) == 1}
    assert alone == set(Output) - {Output.PAGE}
    assert per_photo(TIMING, 2) == Timing(1.0, 0.75, 1.25, 0.5, 0.95, 7)
    assert len(make_photos(tmp_path / "photos", 9, 16)) == 9


def test_rates_add_up_over_processes() -> None:
    rounds = [[Work(10, 2.0, 1.8), Work(12, 2.0, 2.0)], [Work(10, 2.0, 1.8), Work(10, 2.0, 1.8)]]
    found = summary(rounds, batch=4)
    assert found["images_per_s"] == pytest.approx((44 + 40) / 2)
    assert found["cpu_share"] == pytest.approx((1.9 + 1.8) / 2)


@pytest.mark.slow
def test_runs_train_side_by_side(tmp_path: Path) -> None:
    for split in ("train", "val"):
        noise_store(tmp_path / "data" / split, 8, 32)
    arguments = argparse.Namespace(size=32, batch=2, seconds=0.3, repeats=1)
    rounds = compare(tmp_path / "data", tmp_path, arguments)
    assert {name: len(works[0]) for name, works in rounds.items()} == {n: len(names) for n, names in TURNS.items()}
    assert all(work.steps > 0 for works in rounds.values() for work in works[0])


def test_scores_are_compared_with_the_deviation_between_seeds() -> None:
    found = compare_scores([1.0, 2.0, 3.0], [2.0, 3.0, 4.0])
    assert (found["plain"], found["fused"], found["difference"]) == (2.0, 3.0, 1.0)
    assert found["deviation_between_seeds"] == pytest.approx(1.0)
    assert found["difference_in_standard_errors"] == pytest.approx(1 / np.sqrt(2 / 3))


@pytest.mark.slow
def test_a_run_in_both_forms_begins_with_the_same_numbers(heads: Path, tmp_path: Path) -> None:
    made = tasks(heads, tmp_path, size=32, batch=4, images=8, seeds=1)
    assert [task.form for task in made] == list(FORMS)
    plain, fused = map(scores_of, made)
    assert set(plain) == set(fused) == set(SCORES)
    assert fused != plain  # or the same form ran twice
    assert fused["reconstruction"] == pytest.approx(plain["reconstruction"], abs=1e-2)
    # Adam's first steps go by the sign of each gradient, so that rounding shows in the scores at once.
    assert fused == pytest.approx(plain, rel=0.02, abs=0.05)


def test_the_pages_show_the_committed_reports() -> None:
    root = Path(__file__).parent.parent
    command = [sys.executable, str(root / "tools" / "performance_tables.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="memory of a process is read from /proc")
def test_preparation_is_killed_and_goes_on(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", 600, None)
    found = prepared_set(tmp_path / "photos", tmp_path / "out", 600, "center", 1, 0.3)
    assert (found["starts"], found["killed_after_photos"]) == (2, 180)
    assert found["skipped"] == {"duplicate": 6, "unreadable": 1}
    assert sum(found["samples"].values()) == 593
    assert 20 < found["own_mib"] < 1000
