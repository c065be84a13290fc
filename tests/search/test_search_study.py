"""Whole searches with a stand-in for training: strategies, resuming, sharing, bad input."""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from PIL import Image
from standin import config, notes, objective, score_of, shared, stand_in, stand_in_for_company

from scr3d.causal import StructureKind
from scr3d.errors import ConfigError, DataError
from scr3d.models.config import ModelConfig
from scr3d.search.board import Board
from scr3d.search.config import ScoreKind, SearchConfig, Strategy, Task
from scr3d.search.kept import result_path
from scr3d.search.objective import Objective, Outcome
from scr3d.search.storage import open_storage
from scr3d.search.study import search


def test_exhaustive_search_trains_each_order_once_and_finds_the_best(heads: Path, tmp_path: Path) -> None:
    report = search(config(heads, tmp_path, strategy=Strategy.EXHAUSTIVE), objective())
    assert report.best.name == "VDLA"
    trained = notes(tmp_path, "end")
    assert len(trained) == len(set(trained)) == 24
    assert report.random_best[0] == pytest.approx(sum(row.score for row in report.rows) / 24)
    assert report.random_best[-1] == report.best.score
    # The stand-in's table falls off with the L1 distance of ranks: that kernel has to predict it better.
    accuracy = json.loads((tmp_path / "report.json").read_text())["leave_one_out"]
    assert accuracy["l1"]["rmse"] < 0.5 * accuracy["mallows"]["rmse"]
    assert report.accuracy() in report.text()
    assert f"l1 error {accuracy['l1']['rmse']:.4f}" in (tmp_path / "report.html").read_text()
    again = search(config(heads, tmp_path, strategy=Strategy.EXHAUSTIVE), objective())
    assert again.best == report.best
    assert len(notes(tmp_path, "end")) == 24


def test_a_search_can_be_taken_further(heads: Path, tmp_path: Path) -> None:
    search(config(heads, tmp_path, trials=3), objective())
    first = notes(tmp_path, "end")
    report = search(config(heads, tmp_path, trials=5, seeds=2), objective())
    trained = notes(tmp_path, "end")
    assert trained[:3] == first
    assert Counter(name for name, _, _ in trained) == dict.fromkeys({name for name, _, _ in trained}, 2)
    assert len(report.full_rows) == 5
    assert all(row.seeds == 2 and row.spread == pytest.approx(0.001 / 2**0.5) for row in report.rows)


@pytest.mark.parametrize(("options", "candidates"), [({}, 12), ({"kernel": "mallows", "seeds": 2}, 6)])
def test_bayesian_optimisation_finds_the_best_sooner_than_random_search(
    heads: Path, tmp_path: Path, options: dict, candidates: int
) -> None:
    report = search(config(heads, tmp_path, strategy=Strategy.BO, trials=candidates, **options), objective())
    trained = notes(tmp_path, "end")
    assert len(trained) == len(set(trained)) == candidates * options.get("seeds", 1)
    # Random search finds the single best of 24 in half (a quarter) of all cases; the table has structure in ranks.
    assert score_of(report.best.name) <= 1.2 + 1e-9
    assert len(report.expectations) == 24
    assert report.expectations[0].name in {row.name for row in report.full_rows[:4]}


def test_bayesian_optimisation_of_sub_dags(heads: Path, tmp_path: Path) -> None:
    settings = config(heads, tmp_path, strategy=Strategy.BO, trials=8, sub_dags_of="VDLA")
    report = search(settings, objective())
    assert len(report.full_rows) == len(set(notes(tmp_path, "end"))) == 8
    assert len(report.expectations) == 64


