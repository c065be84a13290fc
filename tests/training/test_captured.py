"""The recorded step: on the CPU what a recording forbids, on a GPU that it computes what single operations do."""

from __future__ import annotations

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
from scr3d.training.captured import CapturedGradients, batch_of, numbers_of, tensors_of
from scr3d.training.config import MachineOptions, OptimiserConfig, TrainConfig
from scr3d.training.objective import TrainingObjective, Whole
from scr3d.training.recipe import RECIPES, Recipe
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
    return ModelConfig(size=SIZE, width=8, preset=preset, **STRUCTURES[structure])


def batch(device: str = "cpu", masked: bool = False, true: bool = False) -> Batch:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(4, 3, SIZE, SIZE, generator=generator).to(device)
    mask = (torch.rand(4, SIZE, SIZE, generator=generator) > 0.3).float().to(device) if masked else None
    truth = None
    if true:
        depth = 0.9 + 0.2 * torch.rand(4, SIZE, SIZE, generator=generator)
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


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("preset", Preset)
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
    assert (again.truth is None) == (not true)
    if again.truth is not None and made.truth is not None:
        assert again.truth.depth is made.truth.depth
        assert again.truth.foreground is made.truth.foreground


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recording_computes_what_single_operations_do(structure: str, recipe: str) -> None:
    torch.manual_seed(0)
    schedule = RECIPES[recipe]
    objective = TrainingObjective(PhotoGeometricAutoencoder(model_config(structure)), squeezenet_features(), schedule)
    objective.cuda()
    parameters = list(objective.model.parameters())
    captured = CapturedGradients(schedule)
    full = batch("cuda", true=recipe == "supervised")
    for number, images in enumerate((0, 5_000, LATE)):
        given = Batch(full.image.roll(number, 0), full.truth, None)
        total, values = captured.gradients(objective, Whole(given), images, parameters)
        found = [None if parameter.grad is None else parameter.grad.clone() for parameter in parameters]
        wanted_total, wanted_values = objective(Whole(given), images)
        wanted = torch.autograd.grad(wanted_total, parameters, allow_unused=True)
        torch.testing.assert_close(total, wanted_total.detach(), rtol=1e-4, atol=1e-5)
        assert values.keys() == wanted_values.keys()
        assert relative(found, list(wanted)) < 1e-2  # sums of many threads come in any order
        with torch.no_grad():  # the next step sees other weights
            for parameter in parameters:
                parameter.mul_(0.99)


def relative(found: list[Tensor | None], wanted: list[Tensor | None]) -> float:
    assert [x is None for x in found] == [x is None for x in wanted]
    pairs = [(x, y) for x, y in zip(found, wanted, strict=True) if x is not None and y is not None]
    distance = torch.stack([(x - y).square().sum() for x, y in pairs]).sum().sqrt()
    return float(distance / torch.stack([y.square().sum() for _, y in pairs]).sum().sqrt())


@pytest.mark.gpu
@needs_gpu
def test_a_run_on_a_gpu_ends_as_without_recording(heads: Path, tmp_path: Path) -> None:
    losses = []
    for recorded in (True, False):
        config = TrainConfig(
            data=heads,
            out=tmp_path / str(recorded),
            model=model_config(),
            recipe=replace(Recipe(), relief_start=60, relief_rampup=40),
            optimiser=OptimiserConfig(batch_size=8, rate=1e-4),
            images=160,
            device="cuda",
            keep_going=True,
        )
        trainer = Trainer(config, MachineOptions(cuda_graph=recorded))
        assert (trainer.together is not None) == recorded
        losses.append(trainer.run()["reconstruction"])
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
