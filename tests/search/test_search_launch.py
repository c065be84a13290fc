"""Workers of a search as jobs: real ones on this machine, through submitit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scr3d.cli import main
from scr3d.commands.search import run, without_launch
from scr3d.errors import ConfigError
from scr3d.search.launch import Worker, fault_of, launch, make_executor
from scr3d.search.launch_config import LaunchOptions

submitit = pytest.importorskip("submitit")


def test_a_worker_gets_all_arguments_but_those_about_jobs() -> None:
    given = [
        "--data",
        "x",
        "--workers",
        "2",
        "--launcher=local",
        "--job-gpus",
        "0",
        "--jobs",
        "3",
        "--job_minutes",
        "5",
    ]
    assert without_launch(given) == ["--data", "x", "--jobs", "3"]


def test_slurm_is_refused_where_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="this machine has no srun"):
        make_executor(tmp_path, LaunchOptions(workers=1))


def test_impossible_jobs_are_refused() -> None:
    for changed in ({"workers": -1}, {"job_minutes": 0}, {"job_cpus": 0}, {"job_gpus": -1}):
        with pytest.raises(ConfigError, match="must not be negative"):
            LaunchOptions(**changed)


def test_a_worker_whose_time_is_up_is_submitted_again_as_it_was() -> None:
    worker = Worker(run, ["--data", "x"])
    assert worker.checkpoint().function == worker


def test_a_job_that_dies_has_a_fault_and_a_worker_says_its_own(tmp_path: Path) -> None:
    class Died:
        job_id = "7"
        paths = type("Paths", (), {"stderr": "7.err"})

        def result(self) -> str:
            raise RuntimeError("first line\nkilled by signal 9\n")

    assert fault_of(Died()) == "job 7: killed by signal 9; see 7.err"
    said = Worker(run, ["--data", str(tmp_path / "nothing"), "--out", str(tmp_path / "out"), "--device", "cpu"])()
    assert "expected a folder of images or a data store" in said


@pytest.mark.slow
def test_two_jobs_share_a_search(heads: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    words = f"--data {heads} --out {tmp_path} --size 32 --width 4 --images 24 --batch-size 4 --validation-images 8"
    words += " --strategy random --trials 4 --threads 1 --device cpu --launcher local --workers 2 --job-cpus 1"
    main(["search", *words.split()])
    assert "2 jobs are submitted to local" in capsys.readouterr().out
    assert len(list((tmp_path / "trials").iterdir())) == 4
    outputs = [path.read_text() for path in (tmp_path / "jobs").glob("*.out")]
    assert sum("report.html shows it" in text for text in outputs) == 2
    assert json.loads((tmp_path / "report.json").read_text())


@pytest.mark.slow
def test_jobs_that_all_fail_are_reported(tmp_path: Path) -> None:
    options = LaunchOptions(workers=1, launcher="local", job_cpus=1)
    nothing = Worker(run, ["--data", str(tmp_path / "nothing"), "--out", str(tmp_path / "out")])
    with pytest.raises(ConfigError, match="no worker came to the end of the search; the first: job"):
        launch(nothing, tmp_path / "jobs", options)
