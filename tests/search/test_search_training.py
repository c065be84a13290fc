"""Searches that train: scores, checkpoints across rungs and interruptions, one network for all orders."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from standin import config

from scr3d.cli import main
from scr3d.errors import CollapseError
from scr3d.models import load_model
from scr3d.search.config import ScoreKind, SearchConfig, Strategy, Task
from scr3d.search.objective import outcome, score_images, train_alone
from scr3d.search.one_shot import OneShotTrainer, set_mask, train_shared
from scr3d.search.study import search
from scr3d.training.checkpoint import list_checkpoints
from scr3d.training.trainer import Trainer, train
from scr3d.training.validation import validate

STEPS = 6


def tiny(heads: Path, out: Path, **options: object) -> SearchConfig:
    settings = config(heads, out, **options)
    return replace(settings, training=replace(settings.training, images=4 * STEPS))


def masks(settings: SearchConfig) -> torch.Tensor:
    return torch.stack([settings.space.mask(name) for name in settings.space.names])


def shared_trainer(settings: SearchConfig, out: Path) -> OneShotTrainer:
    model = settings.space.model(settings.training.model, "VDLA")
    return OneShotTrainer(replace(settings.training, out=out, model=model), masks(settings))


def test_a_random_search_trains_scores_and_reports(heads: Path, tmp_path: Path) -> None:
    settings = tiny(heads, tmp_path, trials=2)
    report = search(settings)
    assert len(report.rows) == 2
    for row in report.rows:
        run = tmp_path / "trials" / f"{row.name}-s0"
        assert str(load_model(run / "last").config.order) == row.name
        log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
        # Images one by one, or in one batch weighed by their covered pixels: nearly the same here.
        assert row.score == pytest.approx(log[-1]["reconstruction"], rel=0.01)
        assert row.standard_error > 0


def test_the_score_is_that_of_an_uninterrupted_run_whatever_happened(heads: Path, tmp_path: Path) -> None:
    whole = train_alone(tiny(heads, tmp_path / "whole"), Task("VDLA", 0, 4 * STEPS))
    settings = tiny(heads, tmp_path / "parts")
    rung = train_alone(settings, Task("VDLA", 0, 8))
    assert list_checkpoints(settings.run_config(Task("VDLA", 0, 8)).out)[-1].name == "000000002"
    interrupted = Trainer(settings.run_config(Task("VDLA", 0, 4 * STEPS)))
    assert interrupted.step == 2
    interrupted.train_step()
    interrupted.save()
    parts = train_alone(settings, Task("VDLA", 0, 4 * STEPS))
    assert parts.score == whole.score != rung.score
    again = train_alone(settings, Task("VDLA", 0, 4 * STEPS))
    assert again.score == whole.score
    other_seed = train_alone(settings, Task("VDLA", 1, 4 * STEPS))
    assert other_seed.score != whole.score


def test_what_has_been_trained_to_its_end_is_only_scored_again(
    heads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, task = tiny(heads, tmp_path), Task("VDLA", 0, 4 * STEPS)
    settings = replace(settings, training=replace(settings.training, validation_images=2))
    alone, together = train_alone(settings, task), train_shared(settings)

    def no_step(self: Trainer) -> dict[str, float]:
        raise AssertionError("trained again")

    monkeypatch.setattr(Trainer, "train_step", no_step)
    assert train_alone(settings, task).score == alone.score
    assert {n: o.score for n, o in train_shared(settings).items()} == {n: o.score for n, o in together.items()}


def test_normals_are_scored_image_by_image(heads: Path, tmp_path: Path) -> None:
    settings = tiny(heads, tmp_path, score=ScoreKind.NORMALS)
    found = train_alone(settings, Task("ADLV", 0, 4 * STEPS))
    trainer = Trainer(settings.run_config(Task("ADLV", 0, 4 * STEPS)))
    expected = validate(trainer.averaged_model.eval(), trainer.features, trainer.data.val, trainer.config.recipe, 6)
    assert found.score == pytest.approx(expected["mad_deg"], rel=1e-5)
    assert found.scored_images == 6


def test_held_out_loss_is_a_mean_over_images(heads: Path, tmp_path: Path) -> None:
    trainer = Trainer(tiny(heads, tmp_path).run_config(Task("ADLV", 0, 24)))
    model = trainer.averaged_model.eval()
    scores = score_images(model, trainer.features, trainer.data.val, trainer.config.recipe, 5, ScoreKind.HELDOUT)
    assert scores.shape == (5,)
    fewer = score_images(model, trainer.features, trainer.data.val, trainer.config.recipe, 3, ScoreKind.HELDOUT)
    assert torch.equal(scores[:3], fewer)
    assert outcome(scores, 1.0).score == pytest.approx(float(scores.mean()))
    assert outcome(scores, 1.0).standard_error == pytest.approx(float(scores.std()) / 5**0.5)
    with_unknown = outcome(torch.tensor([1.0, float("nan"), 3.0]), 1.0)
    assert (with_unknown.score, with_unknown.scored_images) == (2.0, 2)
    assert np.isnan(outcome(torch.tensor([float("nan")]), 1.0).score)


def test_a_collapsed_candidate_is_scored_as_it_is(heads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def collapse(self: Trainer, until: int | None = None) -> dict[str, float]:
        raise CollapseError("the surface is flat")

    monkeypatch.setattr(Trainer, "run", collapse)
    found = train_alone(tiny(heads, tmp_path), Task("ADLV", 0, 24))
    assert np.isfinite(found.score)
    assert found.collapsed == "the surface is flat"


def test_every_mask_is_drawn_once_a_round_by_seed_and_step_alone(heads: Path, tmp_path: Path) -> None:
    trainer = shared_trainer(tiny(heads, tmp_path), tmp_path / "a")
    draws = [trainer.drawn(step) for step in range(72)]
    assert Counter(draws) == dict.fromkeys(range(24), 3)
    assert draws[:24] != draws[24:48]
    trainer.train_step()
    assert torch.equal(trainer.model.structure.mask, trainer.masks[draws[0]])
    trainer.train_step()
    assert torch.equal(trainer.model.structure.mask, trainer.masks[draws[1]])


def test_a_resumed_shared_network_equals_an_uninterrupted_one(heads: Path, tmp_path: Path) -> None:
    settings = tiny(heads, tmp_path)
    shared_trainer(settings, tmp_path / "whole").run()
    interrupted = shared_trainer(settings, tmp_path / "parts")
    for _ in range(3):
        interrupted.train_step()
    interrupted.save()
    shared_trainer(settings, tmp_path / "parts").run()
    whole, parts = (load_model(tmp_path / name / "last").state_dict() for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    # And it is not what training under one order gives.
    train(replace(settings.training, out=tmp_path / "one", model=replace(settings.training.model, order="VDLA")))
    one = load_model(tmp_path / "one" / "last").state_dict()
    assert any(not torch.equal(whole[name], one[name]) for name in whole)


@pytest.mark.parametrize("sub_dags_of", [None, "VDLA"])
def test_shared_weights_score_every_candidate_under_its_own_mask(
    heads: Path, tmp_path: Path, sub_dags_of: str | None
) -> None:
    settings = tiny(heads, tmp_path, sub_dags_of=sub_dags_of, strategy=Strategy.ONE_SHOT)
    settings = replace(settings, training=replace(settings.training, validation_images=2))
    found = train_shared(settings)
    assert found.keys() == set(settings.space.names)
    assert len({o.score for o in found.values()}) > len(found) // 2
    model = load_model(tmp_path / "one-shot" / "last")
    name = settings.space.names[5]
    set_mask(model, settings.space.mask(name))
    trainer = Trainer(settings.run_config(Task(name, 0, 4)))
    scores = score_images(model, trainer.features, trainer.data.val, settings.training.recipe, 2, settings.score)
    assert found[name].score == pytest.approx(float(scores.mean()), rel=1e-6)


def test_the_command_searches_and_says_what_is_wrong(
    heads: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = f"search --data {heads} --out {tmp_path} --size 32 --width 4 --images 8 --batch-size 4 --threads 1".split()
    words += ["--strategy", "random", "--validation-images", "4"]
    main([*words, "--trials", "1"])
    printed = capsys.readouterr().out
    assert "held-out reconstruction loss" in printed
    assert str(tmp_path / "report.html") in printed
    with pytest.raises(SystemExit) as stop:
        main([*words, "--trials", "25"])
    assert stop.value.code == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert error == ["scr3d: --trials must lie between 1 and 24, the number of orders; got 25"]
