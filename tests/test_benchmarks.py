"""The benchmarks' own machinery: times taken in turns, reports of one form, counted work, shares of parts."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils.flop_counter import FlopCounterMode

from against_commit import ratio, unpack
from grouped import GroupedEncoders, encoders_of
from harness import Report, ReportError, Timing, check, machine, measure, report_json, summarise, write_report
from limit import Rates, Work, convolutions_call, count, size_bytes
from parts import MARK, OTHER, PARTS, STEP, attribute, step_parts
from runs import IMAGES_SEEN, make_data, model_config, trainer
from scr3d.errors import ConfigError

ROOT = Path(__file__).parent.parent
TIMING = Timing(2.0, 1.5, 2.5, 1.0, 1.9, 7)


def report(**changes: Any) -> Report:
    values = {
        "benchmark": "example",
        "settings": {"size": 64},
        "machine": machine(1, "cpu"),
        "results": {"here": {"call": TIMING, "rate": 1.23456789}, "list": [1, "text"]},
    }
    return Report(**(values | changes))


def test_a_report_is_written_whole_and_rounded(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "report.json"
    write_report(path, report())
    found = json.loads(path.read_text())
    check(found)
    assert found["results"]["here"] == {
        "call": {
            "median_ms": 2.0,
            "first_quartile_ms": 1.5,
            "third_quartile_ms": 2.5,
            "minimum_ms": 1.0,
            "cpu_ms": 1.9,
            "repeats": 7,
        },
        "rate": 1.2346,
    }
    assert found["machine"]["threads"] == 1
    assert len(found["machine"]["load_average"]) == 3
    assert [entry.name for entry in path.parent.iterdir()] == ["report.json"]


def test_without_a_path_the_report_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    write_report(None, report())
    check(json.loads(capsys.readouterr().out))


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"results": {}}, "results"),
        ({"results": {"deep": [{"call": {"median_ms": 3.0}}]}}, "results.deep[0].call"),
        ({"results": {"call": {"median_ms": -1.0, **dict.fromkeys(("first_quartile_ms",), 1.0)}}}, "results.call"),
        ({"results": {"rate": float("nan")}}, "results.rate"),
        ({"results": {"rate": float("inf")}}, "results.rate"),
        ({"benchmark": "With Spaces"}, "benchmark"),
        ({"machine": {"processor": "x"}}, "machine"),
        ({"machine": machine(1, "cpu") | {"threads": 0}}, "machine.threads"),
        ({"machine": machine(1, "cpu") | {"commit": "main"}}, "machine.commit"),
    ],
)
def test_a_report_of_another_form_is_refused(tmp_path: Path, changes: dict[str, Any], place: str) -> None:
    with pytest.raises(ReportError) as error:
        write_report(tmp_path / "report.json", report(**changes))
    assert f"$.{place}" in str(error.value)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_unknown_entries_are_refused() -> None:
    with pytest.raises(ReportError, match="extra"):
        check(report_json(report()) | {"extra": 1})


def test_calls_take_turns() -> None:
    order: list[str] = []
    times = measure({name: lambda name=name: order.append(name) for name in "abc"}, repeats=4, warmup=2)
    assert "".join(order) == 6 * "abc"
    assert {name: timing.repeats for name, timing in times.items()} == dict.fromkeys("abc", 4)


def test_times_are_those_of_each_call_without_the_warm_up() -> None:
    slept = iter([0.3, 0.02, 0.03, 0.04])
    times = measure({"sleeps": lambda: time.sleep(next(slept)), "does nothing": lambda: None}, repeats=3, warmup=1)
    sleeps = times["sleeps"]
    assert 20 <= sleeps.minimum_ms <= sleeps.first_quartile_ms <= sleeps.median_ms <= sleeps.third_quartile_ms
    assert 30 <= sleeps.median_ms < 300
    assert sleeps.cpu_ms < 20  # sleeping costs no processor time
    assert times["does nothing"].minimum_ms < 20


def test_statistics_by_hand() -> None:
    assert summarise([5.0, 1.0, 2.0, 4.0, 3.0], [7.0, 9.0, 8.0]) == Timing(3.0, 2.0, 4.0, 1.0, 8.0, 5)


def test_no_repeats_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least one repeat"):
        measure({}, repeats=0)


def tiny() -> tuple[nn.Sequential, Callable[[], object]]:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.ReLU(),
        nn.Conv2d(8, 4, 3, stride=2, padding=1, bias=False),
        nn.Flatten(),
        nn.Linear(4 * 16, 5, bias=False),
    )
    image = torch.randn(2, 3, 8, 8)
    return network, lambda: network(image).sum().backward()


def test_operations_by_hand() -> None:
    network, call = tiny()
    first = 2 * 2 * 8 * 3 * 9 * 64  # two per multiply-add, two images, 8 x 8 outputs
    second = 2 * 2 * 4 * 8 * 9 * 16
    last = 2 * 2 * 64 * 5
    by_hand = 2 * first + 3 * second + 3 * last  # each has a gradient of its weights and, but for the first, its input
    assert count(call, network.parameters()).operations == by_hand
    with FlopCounterMode(display=False) as counter:
        call()
    assert counter.get_total_flops() == by_hand


def test_kept_bytes_by_hand() -> None:
    network, call = tiny()
    image, hidden, out = 2 * 3 * 64, 2 * 8 * 64, 2 * 4 * 16
    # The image for the first convolution, the rectifier's output for itself and the second, the last layer's input.
    work = count(call, network.parameters())
    assert work.kept_bytes == 4 * (image + hidden + out)
    assert work.least_bytes(network.parameters()) == 2 * work.kept_bytes + 40 * (8 * 27 + 4 * 72 + 5 * 64)


def test_traffic_by_hand() -> None:
    first, second = torch.randn(4, 6), torch.randn(6, 5)
    whole = torch.ones(10)
    row = torch.ones(1, 6).expand(4, 6)

    def call() -> None:
        product = first @ second  # reads 24 + 30, writes 20
        product.view(20).relu()  # 20, 20
        product.add_(1)  # 20, 20
        torch.empty(100)  # nothing is touched
        whole.copy_(torch.zeros(10))  # zeros: writes 10; copy: 10, 10
        first + row  # 24 and 6 distinct numbers, 24
        torch._foreach_mul_([whole, second], 2.0)  # 10 + 30, 10 + 30

    assert count(call).traffic_bytes == 4 * (74 + 40 + 40 + 30 + 54 + 80)
    assert size_bytes(row) == 24
    assert size_bytes("text") == 0


def test_convolutions_alone_are_those_of_the_step() -> None:
    network, call = tiny()
    network.to(memory_format=torch.channels_last)
    work = count(lambda: [call() for _ in range(3)])
    assert list(work.convolutions.values()) == [3, 3, 3, 3]
    assert sorted(convolution.backward for convolution in work.convolutions) == [False, False, True, True]
    alone = count(convolutions_call(work, "cpu"))
    assert alone.convolutions == work.convolutions
    assert alone.operations == work.operations - 3 * 3 * (2 * 2 * 64 * 5)


def test_half_precision_convolutions_are_replayed_in_it() -> None:
    _, call = tiny()

    def half() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            call()

    work = count(half)
    types = {layout.dtype for single in work.convolutions for layout in single.tensors if layout is not None}
    assert types == {torch.bfloat16}
    assert count(convolutions_call(work, "cpu")).convolutions == work.convolutions


def test_limits_by_hand() -> None:
    rates = Rates(gflops=100.0, copy_gb_per_s=20.0)
    assert rates.operations_ms(2 * 10**9) == pytest.approx(20.0)
    assert rates.bytes_ms(10**8) == pytest.approx(5.0)
    assert Work(1, 2, 100, None).least_bytes([torch.zeros(3, 2)]) == 200 + 240


def test_backward_time_goes_to_the_part_that_made_the_node() -> None:
    large = torch.randn(500, 500, requires_grad=True)
    small = torch.randn(4, 4, requires_grad=True)

    def step() -> None:
        with record_function(MARK + "encoders"):
            heavy = (large @ large @ large @ large).mean()
        with record_function(MARK + "losses"):
            with record_function(MARK + "renderer"), torch.no_grad():
                large @ large
            light = (small * small).mean()
        (heavy + light).backward()

    step()
    with profile(activities=[ProfilerActivity.CPU]) as profiler, record_function(STEP):
        step()
    events = list(profiler.events())
    forward, backward = attribute(events)
    whole = sum(event.cpu_time_total for event in events if event.name == STEP) / 1e3
    assert sum(forward.values()) + sum(backward.values()) == pytest.approx(whole, rel=0.03)
    assert backward["encoders"] > 0.9 * sum(backward.values())
    assert 0 < backward["losses"] < 0.1 * backward["encoders"]
    assert backward["renderer"] == backward["data"] == 0
    assert forward["encoders"] > forward["renderer"] > forward["losses"] > 0


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("benchmark"), 32, 4)


def test_the_parts_of_a_step_add_up(heads: Path, tmp_path: Path) -> None:
    made = trainer(heads, tmp_path, model_config("compact", 32, "dense"), 4, 1, "cpu")
    methods = made.data.train_batch
    shares = step_parts(made, 1)
    assert made.data.train_batch == methods  # nothing stays wrapped
    parts = {part: shares.forward_ms[part] + shares.backward_ms[part] for part in PARTS}
    assert sum(parts.values()) == pytest.approx(shares.step_ms, rel=0.03)
    assert all(parts[part] > 0 for part in PARTS)
    assert parts[OTHER] < 0.2 * shares.step_ms
    inside = {part for part, spent in shares.backward_ms.items() if spent > 0}
    assert inside >= set(PARTS) - {"optimiser", "data", OTHER}


def test_a_learned_graph_is_still_learned_while_it_is_timed(heads: Path, tmp_path: Path) -> None:
    made = trainer(heads, tmp_path, model_config("compact", 32, "generic"), 4, 1, "cpu")
    assert made.images_seen == IMAGES_SEEN
    assert made.graph is not None
    assert made.graph.learns_at(10 * made.step)


def run_script(command: list[str], out: Path) -> dict[str, Any]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    check(found)
    return found


def test_step_runs(tmp_path: Path) -> None:
    out = tmp_path / "step.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "step.py"), "--sizes", "32", "--batch", "2", "--repeats", "1"]
    command += ["--structures", "independent", "--precisions", "float32", "--parts", "1", "--out", str(out)]
    found = run_script(command, out)
    (name,) = found["results"]["steps"]
    step = found["results"]["steps"][name]
    assert name == "compact 32 independent float32"
    assert step["images_per_s"] == pytest.approx(2000 / step["step"]["median_ms"], rel=1e-3)
    assert step["least_ms"] == max(step["operations_ms"], step["bytes_ms"])
    assert step["of_least"] == pytest.approx(step["least_ms"] / step["step"]["median_ms"], rel=1e-3)
    assert step["of_convolutions"] == pytest.approx(
        step["convolutions"]["median_ms"] / step["step"]["median_ms"], rel=1e-3
    )
    shares = [part["share"] for part in found["results"]["parts"][name]["parts"].values()]
    assert sum(shares) == pytest.approx(1, abs=0.03)


def test_ratio_of_versions_by_hand() -> None:
    earlier = np.array([[[10.0, 1], [20, 1], [30, 1]], [[40, 1], [40, 1], [40, 1]]])
    present = np.array([[[10.0, 1], [10, 1], [10, 1]], [[10, 1], [10, 1], [10, 1]]])
    found = ratio(earlier, present, 0)
    assert found == {"median": 3.0, "first_quartile": 2.5, "third_quartile": 3.5, "of_all_steps": 3.5, "rounds": 2}


def test_an_unknown_commit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such commit"):
        unpack("0" * 40, tmp_path)


@pytest.mark.slow
def test_versions_take_turns(tmp_path: Path) -> None:
    try:
        unpack("d906e9a", tmp_path / "earlier")
    except ConfigError:
        pytest.skip("this clone does not reach back to the first stage")
    out = tmp_path / "report.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "against_commit.py"), "--size", "32", "--batch", "4"]
    command += ["--rounds", "2", "--repeats", "1", "--out", str(out)]
    found = run_script(command, out)
    assert {timing["repeats"] for timing in found["results"]["versions"].values()} == {2}
    assert set(found["results"]["times_as_fast"]) == {"same network", "default"}


@pytest.fixture(scope="module")
def tables() -> Any:
    specification = importlib.util.spec_from_file_location("performance_tables", ROOT / "tools/performance_tables.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_page_shows_the_committed_reports(tables: Any) -> None:
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    assert page == tables.with_tables(page)
    for benchmark, _ in tables.TABLES.values():
        for name, found in tables.reports(benchmark).items():
            check(found, name)


def test_tables_from_a_report(tables: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    assert "make bench-peers" in tables.made("peers")
    timing = Timing(2.0, 1.5, 2.5, 1.0, 1.9, 3)
    one = {
        "title": "other",
        "version": "1.2",
        "total": timing,
        "query": timing,
        "times_scr3d": {"total": 4.0, "query": 3.0},
        "agreement": {"mask_differs": 0.001, "depth_differs_smooth": 0.0},
    }
    results = {"sizes": {"64": {"maps": 128, "renderers": {"other": one}}}}
    write_report(tmp_path / "peers.json", report(benchmark="peers", results=results))
    (tmp_path / "peers-old.json").write_text("{}")  # of another form
    lines = tables.made("peers").splitlines()
    assert lines[2] == (
        "| 128 of 64x64 | other 1.2 | 2 (1.5 to 2.5) | 2 (1.5 to 2.5) | 4.0 | 3.0 | 0.1000 % | 0.0000 % |"
    )
    assert "results/benchmarks/peers.json" in lines[-1]


@pytest.mark.parametrize("size", [32, 128])
def test_grouped_encoders_are_the_encoders(size: int) -> None:
    """What is compared with the encoders computes the same."""
    encoders = encoders_of(size)
    image = torch.rand(2, 3, size, size)
    with torch.no_grad():
        wanted = torch.stack([encoder(image) for encoder in encoders], 1)
        torch.testing.assert_close(GroupedEncoders(encoders)(image), wanted, rtol=1e-4, atol=1e-5)
