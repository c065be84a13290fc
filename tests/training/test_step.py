from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from scr3d.data.dataset import Batch
from scr3d.factors import cat_factors
from scr3d.geometry import normals_from_depth
from scr3d.losses import perceptual_loss, photometric_loss, relief_loss, smoothness_loss
from scr3d.losses.features import squeezenet_features
from scr3d.models import ModelConfig, PhotoGeometricAutoencoder
from scr3d.rendering import render, shade
from scr3d.training.recipe import RECIPES, Recipe
from scr3d.training.step import Target, explain_both, flip_canonical, reconstruction_losses, training_loss

CONFIG = ModelConfig(size=32, width=4, order="VDLA", start_scale=3.0, max_translation=0.05)


@pytest.fixture(scope="module")
def features():
    return squeezenet_features()


@pytest.fixture
def model():
    torch.manual_seed(0)
    return PhotoGeometricAutoencoder(CONFIG)


@pytest.fixture
def image():
    return torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def by_hand(model, features, image, recipe, images_seen):
    """The loss again, term by term, without the batching of both reconstructions."""
    raw = model.decode(model.encode(image), recipe.view_scale_at(images_seen))
    factors = raw.factors
    confidence = model.confidence(image * 2 - 1)
    seen = []
    for depth, albedo in [
        (factors.canonical_depth, factors.canonical_albedo),
        (factors.canonical_depth.flip(2), factors.canonical_albedo.flip(3)),
    ]:
        texture = albedo * shade(normals_from_depth(depth, model.camera), factors.light)[:, None]
        seen.append(render(depth, factors.view, texture, model.camera, model.depth_range, recipe.continued))
    mask = coarse = None
    if recipe.masked:
        mask = (seen[0].mask & seen[1].mask).float()
        coarse = F.avg_pool2d(mask, 4)
    total = torch.zeros(())
    for channel, (view, weight) in enumerate(zip(seen, (1.0, recipe.flip_weight), strict=True)):
        pixel = photometric_loss(view.image * 2 - 1, image * 2 - 1, confidence.pixel[:, channel], mask)
        feature = perceptual_loss(features(view.image), features(image), confidence.perceptual[:, channel], coarse)
        total = total + weight * (pixel + recipe.perceptual_weight * feature)
    slopes = factors.light.direction[:, :2] / factors.light.direction[:, 2:]
    regularisers = (
        recipe.smoothness_at(images_seen) * smoothness_loss(raw.raw_depth)
        + recipe.rotation_penalty_at(images_seen) * raw.raw_view[:, :3].square().mean()
        + recipe.translation_penalty * raw.raw_view[:, 3:].square().mean()
        + recipe.relief_penalty_at(images_seen) * relief_loss(factors.canonical_depth, model.config.fov_deg)
        + recipe.shape_penalty * raw.raw_depth.var(dim=0, correction=0).mean()
        + recipe.light_penalty_at(images_seen) * slopes.square().mean()
    )
    return total, total + regularisers


