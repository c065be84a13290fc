"""Interventions on a reconstruction: what would be seen if one of its causes, or one of its values, were another.

On the cause: a factor's own embedding e_i is replaced, then mixing and decoding run again, so that the factors which
the graph makes depend on it follow and all others stay the same to the last bit. On the value: the decoded factor
itself is set, and only the picture changes. See docs/interventions.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from scr3d.causal.graph import descendants
from scr3d.causal.mixing import RecursiveMixing
from scr3d.errors import ConfigError, ShapeError
from scr3d.factors import FACTORS, Factor, Factors, Light, View
from scr3d.geometry.pose import rotation_matrix
from scr3d.interventions.kinds import FIELDS, Intervention, MixEmbedding, OnCause, OnValue, ValueFrom
from scr3d.models.autoencoder import PhotoGeometricAutoencoder, Reconstruction, explain
from scr3d.models.layers import widened

LENGTH_GUARD = 1e-12
"""Least length that distances are divided by."""


class Role(StrEnum):
    """What became of a factor."""

    REPLACED = "replaced"
    SET = "set"
    FOLLOWS = "follows"
    UNCHANGED = "unchanged"
    UNEXPECTED = "changed against the graph"


@dataclass(frozen=True)
class State:
    """A reconstruction and the latent space it comes from.

    Attributes:
        embeddings: own embeddings of the factors, in storage order.
        weights: of the graph, `weights[child, parent]`, for every image.
        mixed: the embeddings that the factors are decoded from.
        reconstruction: the factors and what they make.
    """

    embeddings: Float[Tensor, "batch factor embedding"]
    weights: Float[Tensor, "batch factor factor"]
    mixed: Float[Tensor, "batch factor embedding"]
    reconstruction: Reconstruction


@dataclass(frozen=True)
class Movement:
    """How far everything moved, for every image; zero exactly where nothing changed.

    Attributes:
        own_embedding: distance of the own embeddings, relative to the length before.
        mixed_embedding: likewise of the embeddings that the factors are decoded from.
        rotation_deg: angle between the two orientations of the object.
        shift: distance between its two positions, in camera distances.
        light_angle_deg: angle between the two directions of light.
        ambient: change of the ambient strength.
        diffuse: change of the diffuse strength.
        log_depth: mean absolute difference of the logarithms of canonical depth.
        albedo: mean absolute difference of albedo.
        image: mean absolute difference of the rendered images, clamped to [0, 1].
    """

    own_embedding: Float[Tensor, "batch factor"]
    mixed_embedding: Float[Tensor, "batch factor"]
    rotation_deg: Float[Tensor, " batch"]
    shift: Float[Tensor, " batch"]
    light_angle_deg: Float[Tensor, " batch"]
    ambient: Float[Tensor, " batch"]
    diffuse: Float[Tensor, " batch"]
    log_depth: Float[Tensor, " batch"]
    albedo: Float[Tensor, " batch"]
    image: Float[Tensor, " batch"]


@dataclass(frozen=True)
class InterventionResult:
    """A reconstruction before and after interventions.

    Attributes:
        before: as the model explains the image.
        after: with the interventions.
        replaced: factors whose embedding was replaced.
        fixed: factors whose value was set.
        passes_on: whether an effect on a factor reaches that factor's own children (recursive mixing) or ends there.
        must_follow: factors that the graph of the image makes depend on a replaced one.
        changed: factors of which at least one bit changed.
        movement: how far everything moved.
    """

    before: State
    after: State
    replaced: frozenset[Factor]
    fixed: frozenset[Factor]
    passes_on: bool
    must_follow: Bool[Tensor, "batch factor"]
    changed: Bool[Tensor, "batch factor"]
    movement: Movement

    def roles(self, index: int = 0) -> dict[Factor, Role]:
        """What became of every factor of one image."""
        return {factor: self._role(factor, index) for factor in FACTORS}

    def _role(self, factor: Factor, index: int) -> Role:
        if factor in self.replaced:
            return Role.REPLACED
        if factor in self.fixed:
            return Role.SET
        column = FACTORS.index(factor)
        if not self.changed[index, column]:
            return Role.UNCHANGED
        return Role.FOLLOWS if self.must_follow[index, column] else Role.UNEXPECTED


def intervene(
    model: PhotoGeometricAutoencoder,
    image: Float[Tensor, "batch 3 size size"],
    interventions: Sequence[Intervention],
) -> InterventionResult:
    """Reconstruct images once as they are and once with interventions.

    Embeddings are replaced first; values are set in what is decoded after that, so a set factor that also depends on
    a replaced one has the value that was set.

    Args:
        model: any model; images must have its size.
        image: RGB in [0, 1].
        interventions: one or more, at most one for each factor.

    Raises:
        ConfigError: there is no intervention, or two for one factor.
        ShapeError: an image has another size than the model's, or there is neither one other image nor one for each.
    """
    on_cause = [item for item in interventions if isinstance(item, OnCause)]
    on_value = [item for item in interventions if isinstance(item, OnValue)]
    _check(model, image, interventions)
    confidence = model.estimate_confidence(image)

    def state(embeddings: Tensor, values: Sequence[OnValue]) -> State:
        weights = model.structure(embeddings)
        mixed = model.mixing(embeddings, weights)
        factors = model.decode(embeddings).factors
        for item in values:
            factors = item.value(factors, model)
        maps = (widened(confidence.pixel[:, 0]), widened(confidence.perceptual[:, 0]))
        explained = explain(factors, model.camera, model.config, *maps)
        return State(embeddings, weights.expand(len(image), -1, -1), mixed, explained)

    own = model.encode(image)
    replaced = list(own.unbind(1))
    for item in on_cause:
        column = FACTORS.index(item.factor)
        replaced[column] = item.embedding(own[:, column], model)
    before, after = state(own, ()), state(torch.stack(replaced, dim=1), on_value)
    causes = frozenset(item.factor for item in on_cause)
    # A per-image graph may gain or lose an edge of a replaced factor; the effect goes along either.
    edges = (before.weights != 0) | (after.weights != 0)
    passes_on = isinstance(model.mixing, RecursiveMixing)
    return InterventionResult(
        before,
        after,
        causes,
        frozenset(item.factor for item in on_value),
        passes_on,
        dependent(edges, causes, one_hop=not passes_on),
        _changed(before.reconstruction.factors, after.reconstruction.factors),
        movement(before, after),
    )


def dependent(
    edges: Bool[Tensor, "batch factor factor"], causes: frozenset[Factor], one_hop: bool
) -> Bool[Tensor, "batch factor"]:
    """The factors that depend on one of the causes in each image's graph.

    Args:
        edges: `edges[child, parent]` of every image.
        causes: factors whose embeddings are replaced.
        one_hop: only children depend on their parents' embeddings; otherwise all descendants.
    """
    columns = [FACTORS.index(factor) for factor in causes]
    if one_hop or not columns:
        return edges[:, :, columns].any(dim=2)
    reached = [set().union(*(descendants(graph, column) for column in columns)) for graph in edges.float().cpu()]
    rows = [[index in found for index in range(len(FACTORS))] for found in reached]
    return torch.tensor(rows, device=edges.device)


@torch.no_grad()
def movement(before: State, after: State) -> Movement:
    """How far everything moved from one state to another."""
    old, new = before.reconstruction.factors, after.reconstruction.factors
    turns = (rotation_matrix(new.view.rotation_rad) - rotation_matrix(old.view.rotation_rad)).flatten(1).norm(dim=1)
    images = [state.reconstruction.image.clamp(0, 1) for state in (before, after)]
    return Movement(
        own_embedding=_relative_distance(before.embeddings, after.embeddings),
        mixed_embedding=_relative_distance(before.mixed, after.mixed),
        rotation_deg=_chord_angle_deg(turns / math.sqrt(2)),
        shift=(new.view.translation - old.view.translation).norm(dim=1),
        light_angle_deg=_chord_angle_deg((new.light.direction - old.light.direction).norm(dim=1)),
        ambient=new.light.ambient - old.light.ambient,
        diffuse=new.light.diffuse - old.light.diffuse,
        log_depth=(new.canonical_depth.log() - old.canonical_depth.log()).abs().mean(dim=(1, 2)),
        albedo=(new.canonical_albedo - old.canonical_albedo).abs().mean(dim=(1, 2, 3)),
        image=(images[1] - images[0]).abs().mean(dim=(1, 2, 3)),
    )


def _relative_distance(
    old: Float[Tensor, "batch factor embedding"], new: Float[Tensor, "batch factor embedding"]
) -> Float[Tensor, "batch factor"]:
    return (new - old).norm(dim=2) / old.norm(dim=2).clamp(min=LENGTH_GUARD)


def _chord_angle_deg(chord: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
    """Angle of a chord of the unit circle; unlike an arc cosine it is exact for small angles."""
    return torch.rad2deg(2 * (chord / 2).clamp(max=1).asin())


@torch.no_grad()
def _changed(old: Factors, new: Factors) -> Bool[Tensor, "batch factor"]:
    differs = [
        torch.stack([(a != b).flatten(1).any(dim=1) for a, b in zip(_parts(old, f), _parts(new, f), strict=True)])
        for f in FACTORS
    ]
    return torch.stack([parts.any(dim=0) for parts in differs], dim=1)


def _parts(factors: Factors, factor: Factor) -> tuple[Tensor, ...]:
    value = getattr(factors, FIELDS[factor])
    if isinstance(value, View):
        return value.rotation_rad, value.translation
    if isinstance(value, Light):
        return value.ambient[:, None], value.diffuse[:, None], value.direction
    return (value,)


def _check(model: PhotoGeometricAutoencoder, image: Tensor, interventions: Sequence[Intervention]) -> None:
    if not interventions:
        raise ConfigError("expected at least one intervention, got none")
    factors = [item.factor for item in interventions]
    for factor in FACTORS:
        if factors.count(factor) > 1:
            raise ConfigError(
                f"{factor.name.lower()} is intervened on {factors.count(factor)} times; each factor can be replaced or "
                "set once"
            )
    size = model.config.size
    others = [item.image for item in interventions if isinstance(item, MixEmbedding | ValueFrom)]
    for given in (image, *others):
        if given.ndim != 4 or given.shape[1:] != (3, size, size):
            raise ShapeError(f"expected images [batch, 3, {size}, {size}] for this model, got {list(given.shape)}")