def test_halving_trains_the_better_ones_on(heads: Path, tmp_path: Path) -> None:
    settings = config(heads, tmp_path, strategy=Strategy.HALVING, trials=18)
    assert settings.lengths == (40, 120, 360)
    report = search(settings, objective())
    trained = notes(tmp_path, "end")
    rungs = {images: [name for name, _, at in trained if at == images] for images in settings.lengths}
    assert [len(names) for names in rungs.values()] == [18, 6, 2]
    for lower, upper in ((40, 120), (120, 360)):
        worst = max(score_of(name) for name in rungs[upper])
        assert sum(score_of(name) < worst for name in rungs[lower]) <= len(rungs[upper])
    assert report.steps[-1].images == 18 * 40 + 6 * 80 + 2 * 240
    # All rungs of a candidate are parts of one run, so that it goes on from its checkpoint.
    assert len({settings.run_config(Task("VDLA", 0, images)) for images in settings.lengths}) == 1


def test_one_shot_trains_the_shared_network_once_and_the_best_few_alone(heads: Path, tmp_path: Path) -> None:
    settings = config(heads, tmp_path, strategy=Strategy.ONE_SHOT, trials=3)
    report = search(settings, objective())
    search(settings, objective())
    assert len(notes(tmp_path, "shared")) == 1
    ranked = sorted(settings.space.names, key=lambda name: (score_of(name), name))
    assert [name for name, _, _ in notes(tmp_path, "end")] == ranked[:3]
    assert report.steps[0].images == 2 * settings.training.images
    assert len(report.shared) == 24
    assert report.record["rank_correlation_of_shared_weights"] == pytest.approx(1.0)


def test_search_over_sub_dags(heads: Path, tmp_path: Path) -> None:
    settings = config(heads, tmp_path, strategy=Strategy.EXHAUSTIVE, sub_dags_of="vdla")
    report = search(settings, objective())
    assert len(report.rows) == 64
    models = [settings.run_config(Task(name, 0, 360)).model for name in settings.space.names]
    assert sorted({m.structure for m in models}) == [StructureKind.GRAPH, StructureKind.INDEPENDENT]
    assert len({settings.run_config(Task(name, 0, 360)).out for name in settings.space.names}) == 64
    assert "no edges" in report.text()


def test_an_interrupted_training_is_taken_up_again_first(heads: Path, tmp_path: Path) -> None:
    tried: list[str] = []

    def interrupted(settings: SearchConfig, task: Task) -> Outcome:
        tried.append(task.name)
        if len(tried) == 3:
            raise KeyboardInterrupt
        return stand_in(settings, task)

    settings = config(heads, tmp_path, trials=5, heartbeat_s=1000.0)
    with pytest.raises(KeyboardInterrupt):
        search(settings, Objective(interrupted, shared))
    assert len(search(settings, objective()).rows) == 5
    trained = [name for name, _, _ in notes(tmp_path, "end")]
    assert trained[:3] == tried
    assert len(trained) == len(set(trained)) == 5


def test_a_result_that_the_study_was_not_told_is_found_and_reported(
    heads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(heads, tmp_path, trials=3)

    def die(*told: object) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Board, "finish", die)
        with pytest.raises(KeyboardInterrupt):
            search(settings, objective())
    first = notes(tmp_path, "begin")
    assert len(first) == 1
    report = search(settings, objective())
    begun = notes(tmp_path, "begin")
    assert begun[:1] == first
    assert len(begun) == len(set(begun)) == 3
    assert {row.name: row.score for row in report.rows}[first[0][0]] == pytest.approx(score_of(first[0][0]) + 10 / 360)
    # A study of another name is another search: it takes no results from this one.
    search(replace(settings, study_name="other"), objective())
    assert len(notes(tmp_path, "begin")) == 6


def test_a_damaged_result_is_refused(heads: Path, tmp_path: Path) -> None:
    settings = config(heads, tmp_path, trials=1)
    first = search(settings, objective()).found[0]
    path = result_path(settings, Task(first.name, first.seed, first.images))
    path.write_text("{")
    with pytest.raises(DataError, match=r"damaged .* remove it"):
        search(replace(settings, study_name="other"), objective())


