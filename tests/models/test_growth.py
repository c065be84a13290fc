from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from scr3d.causal import MixingKind
from scr3d.errors import CheckpointError
from scr3d.models import ModelConfig, PhotoGeometricAutoencoder, Preset, save_model
from scr3d.models.growth import grow, start_weights
from scr3d.models.layers import upsample

SMALL = ModelConfig(size=32, width=8, order="VDLA")


def trained_like(config: ModelConfig) -> PhotoGeometricAutoencoder:
    """A model none of whose weights have a special value."""
    torch.manual_seed(0)
    model = PhotoGeometricAutoencoder(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    return model


def grown(model: PhotoGeometricAutoencoder) -> PhotoGeometricAutoencoder:
    config, weights = grow(model.config, model.state_dict())
    larger = PhotoGeometricAutoencoder(config).eval()
    larger.load_state_dict(weights)
    return larger


@pytest.mark.parametrize("size", [32, 64])
@torch.no_grad()
def test_a_grown_compact_model_computes_what_it_computed_before(size):
    model = trained_like(replace(SMALL, size=size))
    larger = grown(model)
    assert larger.config.size == 2 * size
    image = torch.rand(2, 3, 2 * size, 2 * size)
    embeddings = model.encode(F.avg_pool2d(image, 2))
    torch.testing.assert_close(larger.encode(image), embeddings, rtol=0, atol=1e-5)

    before, after = model.decode(embeddings), larger.decode(embeddings)
    torch.testing.assert_close(after.raw_view, before.raw_view)
    torch.testing.assert_close(after.factors.light.direction, before.factors.light.direction)
    enlarged = upsample(before.raw_depth[:, None])[:, 0]
    enlarged = enlarged - enlarged.mean(dim=(1, 2), keepdim=True)
    torch.testing.assert_close(after.raw_depth, enlarged, rtol=0, atol=1e-4)
    albedo = upsample(model.albedo_decoder(model.mixing(embeddings, model.structure(embeddings))[:, 3]))
    torch.testing.assert_close(after.factors.canonical_albedo, albedo.tanh() / 2 + 0.5, rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_grown_compact_model_is_as_confident_as_before():
    model = trained_like(SMALL)
    image = torch.rand(2, 3, 64, 64)
    before, after = model.estimate_confidence(F.avg_pool2d(image, 2)), grown(model).estimate_confidence(image)
    # softplus and enlargement swap places, so the match is close, not exact
    torch.testing.assert_close(after.pixel, upsample(before.pixel), rtol=0.05, atol=0.02)
    torch.testing.assert_close(after.perceptual, upsample(before.perceptual), rtol=0.05, atol=0.02)


def test_a_grown_model_trains_its_new_layers():
    model = grown(trained_like(SMALL))
    explained = model.reconstruct(torch.rand(2, 3, 64, 64))
    (explained.image.square().sum() + explained.confidence.sum()).backward()
    assert model.albedo_decoder.outputs["64"].weight.grad.abs().max() > 0
    assert model.depth_decoder.outputs["32"].weight.grad.abs().max() > 0
    assert model.encoders["view"].stages[1][0].weight.grad[:, 3:].abs().max() > 0


def test_a_grown_reference_model_keeps_the_layers_that_exist_in_both():
    torch.manual_seed(0)
    model = PhotoGeometricAutoencoder(ModelConfig(preset=Preset.REFERENCE, size=32, order="VDLA"))
    larger = grown(model)
    for name in ("encoders.depth.head.0.weight", "depth_decoder.start.0.weight", "view_decoder.hidden.weight"):
        assert torch.equal(larger.state_dict()[name], model.state_dict()[name])
    assert torch.equal(larger.encoders["depth"].stages[-1][0].weight, model.encoders["depth"].stages[-1][0].weight)


@torch.no_grad()
def test_start_weights_of_the_same_size_and_grown_twice(tmp_path):
    model = trained_like(SMALL)
    save_model(tmp_path / "small", model, {})
    same = start_weights(tmp_path / "small", SMALL)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in same.items())
    larger = PhotoGeometricAutoencoder(replace(SMALL, size=128)).eval()
    larger.load_state_dict(start_weights(tmp_path / "small", larger.config))
    image = torch.rand(1, 3, 128, 128)
    torch.testing.assert_close(larger.encode(image), model.encode(F.avg_pool2d(image, 4)), rtol=0, atol=1e-5)


def test_start_weights_keep_the_order_that_is_asked_for(tmp_path):
    save_model(tmp_path / "small", trained_like(SMALL), {})
    wanted = PhotoGeometricAutoencoder(replace(SMALL, order="ADLV"))
    weights = start_weights(tmp_path / "small", wanted.config)
    assert torch.equal(weights["structure.mask"], wanted.structure.mask)


@pytest.mark.parametrize(
    "other",
    [
        {"width": 16},
        {"preset": Preset.REFERENCE},
        {"mixing": MixingKind.CONCAT},
    ],
)
def test_another_kind_of_model_is_refused(tmp_path, other):
    save_model(tmp_path / "small", trained_like(SMALL), {})
    with pytest.raises(CheckpointError, match="size 32, width 8"):
        start_weights(tmp_path / "small", replace(SMALL, **other))


def test_a_larger_model_is_refused(tmp_path):
    save_model(tmp_path / "large", trained_like(replace(SMALL, size=64)), {})
    with pytest.raises(CheckpointError, match="asked for a compact model of size 32"):
        start_weights(tmp_path / "large", SMALL)


def test_a_damaged_model_is_refused(tmp_path):
    save_model(tmp_path / "small", trained_like(SMALL), {})
    path = tmp_path / "small" / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        start_weights(tmp_path / "small", SMALL)
