"""Interventions: effects go where the graph leads and nowhere else, to the last bit."""

from __future__ import annotations

import math

import pytest
import torch

from scr3d.causal import Attention, MixingKind, StaticStructure, StructureKind, build_mixing, parse_edges
from scr3d.errors import ConfigError, ShapeError
from scr3d.factors import FACTORS, Factor, Factors
from scr3d.interventions import (
    InterventionResult,
    MixEmbedding,
    NoisyEmbedding,
    Role,
    ScaleDepth,
    SetLight,
    SetView,
    ValueFrom,
    intervene,
    movement,
)
from scr3d.models import ModelConfig, PhotoGeometricAutoencoder

SIZE = 32
V, D, L, A = FACTORS


def build(seed: int = 0, **options: object) -> PhotoGeometricAutoencoder:
    torch.manual_seed(seed)
    config = ModelConfig(size=SIZE, width=4, start_scale=1.0, **options)  # type: ignore[arg-type]
    return PhotoGeometricAutoencoder(config).eval().requires_grad_(False)


def with_edges(edges: str, mixing: MixingKind) -> PhotoGeometricAutoencoder:
    """A model whose graph is written by hand."""
    model = build(structure=StructureKind.INDEPENDENT)
    model.structure = StaticStructure(parse_edges(edges))
    model.mixing = build_mixing(mixing, model.config.embedding).requires_grad_(False)
    return model


