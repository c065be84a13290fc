import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from running import IN_BACKGROUND, all_gone, children
from scr3d.benchmark.config import BenchmarkConfig, Stage
from scr3d.benchmark.pictures import PICTURED, ROWS
from scr3d.benchmark.plan import plan
from scr3d.benchmark.records import Results
from scr3d.benchmark.run import execute, prepare_data, resolve
from scr3d.benchmark.runner import expected_seconds, images_seen, left_to_do
from scr3d.cli import main
from scr3d.commands.benchmark import duration
from scr3d.errors import ConfigError


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> BenchmarkConfig:
    """The smallest protocol, with its data made."""
    root = tmp_path_factory.mktemp("runs")
    config = BenchmarkConfig(protocol="smoke", out=root / "results", work=root / "work", device="cpu")
    prepare_data(config)
    return config


def run_named(config: BenchmarkConfig, stage: Stage, name: str):
    return next(run for run in plan(config) if run.stage is stage and run.name == name)


def do(config: BenchmarkConfig, stage: Stage, name: str) -> dict:
    job = resolve(run_named(config, stage, name), Results.read(config.folder), config)
    return json.loads(execute(job, config, prepare_data(config)).read_text())


def test_baselines_are_scored_on_validation_and_test(config) -> None:
    plane, average = (do(config, Stage.TABLE, f"{name}-depth-s0") for name in ("null", "average"))
    assert len(plane["test"]["side_e2"]) == 64
    assert len(plane["validation"]["side_e2"]) == 32
    assert np.mean(average["test"]["mad_deg"]) < np.mean(plane["test"]["mad_deg"])
    assert plane["training"] is None


def test_a_row_is_trained_at_its_best_rate_scored_and_pictured(config) -> None:
    wu = replace(config, methods=("wu",))
    for rate in config.settings.rates:
        do(wu, Stage.RATES, f"wu-{rate:g}")
    record = do(wu, Stage.TABLE, "wu-s0")
    assert record["images_seen"] == config.settings.images
    assert record["training"]["model"]["split"] is False
    assert [point["images"] for point in record["curve"]][-1] == config.settings.images
    assert len(record["test"]["albedo_error"]) == 64
    assert record["factors"]["yaw error (deg, aligned)"] > 0
    losses = {
        rate: Results.read(config.folder).get(Stage.RATES, f"wu-{rate:g}").heldout for rate in config.settings.rates
    }
    assert record["rate"] == min(losses, key=lambda rate: losses[rate])
    picture = Image.open(io.BytesIO((config.folder / "table" / "wu-s0.png").read_bytes()))
    assert picture.size == (PICTURED * 32, len(ROWS) * 32)
    assert not [run for run in left_to_do(wu, Results.read(config.folder)) if run.method.name == "wu" and run.rate]
    assert expected_seconds([run_named(wu, Stage.TABLE, "wu-s0")], Results.read(config.folder), wu) > 0


def test_a_learned_graph_is_in_the_record_with_what_it_has_cost(config) -> None:
    generic = replace(config, methods=("generic-eq5",))
    record = do(generic, Stage.RATES, "generic-eq5-0.001")
    assert np.array(record["graph"]["learned"]).shape == (4, 4)
    steps = config.settings.rate_images // 32
    assert 0 < record["extra_images"] <= steps * 32


def test_supervised_learning_reaches_the_test_split(config) -> None:
    record = do(replace(config, methods=("supervised",)), Stage.RATES, "supervised-0.001")
    assert record["training"]["recipe"]["supervised"] is True
    assert record["training"]["model"]["max_rotation_deg"] == 0
    assert np.isfinite(np.mean(record["validation"]["side_e2"]))


def test_the_plan_is_printed_before_anything_is_done(tmp_path, capsys) -> None:
    main(["benchmark", "--protocol", "cpu", "--out", str(tmp_path), "--work", str(tmp_path / "work"), "--plan"])
    printed = capsys.readouterr().out
    assert "orders        50    50" in printed
    assert "unknown until the first run is done" in printed
    assert not (tmp_path / "work").exists()


def test_durations_read_well() -> None:
    assert duration(59 * 60) == "59 min"
    assert duration(3600 * 12 + 61) == "12 h 1 min"