@pytest.mark.parametrize(
    "recipe",
    [
        RECIPES["robust"],
        RECIPES["paper"],
        Recipe(masked=False, continued=False, flip_weight=0.3, perceptual_weight=0.2, light_penalty=1.5),
        Recipe(
            masked=True,
            continued=True,
            smoothness=7.0,
            rotation_penalty=2.0,
            translation_penalty=3.0,
            shape_penalty=4.0,
        ),
    ],
)
@pytest.mark.parametrize("images_seen", [6_000, 200_000])
@torch.no_grad()
def test_the_total_is_the_weighted_sum_of_its_terms(model, features, image, recipe, images_seen):
    losses = training_loss(model, features, Batch(image, None), recipe, images_seen)
    reconstruction, total = by_hand(model, features, image, recipe, images_seen)
    torch.testing.assert_close(losses.reconstruction, reconstruction, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(losses.total, total, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_parts_are_named_and_unweighted(model, features, image):
    losses = training_loss(model, features, Batch(image, None), Recipe(), 0)
    parts = losses.parts
    assert {"photometric", "perceptual", "flipped_photometric", "flipped_perceptual", "coverage"} <= set(parts)
    plain = parts["photometric"] + parts["perceptual"]
    flipped = parts["flipped_photometric"] + parts["flipped_perceptual"]
    torch.testing.assert_close(losses.reconstruction, plain + 0.5 * flipped)
    regularisers = {"smoothness", "rotation_penalty", "translation_penalty", "light_penalty"}
    assert regularisers <= set(parts)
    assert not regularisers & set(training_loss(model, features, Batch(image, None), RECIPES["paper"], 0).parts)


@torch.no_grad()
def test_flipped_maps_are_mirrored_and_view_and_light_are_kept(model, image):
    factors = model.decode(model.encode(image)).factors
    flipped = flip_canonical(factors)
    assert torch.equal(flipped.canonical_depth, factors.canonical_depth.flip(-1))
    assert torch.equal(flipped.canonical_albedo, factors.canonical_albedo.flip(-1))
    assert torch.equal(flipped.view.rotation_rad, factors.view.rotation_rad)
    assert torch.equal(flipped.light.direction, factors.light.direction)
    assert torch.equal(flip_canonical(flipped).canonical_albedo, factors.canonical_albedo)


@torch.no_grad()
def test_the_flipped_half_is_the_mirror(model, image):
    """With view and light mirrored as well, the flipped reconstruction is the mirror image of the plain one."""
    factors = model.decode(model.encode(image)).factors
    confidence = model.estimate_confidence(image)
    plain, _ = explain_both(factors, confidence, model, continued=False)
    view, light = factors.view, factors.light
    mirrored_view = replace(
        view,
        rotation_rad=view.rotation_rad * torch.tensor([1.0, -1.0, -1.0]),
        translation=view.translation * torch.tensor([-1.0, 1.0, 1.0]),
    )
    mirrored_light = replace(light, direction=light.direction * torch.tensor([-1.0, 1.0, 1.0]))
    mirrored = replace(factors, view=mirrored_view, light=mirrored_light)
    _, flipped = explain_both(mirrored, confidence, model, continued=False)
    torch.testing.assert_close(flipped.canonical_image, plain.canonical_image.flip(-1), rtol=0, atol=1e-5)
    same = flipped.mask == plain.mask.flip(-1)
    assert same.float().mean() > 0.995
    close = (flipped.image - plain.image.flip(-1)).abs().amax(1) < 1e-3
    # The diagonals of the triangles are not mirrored: cells that are not flat differ a little.
    assert close.float().mean() > 0.9
    assert (flipped.image - plain.image.flip(-1)).abs().mean() < 1e-2


@torch.no_grad()
def test_a_symmetric_object_is_its_own_mirror(model, image):
    factors = model.decode(model.encode(image)).factors
    symmetric = replace(
        factors,
        canonical_depth=(factors.canonical_depth + factors.canonical_depth.flip(-1)) / 2,
        canonical_albedo=(factors.canonical_albedo + factors.canonical_albedo.flip(-1)) / 2,
    )
    plain, flipped = explain_both(symmetric, model.estimate_confidence(image), model, continued=False)
    torch.testing.assert_close(plain.image, flipped.image, rtol=0, atol=1e-5)


@torch.no_grad()
def test_both_reconstructions_have_their_own_confidence(model, image):
    confidence = model.estimate_confidence(image)
    plain, flipped = explain_both(model.decode(model.encode(image)).factors, confidence, model, continued=True)
    assert torch.equal(plain.confidence, confidence.pixel[:, 0])
    assert torch.equal(flipped.confidence, confidence.pixel[:, 1])
    assert torch.equal(plain.perceptual_confidence, confidence.perceptual[:, 0])
    assert torch.equal(flipped.perceptual_confidence, confidence.perceptual[:, 1])
    assert len(cat_factors([plain.factors, flipped.factors]).canonical_depth) == 6


@torch.no_grad()
def test_the_papers_recipe_scores_only_what_both_cover(model, features, image):
    factors = model.decode(model.encode(image)).factors
    plain, flipped = explain_both(factors, model.estimate_confidence(image), model, continued=False)
    mask = plain.mask & flipped.mask
    assert not mask.all()
    before = reconstruction_losses(
        plain, flipped, Target(image), features, replace(RECIPES["paper"], perceptual_weight=0.0)
    )
    spoilt = torch.where(mask[:, None], image, torch.rand_like(image))
    after = reconstruction_losses(
        plain, flipped, Target(spoilt), features, replace(RECIPES["paper"], perceptual_weight=0.0)
    )
    torch.testing.assert_close(after.total, before.total)
    robust = replace(Recipe(), perceptual_weight=0.0)
    assert reconstruction_losses(plain, flipped, Target(spoilt), features, robust).total != pytest.approx(
        float(reconstruction_losses(plain, flipped, Target(image), features, robust).total)
    )


def test_a_step_reaches_every_weight_of_the_model_and_none_of_the_features(model, features, image):
    training_loss(model, features, Batch(image, None), Recipe(), 50_000).total.backward()
    without = [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert without == []
    assert all(torch.isfinite(weight.grad).all() for weight in model.parameters())
    assert all(weight.grad is None for weight in features.parameters())


def test_the_loss_falls(model, features, image):
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    values = []
    for _ in range(12):
        optimiser.zero_grad()
        loss = training_loss(model, features, Batch(image, None), Recipe(), 50_000).total
        loss.backward()
        optimiser.step()
        values.append(float(loss.detach()))
    assert values[-1] < values[0] - 0.1
