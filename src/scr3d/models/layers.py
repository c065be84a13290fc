"""Building blocks shared by the networks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


def upsample(maps: Float[Tensor, "batch channels height width"], factor: int = 2) -> Tensor:
    """Bilinear enlargement with `align_corners=True`, the convention of every map of the project."""
    height, width = maps.shape[2:]
    return F.interpolate(maps, size=(height * factor, width * factor), mode="bilinear", align_corners=True)


def widened(values: Tensor) -> Tensor:
    """The values in float32 if they are narrower; geometry and losses are not computed in half precision."""
    return values.float() if values.dtype.itemsize < 4 else values


class PooledInput(nn.Module):
    """An encoder's extra first stage, one for each doubling of the image above the base size.

    Passes the image on, pooled to half its size, in front of the stage's own features. With the following
    layer's weights on those features at zero, the network computes what it computed at half the size: that is
    how a trained network is grown (`scr3d.models.growth`).
    """

    def __init__(self, stage: nn.Module):
        super().__init__()
        self.stage = stage

    def forward(self, maps: Float[Tensor, "batch channels height width"]) -> Tensor:
        """The first three channels (the image) at half the size, then own features."""
        return torch.cat([F.avg_pool2d(maps[:, :3], 2), self.stage(maps)], dim=1)


def group_norm(channels: int) -> nn.GroupNorm:
    """GroupNorm with groups of eight channels, or fewer where there are fewer."""
    return nn.GroupNorm(max(1, channels // 8), channels)