def test_progress_is_read_from_the_last_whole_line(tmp_path) -> None:
    assert images_seen(tmp_path) == 0
    (tmp_path / "log.jsonl").write_text('{"images": 64}\n{"images": 128}\n{"ima')
    assert images_seen(tmp_path) == 128


def test_data_without_truth_is_refused(tmp_path) -> None:
    photos = tmp_path / "photos"
    for split in ("train", "val", "test"):
        (photos / split).mkdir(parents=True)
        for number in range(3):
            Image.fromarray(np.full((40, 40, 3), 60 * number, np.uint8)).save(photos / split / f"{number}.png")
    config = BenchmarkConfig(protocol="smoke", data=photos, out=tmp_path / "out", work=tmp_path / "work")
    from scr3d.errors import DataError

    with pytest.raises(DataError, match="needs true depth"):
        prepare_data(config)


def test_a_missing_package_is_named(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    monkeypatch.delitem(sys.modules, "scr3d.benchmark.records", raising=False)
    monkeypatch.delitem(sys.modules, "scr3d.benchmark.expressiveness", raising=False)
    monkeypatch.delitem(sys.modules, "scr3d.benchmark.report", raising=False)
    monkeypatch.delitem(sys.modules, "scr3d.benchmark.choices", raising=False)
    from scr3d.commands import benchmark

    with pytest.raises(ConfigError, match="pip install 'scr3d\\[bench\\]'"):
        benchmark.run(["--protocol", "smoke", "--plan"])


@pytest.mark.slow
def test_a_killed_benchmark_goes_on_to_the_same_result(tmp_path) -> None:
    """The whole command in a process that is killed in the middle of a run, against one that is left alone."""

    def command(name: str) -> list[str]:
        folder = tmp_path / name
        return [
            *(sys.executable, "-m", "scr3d.cli", "benchmark", "--protocol", "smoke", "--jobs", "1"),
            *("--methods", "independent", "--stages", "rates", "table", "--device", "cpu"),
            *("--out", str(folder), "--work", str(folder / "work"), "--docs", str(folder / "docs")),
        ]

    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run(command("whole"), check=True, env=environment, capture_output=True)
    process = subprocess.Popen(command("killed"), env=environment, start_new_session=True, stdout=subprocess.DEVNULL)
    log = tmp_path / "killed" / "work" / "smoke" / "table" / "independent-s0" / "log.jsonl"
    deadline = time.monotonic() + 300
    while not (log.is_file() and "validation" in log.read_text()):
        assert time.monotonic() < deadline, "the run has not started"
        assert process.poll() is None, "the run has ended too early"
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed" / "benchmark" / "smoke" / "table" / "independent-s0.json").exists()
    subprocess.run(command("killed"), check=True, env=environment, capture_output=True)
    found = [
        json.loads((tmp_path / name / "benchmark" / "smoke" / "table" / "independent-s0.json").read_text())
        for name in ("whole", "killed")
    ]
    assert found[0]["test"] == found[1]["test"]
    assert found[0]["curve"] == found[1]["curve"]
    assert (tmp_path / "killed" / "docs" / "results-smoke.md").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_runs_end_with_the_command_that_has_started_them(tmp_path, number: signal.Signals) -> None:
    """Only the command itself gets the signal, as from `kill` or a service manager."""
    command = [
        *(sys.executable, "-m", "scr3d.cli", "benchmark", "--protocol", "smoke", "--jobs", "2", "--device", "cpu"),
        *("--stages", "orders", "--out", str(tmp_path), "--work", str(tmp_path / "work")),
        *("--docs", str(tmp_path / "docs")),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*IN_BACKGROUND, *command], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 300
    while not list((tmp_path / "work").glob("smoke/orders/*/log.jsonl")):
        assert time.monotonic() < deadline, "no run has started"
        assert process.poll() is None, "the command has ended too early"
        time.sleep(0.05)
    started = children(process.pid)
    assert len(started) >= 2
    process.send_signal(number)
    _, said = process.communicate(timeout=120)
    if number == signal.SIGTERM:
        assert process.returncode == 75
        assert "scr3d: stopped by SIGTERM; the same command goes on" in said
    assert all_gone(started, 60), "runs have outlived their command"
    subprocess.run(command, check=True, env=environment, capture_output=True)
    assert len(list(tmp_path.glob("benchmark/smoke/orders/*.json"))) == 25


@pytest.fixture(autouse=True)
def _threads():
    """Runs take one thread; the tests after them take what they had."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
