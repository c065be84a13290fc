import io
import json

import numpy as np
import pytest
from benchmark_records import write_everything, write_record
from PIL import Image

from scr3d.benchmark import expressiveness, figures, replay, report, tables
from scr3d.benchmark.config import BenchmarkConfig, Stage
from scr3d.benchmark.pictures import ROWS
from scr3d.benchmark.plan import plan
from scr3d.benchmark.records import Results
from scr3d.errors import DataError
from scr3d.files import write_json

WORLDS = {
    "correlated Gaussian": {
        "truth": -1.8,
        "held_out": {"independent": [-3.5, -3.6], "dense, right order": [-1.8, -1.9], "dynamic": [-1.85, -1.9]},
    }
}


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> BenchmarkConfig:
    """A benchmark of which everything is done."""
    root = tmp_path_factory.mktemp("benchmark")
    config = BenchmarkConfig(
        protocol="smoke", out=root / "results", work=root / "work", docs=root / "docs", report=True, seeds=2
    )
    write_everything(config)
    write_json(config.out / "benchmark" / report.EXPRESSIVENESS, {"seeds": 2, "worlds": WORLDS})
    for run in plan(config):
        if run.tested and run.method.trained:
            grid = np.random.default_rng(run.seed).integers(0, 255, (8 * len(ROWS), 8 * 6, 3), dtype=np.uint8)
            Image.fromarray(grid).save(config.folder / run.stage / f"{run.name}.png")
    return config


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch) -> None:
    """The page is looked at, not the width of its intervals."""
    monkeypatch.setattr("scr3d.benchmark.statistics.RESAMPLES", 200)
    monkeypatch.setattr(replay, "REPEATS", 2)


def test_the_page_shows_everything_and_keeps_what_was_written_by_hand(config) -> None:
    written = report.write_report(config)
    page = written[0]
    page.write_text(page.read_text() + "\nWhat was tried.\n")
    report.write_report(config)
    text = page.read_text()
    assert text.endswith(f"{report.BY_HAND}\n\nWhat was tried.\n")
    assert "has been measured yet" not in text
    assert "### Trained for longer" in text
    assert "Not" not in text.replace("Nothing", "")
    names = {path.name.removeprefix("results-smoke-").removesuffix(".png") for path in written[1:]}
    assert names == {"curves", "pictures", "graphs", "orders", "search", "expressiveness"}
    for path in written[1:]:
        assert f"(images/{path.name})" in text
        image = Image.open(path)
        assert min(image.size) > 200
        assert np.asarray(image.convert("L")).std() > 5


def test_the_tables_hold_the_means_of_the_results(config) -> None:
    found = tables.rows(Results.read(config.folder))
    score = float(np.mean([np.mean(result.scores("test", "side_e2")) for result in found["wu"].results]))
    line = next(line for line in tables.score_table(found).splitlines() if line.startswith("| Wu et al. |"))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[1].startswith(f"{score:.3f} ±")
    assert cells[6] == "2"
    assert cells[-2:] == ["*0.901 ± 0.190*", "*17.53 ± 1.84*"]
    assert "| 1 | 1 |" in next(
        line for line in tables.comparison_table(found).splitlines() if line.startswith("| Independent")
    )


def test_verdicts_say_what_is_reached_and_what_is_missed(tmp_path) -> None:
    def verdicts(best: float, supervised: float) -> list[str]:
        config = BenchmarkConfig(
            protocol="smoke",
            out=tmp_path / f"{best}-{supervised}",
            methods=("supervised", "independent", "dense-bo"),
            stages=(Stage.TABLE,),
        )
        for run in plan(config):
            write_record(config, run, {"independent": 1.0, "supervised": supervised}.get(run.method.name, best))
        return tables.verdicts(tables.rows(Results.read(config.folder)))

    reached = verdicts(0.7, 0.5)
    assert "Dense SCR (BO)" in reached[0]
    assert [line.count("**reached**") for line in reached[1:]] == [1, 1, 1]
    assert all("**missed**" in line for line in verdicts(0.97, 0.2)[1:])


