"""Fitting to one photo."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scr3d.data.dataset import Dataset
from scr3d.data.heads import HeadsConfig, generate
from scr3d.data.store import Store
from scr3d.errors import ConfigError
from scr3d.losses.features import squeezenet_features
from scr3d.models import ModelConfig, PhotoGeometricAutoencoder, load_model
from scr3d.refine import RefineOptions, refine
from scr3d.training.recipe import Recipe
from scr3d.training.step import Target, explain_sides, reconstruction_losses
from scr3d.training.validation import TrueComparison, compare_with_truth, summarise


@pytest.fixture
def model():
    torch.manual_seed(0)
    return PhotoGeometricAutoencoder(ModelConfig(size=32, width=4, order="VDLA", start_scale=1.0)).eval()


@pytest.fixture
def image(heads):
    return Dataset(Store(heads / "val")).batch(np.arange(3)).image


def loss(model, explained, image, mask=None):
    with torch.no_grad():
        sides = explain_sides(explained.factors, model.estimate_confidence(image), model, Recipe())
        return float(reconstruction_losses(*sides, Target(image, mask), squeezenet_features(), Recipe()).total)


def test_the_loss_falls_and_the_weights_stay(model, image):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    steps = []
    with torch.no_grad():
        network = model.reconstruct(image)
        fitted = refine(model, image, RefineOptions(steps=6), after_step=steps.append)
    assert steps == [1, 2, 3, 4, 5, 6]
    assert loss(model, fitted, image) < loss(model, network, image) - 0.01
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not fitted.image.requires_grad
    assert torch.equal(fitted.confidence, network.confidence)


def test_photos_of_a_batch_do_not_touch_one_another(model, image):
    together = refine(model, image, RefineOptions(steps=3))
    alone = refine(model, image[1:2], RefineOptions(steps=3))
    torch.testing.assert_close(together.image[1:2], alone.image, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(together.view_depth[1:2], alone.view_depth, rtol=1e-3, atol=1e-3)


@torch.no_grad()
def test_a_factor_without_a_rate_stays_the_networks(model, image):
    network = model.reconstruct(image).factors
    kept = RefineOptions(steps=2, depth_rate=0.0, view_rate=0.0)
    fitted = refine(model, image, kept).factors
    assert torch.equal(fitted.canonical_depth, network.canonical_depth)
    assert torch.equal(fitted.view.rotation_rad, network.view.rotation_rad)
    assert not torch.equal(fitted.canonical_albedo, network.canonical_albedo)
    assert not torch.equal(fitted.light.direction, network.light.direction)
    nothing = RefineOptions(steps=2, depth_rate=0.0, view_rate=0.0, light_rate=0.0, albedo_rate=0.0)
    assert torch.equal(refine(model, image, nothing).factors.canonical_albedo, network.canonical_albedo)


@torch.no_grad()
def test_staying_close_keeps_the_shape(model, image):
    network = model.reconstruct(image).factors.canonical_depth
    moved = [
        float((refine(model, image, RefineOptions(5, depth_weight=w)).factors.canonical_depth - network).abs().mean())
        for w in (0.0, 1e5)
    ]
    assert moved[1] < 0.5 * moved[0]


@torch.no_grad()
def test_what_a_mask_hides_is_not_fitted(model, image):
    mask = torch.zeros(3, 32, 32)
    mask[:, 8:24, 8:24] = 1
    fitted = refine(model, image, RefineOptions(steps=6), mask)
    network = model.reconstruct(image)
    assert loss(model, fitted, image, mask) < loss(model, network, image, mask)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"view_rate": -0.1}, {"flip_weight": -1.0}])
def test_options_that_cannot_be_are_refused(wrong):
    with pytest.raises(ConfigError, match=str(next(iter(wrong.values())))):
        RefineOptions(**wrong)


@pytest.mark.slow
def test_held_out_heads_get_better(tmp_path):
    """The shipped model on heads it has not seen: shape, normals and picture, on average (docs/photos.md)."""
    generate(HeadsConfig(split="test", count=48, size=64), tmp_path, progress=lambda done, count: None)
    batch, model = Dataset(Store(tmp_path / "test")).batch(np.arange(48)), load_model()
    with torch.no_grad():
        explained = model.reconstruct(batch.image), refine(model, batch.image, RefineOptions(steps=20))
    scores = [summarise(TrueComparison.cat([compare_with_truth(model, one, batch.truth)])) for one in explained]
    errors = [float((one.image.clamp(0, 1) - batch.image).abs().mean(1)[one.mask].mean()) for one in explained]
    assert scores[1]["side_e2"] < 0.99 * scores[0]["side_e2"]
    assert scores[1]["mad_deg"] < scores[0]["mad_deg"] - 0.1
    assert errors[1] < 0.97 * errors[0]
    assert scores[1]["coverage"] > 0.99
