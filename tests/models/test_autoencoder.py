import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from scr3d.causal import MixingKind, Order, StaticStructure, StructureKind, descendants
from scr3d.errors import ConfigError
from scr3d.factors import FACTORS
from scr3d.models import DepthStart, ModelConfig, PhotoGeometricAutoencoder, Preset
from scr3d.models.autoencoder import BORDER_COLUMNS, RawFactors, channels_last, explain
from scr3d.models.config import SIZES
from scr3d.rendering import render, shade

SMALL = ModelConfig(size=32, width=8, order="VDLA")


def build(config: ModelConfig = SMALL, seed: int = 0) -> PhotoGeometricAutoencoder:
    torch.manual_seed(seed)
    return PhotoGeometricAutoencoder(config).eval()


def photos(batch: int, size: int) -> torch.Tensor:
    return torch.rand(batch, 3, size, size, generator=torch.Generator().manual_seed(0))


# --- shapes


@pytest.mark.parametrize("preset", list(Preset))
@pytest.mark.parametrize("size", SIZES)
@torch.no_grad()
def test_every_preset_and_size_explains_an_image(preset, size):
    model = build(ModelConfig(preset=preset, size=size, order="ADLV"))
    explained = model.reconstruct(photos(1, size))
    assert explained.image.shape == (1, 3, size, size)
    assert explained.factors.canonical_depth.shape == (1, size, size)
    assert explained.factors.canonical_albedo.shape == (1, 3, size, size)
    assert explained.confidence.shape == (1, size, size)
    assert explained.perceptual_confidence.shape == (1, size // 4, size // 4)
    assert explained.mask.any()
    for value in (explained.image, explained.canonical_image, explained.view_depth, explained.confidence):
        assert torch.isfinite(value).all()


@pytest.mark.parametrize(("width", "embedding"), [(16, 64), (32, 128)])
def test_the_compact_embedding_is_four_times_the_width(width, embedding):
    model = build(ModelConfig(size=32, width=width, order="VDLA"))
    assert model.encode(photos(2, 32)).shape == (2, 4, embedding)


@pytest.mark.parametrize(
    "options",
    [{"size": 48}, {"width": 6}, {"width": 0}, {"order": None}, {"order": "VDLL"}],
)
def test_impossible_configurations_are_refused(options):
    with pytest.raises(ConfigError, match=r"got|needs"):
        PhotoGeometricAutoencoder(ModelConfig(**({"size": 32, "order": "VDLA"} | options)))


# --- ranges and conventions


@torch.no_grad()
def test_factors_keep_their_ranges_whatever_the_embedding():
    model = build()
    embeddings = 300 * torch.randn(8, 4, SMALL.embedding)
    factors = model.decode(embeddings).factors
    depth_range = model.depth_range
    assert factors.canonical_depth.min() >= depth_range.near
    assert factors.canonical_depth.max() <= depth_range.far
    assert factors.canonical_albedo.min() >= 0
    assert factors.canonical_albedo.max() <= 1
    assert factors.view.rotation_rad.abs().max() <= math.radians(60) + 1e-6
    assert factors.view.rotation_rad.abs().max() > math.radians(30)
    assert factors.view.translation[:, :2].abs().max() <= SMALL.max_translation
    assert (factors.view.translation[:, 2] == 0).all()
    for strength in (factors.light.ambient, factors.light.diffuse):
        assert ((strength >= 0) & (strength <= 1)).all()
    torch.testing.assert_close(factors.light.direction.norm(dim=1), torch.ones(8))
    assert (factors.light.direction[:, 2] > 0).all()


@torch.no_grad()
def test_outer_columns_have_the_border_depth():
    model = build()
    depth = model.decode(10 * torch.randn(3, 4, SMALL.embedding)).factors.canonical_depth
    border = model.depth_range.border
    for columns in (depth[:, :, :BORDER_COLUMNS], depth[:, :, -BORDER_COLUMNS:]):
        torch.testing.assert_close(columns, torch.full_like(columns, border))
    inner = depth[:, :, BORDER_COLUMNS:-BORDER_COLUMNS]
    assert ((inner - border).abs() > 1e-4).float().mean() > 0.9


@torch.no_grad()
def test_raw_depth_has_no_mean_and_depth_is_its_tanh():
    model = build()
    raw = model.decode(3 * torch.randn(2, 4, SMALL.embedding))
    torch.testing.assert_close(raw.raw_depth.mean(dim=(1, 2)), torch.zeros(2), rtol=0, atol=1e-5)
    inner = slice(BORDER_COLUMNS, -BORDER_COLUMNS)
    expected = 1 + 0.1 * (raw.raw_depth + model.start_surface).tanh()
    torch.testing.assert_close(raw.factors.canonical_depth[:, :, inner], expected[:, :, inner])


def test_a_tapered_start_is_flatter_from_top_to_bottom_and_as_round_from_side_to_side():
    round_, upright = (build(replace(SMALL, start_taper=taper)).start_surface for taper in (1.0, 0.5))
    middle = len(round_) // 2
    torch.testing.assert_close(upright[middle], round_[middle], atol=2e-3, rtol=0)
    assert upright[middle // 2, middle] < round_[middle // 2, middle] - 0.03
    assert (upright <= round_ + 1e-6)[round_ < 0.3].all()


def test_the_start_surface_is_a_bump_or_flat():
    bump = build().start_surface
    assert bump.shape == (32, 32)
    assert bump.min() == bump[15:17, 15:17].min()  # nearest in the middle
    torch.testing.assert_close(bump, bump.flip(1))  # no side is preferred
    depth = 0.1 * bump.tanh()
    assert depth[16, 4] - depth[16, 16] > 0.03
    flat = build(ModelConfig(size=32, width=8, order="VDLA", depth_start=DepthStart.FLAT))
    assert (flat.start_surface == 0).all()


@torch.no_grad()
def test_the_view_scale_scales_angles_and_shifts():
    model = build()
    embeddings = 10 * torch.randn(3, 4, SMALL.embedding)
    full, half = model.decode(embeddings).factors, model.decode(embeddings, view_scale=0.5).factors
    torch.testing.assert_close(half.view.rotation_rad, 0.5 * full.view.rotation_rad)
    torch.testing.assert_close(half.view.translation, 0.5 * full.view.translation)
    assert torch.equal(half.canonical_depth, full.canonical_depth)
    unseen = model.decode(embeddings, view_scale=0.0).factors
    assert unseen.view.rotation_rad.abs().max() == 0


@torch.no_grad()
def test_the_start_scale_makes_first_views_small():
    timid = build(ModelConfig(size=32, width=8, order="VDLA", start_scale=0.1))
    plain = build(ModelConfig(size=32, width=8, order="VDLA", start_scale=1.0))
    embeddings = torch.randn(20, 4, SMALL.embedding)
    small, large = (m.decode(embeddings).raw_view.abs().mean() for m in (timid, plain))
    assert small < 0.2 * large


@torch.no_grad()
def test_a_reconstruction_is_what_its_factors_render():
    model = build()
    explained = model.reconstruct(photos(3, 32))
    factors = explained.factors
    shading = shade(explained.canonical_normal, factors.light)
    torch.testing.assert_close(explained.canonical_shading, shading)
    torch.testing.assert_close(explained.canonical_image, factors.canonical_albedo * shading[:, None])
    seen = render(factors.canonical_depth, factors.view, explained.canonical_image, model.camera, model.depth_range)
    assert torch.equal(explained.image, seen.image)
    assert torch.equal(explained.mask, seen.mask)
    assert torch.equal(explained[1:].image, explained.image[1:])
    assert torch.equal(explained[1:].factors.view.rotation_rad, factors.view.rotation_rad[1:])
    again = explain(factors, model.camera, model.config, explained.confidence, explained.perceptual_confidence)
    assert torch.equal(again.image, explained.image)


@torch.no_grad()
def test_images_of_a_batch_are_explained_one_by_one():
    model = build()
    images = photos(3, 32)
    together = model.reconstruct(images)
    for i in range(3):
        alone = model.reconstruct(images[i : i + 1])
        torch.testing.assert_close(alone.image, together.image[i : i + 1], rtol=0, atol=1e-4)
        torch.testing.assert_close(alone.confidence, together.confidence[i : i + 1], rtol=0, atol=1e-4)


@pytest.mark.parametrize("preset", list(Preset))
@torch.no_grad()
def test_channels_last_changes_the_memory_alone(preset):
    model = build(ModelConfig(preset=preset, size=32, order="VDLA"))
    images = photos(2, 32)
    before = model.reconstruct(images)
    channels_last(model)
    after = model.reconstruct(images.contiguous(memory_format=torch.channels_last))
    for name in ("canonical_depth", "canonical_albedo"):
        torch.testing.assert_close(getattr(after.factors, name), getattr(before.factors, name), rtol=0, atol=1e-4)
    torch.testing.assert_close(after.factors.view.rotation_rad, before.factors.view.rotation_rad, rtol=0, atol=1e-5)
    torch.testing.assert_close(after.confidence, before.confidence, rtol=0, atol=1e-4)


@pytest.mark.parametrize("preset", list(Preset))
def test_every_weight_is_trained(preset):
    model = build(ModelConfig(preset=preset, size=32, order="VDLA"))
    explained = model.reconstruct(photos(2, 32))
    outputs = (explained.image, explained.confidence, explained.perceptual_confidence)
    loss = sum((value * torch.randn_like(value)).sum() for value in outputs)
    loss.backward()
    without = [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert without == []


# --- causal structure


def factor_values(raw: RawFactors) -> list[torch.Tensor]:
    """The factors in storage order, one vector for each image."""
    factors = raw.factors
    light = torch.cat([factors.light.ambient[:, None], factors.light.diffuse[:, None], factors.light.direction], dim=1)
    view = torch.cat([factors.view.rotation_rad, factors.view.translation[:, :2]], dim=1)
    return [view, factors.canonical_depth.flatten(1), light, factors.canonical_albedo.flatten(1)]


def dependencies(model: PhotoGeometricAutoencoder) -> torch.Tensor:
    """Whether the Jacobian of a factor (row) by an embedding (column) has entries other than zero."""
    torch.manual_seed(1)
    embeddings = torch.randn(2, 4, model.config.embedding, requires_grad=True)
    rows = []
    for value in factor_values(model.decode(embeddings)):
        (gradient,) = torch.autograd.grad((value * torch.randn_like(value)).sum(), embeddings, retain_graph=True)
        rows.append((gradient != 0).any(dim=2).all(dim=0))
    return torch.stack(rows)


def structured(mask: torch.Tensor, mixing: MixingKind) -> PhotoGeometricAutoencoder:
    model = build(ModelConfig(size=32, width=8, order="VDLA", mixing=mixing))
    model.structure = StaticStructure(mask)
    return model


CHAIN = torch.zeros(4, 4)
CHAIN[1, 3] = CHAIN[0, 1] = CHAIN[2, 0] = 1  # albedo -> depth -> view -> light
SPARSE = torch.zeros(4, 4)
SPARSE[3, 0] = SPARSE[1, 3] = 1  # view -> albedo -> depth, light alone


@pytest.mark.parametrize("mixing", list(MixingKind))
@pytest.mark.parametrize(
    "mask", [Order.parse("VDLA").mask(), Order.parse("LAVD").mask(), CHAIN, SPARSE, torch.zeros(4, 4)]
)
def test_the_jacobian_has_the_zeros_of_the_graph(mask, mixing):
    expected = torch.eye(4, dtype=torch.bool)
    for parent in range(4):
        reached = descendants(mask, parent) if mixing is MixingKind.RECURSIVE else torch.nonzero(mask[:, parent])
        for child in reached:
            expected[int(child), parent] = True
    assert torch.equal(dependencies(structured(mask, mixing)), expected)


@pytest.mark.parametrize("mixing", list(MixingKind))
@torch.no_grad()
def test_an_intervention_changes_descendants_and_nothing_else(mixing):
    model = structured(CHAIN, mixing)
    embeddings = torch.randn(2, 4, SMALL.embedding)
    before = factor_values(model.decode(embeddings))
    for factor in range(4):
        changed = embeddings.clone()
        changed[:, factor] += 0.5 * torch.randn(2, SMALL.embedding)
        after = factor_values(model.decode(changed))
        moved = {i for i in range(4) if not torch.equal(before[i], after[i])}
        children = {i for i in range(4) if CHAIN[i, factor]}
        reached = descendants(CHAIN, factor) if mixing is MixingKind.RECURSIVE else children
        assert moved == reached | {factor}


def test_an_independent_model_has_no_edges():
    model = build(ModelConfig(size=32, width=8, structure=StructureKind.INDEPENDENT))
    assert torch.equal(dependencies(model), torch.eye(len(FACTORS), dtype=torch.bool))


def test_second_derivatives_pass_through_the_whole_model():
    model = build()
    image = photos(2, 32)
    loss = F.l1_loss(model.reconstruct(image).image, image)
    weight = model.encoders["depth"].head[0].weight
    (gradient,) = torch.autograd.grad(loss, weight, create_graph=True)
    (second,) = torch.autograd.grad(gradient.square().sum(), model.view_decoder.output.weight)
    assert torch.isfinite(second).all()
    assert second.any()
