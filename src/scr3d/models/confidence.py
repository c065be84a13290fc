"""The confidence network: how far off each pixel of a reconstruction is expected to be."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from scr3d.fused.enlarging import doubled
from scr3d.models.config import ModelConfig, Preset
from scr3d.models.decoders import CompactMapDecoder, doublings
from scr3d.models.encoders import compact_encoder, reference_encoder
from scr3d.models.layers import widened

REFERENCE_EMBEDDING = 128
REFERENCE_WIDTH = 64
COMPACT_FIRST_OUTPUT = 8
"""Coarsest resolution of a compact output, the same for every image size, so that a grown network keeps them all."""


@dataclass(frozen=True)
class Confidence:
    """Scale sigma > 0 of the expected error; larger means less sure.

    Attributes:
        pixel: for the pixels; channel 0 for the reconstruction, 1 for that of the flipped maps.
        perceptual: for the perceptual features at a quarter of the resolution; channels likewise.
    """

    pixel: Float[Tensor, "batch 2 size size"]
    perceptual: Float[Tensor, "batch 2 quarter quarter"]


class CompactConfidence(nn.Module):
    """A compact encoder of half the width, and decoders up to a quarter and to half of the resolution."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        width = max(4, config.width // 2)
        embedding = 4 * width
        quarter = config.size // 4
        self.encoder = compact_encoder(config.size, width, embedding)
        self.perceptual = CompactMapDecoder(embedding, width, doublings(quarter), 2, COMPACT_FIRST_OUTPUT)
        self.pixel = CompactMapDecoder(embedding, width, doublings(2 * quarter), 2, COMPACT_FIRST_OUTPUT)

    def forward(self, image: Float[Tensor, "batch 3 size size"]) -> Confidence:
        """Confidence maps of images with values in [-1, 1]."""
        embedding = self.encoder(image)
        return Confidence(F.softplus(doubled(self.pixel(embedding))), F.softplus(self.perceptual(embedding)))


class ReferenceConfidence(nn.Module):
    """The published network ([U], supplementary, table of the confidence network)."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        nf, embedding = REFERENCE_WIDTH, REFERENCE_EMBEDDING
        self.encoder = reference_encoder(config.size, nf, embedding, norm=True)
        self.encoder.head = nn.Sequential(nn.Conv2d(8 * nf, embedding, 4, bias=False), nn.ReLU())
        coarse: list[nn.Module] = [nn.ConvTranspose2d(embedding, 8 * nf, 4, bias=False), nn.ReLU()]
        channels, resolution = 8 * nf, 4
        while resolution < config.size // 4:
            resolution *= 2
            coarse += _deconv(channels, out := max(4, nf * 32 // resolution))
            channels = out
        self.coarse = nn.Sequential(*coarse)
        self.perceptual = nn.Conv2d(channels, 2, 3, padding=1, bias=False)
        half = max(4, nf * 16 // resolution)
        self.fine = nn.Sequential(
            *_deconv(channels, half), *_deconv(half, half), nn.Conv2d(half, 2, 5, padding=2, bias=False)
        )

    def forward(self, image: Float[Tensor, "batch 3 size size"]) -> Confidence:
        """Confidence maps of images with values in [-1, 1]."""
        maps = self.coarse(self.encoder(image)[:, :, None, None])
        return Confidence(F.softplus(widened(self.fine(maps))), F.softplus(widened(self.perceptual(maps))))


def _deconv(channels: int, out: int) -> list[nn.Module]:
    return [
        nn.ConvTranspose2d(channels, out, 4, stride=2, padding=1, bias=False),
        nn.GroupNorm(max(1, out // 4), out),
        nn.ReLU(),
    ]


def build_confidence(config: ModelConfig) -> nn.Module:
    """The confidence network of the preset."""
    return CompactConfidence(config) if config.preset is Preset.COMPACT else ReferenceConfidence(config)
