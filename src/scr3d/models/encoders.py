"""f1: image -> embedding, one network for each factor."""

from __future__ import annotations

from typing import cast

from jaxtyping import Float
from torch import Tensor, nn

from scr3d.factors import Factor
from scr3d.fused.dispatch import usable
from scr3d.fused.networks import encode
from scr3d.models.config import ModelConfig, Preset
from scr3d.models.layers import PooledInput, group_norm

COMPACT_BASE_SIZE = 32
LEAK = 0.2


class Encoder(nn.Module):
    """Stride-2 convolutions down to 4x4, one 4x4 convolution, and, where f1 ends in an embedding, one linear layer."""

    def __init__(self, stages: list[nn.Module], channels: int, embedding: int, split: bool = True, fused: bool = False):
        """Build the encoder.

        Args:
            stages: each halves the size.
            channels: of the last one.
            embedding: length of the result.
            split: f1 ends in an embedding.
            fused: the stages are those of the compact networks, which `scr3d.fused` can compute.
        """
        super().__init__()
        self.fused = fused
        self.stages = nn.ModuleList(stages)
        layers: list[nn.Module] = [nn.Conv2d(channels, embedding, 4, bias=False), nn.ReLU()]
        if split:
            layers.append(nn.Conv2d(embedding, embedding, 1, bias=False))
        self.head = nn.Sequential(*layers)

    def forward(self, image: Float[Tensor, "batch 3 size size"]) -> Float[Tensor, "batch embedding"]:
        """Embed images with values in [-1, 1]."""
        if self.fused and usable(image, cast(nn.Conv2d, self.head[0]).weight):
            parts = [(stage.stage, True) if isinstance(stage, PooledInput) else (stage, False) for stage in self.stages]
            return encode(cast(list[tuple[nn.Sequential, bool]], parts), self.head, image)
        maps = image
        for stage in self.stages:
            maps = stage(maps)
        return self.head(maps).flatten(1)


def build_encoder(config: ModelConfig, factor: Factor) -> Encoder:
    """The encoder of one factor."""
    large = config.equal_encoders or factor in (Factor.DEPTH, Factor.ALBEDO)
    if config.preset is Preset.COMPACT:
        width = config.width if large else config.width // 2
        return compact_encoder(config.size, width, config.embedding, config.split, norm=large)
    return reference_encoder(config.size, 64 if large else 32, config.embedding, norm=large, split=config.split)


def compact_encoder(size: int, width: int, embedding: int, split: bool = True, norm: bool = True) -> Encoder:
    """`width` channels at half of 64x64, twice as many per halving."""
    stages: list[nn.Module] = []
    channels = 3
    resolution = size // 2
    while resolution >= 4:
        out = max(4, width * 32 // resolution)
        conv = nn.Conv2d(channels, out, 4, stride=2, padding=1, bias=False)
        stage = nn.Sequential(conv, *([group_norm(out)] if norm else []), nn.LeakyReLU(LEAK))
        extra = resolution >= COMPACT_BASE_SIZE
        stages.append(PooledInput(stage) if extra else stage)
        channels = out + 3 if extra else out
        resolution //= 2
    return Encoder(stages, channels, embedding, split, fused=True)


def reference_encoder(size: int, nf: int, embedding: int, norm: bool, split: bool = True) -> Encoder:
    """The published encoder at 64x64; other sizes have stages more or less on the side of the image.

    Source: [U], supplementary, tables of the encoders; [SCR] splits them after the embedding.
    """
    stages: list[nn.Module] = []
    channels = 3
    resolution = size // 2
    while resolution >= 4:
        out = max(4, nf * 32 // resolution)
        layers: list[nn.Module] = [nn.Conv2d(channels, out, 4, stride=2, padding=1, bias=False)]
        if norm and resolution > 4:
            layers.append(nn.GroupNorm(out // 4, out))
        stages.append(nn.Sequential(*layers, nn.LeakyReLU(LEAK) if norm else nn.ReLU()))
        channels = out
        resolution //= 2
    return Encoder(stages, channels, embedding, split)
