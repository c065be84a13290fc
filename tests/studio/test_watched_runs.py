"""Runs and searches, read while they go on."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest

from scr3d.data.images import write_png8
from scr3d.studio import runs
from scr3d.studio.panels.runs import overview
from scr3d.studio.runs import POINTS, RunFolder, RunLog, candidates, latest_picture
from scr3d.studio.search_view import as_html, posterior


def write_run(folder: Path, images: int = 3200, planned: int = 10_000, **model: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    config = {"images": planned, "model": {"structure": "dense", "order": "ADLV", **model}}
    (folder / "config.json").write_text(json.dumps(config))
    lines = [{"images": seen, "group": "train", "total": 1 / seen} for seen in range(1600, images + 1, 1600)]
    lines.append({"images": images, "group": "validation", "reconstruction": 0.5, "side_e2": 0.7, "mad_deg": 12.0})
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_runs_are_found_with_where_they_stand(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    write_run(tmp_path / "deep" / "b", images=10_000)
    write_run(tmp_path / "too" / "deep" / "for" / "this")
    (tmp_path / "a" / "checkpoints").mkdir()
    write_run(tmp_path / "a" / "checkpoints" / "no-run")
    old = write_run(tmp_path / "old") / "log.jsonl"
    os.utime(old, (time.time() - 1000,) * 2)
    folder = RunFolder(tmp_path)
    found = folder.runs()
    assert set(found) == {"a", "deep/b", "old"}
    states = {name: folder.state(name, path) for name, path in found.items()}
    assert (states["a"].images, states["a"].planned, states["a"].state) == (3200, 10_000, "training")
    assert states["deep/b"].state == "done"
    assert states["old"].state == "stands still"
    assert states["a"].structure == "dense ADLV"
    assert states["a"].scores == {"reconstruction": 0.5, "side_e2": 0.7, "mad_deg": 12.0}
    text = overview(list(states.values()), 5, str(tmp_path))
    assert "3,200 of 10,000" in text
    assert "SIDE 0.7" in text
    assert "and 2 more" in text
    assert "There is no run" in overview([], 0, "x")


def test_a_run_can_be_watched_itself(tmp_path: Path) -> None:
    write_run(tmp_path / "mine")
    assert list(RunFolder(tmp_path / "mine").runs()) == ["mine"]


def test_logs_are_read_on_from_where_they_ended(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log = RunLog(path)
    log.update()
    assert log.groups == {}
    line = json.dumps({"images": 100, "group": "train", "total": 1.0}) + "\n"
    path.write_text(line + '{"images": 200, "gro')
    log.update()
    assert [record["images"] for record in log.groups["train"]] == [100]
    with path.open("a") as file:
        file.write('up": "train", "total": 0.5}\nrubbish\n[1]\n{"images": 300, "group": "train", "total": NaN}\n')
    log.update()
    curve = log.curve("train", "total")
    np.testing.assert_array_equal(curve.images, [100, 200])
    np.testing.assert_array_equal(curve.values, [1.0, 0.5])
    # Gone on from a checkpoint: what came after it is repeated.
    with path.open("a") as file:
        file.write('{"images": 200, "group": "train", "total": 0.4}\n')
    log.update()
    np.testing.assert_array_equal(log.curve("train", "total").values, [1.0, 0.4])
    path.write_text(line)
    log.update()
    assert len(log.groups["train"]) == 1
    path.unlink()
    log.update()
    assert len(log.groups["train"]) == 1


def test_long_logs_are_thinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "RECORDS_KEPT", 1000)
    path = tmp_path / "log.jsonl"
    count = 2500
    with path.open("w") as file:
        for number in range(1, count + 1):
            file.write(json.dumps({"images": number, "group": "train", "total": float(number)}) + "\n")
    log = RunLog(path)
    log.update()
    assert len(log.groups["train"]) <= 1000
    curve = log.curve("train", "total")
    assert len(curve.images) <= POINTS + 1
    assert curve.images[0] == 1
    assert curve.images[-1] == count
    np.testing.assert_array_equal(curve.images, curve.values)


def test_the_newest_whole_picture_is_shown(tmp_path: Path) -> None:
    assert latest_picture(tmp_path) is None
    (tmp_path / "pictures").mkdir()
    write_png8(tmp_path / "pictures" / "000001600.png", np.full((4, 4, 3), 10, np.uint8))
    write_png8(tmp_path / "pictures" / "000003200.png", np.full((4, 4, 3), 20, np.uint8))
    name, pixels = latest_picture(tmp_path)
    assert (name, pixels[0, 0, 0]) == ("000003200", 20)
    (tmp_path / "pictures" / "000004800.png").write_bytes(b"half")
    assert latest_picture(tmp_path)[0] == "000003200"


def write_result(trial: Path, images: int, score: float) -> None:
    content = {"study": "s", "identity": {}, "outcome": {"score": score, "standard_error": 0.01, "scored_images": 9}}
    (trial / f"result-{images:09d}.json").write_text(json.dumps(content))


def test_a_search_is_shown_as_it_goes(tmp_path: Path) -> None:
    search = tmp_path / "orders"
    assert as_html(candidates(search), None).count("has not begun") == 1
    for name, score in (("VDLA", 0.4), ("ADLV", 0.2), ("LAVD", 0.3)):
        write_result(write_run(search / "trials" / f"{name}-s0", order=name), 4800, score)
    write_run(search / "trials" / "DVLA-s0", order="DVLA")
    (search / "trials" / "nonsense").mkdir()
    assert list(RunFolder(tmp_path).searches()) == ["orders"]
    found = candidates(search)
    assert [(one.name, one.score, one.training) for one in found] == [
        ("ADLV", 0.2, False),
        ("LAVD", 0.3, False),
        ("VDLA", 0.4, False),
        ("DVLA", None, True),
    ]
    write_result(write_run(search / "trials" / "ADLV-s1", order="ADLV"), 4800, 0.6)
    (again,) = [one for one in candidates(search) if one.name == "ADLV"]
    assert again.scores == {0: 0.2, 1: 0.6}
    assert again.score == pytest.approx(0.4)
    text = as_html(found, None)
    assert "3 scored, 1 in training; best so far: ADLV with 0.2000" in text


def test_longer_trainings_count_and_edges_keep_their_arrows(tmp_path: Path) -> None:
    trial = write_run(tmp_path / "trials" / "VD-VL-s0", order=None, edges="V>D,V>L")
    write_result(trial, 1600, 0.9)
    write_result(trial, 4800, 0.5)
    (trial / "result-000009600.json").write_text("{")
    (one,) = candidates(tmp_path)
    assert (one.name, one.score, one.images) == ("V>D,V>L", 0.5, 4800)
    assert posterior([one]) is None


@pytest.mark.slow
def test_the_surrogate_expects_something_of_every_order(tmp_path: Path) -> None:
    for name, score in (("VDLA", 0.4), ("ADLV", 0.2), ("LAVD", 0.3), ("DVLA", 0.35)):
        write_result(write_run(tmp_path / "trials" / f"{name}-s0", order=name), 4800, score)
    found = candidates(tmp_path)
    expected = posterior(found)
    assert len(expected) == 24
    assert expected["ADLV"][0] < expected["VDLA"][0]
    assert as_html(found, expected).count("<tr>") == 25
