"""The plan on paper: its arithmetic, and that page, result file and program say the same."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tools"))

from cost_plan import (  # noqa: E402
    CALL_S,
    DEVICES,
    MARK,
    PAGE,
    PLAN,
    Device,
    make_plan,
    makespan,
    reached_share,
    step_cost,
    tables,
)

WORK = {"operations": 10**12, "traffic_bytes": 10**9, "least_bytes": 10**8, "calls": 1000}


def test_the_largest_term_decides() -> None:
    slow = step_cost(WORK, Device(tflops=1.0, memory_tb_per_s=1.0, link_gb_per_s=1.0), share=0.5)
    assert (slow.operations_ms, slow.traffic_ms, slow.best_ms) == pytest.approx((1000, 1, 1000))
    assert (slow.expected_ms, slow.bound) == (pytest.approx(2000), "operations")
    starved = step_cost(WORK, Device(tflops=1e6, memory_tb_per_s=0.001, link_gb_per_s=1.0), share=0.5)
    assert (starved.expected_ms, starved.bound) == (pytest.approx(2000), "memory traffic")
    fast = step_cost(WORK, Device(tflops=1e6, memory_tb_per_s=1e6, link_gb_per_s=1.0), share=0.5)
    assert (fast.expected_ms, fast.bound) == (pytest.approx(1000 * 1000 * CALL_S), "calls")


def test_runs_are_shared_by_gpus() -> None:
    assert makespan([3, 1, 1, 1], 1) == 6
    assert makespan([3, 1, 1, 1], 2) == 3
    assert makespan([3, 1], 8) == 3


def test_the_share_of_the_limit_is_that_of_the_measured_step() -> None:
    step = {"operations_ms": 20.0, "traffic_ms": 30.0, "step": {"median_ms": 90.0}}
    assert reached_share({"steps": {"compact 64 dense float32": step}}) == pytest.approx(1 / 3)


def test_page_and_result_file_are_what_the_program_makes() -> None:
    made = make_plan("H100 SXM", [1, 8])
    kept = json.loads(PLAN.read_text())
    assert json.loads(json.dumps(made)) == kept
    page = PAGE.read_text()
    assert page.split(MARK[0])[1].split(MARK[1])[0].strip() == tables(kept)
    assert "a plan on paper" in page


def test_eight_gpus_take_at_least_an_eighth_of_the_time_and_no_more_gpu_hours_are_made_up() -> None:
    found = make_plan("H100 SXM", [1, 8])
    assert found["elapsed_hours"]["1"] == pytest.approx(found["gpu_hours"])
    assert found["gpu_hours"] / 8 <= found["elapsed_hours"]["8"] < found["gpu_hours"] / 4
    assert found["gpu_hours_at_best"] < found["gpu_hours"]
    assert set(DEVICES) >= {"H100 SXM"}
