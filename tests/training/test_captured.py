"""The recorded step: on the CPU what a recording forbids, on a GPU that it computes what single operations do."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from scr3d.causal import StructureKind
from scr3d.data.dataset import Batch, Truth
from scr3d.fused.dispatch import plain
from scr3d.losses.features import squeezenet_features
from scr3d.models import ModelConfig, PhotoGeometricAutoencoder, Preset
from scr3d.training.average import average_weight
from scr3d.training.captured import CapturedStep, batch_of, numbers_of, tensors_of
from scr3d.training.config import MachineOptions, OptimiserConfig, TrainConfig
from scr3d.training.objective import TrainingObjective, Whole
from scr3d.training.recipe import RECIPES, Moment, Recipe
from scr3d.training.trainer import Trainer

SIZE = 32
LATE = 10**5
"""Images after which every term of the recipe is in use."""
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
STRUCTURES: dict[str, dict[str, Any]] = {
    "independent": {"structure": StructureKind.INDEPENDENT},
    "dense": {"structure": StructureKind.DENSE, "order": "ADLV"},
    "generic": {"structure": StructureKind.GENERIC},
    "dynamic": {"structure": StructureKind.DYNAMIC, "order": "ADLV"},
}


def model_config(structure: str = "dense", preset: Preset = Preset.COMPACT) -> ModelConfig:
    return ModelConfig(size=SIZE, width=4, preset=preset, **STRUCTURES[structure])


def batch(device: str = "cpu", masked: bool = False, true: bool = False) -> Batch:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(2, 3, SIZE, SIZE, generator=generator).to(device)
    mask = (torch.rand(2, SIZE, SIZE, generator=generator) > 0.3).float().to(device) if masked else None
    truth = None
    if true:
        depth = 0.9 + 0.2 * torch.rand(2, SIZE, SIZE, generator=generator)
        truth = Truth(depth.to(device), (depth < 1.05).to(device), None, None, None, {})
    return Batch(image, truth, mask)


class NothingIsWaitedFor(TorchDispatchMode):
    """Refuses what makes the processor wait for the device, or sends it numbers: a recording allows neither."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        truths = name == "index" and any(x is not None and x.dtype in (torch.bool, torch.uint8) for x in args[1])
        if truths or name in ("_local_scalar_dense", "nonzero", "masked_select", "lift_fresh", "is_nonzero", "equal"):
            raise AssertionError(f"{name} cannot be recorded")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("structure", "recipe", "masked", "preset"),
    [
        *((structure, "robust", False, Preset.COMPACT) for structure in STRUCTURES),
        *(("dense", recipe, True, Preset.COMPACT) for recipe in RECIPES),
        ("dense", "paper", False, Preset.REFERENCE),
    ],
)
def test_a_step_can_be_recorded(structure: str, recipe: str, masked: bool, preset: Preset) -> None:
    torch.manual_seed(0)
    objective = TrainingObjective(
        PhotoGeometricAutoencoder(model_config(structure, preset)), squeezenet_features(), RECIPES[recipe]
    )
    moment = RECIPES[recipe].at(LATE)
    given = batch(masked=masked, true=recipe == "supervised")

    def compute() -> None:
        total, _ = objective(Whole(given), moment)
        torch.autograd.grad(total, list(objective.model.parameters()), allow_unused=True)

    with plain():  # kernels of the CPU are no part of it
        compute()  # constants are made once
        with NothingIsWaitedFor():
            compute()


def test_the_refusals_refuse() -> None:
    x = torch.rand(3)
    for forbidden in (lambda: float(x[0]), lambda: x[x > 0.5], lambda: torch.tensor([1.0]), lambda: bool(x.sum() > 0)):
        with pytest.raises(AssertionError, match="cannot be recorded"), NothingIsWaitedFor():
            forbidden()


def test_weights_as_tensors_are_those_as_numbers() -> None:
    recipe = Recipe()
    torch.manual_seed(0)
    objective = TrainingObjective(PhotoGeometricAutoencoder(model_config()), squeezenet_features(), recipe)
    moment = recipe.at(LATE)
    assert set(moment.weights) >= {"smoothness", "relief_penalty", "shape_penalty", "translation_penalty"}
    assert "relief_penalty" not in recipe.at(0).weights
    scale, *weights = numbers_of(moment).unbind()
    held = moment._replace(view_scale=scale, weights=dict(zip(moment.weights, weights, strict=True)))
    totals = [objective(batch(), when)[0] for when in (LATE, moment, held)]
    assert torch.equal(totals[0], totals[1])
    torch.testing.assert_close(totals[2], totals[0], rtol=1e-6, atol=0)


@pytest.mark.parametrize(("masked", "true"), [(False, False), (True, False), (False, True), (True, True)])
def test_a_batch_is_put_together_again(masked: bool, true: bool) -> None:
    made = batch(masked=masked, true=true)
    again = batch_of(tensors_of(made), made)
    assert again.image is made.image
    assert again.mask is made.mask
    assert again.target is None
    aimed = replace(made, target=1 - made.image)
    assert batch_of(tensors_of(aimed), aimed).target is aimed.target
    assert (again.truth is None) == (not true)
    if again.truth is not None and made.truth is not None:
        assert again.truth.depth is made.truth.depth
        assert again.truth.foreground is made.truth.foreground


