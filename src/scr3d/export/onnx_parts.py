"""A model's networks as parts that a file in the ONNX format can hold: tensors in, tensors out, no renderer.

encode: image -> embeddings, confidence
mix: embeddings -> mixed, weights
decode: mixed -> view, light, canonical depth and albedo, and the normals, shading and image that they make

`explain` is the three in a row. Names of inputs and outputs are those of arrays.npz.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from scr3d.models.autoencoder import PhotoGeometricAutoencoder
from scr3d.models.layers import widened
from scr3d.rendering import light_surface

IMAGE, EMBEDDINGS, MIXED, WEIGHTS, CONFIDENCE = "image", "embeddings", "mixed", "weights", "confidence"
FACTOR_OUTPUTS = (
    "view_rotation_rad",
    "view_translation",
    "light_ambient",
    "light_diffuse",
    "light_direction",
    "canonical_depth",
    "canonical_albedo",
)
SURFACE_OUTPUTS = ("canonical_normal", "canonical_shading", "canonical_image")
"""What is computed from differences of neighbouring depths."""
WHOLE_OUTPUTS = (*FACTOR_OUTPUTS, *SURFACE_OUTPUTS, CONFIDENCE, WEIGHTS)
"""What the parts in a row tell of an image."""
ROUNDING = 1e-4
"""How far ONNX Runtime may be from torch, relative to the largest value where that is above 1."""
SURFACE_ROUNDING = 5e-3
"""Likewise for `SURFACE_OUTPUTS`: neighbouring depths differ so little that the rounding of the last bits shows."""


class Encode(nn.Module):
    """Images to embeddings, and how sure the model is of each pixel."""

    def __init__(self, network: PhotoGeometricAutoencoder):
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings [batch, factor, embedding] and confidence [batch, size, size]."""
        confidence = self.network.estimate_confidence(image).pixel
        return self.network.encode(image), widened(confidence[:, 0])


class Mix(nn.Module):
    """Embeddings to those that the factors are decoded from, along the causal structure."""

    def __init__(self, network: PhotoGeometricAutoencoder):
        super().__init__()
        self.structure, self.mixing = network.structure, network.mixing

    def forward(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Mixed embeddings, and the weights [batch, child, parent] of the graph of every image."""
        weights = self.structure(embeddings)
        # The sum makes it depend on the batch where one graph serves for all images.
        return self.mixing(embeddings, weights), weights + torch.zeros_like(embeddings[:, :1, :1])


class Decode(nn.Module):
    """Mixed embeddings to factors, and what follows from them in the canonical frame."""

    def __init__(self, network: PhotoGeometricAutoencoder):
        super().__init__()
        self.network = network

    def forward(self, mixed: Tensor) -> tuple[Tensor, ...]:
        """In the order of `FACTOR_OUTPUTS` and `SURFACE_OUTPUTS`."""
        factors = self.network.decode_mixed(mixed).factors
        view, light = factors.view, factors.light
        surface = light_surface(factors.canonical_depth, factors.canonical_albedo, light, self.network.camera)
        return (
            view.rotation_rad,
            view.translation,
            light.ambient,
            light.diffuse,
            light.direction,
            factors.canonical_depth,
            factors.canonical_albedo,
            *surface,
        )


@dataclass(frozen=True)
class Part:
    """One part of a model.

    Attributes:
        name: of the part.
        module: what it computes.
        input: name of its input.
        outputs: names of its outputs, in their order.
    """

    name: str
    module: nn.Module
    input: str
    outputs: tuple[str, ...]


def parts_of(network: PhotoGeometricAutoencoder) -> tuple[Part, Part, Part]:
    """The parts in the order of the data."""
    return (
        Part("encode", Encode(network), IMAGE, (EMBEDDINGS, CONFIDENCE)),
        Part("mix", Mix(network), EMBEDDINGS, (MIXED, WEIGHTS)),
        Part("decode", Decode(network), MIXED, (*FACTOR_OUTPUTS, *SURFACE_OUTPUTS)),
    )


def allowed_difference(output: str) -> float:
    """How far an output may differ from what torch computes."""
    return SURFACE_ROUNDING if output in SURFACE_OUTPUTS else ROUNDING