def test_a_candidate_without_a_finite_score_is_left_out_and_not_repeated(heads: Path, tmp_path: Path) -> None:
    def spoiled(settings: SearchConfig, task: Task) -> Outcome:
        found = stand_in(settings, task)
        return replace(found, score=float("nan")) if task.name == "VDLA" else found

    report = search(config(heads, tmp_path, strategy=Strategy.EXHAUSTIVE), Objective(spoiled, shared))
    assert len(notes(tmp_path, "end")) == 24
    assert len(report.rows) == 23
    assert report.random_best == []


@pytest.mark.slow
def test_jobs_share_the_work(heads: Path, tmp_path: Path) -> None:
    report = search(
        config(heads, tmp_path, strategy=Strategy.EXHAUSTIVE, jobs=2), Objective(stand_in_for_company, shared)
    )
    trained = notes(tmp_path, "end")
    assert len(trained) == len(set(trained)) == 24
    assert len(report.rows) == 24
    assert "trial" in (tmp_path / "workers" / "worker-2.log").read_text()


@pytest.mark.parametrize("strategy", [Strategy.RANDOM, Strategy.ONE_SHOT])
def test_a_study_of_another_search_is_refused_and_left_alone(heads: Path, tmp_path: Path, strategy: Strategy) -> None:
    settings = config(heads, tmp_path, strategy=strategy, trials=2)
    search(settings, objective())
    before = (tmp_path / "report.json").read_bytes()
    url = f"sqlite:///{tmp_path}/search.db"
    trials = optuna.load_study(storage=open_storage(url), study_name="scr3d-search").get_trials()
    longer = replace(settings.training, images=720)
    for other, reason in (
        (replace(settings, score=ScoreKind.NORMALS), "score: heldout there, normals here"),
        (replace(settings, training=longer), "training images: 360 there, 720 here"),
        (replace(settings, strategy=Strategy.HALVING), "strategy: .* there, halving here"),
        (replace(settings, sub_dags_of="VDLA"), "sub-dags-of: None there, VDLA here"),
    ):
        with pytest.raises(ConfigError, match=reason):
            search(other, objective())
    assert (tmp_path / "report.json").read_bytes() == before
    assert optuna.load_study(storage=open_storage(url), study_name="scr3d-search").get_trials() == trials


def test_other_data_is_refused(heads: Path, tmp_path: Path) -> None:
    search(config(heads, tmp_path / "out", trials=1), objective())
    other = tmp_path / "other"
    shutil.copytree(heads / "train", other / "train")
    shutil.copytree(heads / "train", other / "val")
    with pytest.raises(ConfigError, match=r"data val: .* there, .* here"):
        search(config(other, tmp_path / "out", trials=1), objective())
    moved = tmp_path / "moved"
    shutil.copytree(heads, moved)
    assert search(config(moved, tmp_path / "out", trials=1), objective()).found