def run_of(heads: Path, out: Path, device: str = "cpu", recorded: bool = True, **changes: Any) -> Trainer:
    options: dict[str, Any] = {"model": model_config(), "images": 160} | changes
    config = TrainConfig(
        data=heads,
        out=out,
        recipe=replace(Recipe(), relief_start=60, relief_rampup=40),
        optimiser=OptimiserConfig(batch_size=8, rate=2.0**-13),  # the same in both precisions
        device=device,
        threads=1,
        keep_going=True,
        **options,
    )
    return Trainer(config, MachineOptions(cuda_graph=recorded))


def captured_step(run: Trainer) -> CapturedStep:
    return CapturedStep(
        run.steps._alone,
        run.config.recipe,
        run.model,
        run.averaged_model,
        run.steps.optimiser.optimizer,
        run.steps._clip,
    )


def compute(step: CapturedStep, run: Trainer, given: Batch, counts: float = 1.0) -> dict[str, Tensor]:
    moment = run.config.recipe.at(run.images_seen)
    weight = average_weight(run.config.optimiser.average, run.step)
    numbers = numbers_of(moment, counts, run.learning_rate(run.step), weight)
    counted, rate, average, scale, *weights = numbers.unbind()
    held = Moment(scale, dict(zip(moment.weights, weights, strict=True)))
    return step.compute(Whole(given), held, counted, rate, average)


def state(run: Trainer) -> list[Tensor]:
    moments = [value for values in run.steps.optimiser.optimizer.state.values() for value in values.values()]
    return [x.detach().clone() for x in (*run.model.parameters(), *run.averaged_model.parameters(), *moments)]


def test_the_step_to_be_recorded_is_that_of_the_trainer(heads: Path, tmp_path: Path) -> None:
    usual, other = run_of(heads, tmp_path / "usual"), run_of(heads, tmp_path / "other")
    step = captured_step(other)
    assert not step.ready
    for run in (usual, other):
        run.train_step()
    assert step.ready
    for _ in range(10):  # past the start of the relief prior
        wanted = usual.train_step()
        found = compute(step, other, other.data.train_batch(other.step))
        step._tidy()
        other.step += 1
        assert {name: float(value.detach()) for name, value in found.items()} == pytest.approx(wanted, rel=1e-6)
    for mine, yours in zip(state(other), state(usual), strict=True):
        torch.testing.assert_close(mine, yours, rtol=0, atol=1e-6)


@pytest.mark.parametrize("cause", ["rehearsal", "infinite"])
def test_a_step_that_does_not_count_changes_nothing(heads: Path, tmp_path: Path, cause: str) -> None:
    run = run_of(heads, tmp_path / "run")
    run.train_step()
    before, step = state(run), captured_step(run)
    given = run.data.train_batch(run.step)
    if cause == "infinite":
        given = Batch(torch.full_like(given.image, float("inf")), None)
    found = compute(step, run, given, counts=0.0 if cause == "rehearsal" else 1.0)
    assert bool(found["total"].isfinite()) == (cause == "rehearsal")
    assert all(torch.equal(x, y) for x, y in zip(state(run), before, strict=True))
    compute(step, run, run.data.train_batch(run.step))
    assert not all(torch.equal(x, y) for x, y in zip(state(run), before, strict=True))


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize(
    "model", [*map(model_config, ("independent", "dense", "dynamic")), model_config(preset=Preset.REFERENCE)]
)
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_recorded_steps_are_those_of_the_trainer(
    heads: Path, tmp_path: Path, model: ModelConfig, precision: str
) -> None:
    recorded, usual = (
        run_of(heads, tmp_path / str(captured), "cuda", captured, model=model, precision=precision)
        for captured in (True, False)
    )
    assert recorded.steps.captured is not None
    assert usual.steps.captured is None
    for number in range(12):
        found, wanted = recorded.train_step(), usual.train_step()
        assert found.keys() == wanted.keys()
        assert found["total"] == pytest.approx(wanted["total"], rel=2e-3 * (1 + number)), number
    assert recorded.average.count == usual.average.count


@pytest.mark.gpu
@needs_gpu
def test_a_run_on_a_gpu_ends_as_without_recording(heads: Path, tmp_path: Path) -> None:
    losses = [run_of(heads, tmp_path / str(on), "cuda", on).run()["reconstruction"] for on in (True, False)]
    assert losses[0] == pytest.approx(losses[1], abs=0.05)


@pytest.mark.gpu
@needs_gpu
def test_what_is_not_finite_changes_nothing_in_a_recording(heads: Path, tmp_path: Path) -> None:
    run = run_of(heads, tmp_path / "run", "cuda")
    run.train_step()
    run.train_step()
    before, given = state(run), run.data.train_batch(run.step)
    assert run.steps.captured is not None
    broken = Batch(torch.full_like(given.image, float("nan")), None)
    found = run.steps.captured.take(broken, run.images_seen, 1e-3, 0.5)
    assert not math.isfinite(found["total"])
    assert all(torch.equal(x, y) for x, y in zip(state(run), before, strict=True))
    assert math.isfinite(run.train_step()["total"])