def images(count: int, seed: int) -> torch.Tensor:
    return torch.rand(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    return images(2, 0)


@pytest.fixture(scope="module")
def other() -> torch.Tensor:
    return images(2, 1)


@pytest.fixture(scope="module")
def dense() -> PhotoGeometricAutoencoder:
    return build(order="VDLA")


def parts(factors: Factors, factor: Factor) -> torch.Tensor:
    """All numbers of a factor of every image."""
    values = {
        V: [factors.view.rotation_rad, factors.view.translation],
        D: [factors.canonical_depth],
        L: [factors.light.ambient[:, None], factors.light.diffuse[:, None], factors.light.direction],
        A: [factors.canonical_albedo],
    }[factor]
    return torch.cat([value.flatten(1) for value in values], dim=1)


def same_bits(result: InterventionResult, factor: Factor) -> bool:
    return torch.equal(
        parts(result.before.reconstruction.factors, factor), parts(result.after.reconstruction.factors, factor)
    )


def changed_factors(result: InterventionResult) -> set[Factor]:
    """By comparison of the factors themselves, not by what the result says of them."""
    return {factor for factor in FACTORS if not same_bits(result, factor)}


def reported(flags: torch.Tensor, index: int = 0) -> set[Factor]:
    return {factor for factor, flag in zip(FACTORS, flags[index].tolist(), strict=True) if flag}


@pytest.mark.parametrize("mixing", list(MixingKind))
@pytest.mark.parametrize("order", ["VDLA", "ADLV", "VLAD", "LADV", "DVAL"])
def test_under_a_dense_order_all_later_factors_follow(order: str, mixing: MixingKind, image, other) -> None:
    model = build(order=order, mixing=mixing)
    for place, letter in enumerate(order):
        cause, later = Factor(letter), {Factor(x) for x in order[place + 1 :]}
        result = intervene(model, image, [MixEmbedding(cause, other)])
        assert changed_factors(result) == later | {cause}
        assert reported(result.must_follow) == later
        assert reported(result.changed) == later | {cause}
        roles = result.roles(1)
        assert roles[cause] is Role.REPLACED
        assert {factor for factor, role in roles.items() if role is Role.FOLLOWS} == later
        assert list(roles.values()).count(Role.UNCHANGED) == place


@pytest.mark.parametrize(
    ("mixing", "followers"),
    [(MixingKind.ADDITIVE, {D}), (MixingKind.CONCAT, {D}), (MixingKind.RECURSIVE, {D, L, A})],
)
def test_on_a_chain_one_hop_or_all_descendants(mixing: MixingKind, followers: set[Factor], image, other) -> None:
    result = intervene(with_edges("V>D,D>L,L>A", mixing), image, [MixEmbedding(V, other)])
    assert reported(result.must_follow) == followers
    assert changed_factors(result) == followers | {V}
    assert result.passes_on == (mixing is MixingKind.RECURSIVE)


def test_without_edges_nothing_follows(image, other) -> None:
    result = intervene(
        build(structure=StructureKind.INDEPENDENT), image, [NoisyEmbedding(D, 1.0), MixEmbedding(L, other)]
    )
    assert changed_factors(result) == {D, L}
    assert not result.must_follow.any()


@pytest.mark.parametrize("attention", list(Attention))
def test_a_graph_per_image_leads_the_effects_of_that_image(attention: Attention, image, other) -> None:
    model = build(structure=StructureKind.DYNAMIC, order="LADV", attention=attention, mixing=MixingKind.RECURSIVE)
    result = intervene(model, image, [MixEmbedding(D, other)])
    assert result.before.weights.shape == (2, 4, 4)
    assert not torch.equal(result.before.weights[0], result.before.weights[1])
    # New weights for the edges of the replaced factor, the old ones elsewhere.
    touched = result.before.weights != result.after.weights
    assert touched.any()
    assert not touched[:, FACTORS.index(A), FACTORS.index(L)].any()
    assert changed_factors(result) == {D, V}


def test_an_edge_of_weight_zero_in_one_image_carries_nothing_there(image, other) -> None:
    class PerImage(torch.nn.Module):
        mask = parse_edges("V>D,V>A")

        def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
            keep = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
            weights = self.mask.repeat(len(embeddings), 1, 1)
            weights[:, FACTORS.index(D), 0] *= keep[0]
            weights[:, FACTORS.index(A), 0] *= keep[1]
            return weights

    model = build(structure=StructureKind.INDEPENDENT)
    model.structure = PerImage()
    result = intervene(model, image, [MixEmbedding(V, other)])
    assert [reported(result.must_follow, i) for i in range(2)] == [{D}, {A}]
    assert [reported(result.changed, i) for i in range(2)] == [{V, D}, {V, A}]
    assert result.roles(0)[A] is Role.UNCHANGED


def test_the_mixed_embeddings_are_those_of_the_formula(image, other) -> None:
    result = intervene(with_edges("V>D,D>L,L>A", MixingKind.RECURSIVE), image, [MixEmbedding(V, other, 0.25)])
    own, new = result.before.embeddings, result.after.embeddings
    there = build(structure=StructureKind.INDEPENDENT).encode(other)[:, 0]
    torch.testing.assert_close(new[:, 0], 0.75 * own[:, 0] + 0.25 * there)
    assert torch.equal(new[:, 1:], own[:, 1:])
    # Along the chain with weights of one every descendant moves by what the root moved.
    torch.testing.assert_close(
        result.after.mixed - result.before.mixed, (new[:, :1] - own[:, :1]).expand(-1, 4, -1), rtol=1e-3, atol=1e-5
    )


def test_a_full_share_takes_the_other_embedding_and_none_keeps_its_own(dense, image, other) -> None:
    full = intervene(dense, image, [MixEmbedding(D, other, 1.0)])
    assert torch.equal(full.after.embeddings[:, 1], dense.encode(other)[:, 1])
    none = intervene(dense, image, [MixEmbedding(D, other, 0.0)])
    assert changed_factors(none) == set()


@pytest.mark.parametrize("factor", FACTORS)
def test_the_own_image_changes_nothing(factor: Factor, dense, image) -> None:
    for item in (MixEmbedding(factor, image), ValueFrom(factor, image), NoisyEmbedding(factor, 0.0)):
        result = intervene(dense, image, [item])
        assert changed_factors(result) == set()
        assert torch.equal(result.before.reconstruction.image, result.after.reconstruction.image)
        moved = result.movement
        for distance in vars(moved).values():
            assert not distance.any()


def test_noise_has_the_asked_strength_and_its_seed(dense, image) -> None:
    def noise(factor: Factor, sigma: float, seed: int) -> torch.Tensor:
        result = intervene(dense, image, [NoisyEmbedding(factor, sigma, seed)])
        column = FACTORS.index(factor)
        own = result.before.embeddings[:, column]
        return (result.after.embeddings[:, column] - own) / own.std(dim=1, keepdim=True)

    first = noise(D, 0.5, 3)
    assert torch.equal(first, noise(D, 0.5, 3))
    assert not torch.equal(first, noise(D, 0.5, 4))
    torch.testing.assert_close(2 * first, noise(D, 1.0, 3))
    assert not torch.allclose(first, noise(A, 0.5, 3), atol=1e-2)
    assert 0.3 < float(first.std()) < 0.7


@pytest.mark.parametrize(
    ("item", "factor"),
    [
        (SetLight(ambient=0.2, diffuse=0.9, x=0.5, y=0.3), L),
        (SetView(yaw=20.0), V),
        (ScaleDepth(1.5), D),
        (ValueFrom(A, images(1, 1)), A),
    ],
)
def test_a_set_value_changes_that_factor_and_the_picture_alone(item, factor: Factor, dense, image) -> None:
    result = intervene(dense, image, [item])
    assert changed_factors(result) == {factor}
    assert result.roles()[factor] is Role.SET
    assert not result.must_follow.any()
    for name in ("embeddings", "mixed", "weights"):
        assert torch.equal(getattr(result.before, name), getattr(result.after, name))
    assert (result.movement.image > 0).all()


def test_set_values_are_the_ones_asked_for(dense, image, other) -> None:
    items = [SetLight(ambient=0.2, x=0.5), SetView(pitch=-10.0, yaw=20.0, x=0.01), ScaleDepth(0.0), ValueFrom(A, other)]
    result = intervene(dense, image, items)
    old, new = result.before.reconstruction.factors, result.after.reconstruction.factors
    assert torch.equal(new.light.ambient, torch.full((2,), 0.2))
    assert torch.equal(new.light.diffuse, old.light.diffuse)
    slopes = new.light.direction[:, :2] / new.light.direction[:, 2:]
    torch.testing.assert_close(slopes[:, 0], torch.full((2,), 0.5))
    torch.testing.assert_close(slopes[:, 1], old.light.direction[:, 1] / old.light.direction[:, 2])
    torch.testing.assert_close(new.light.direction.norm(dim=1), torch.ones(2))
    angles = torch.rad2deg(new.view.rotation_rad)
    torch.testing.assert_close(angles[:, :2], torch.tensor([[-10.0, 20.0]] * 2))
    assert torch.equal(new.view.rotation_rad[:, 2], old.view.rotation_rad[:, 2])
    assert torch.equal(new.view.translation[:, 0], torch.full((2,), 0.01))
    torch.testing.assert_close(
        new.canonical_depth, old.canonical_depth.mean((1, 2), keepdim=True).expand_as(new.canonical_depth)
    )
    assert torch.equal(new.canonical_albedo, dense.decode(dense.encode(other)).factors.canonical_albedo)


def test_setting_what_is_there_already_changes_nothing(dense, image) -> None:
    one = image[:1]
    factors = dense.decode(dense.encode(one)).factors
    ambient, diffuse = float(factors.light.ambient), float(factors.light.diffuse)
    shifts = dict(zip("xyz", factors.view.translation[0].tolist(), strict=True))
    result = intervene(dense, one, [SetLight(ambient, diffuse), SetView(**shifts), ScaleDepth(1.0)])
    assert changed_factors(result) == set()
    # Angles and slopes pass through degrees and a quotient, so the last bits may differ.
    x, y, z = factors.light.direction[0].tolist()
    pitch, yaw, roll = (math.degrees(angle) for angle in factors.view.rotation_rad[0].tolist())
    moved = intervene(dense, one, [SetLight(x=x / z, y=y / z), SetView(pitch, yaw, roll)]).movement
    assert float(moved.light_angle_deg) < 1e-4
    assert float(moved.rotation_deg) < 1e-4
    assert float(moved.image) < 1e-4


def test_a_set_follower_keeps_its_value(dense, image, other) -> None:
    result = intervene(dense, image, [MixEmbedding(V, other), SetLight(0.5, 0.5, 0.0, 0.0)])
    assert reported(result.must_follow) == {D, L, A}
    assert result.roles()[L] is Role.SET
    assert torch.equal(
        result.after.reconstruction.factors.light.direction, torch.tensor([[0.0, 0.0, 1.0]]).expand(2, -1)
    )


def test_two_causes_are_those_of_one_after_the_other(dense, image, other) -> None:
    both = intervene(dense, image, [MixEmbedding(L, other), MixEmbedding(V, other)])
    expected = dense.encode(image)
    expected[:, [0, 2]] = dense.encode(other)[:, [0, 2]]
    assert torch.equal(both.after.embeddings, expected)
    assert reported(both.must_follow) == {D, L, A}


def test_one_other_image_serves_the_whole_batch(dense, image, other) -> None:
    one = intervene(dense, image, [MixEmbedding(A, other[:1])])
    each = intervene(dense, image, [MixEmbedding(A, other[[0, 0]])])
    assert torch.equal(one.after.mixed, each.after.mixed)


def test_movement_in_known_cases(dense, image) -> None:
    front = SetView(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    straight = intervene(dense, image, [front, SetLight(0.5, 0.5, 0.0, 0.0)]).after
    turned = intervene(
        dense, image, [SetView(0.0, 30.0, 0.0, 0.03, 0.04, 0.0), SetLight(0.3, 0.6, 1.0, 0.0), ScaleDepth(1.0)]
    ).after
    moved = movement(straight, turned)
    torch.testing.assert_close(moved.rotation_deg, torch.full((2,), 30.0))
    torch.testing.assert_close(moved.shift, torch.full((2,), 0.05))
    torch.testing.assert_close(moved.light_angle_deg, torch.full((2,), 45.0))
    torch.testing.assert_close(moved.ambient, torch.full((2,), -0.2))
    torch.testing.assert_close(moved.diffuse, torch.full((2,), 0.1))
    assert not moved.log_depth.any()
    assert not moved.albedo.any()


def test_movement_of_maps_is_the_mean_difference(dense, image, other) -> None:
    result = intervene(dense, image, [ValueFrom(D, other), ValueFrom(A, other)])
    old, new = result.before.reconstruction, result.after.reconstruction
    logs = (new.factors.canonical_depth / old.factors.canonical_depth).log().abs()
    torch.testing.assert_close(result.movement.log_depth, logs.mean((1, 2)), rtol=1e-3, atol=1e-6)
    albedo = (new.factors.canonical_albedo - old.factors.canonical_albedo).abs().mean((1, 2, 3))
    torch.testing.assert_close(result.movement.albedo, albedo)
    picture = (new.image.clamp(0, 1) - old.image.clamp(0, 1)).abs().mean((1, 2, 3))
    torch.testing.assert_close(result.movement.image, picture)


def test_a_change_that_the_graph_does_not_lead_to_is_told(dense, image, other) -> None:
    class Forgetful(torch.nn.Module):
        """Mixes embeddings of factors that no edge ties."""

        def forward(self, embeddings: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
            return embeddings + embeddings.mean(dim=1, keepdim=True)

    model = build(structure=StructureKind.INDEPENDENT)
    model.mixing = Forgetful()
    roles = intervene(model, image, [MixEmbedding(V, other)]).roles()
    assert roles == {V: Role.REPLACED, D: Role.UNEXPECTED, L: Role.UNEXPECTED, A: Role.UNEXPECTED}


def test_the_model_is_left_as_it_was(dense, image, other) -> None:
    before = {name: value.clone() for name, value in dense.state_dict().items()}
    explained = dense.reconstruct(image)
    result = intervene(dense, image, [MixEmbedding(V, other)])
    assert torch.equal(result.before.reconstruction.image, explained.image)
    assert torch.equal(result.before.reconstruction.confidence, explained.confidence)
    assert all(torch.equal(value, before[name]) for name, value in dense.state_dict().items())


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda other: [], "at least one"),
        (lambda other: [SetView(yaw=1.0), SetView(pitch=1.0)], "view is intervened on 2 times"),
        (lambda other: [NoisyEmbedding(D, 1.0), ScaleDepth(2.0)], "depth is intervened on 2 times"),
        (lambda other: [SetLight()], "nothing of the light"),
        (lambda other: [SetView()], "nothing of the view"),
        (lambda other: [SetLight(ambient=1.2)], "ambient must be a number from 0 to 1"),
        (lambda other: [SetView(yaw=math.nan)], "yaw in degrees must be a number from -80 to 80"),
        (lambda other: [ScaleDepth(-1.0)], "scale of depth must be a number from 0 to 5"),
        (lambda other: [NoisyEmbedding(D, math.inf)], "sigma must be a number of at least 0"),
        (lambda other: [MixEmbedding(D, other, 1.5)], "share of the other image must be a number from 0 to 1"),
    ],
)
def test_refuses_in_words(make, expected: str, dense, image, other) -> None:
    with pytest.raises(ConfigError, match=expected):
        intervene(dense, image, make(other))


def test_refuses_images_of_other_sizes_and_numbers(dense, image, other) -> None:
    with pytest.raises(ShapeError, match="32, 32"):
        intervene(dense, image[..., :16], [ScaleDepth(1.0)])
    with pytest.raises(ShapeError, match="32, 32"):
        intervene(dense, image, [ValueFrom(V, other[..., :16, :16])])
    with pytest.raises(ShapeError, match="one for each of 2; got 3"):
        intervene(dense, image, [MixEmbedding(V, images(3, 0))])
