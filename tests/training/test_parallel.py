"""A batch in parts, by threads: the loss and the gradient of the whole batch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from scr3d.data.dataset import Batch, Truth
from scr3d.losses.features import squeezenet_features
from scr3d.models import ModelConfig, PhotoGeometricAutoencoder
from scr3d.training.objective import TrainingObjective, Whole
from scr3d.training.parallel import BatchInParts, parts_of
from scr3d.training.recipe import RECIPES, Recipe

ALL_TERMS = Recipe(
    rotation_penalty=2.0, light_penalty=1.0, relief_penalty=1.0, relief_start=0, relief_rampup=1, shape_penalty=5.0
)


def objective(recipe: Recipe) -> TrainingObjective:
    torch.manual_seed(0)
    model = PhotoGeometricAutoencoder(ModelConfig(size=32, width=4, order="VDLA", start_scale=3.0))
    return TrainingObjective(model.double(), squeezenet_features().double(), recipe)


def batch(count: int) -> Batch:
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(count, 3, 32, 32, generator=generator, dtype=torch.float64)
    depth = 1 + 0.05 * torch.rand(count, 32, 32, generator=generator, dtype=torch.float64)
    return Batch(image, Truth(depth, depth > 1.01, None, None, None, {}))


@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize(
    "recipe", [ALL_TERMS, RECIPES["paper"], replace(ALL_TERMS, masked=True), RECIPES["supervised"]]
)
def test_loss_and_gradient_are_those_of_the_whole_batch(recipe: Recipe, threads: int) -> None:
    whole, parts = objective(recipe), objective(recipe)
    expected, expected_values = whole(Whole(batch(6)), 50_000)
    expected.backward()
    in_parts = BatchInParts(threads)
    total, values = in_parts.gradients(parts, batch(6), 50_000, list(parts.model.parameters()))
    torch.testing.assert_close(total, expected.detach(), rtol=1e-12, atol=1e-12)
    assert set(values) == set(expected_values)
    for name, value in values.items():
        torch.testing.assert_close(value, expected_values[name], rtol=1e-9, atol=1e-12)
    for (name, found), wanted in zip(parts.model.named_parameters(), whole.model.parameters(), strict=True):
        if wanted.grad is None:
            assert found.grad is None, name
        else:
            torch.testing.assert_close(found.grad, wanted.grad, rtol=1e-7, atol=1e-10, msg=name)


def test_the_same_every_time() -> None:
    made = objective(ALL_TERMS)
    in_parts = BatchInParts(2)
    parameters = list(made.model.parameters())
    found = []
    for _ in range(3):
        in_parts.gradients(made, batch(4), 50_000, parameters)
        found.append([parameter.grad for parameter in parameters])
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True) if a is not None)


def test_each_thread_computes_with_one_thread_and_the_caller_keeps_its_own() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        in_parts = BatchInParts(2)
        assert torch.get_num_threads() == 2
        assert {in_parts.pool.submit(torch.get_num_threads).result() for _ in range(8)} == {1}
    finally:
        torch.set_num_threads(before)


def test_an_error_in_one_part_reaches_the_caller_and_nobody_waits() -> None:
    made = objective(ALL_TERMS)
    broken = batch(4)
    in_parts = BatchInParts(2)

    class Failing(torch.nn.Module):
        def forward(self, whole: Whole, *arguments: object, **named: object) -> object:
            if torch.equal(whole.batch.image, broken.image[:2]):
                raise ValueError("the first part fails")
            return made(whole, *arguments, **named)

    with pytest.raises(ValueError, match="the first part fails"):
        in_parts.gradients(Failing(), broken, 50_000, list(made.model.parameters()))
    in_parts.gradients(made, broken, 50_000, list(made.model.parameters()))


@pytest.mark.parametrize(("images", "threads", "parts"), [(32, 2, 2), (32, 3, 2), (9, 4, 3), (7, 4, 1), (2, 8, 2)])
def test_parts_are_equal(images: int, threads: int, parts: int) -> None:
    assert parts_of(images, threads) == parts