def test_photos_are_imported_once_and_have_no_normals(tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    for number in range(40):
        Image.new("RGB", (40, 40), (number * 6, 99, 50)).save(photos / f"{number}.png")
    settings = config(photos, out, trials=2)
    with pytest.raises(DataError, match="--score normals needs true depth"):
        search(replace(settings, score=ScoreKind.NORMALS), objective())
    assert not (out / "search.db").exists()
    search(settings, objective())
    assert sorted(path.name for path in (out / "data").iterdir()) == ["train", "val"]
    Image.new("RGB", (41, 41), (1, 2, 3)).save(photos / "0.png")
    with pytest.raises(DataError, match="have changed since"):
        search(settings, objective())


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"trials": 25}, "between 1 and 24, the number of orders; got 25"),
        ({"trials": 65, "sub_dags_of": "VDLA"}, "between 1 and 64, the number of sub-DAGs; got 65"),
        ({"trials": -1}, "got -1"),
        ({"seeds": 0}, "--seeds must be at least 1"),
        ({"jobs": 0}, "--jobs must be at least 1"),
        ({"startup_trials": 0}, "--startup-trials"),
        ({"eta": 1}, "--eta must be at least 2"),
        ({"heartbeat_s": 0.0}, "--heartbeat-s must be positive"),
        ({"sub_dags_of": "VDLA", "kernel": "mallows"}, "take --kernel l1"),
        ({"sub_dags_of": "VDLL"}, "each of V, D, L, A once"),
        ({"strategy": Strategy.HALVING, "rungs": 9}, "fewer --rungs"),
    ],
)
def test_options_that_cannot_work_are_refused(heads: Path, tmp_path: Path, options: dict, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        config(heads, tmp_path, **options)


@pytest.mark.parametrize(
    ("model", "options", "reason"),
    [
        ({"order": "VDLA"}, {}, "leave out --order"),
        ({"structure": StructureKind.GRAPH, "edges": "V>D"}, {}, "leave out --order and --edges"),
        ({"structure": StructureKind.INDEPENDENT}, {}, "has no order to search for"),
        ({"structure": StructureKind.DYNAMIC}, {"sub_dags_of": "VDLA"}, "leave out --structure dynamic"),
        ({"structure": StructureKind.GENERIC}, {"strategy": Strategy.ONE_SHOT}, "cannot learn one"),
    ],
)
def test_models_that_cannot_be_searched_are_refused(
    heads: Path, tmp_path: Path, model: dict, options: dict, reason: str
) -> None:
    training = replace(config(heads, tmp_path).training, model=ModelConfig(size=32, width=4, **model))
    with pytest.raises(ConfigError, match=reason):
        SearchConfig(training, **options)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("sqlite:////nowhere/at/all.db", "unable to open"),
        ("postgresql+psycopg://me:secret@127.0.0.1:1/none", "127.0.0.1"),
        ("nosql://x", "nosql"),
        ("not a url", "not a url"),
        ("journal:/nowhere/at/all.log", "a folder that exists"),
        ("mysql+nodriver://x/y", "nodriver"),
    ],
)
def test_storages_that_cannot_be_used_are_refused(heads: Path, tmp_path: Path, url: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as error:
        search(config(heads, tmp_path, storage=url), objective())
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("driver", "url"), [("pymysql", "mysql+pymysql://me:secret@x/y"), ("psycopg", "postgresql+psycopg://x/y")]
)
def test_storages_whose_driver_is_missing_are_refused(
    heads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, driver: str, url: str
) -> None:
    monkeypatch.setitem(sys.modules, driver, None)
    with pytest.raises(ConfigError, match=r"needs a driver that is not installed .*pip install") as error:
        search(config(heads, tmp_path, storage=url), objective())
    assert "secret" not in str(error.value)


def test_an_output_that_is_a_file_is_refused_and_left_alone(heads: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(ConfigError, match=r"--out .*file cannot be made"):
        search(config(heads, file), objective())
    assert file.read_text() == "mine"


def test_a_file_that_is_no_database_is_refused_and_left_alone(heads: Path, tmp_path: Path) -> None:
    file = tmp_path / "search.db"
    file.write_text("my notes\n" * 100)
    with pytest.raises(ConfigError, match="not a database"):
        search(config(heads, tmp_path), objective())
    assert file.read_text() == "my notes\n" * 100


def test_report_files_hold_the_results_and_need_nothing_else(heads: Path, tmp_path: Path) -> None:
    report = search(config(heads, tmp_path, trials=4, storage=None), objective())
    record = json.loads((tmp_path / "report.json").read_text())
    assert record["best"]["name"] == report.best.name
    assert record["score"] == "heldout"
    assert record["score_name"] == "held-out reconstruction loss"
    assert [row["score"] for row in record["candidates"]] == sorted(row["score"] for row in record["candidates"])
    assert [step["candidates"] for step in record["best_so_far"]] == [1, 2, 3, 4]
    assert record["identity"]["data"].keys() == {"train", "val"}
    page = (tmp_path / "report.html").read_text()
    assert all(row.name in page for row in report.rows)
    assert page.count("src=") == page.count('src="data:image/png;base64,') == 1
    assert "http" not in page.replace("https://", "http://").split("</style>")[1]
    picture = Image.open(tmp_path / "report.png")
    assert picture.width > 1000
    assert all(row.name in report.text() for row in report.rows)
