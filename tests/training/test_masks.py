"""Foreground masks and objects without symmetry, in every loss."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from scr3d.data.dataset import Batch, Dataset, Truth
from scr3d.data.store import ArraySpec, Store, StoreInfo, StoreWriter
from scr3d.losses.features import squeezenet_features
from scr3d.models import ModelConfig, PhotoGeometricAutoencoder
from scr3d.training.batches import mirror_some
from scr3d.training.objective import TrainingObjective
from scr3d.training.parallel import BatchInParts
from scr3d.training.recipe import RECIPES, Recipe
from scr3d.training.step import Target, explain_sides, reconstruction_losses, training_loss
from scr3d.training.validation import held_out

SIZE = 32
PHOTOMETRIC = Recipe(perceptual_weight=0.0)


@pytest.fixture(scope="module")
def features():
    return squeezenet_features()


@pytest.fixture
def model():
    torch.manual_seed(0)
    return PhotoGeometricAutoencoder(ModelConfig(size=SIZE, width=4, order="VDLA", start_scale=1.0))


@pytest.fixture
def image():
    return torch.rand(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def mask():
    mask = torch.zeros(4, SIZE, SIZE)
    mask[:, 8:24, 4:20] = 1
    return mask


def explained(model, image, recipe):
    factors = model.decode(model.encode(image)).factors
    return explain_sides(factors, model.estimate_confidence(image), model, recipe)


@pytest.mark.parametrize("recipe", [PHOTOMETRIC, replace(RECIPES["paper"], perceptual_weight=0.0)])
@torch.no_grad()
def test_what_the_mask_hides_does_not_count(model, features, image, mask, recipe):
    plain, flipped = explained(model, image, recipe)
    spoilt = torch.where(mask[:, None] > 0, image, 1 - image)
    losses = [
        float(reconstruction_losses(plain, flipped, Target(seen, with_mask), features, recipe).total)
        for seen, with_mask in ((image, mask), (spoilt, mask), (image, None), (spoilt, None))
    ]
    assert losses[0] == losses[1]
    assert losses[2] != losses[3]
    inside = torch.where(mask[:, None] > 0, 1 - image, image)
    assert float(reconstruction_losses(plain, flipped, Target(inside, mask), features, recipe).total) != losses[0]


@torch.no_grad()
def test_features_far_from_the_mask_do_not_count(model, features, image, mask):
    plain, flipped = explained(model, image, Recipe())
    spoilt = image.clone()
    spoilt[..., 28:] = 0  # more than the reach of a feature away from the mask, which ends at column 20
    far = [reconstruction_losses(plain, flipped, Target(seen, mask), features, Recipe()) for seen in (image, spoilt)]
    torch.testing.assert_close(far[0].parts["photometric"], far[1].parts["photometric"], rtol=0, atol=0)
    torch.testing.assert_close(far[0].parts["perceptual"], far[1].parts["perceptual"], rtol=1e-3, atol=1e-3)


def test_a_full_mask_is_none(model, features, image):
    values = []
    for mask in (None, torch.ones(4, SIZE, SIZE)):
        model.zero_grad()
        losses = training_loss(model, features, Batch(image, None, mask), Recipe(), 50_000)
        losses.total.backward()
        values.append((losses.total.detach(), [p.grad.clone() for p in model.parameters() if p.grad is not None]))
    torch.testing.assert_close(values[0][0], values[1][0], rtol=1e-5, atol=1e-5)
    for one, other in zip(values[0][1], values[1][1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_hidden_pixels_give_no_gradient(model, features, image, mask):
    factors = model.decode(model.encode(image)).factors
    plain, flipped = explain_sides(factors, model.estimate_confidence(image), model, PHOTOMETRIC)
    total = reconstruction_losses(plain, flipped, Target(image, mask), features, PHOTOMETRIC).total
    (gradient,) = torch.autograd.grad(total, plain.image)
    assert gradient[mask[:, None].expand_as(gradient) == 0].abs().max() == 0
    assert gradient[mask[:, None].expand_as(gradient) > 0].abs().min() > 0


@torch.no_grad()
def test_held_out_and_supervised_losses_use_the_mask(model, features, image, mask):
    spoilt = torch.where(mask[:, None] > 0, image, image.flip(0))
    depth = torch.rand(4, SIZE, SIZE) / 10 + 0.95
    truth = Truth(depth, torch.ones(4, SIZE, SIZE, dtype=torch.bool), None, None, None, {})
    other = replace(truth, depth=torch.where(mask > 0, depth, 1.05))
    for recipe, first, second in (
        (RECIPES["supervised"], Batch(image, truth, mask), Batch(image, other, mask)),
        (PHOTOMETRIC, Batch(image, None, mask), Batch(spoilt, None, mask)),
    ):
        # The networks must see the same image: only what they are compared with differs.
        factors_of = model.encode(image)
        model.encode = lambda _, kept=factors_of: kept
        confidence = model.estimate_confidence(image)
        model.estimate_confidence = lambda _, kept=confidence: kept
        try:
            assert held_out(model, features, first, recipe)[0] == pytest.approx(
                held_out(model, features, second, recipe)[0], rel=1e-6
            )
            without = [held_out(model, features, replace(b, mask=None), recipe)[0] for b in (first, second)]
            assert without[0] != pytest.approx(without[1], rel=1e-4)
        finally:
            del model.encode, model.estimate_confidence


def test_without_symmetry_nothing_is_flipped(model, features, image):
    recipe = Recipe(symmetry=False)
    assert explained(model, image, recipe)[1] is None
    losses = training_loss(model, features, Batch(image, None), recipe, 50_000)
    assert not [name for name in losses.parts if name.startswith("flipped")]
    torch.testing.assert_close(losses.reconstruction, losses.parts["photometric"] + losses.parts["perceptual"])
    both = training_loss(model, features, Batch(image, None), Recipe(), 50_000)
    torch.testing.assert_close(losses.parts["photometric"], both.parts["photometric"], rtol=1e-5, atol=1e-5)
    assert not Recipe(flip_weight=0).flips
    losses.total.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_masks_are_read_from_the_store_and_mirrored_with_the_images(tmp_path):
    random = np.random.default_rng(0)
    block = {
        "image": random.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8),
        "mask": random.integers(0, 256, (6, 8, 8), dtype=np.uint8),
    }
    arrays = {name: ArraySpec("uint8", values.shape[1:]) for name, values in block.items()}
    StoreWriter(tmp_path, StoreInfo(8, 6, arrays)).append(block)
    batch = Dataset(Store(tmp_path)).batch(np.array([4, 1, 2, 0, 3]))
    np.testing.assert_allclose(batch.mask.numpy(), block["mask"][[4, 1, 2, 0, 3]] / 255, rtol=1e-6)
    assert batch[1:3].mask.shape == (2, 8, 8)
    mirrored = mirror_some(batch, seed=0, step=3)
    flipped = (mirrored.image != batch.image).flatten(1).any(1)
    assert flipped.any()
    assert not flipped.all()
    for index in range(5):
        expected = batch.mask[index].flip(-1) if flipped[index] else batch.mask[index]
        assert torch.equal(mirrored.mask[index], expected)


def test_parts_of_a_masked_batch_make_the_gradient_of_the_whole(model, features, image, mask):
    """The parts' masks have different sizes, so their means are not of equal weight."""
    mask = mask.clone()
    mask[:2] *= (torch.arange(SIZE) < 10).float()
    batch, objective = Batch(image, None, mask), TrainingObjective(model, features, Recipe())
    total, _ = objective(batch, 50_000)
    expected = torch.autograd.grad(total, list(model.parameters()), allow_unused=True)
    pool = BatchInParts(2)
    try:
        found, _ = pool.gradients(objective, batch, 50_000, list(model.parameters()))
    finally:
        pool.close()
    torch.testing.assert_close(found, total.detach(), rtol=1e-4, atol=1e-4)
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        if gradient is not None:
            torch.testing.assert_close(parameter.grad, gradient, rtol=2e-3, atol=2e-4)


def test_reconstructions_are_compared_with_the_target_and_networks_see_the_image(model, features, image):
    recipe = Recipe()
    aimed = Batch(image, None, None, target=1 - image)
    plain, flipped = explained(model, image, recipe)
    wanted = reconstruction_losses(plain, flipped, Target(1 - image), features, recipe).total
    losses = training_loss(model, features, aimed, recipe, 10**6)
    torch.testing.assert_close(losses.reconstruction, wanted)
    with torch.no_grad():
        assert held_out(model, features, aimed, recipe)[0] == pytest.approx(float(wanted), rel=1e-5)
    assert float(training_loss(model, features, Batch(image, None), recipe, 10**6).reconstruction) != float(wanted)
    parts = training_loss(model, features, aimed[:2], recipe, 10**6)
    alone = training_loss(model, features, Batch(image[:2], None, None, 1 - image[:2]), recipe, 10**6)
    assert float(parts.total) == float(alone.total)
