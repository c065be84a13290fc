"""f2: mixed embedding -> factor. Depth and albedo are maps, view and light are short vectors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from jaxtyping import Float
from torch import Tensor, nn

from scr3d.fused.convolution import Activation
from scr3d.fused.dispatch import usable
from scr3d.fused.enlarging import doubled
from scr3d.fused.networks import decode
from scr3d.models.config import ModelConfig, Preset
from scr3d.models.layers import group_norm, upsample, widened

REFERENCE_WIDTH = 64


class VectorDecoder(nn.Module):
    """Two linear layers and tanh ([U]; the public code of [SCR] forgets the tanh), or only the last of them."""

    def __init__(self, embedding: int, outputs: int, start_scale: float, split: bool = True):
        super().__init__()
        self.hidden = nn.Linear(embedding, embedding, bias=False) if split else None
        self.output = nn.Linear(embedding, outputs, bias=False)
        self.output.weight.data.mul_(start_scale)

    def forward(self, embedding: Float[Tensor, "batch embedding"]) -> Float[Tensor, "batch outputs"]:
        """Values in (-1, 1)."""
        hidden = embedding if self.hidden is None else self.hidden(embedding).relu()
        return widened(self.output(hidden)).tanh()


class OutlineDecoder(nn.Module):
    """One linear layer and tanh: how the start surface's outline differs for an image; zero before training.

    A smoothness penalty holds the depth map to the start surface, whose rim then stays where it is. With an outline of
    its own for every object, the rim can follow.
    """

    def __init__(self, embedding: int, reach: float):
        super().__init__()
        self.reach = reach
        self.output = nn.Linear(embedding, 3)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, embedding: Float[Tensor, "batch embedding"]) -> Float[Tensor, "batch 3"]:
        """Logarithms of width and height against the start, and shift downwards in half frames."""
        return self.reach * widened(self.output(embedding)).tanh()


class CompactMapDecoder(nn.Module):
    """Bilinear enlargement and 3x3 convolutions; the map is the sum of one output per resolution.

    Transposed convolutions and pixel shuffles leave a checkerboard of small slopes that ruins depth. Every
    resolution from `first_output` on adds its own correction to the enlarged sum of the coarser ones, so a
    trained decoder can be grown by a stage whose output starts at zero.
    """

    def __init__(self, embedding: int, width: int, resolutions: list[int], outputs: int, first_output: int):
        """Build the decoder.

        Args:
            embedding: length of the input.
            width: channels at 32x32; twice as many per halving.
            resolutions: sizes of the stages, 4 first.
            outputs: channels of the map.
            first_output: the first resolution that has an output.
        """
        super().__init__()
        self.start_channels = 8 * width
        self.start = nn.Linear(embedding, self.start_channels * 16)
        self.stages = nn.ModuleList()
        self.outputs = nn.ModuleDict()
        channels = self.start_channels
        for resolution in resolutions:
            out = max(4, width * 32 // resolution)
            self.stages.append(_compact_stage(channels, out))
            if resolution >= first_output:
                self.outputs[str(resolution)] = nn.Conv2d(out, outputs, 3, padding=1)
            channels = out

    def forward(self, embedding: Float[Tensor, "batch embedding"]) -> Float[Tensor, "batch outputs size size"]:
        """The map at the last stage's resolution, unbounded, in float32."""
        maps = self.start(embedding).unflatten(1, (self.start_channels, 4, 4))
        total: Tensor | None = None
        if usable(embedding, self.start.weight):
            stages = cast(Iterable[nn.Sequential], self.stages)
            for output in decode(maps, stages, self.outputs, Activation(slope=0.0)):
                total = output if total is None else doubled(total, output)
            assert total is not None
            return total
        maps = maps.relu()
        for index, stage in enumerate(self.stages):
            maps = stage(upsample(maps) if index else maps)
            resolution = str(maps.shape[-1])
            if resolution in self.outputs:
                output = widened(self.outputs[resolution](maps))
                total = output if total is None else doubled(total, output)
        assert total is not None  # the constructor gives the last stage an output
        return total


def _compact_stage(channels: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, out, 3, padding=1, bias=False),
        group_norm(out),
        nn.ReLU(),
        nn.Conv2d(out, out, 3, padding=1, bias=False),
        group_norm(out),
        nn.ReLU(),
    )


class ReferenceMapDecoder(nn.Module):
    """The published decoder at 64x64; other sizes have stages more or less before the full-resolution head.

    Source: [U], supplementary, table of the decoders.
    """

    def __init__(self, embedding: int, size: int, outputs: int, nf: int = REFERENCE_WIDTH):
        super().__init__()
        channels = 8 * nf
        self.start = nn.Sequential(
            nn.ConvTranspose2d(embedding, channels, 4, bias=False),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.ReLU(),
        )
        self.stages = nn.ModuleList()
        resolution = 8
        while resolution < size:
            out = max(4, nf * 32 // resolution)
            self.stages.append(
                nn.Sequential(
                    nn.ConvTranspose2d(channels, out, 4, stride=2, padding=1, bias=False),
                    nn.GroupNorm(out // 4, out),
                    nn.ReLU(),
                    *_normed_conv(out, out, 3),
                )
            )
            channels = out
            resolution *= 2
        self.head = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="nearest"),
            *_normed_conv(channels, channels, 3),
            *_normed_conv(channels, channels, 5),
            nn.Conv2d(channels, outputs, 5, padding=2, bias=False),
        )

    def forward(self, embedding: Float[Tensor, "batch embedding"]) -> Float[Tensor, "batch outputs size size"]:
        """The map at full resolution, unbounded, in float32."""
        maps = self.start(embedding[:, :, None, None])
        for stage in self.stages:
            maps = stage(maps)
        return widened(self.head(maps))


def _normed_conv(channels: int, out: int, kernel: int) -> list[nn.Module]:
    conv = nn.Conv2d(channels, out, kernel, padding=kernel // 2, bias=False)
    return [conv, nn.GroupNorm(max(1, out // 4), out), nn.ReLU()]


def doublings(last: int) -> list[int]:
    """4, 8, ..., last."""
    resolutions = [4]
    while resolutions[-1] < last:
        resolutions.append(resolutions[-1] * 2)
    return resolutions


def build_depth_decoder(config: ModelConfig) -> nn.Module:
    """Decoder of raw depth; the compact one may work at half resolution."""
    if config.preset is Preset.COMPACT:
        resolutions = doublings(config.size // config.depth_stride)
        return CompactMapDecoder(config.embedding, config.width, resolutions, 1, first_output=16)
    return ReferenceMapDecoder(config.embedding, config.size, 1)


def build_albedo_decoder(config: ModelConfig) -> nn.Module:
    """Decoder of raw albedo."""
    if config.preset is Preset.COMPACT:
        return CompactMapDecoder(config.embedding, config.width, doublings(config.size), 3, first_output=32)
    return ReferenceMapDecoder(config.embedding, config.size, 3)
