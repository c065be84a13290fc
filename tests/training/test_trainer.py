"""Training end to end on a few synthetic heads: it learns, it resumes exactly, it says when it cannot go on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from scr3d.causal import StructureKind
from scr3d.data.dataset import Batch, Dataset, Truth, open_dataset
from scr3d.data.heads import HeadsConfig, generate
from scr3d.errors import CheckpointError, CollapseError, ConfigError, DataError
from scr3d.factors import FACTORS
from scr3d.models import ModelConfig, load_model
from scr3d.models.io import read_provenance
from scr3d.training.batches import mirror_some
from scr3d.training.checkpoint import list_checkpoints
from scr3d.training.config import OptimiserConfig, TrainConfig, recipe_defaults
from scr3d.training.survival import MAX_BAD_STEPS
from scr3d.training.trainer import Trainer, train

TINY = ModelConfig(size=32, width=4, order="ADLV")


def config(heads: Path, out: Path, steps: int = 6, **changes: object) -> TrainConfig:
    optimiser = OptimiserConfig(batch_size=4, rate=1e-3)
    options = {"images": 4 * steps, "validate_every": 4 * 1000, "validation_images": 12, "threads": 1} | changes
    return TrainConfig(data=heads, out=out, model=TINY, optimiser=optimiser, **options)


def test_a_model_remembers_how_its_images_were_cut_out(heads: Path, tmp_path: Path) -> None:
    train(config(heads, tmp_path / "of-heads", steps=1))
    assert read_provenance(tmp_path / "of-heads" / "last")["crop"] == "face"
    store = open_dataset(heads, "val", 32, tmp_path / "cache").store
    for options, wanted in (({"crop": "face"}, "face"), ({"crop": "center"}, "center"), (None, "center")):
        store.info = replace(store.info, source={"options": options})
        assert Dataset(store).crop == wanted


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_model(run / "last").state_dict()


def test_threads_take_the_steps_of_one(heads: Path, tmp_path: Path) -> None:
    """A fused optimiser goes through gradients and weights as they lie in memory, so both must lie alike."""
    runs = [Trainer(config(heads, tmp_path / str(threads), threads=threads)) for threads in (1, 2)]
    start = [parameter.detach().clone() for parameter in runs[0].model.parameters()]
    for run in runs:
        for _ in range(3):
            run.train_step()
        for name, parameter in run.model.named_parameters():
            assert parameter.grad is None or parameter.grad.stride() == parameter.stride(), name
    one, two = (list(run.model.parameters()) for run in runs)
    moved = sum(float((x.detach() - y.detach()).square().sum()) for x, y in zip(one, start, strict=True))
    apart = sum(float((x.detach() - y.detach()).square().sum()) for x, y in zip(one, two, strict=True))
    assert apart < 1e-2 * moved


@pytest.mark.parametrize("order", ["ADLV", None])
def test_held_out_loss_falls(heads: Path, tmp_path: Path, order: str | None) -> None:
    model = replace(TINY, order=order) if order else ModelConfig(size=32, width=4, structure=StructureKind.INDEPENDENT)
    settings = replace(config(heads, tmp_path, steps=60, validate_every=40), model=model)
    train(settings)
    losses = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    held_out = [line["reconstruction"] for line in losses if line["group"] == "validation"]
    assert held_out[-1] < held_out[0] - 0.1
    assert losses[-1]["coverage"] > 0.9


def test_half_precision_is_near_full_precision(heads: Path, tmp_path: Path) -> None:
    found = {}
    for precision in ("32-true", "bf16-mixed"):
        run = Trainer(config(heads, tmp_path / precision, precision=precision))
        found[precision] = [run.train_step()["total"] for _ in range(3)]
    assert found["bf16-mixed"] != found["32-true"]
    np.testing.assert_allclose(found["bf16-mixed"], found["32-true"], rtol=0.02)


def test_same_seed_same_result_other_seed_other_result(heads: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(config(heads, tmp_path / name, seed=seed))
    a, b, c = (weights(tmp_path / name) for name in "abc")
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert any(not torch.equal(a[name], c[name]) for name in a)


@pytest.mark.parametrize("threads", [1, 2])
def test_resumed_run_equals_uninterrupted_one(heads: Path, tmp_path: Path, threads: int) -> None:
    train(config(heads, tmp_path / "whole", steps=9, threads=threads))
    interrupted = Trainer(config(heads, tmp_path / "parts", steps=9, threads=threads))
    assert (interrupted.steps.in_parts is not None) == (threads > 1)
    for _ in range(4):
        interrupted.train_step()
    interrupted.save()
    resumed = Trainer(config(heads, tmp_path / "parts", steps=9, threads=threads))
    assert resumed.step == 4
    resumed.run()
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_other_options_in_the_same_folder_are_refused(heads: Path, tmp_path: Path) -> None:
    train(config(heads, tmp_path, steps=2))
    with pytest.raises(ConfigError, match=r"seed 0 there, 5 here"):
        Trainer(config(heads, tmp_path, steps=2, seed=5))


def test_damaged_checkpoint_is_refused_by_name(heads: Path, tmp_path: Path) -> None:
    train(config(heads, tmp_path, steps=2))
    newest = list_checkpoints(tmp_path)[-1]
    path = newest / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=newest.name):
        Trainer(config(heads, tmp_path, steps=2))


def test_loss_that_is_not_finite_changes_nothing_and_then_stops(
    heads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(config(heads, tmp_path, steps=100))
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    original = trainer.steps.objective.forward

    def poisoned(*args: object) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        total, parts = original(*args)
        return total * float("nan"), parts

    monkeypatch.setattr(trainer.steps, "objective", poisoned)
    trainer.train_step()
    after = trainer.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    for _ in range(MAX_BAD_STEPS - 2):
        trainer.train_step()
    with pytest.raises(CollapseError, match="not been finite"):
        trainer.train_step()


def test_collapse_warns_then_stops(heads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scr3d.training.trainer.find_collapse", lambda *args: "flat")
    with pytest.raises(CollapseError, match="collapsed after 16 images: flat"):
        train(config(heads, tmp_path, steps=10, validate_every=8))
    assert list_checkpoints(tmp_path)
    train(config(heads, tmp_path / "on", steps=10, validate_every=8, keep_going=True))


def test_start_from_a_model_of_half_the_size(heads: Path, tmp_path: Path) -> None:
    train(config(heads, tmp_path / "small", steps=2))
    larger = tmp_path / "heads64"
    for split in ("train", "val"):
        generate(HeadsConfig(split=split, count=8, size=64), larger, progress=lambda done, count: None)
    settings = config(larger, tmp_path / "large", steps=2, start_from=tmp_path / "small")
    trainer = Trainer(replace(settings, model=replace(TINY, size=64)))
    small = load_model(tmp_path / "small" / "last")
    image = trainer.data.val.batch(np.arange(4)).image
    with torch.no_grad():
        grown = trainer.model.encode(image)
        expected = small.encode(torch.nn.functional.avg_pool2d(image, 2))
    assert grown.shape[1] == len(FACTORS)
    torch.testing.assert_close(grown, expected, atol=1e-4, rtol=1e-4)


def test_data_of_another_size_is_refused(heads: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="32 pixels, 64 are asked for"):
        Trainer(replace(config(heads, tmp_path), model=ModelConfig(size=64, width=4)))


def test_paper_recipe_trains(heads: Path, tmp_path: Path) -> None:
    model, recipe, optimiser = recipe_defaults("paper")
    settings = config(heads, tmp_path, steps=2)
    scalars = train(
        replace(
            settings,
            model=replace(model, size=32, width=4, order="VDLA"),
            recipe=recipe,
            optimiser=replace(optimiser, batch_size=4),
        )
    )
    assert np.isfinite(scalars["reconstruction"])
    with pytest.raises(ConfigError, match="robust, paper"):
        recipe_defaults("other")


def test_mirroring_is_determined_by_seed_and_step_and_mirrors_the_truth_alike() -> None:
    image = torch.arange(64 * 12, dtype=torch.float32).view(64, 3, 2, 2)
    truth = Truth(image[:, 0], image[:, 0] > 99, None, None, None, {})
    first, again, other = (mirror_some(Batch(image, truth), 3, step) for step in (7, 7, 8))
    assert torch.equal(first.image, again.image)
    assert not torch.equal(first.image, other.image)
    mirrored = (first.image != image).flatten(1).any(1)
    assert 16 < int(mirrored.sum()) < 48
    assert torch.equal(first.image[mirrored], image.flip(-1)[mirrored])
    assert torch.equal(first.truth.depth, first.image[:, 0])
    assert torch.equal(first.truth.foreground, first.image[:, 0] > 99)
    assert mirror_some(Batch(image, None), 3, 7).truth is None


def test_learning_rate_falls_at_the_end(heads: Path, tmp_path: Path) -> None:
    trainer = Trainer(config(heads, tmp_path, steps=100))
    rates = []
    for step in (0, 69, 85, 100):
        rates.append(trainer.learning_rate(step) / trainer.config.optimiser.rate)
    assert rates[0] == rates[1] == 1
    assert rates[2] == pytest.approx(0.525)
    assert rates[3] == pytest.approx(0.05)