def test_remedies_stand_beside_the_pair_without_any(tmp_path) -> None:
    config = BenchmarkConfig(
        protocol="smoke", out=tmp_path, work=tmp_path / "work", stages=(Stage.ORDERS, Stage.REMEDIES)
    )
    for run in plan(config):
        dense = 1.0 if run.stage is Stage.ORDERS else 0.5
        order = "VDLA" if run.stage is Stage.REMEDIES and run.order else run.order
        write_record(config, run, dense if run.order else 1.0, order=order)
    lines = tables.remedy_table(Results.read(config.folder), config.settings).splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [row[0] for row in cells] == ["as the 24 orders", *(remedy.about for remedy in config.settings.remedies)]
    assert all(float(row[1]) == pytest.approx(1.0, abs=0.05) for row in cells)
    assert [float(row[2]) for row in cells] == pytest.approx([1.0, 0.5, 0.5, 0.5, 0.5], abs=0.05)
    for row in cells[1:]:
        assert float(row[3].removeprefix("**").split()[0]) == pytest.approx(0.5, abs=0.02)
        assert row[3].startswith("**")
    assert all(row[7] == "1" for row in cells)


def test_a_page_of_a_few_results_says_what_is_missing(tmp_path) -> None:
    config = BenchmarkConfig(
        protocol="smoke", out=tmp_path, docs=tmp_path / "docs", methods=("null-depth", "wu"), stages=(Stage.TABLE,)
    )
    with pytest.raises(DataError, match="holds no results yet"):
        report.write_report(config)
    write_record(config, plan(config)[0], 1.0)
    text = report.write_report(config)[0].read_text()
    assert "24 trainings are missing" in text
    assert "The controls have not been run yet" in text
    assert "### Trained for longer" not in text
    assert "Nothing has been tried yet" in text
    assert "Not measured yet" in text
    assert "table: 1 of 11." in text


def test_orders_are_told_from_noise_where_they_differ(config) -> None:
    """With one seed nothing can be said, and nothing is."""
    results = Results.read(config.folder)
    table, lines = tables.order_table(results, config.settings)
    assert len(table.splitlines()) == 2 + 24 + 1
    assert not any("matter" in line for line in lines)
    assert sum("Kendall" in line for line in lines) == 2


def test_replays_start_from_the_cost_of_what_they_train(config) -> None:
    results = Results.read(config.folder)
    one = replay.replay(results, config.settings)
    protocol = config.settings
    curves = {curve.name: curve for curve in one.curves}
    assert curves["random"].images[0] == protocol.order_images
    assert curves["one-shot"].images[0] == 3 * protocol.order_images
    for curve in curves.values():
        assert curve.best == sorted(curve.best, reverse=True)
    best = min(curves["random"].best)
    assert curves["one-shot"].best[-1] >= best
    assert set(one.leave_one_out) == {"l1", "mallows"}


def test_pictures_are_cut_where_they_belong(config) -> None:
    content = figures.draw_pictures(config.folder, tables.rows(Results.read(config.folder)))
    assert Image.open(io.BytesIO(content)).size[0] > 400
    assert figures.draw_pictures(config.folder / "elsewhere", tables.rows(Results.read(config.folder))) is None


def test_the_truth_is_the_upper_bound_of_expressiveness() -> None:
    """For linear normal factors the likelihood is known in closed form."""
    import torch

    world = expressiveness.WORLDS["correlated Gaussian"]
    generator = torch.Generator().manual_seed(0)
    factors, observed = world.draw(2000, generator)
    mixing = torch.tensor([[1.0, 0, 0, 0], [0.9, 1, 0, 0], [-0.5 + 0.72, 0.8, 1, 0], [0, 0, 0, 1]])
    mixing[3] = 0.7 * mixing[2] + 0.7 * mixing[1]
    mixing[3, 3] = 1.0
    noise = torch.diag(torch.tensor([1.0, 0.3, 0.4, 0.3]))
    loading = torch.cat([mixing @ noise, torch.zeros(4, 1)], dim=1)
    seen = torch.cat([mixing[:1] @ noise, torch.tensor([[world.observe_std]])], dim=1)
    joint = torch.cat([loading, seen]) @ torch.cat([loading, seen]).T
    whole = torch.distributions.MultivariateNormal(torch.zeros(5), joint)
    alone = torch.distributions.Normal(0.0, float(joint[4, 4]) ** 0.5)
    exact = whole.log_prob(torch.cat([factors, observed], dim=1)) - alone.log_prob(observed[:, 0])
    torch.testing.assert_close(world.log_likelihood(factors, observed), exact, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_structure_makes_the_family_richer(tmp_path) -> None:
    record = expressiveness.measure_expressiveness(tmp_path / "found.json", seeds=2, steps=400)
    assert json.loads((tmp_path / "found.json").read_text()) == record
    for world in record["worlds"].values():
        mean = {name: np.mean(values) for name, values in world["held_out"].items()}
        assert mean["dense, right order"] > mean["independent"] + 0.5
        assert max(mean.values()) < world["truth"] + 0.05
