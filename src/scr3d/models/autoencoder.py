"""The photo-geometric autoencoder with causal structure.

images -> embeddings (f1) -> causal mixing -> factors (f2) -> canonical image -> height-field renderer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from scr3d.causal.mixing import build_mixing
from scr3d.causal.structure import build_structure
from scr3d.factors import FACTORS, Factor, Factors, Light, View
from scr3d.fused.dispatch import in_order
from scr3d.geometry.camera import Camera
from scr3d.models.confidence import Confidence, build_confidence
from scr3d.models.config import ModelConfig
from scr3d.models.decoders import OutlineDecoder, VectorDecoder, build_albedo_decoder, build_depth_decoder
from scr3d.models.encoders import build_encoder
from scr3d.models.layers import upsample, widened
from scr3d.models.start import start_surface
from scr3d.rendering import light_surface, render

BORDER_COLUMNS = 2


@dataclass(frozen=True)
class RawFactors:
    """The factors and the network outputs that regularisers act on.

    Attributes:
        factors: the decoded factors.
        raw_depth: depth before tanh, without the start surface.
        raw_view: view outputs in (-1, 1), before scaling to angles and shifts.
    """

    factors: Factors
    raw_depth: Float[Tensor, "batch size size"]
    raw_view: Float[Tensor, "batch 6"]


@dataclass(frozen=True)
class Reconstruction:
    """An image explained: factors, what they make in the canonical frame, and the rendered image.

    Attributes:
        factors: view, depth, light and albedo.
        canonical_normal: unit normals of the canonical surface, pointing away from the camera.
        canonical_shading: ambient + diffuse * max(0, n.l).
        canonical_image: albedo * shading, not clamped.
        image: the canonical image in the input view, not clamped, 0 where nothing is visible.
        view_depth: depth in the input view.
        mask: pixels of the input view that the surface covers.
        confidence: expected error sigma of the pixels (images in [-1, 1]).
        perceptual_confidence: expected error of the perceptual features.
    """

    factors: Factors
    canonical_normal: Float[Tensor, "batch 3 size size"]
    canonical_shading: Float[Tensor, "batch size size"]
    canonical_image: Float[Tensor, "batch 3 size size"]
    image: Float[Tensor, "batch 3 size size"]
    view_depth: Float[Tensor, "batch size size"]
    mask: Bool[Tensor, "batch size size"]
    confidence: Float[Tensor, "batch size size"]
    perceptual_confidence: Float[Tensor, "batch quarter quarter"]

    def __getitem__(self, index: slice | Tensor) -> Reconstruction:
        return Reconstruction(*(getattr(self, field.name)[index] for field in fields(self)))


class PhotoGeometricAutoencoder(nn.Module):
    """Four encoders, a causal structure, four decoders and a confidence network ([SCR] section 3, [U])."""

    start_surface: Tensor
    border: Tensor
    reach: Tensor

    def __init__(self, config: ModelConfig):
        """Build the networks of `config`, freshly initialised from torch's global random state."""
        super().__init__()
        self.config = config
        self.depth_range = config.depth_range
        self.camera = Camera(config.size, config.size, config.fov_deg)
        self.encoders = nn.ModuleDict({factor.name.lower(): build_encoder(config, factor) for factor in FACTORS})
        self.structure = build_structure(
            config.structure, config.embedding, config.order, config.edges, config.attention, config.weight_form
        )
        self.mixing = build_mixing(config.mixing, config.embedding, config.parents)
        self.view_decoder = VectorDecoder(config.embedding, 6, config.start_scale, config.split)
        self.depth_decoder = build_depth_decoder(config)
        self.outline_decoder = OutlineDecoder(config.embedding, config.outline_range) if config.adapts_outline else None
        self.light_decoder = VectorDecoder(config.embedding, 4, config.start_scale, config.split)
        self.albedo_decoder = build_albedo_decoder(config)
        self.confidence = build_confidence(config)
        self.register_buffer("start_surface", start_surface(config), persistent=False)
        border = torch.zeros(config.size, config.size)
        border[:, :BORDER_COLUMNS] = border[:, -BORDER_COLUMNS:] = 1.0
        self.register_buffer("border", border, persistent=False)
        reach = torch.tensor([config.max_translation, config.max_translation, config.max_translation_z])
        self.register_buffer("reach", reach, persistent=False)

    def encode(self, image: Float[Tensor, "batch 3 size size"]) -> Float[Tensor, "batch factor embedding"]:
        """Embeddings of images in [0, 1], one per factor in storage order."""
        signed = in_order(image * 2 - 1)  # once for all encoders
        return torch.stack([widened(self.encoders[factor.name.lower()](signed)) for factor in FACTORS], dim=1)

    def decode(
        self, embeddings: Float[Tensor, "batch factor embedding"], view_scale: float | Tensor = 1.0
    ) -> RawFactors:
        """Mix the embeddings along the causal structure and decode every factor.

        Args:
            embeddings: one per factor, in storage order.
            view_scale: factor on the view's angles and shifts; below 1 early in training.
        """
        return self.decode_mixed(self.mixing(embeddings, self.structure(embeddings)), view_scale)

    def decode_mixed(
        self, mixed: Float[Tensor, "batch factor embedding"], view_scale: float | Tensor = 1.0
    ) -> RawFactors:
        """Decode every factor from what the causal structure has made of the embeddings; arguments as `decode`."""
        by_factor = dict(zip(FACTORS, mixed.unbind(1), strict=True))
        raw_view = self.view_decoder(by_factor[Factor.VIEW])
        raw_depth = self._full_size(self.depth_decoder(by_factor[Factor.DEPTH]))[:, 0]
        raw_depth = raw_depth - raw_depth.mean(dim=(1, 2), keepdim=True)
        surface = self.start_surface
        if self.outline_decoder is not None:
            surface = start_surface(self.config, self.outline_decoder(by_factor[Factor.DEPTH]))
        factors = Factors(
            view=self._view(raw_view * view_scale),
            canonical_depth=self._depth(raw_depth + surface),
            light=_light(self.light_decoder(by_factor[Factor.LIGHT])),
            canonical_albedo=self.albedo_decoder(by_factor[Factor.ALBEDO]).tanh() / 2 + 0.5,
        )
        return RawFactors(factors, raw_depth, raw_view)

    def estimate_confidence(self, image: Float[Tensor, "batch 3 size size"]) -> Confidence:
        """Confidence maps of images in [0, 1]."""
        return self.confidence(in_order(image * 2 - 1))

    def reconstruct(self, image: Float[Tensor, "batch 3 size size"]) -> Reconstruction:
        """Explain images in [0, 1] and render them again."""
        factors = self.decode(self.encode(image)).factors
        confidence = self.estimate_confidence(image)
        return explain(
            factors,
            self.camera,
            self.config,
            widened(confidence.pixel[:, 0]),
            widened(confidence.perceptual[:, 0]),
        )

    def _view(self, raw: Float[Tensor, "batch 6"]) -> View:
        return View(raw[:, :3] * math.radians(self.config.max_rotation_deg), raw[:, 3:] * self.reach)

    def _depth(self, raw: Float[Tensor, "batch size size"]) -> Float[Tensor, "batch size size"]:
        near, far = self.depth_range.near, self.depth_range.far
        depth = (near + far) / 2 + raw.tanh() * (far - near) / 2
        return depth * (1 - self.border) + self.border * self.depth_range.border

    def _full_size(self, maps: Tensor) -> Tensor:
        return maps if maps.shape[-1] == self.config.size else upsample(maps, self.config.size // maps.shape[-1])


def explain(
    factors: Factors,
    camera: Camera,
    config: ModelConfig,
    confidence: Float[Tensor, "batch size size"],
    perceptual_confidence: Float[Tensor, "batch quarter quarter"],
    continued: bool = False,
) -> Reconstruction:
    """Everything that follows from the factors: normals, shading, canonical image and the rendered view.

    `continued` fills what the surface does not cover, see `scr3d.rendering.render`.
    """
    normal, shading, canonical_image = light_surface(
        factors.canonical_depth, factors.canonical_albedo, factors.light, camera
    )
    view = render(factors.canonical_depth, factors.view, canonical_image, camera, config.depth_range, continued)
    return Reconstruction(
        factors,
        normal,
        shading,
        canonical_image,
        view.image,
        view.depth,
        view.mask,
        confidence,
        perceptual_confidence,
    )


def _light(raw: Float[Tensor, "batch 4"]) -> Light:
    strength = raw[:, :2] / 2 + 0.5
    return Light.from_slopes(strength[:, 0], strength[:, 1], raw[:, 2:])


def channels_last(module: nn.Module) -> None:
    """Store the convolutions' weights in the memory format that is several times faster on the CPU."""
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
