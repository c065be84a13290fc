"""The front of SqueezeNet v1.1 as a feature network: the perceptual features that scr3d ships.

Source: Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and <0.5MB model size",
2016; version 1.1. Deviation: the first convolution and the pooling are padded by one pixel, so that an image
of 64 pixels gives a map of exactly 16. `tools/build_squeezenet.py` makes the weights file.
"""

from __future__ import annotations

from importlib.resources import files

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn
from torch.nn import functional

from scr3d.errors import CheckpointError
from scr3d.fused.dispatch import usable
from scr3d.fused.features import front

ASSET = "squeezenet.safetensors"
PIXEL_LEVELS = 255.0
MEAN_RGB = (123.68 / PIXEL_LEVELS, 116.779 / PIXEL_LEVELS, 103.939 / PIXEL_LEVELS)
"""Mean of ImageNet that the network was trained with."""
FEATURE_SCALE = 1 / 64
"""Brings the features to a root mean square of about 1 on photographs (as trained it is about 64)."""


class Fire(nn.Module):
    """A 1x1 convolution to few channels, then 1x1 and 3x3 convolutions side by side."""

    def __init__(self, inputs: int, squeezed: int, expanded: int):
        super().__init__()
        self.squeeze1x1 = nn.Conv2d(inputs, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, inputs: Float[Tensor, "batch inputs h w"]) -> Float[Tensor, "batch outputs h w"]:
        """Both expansions, joined along the channels."""
        squeezed = functional.relu(self.squeeze1x1(inputs))
        return functional.relu(torch.cat([self.expand1x1(squeezed), self.expand3x3(squeezed)], dim=1))


class SqueezeNetFront(nn.Module):
    """SqueezeNet v1.1 up to fire3, which has a quarter of the image's resolution."""

    channels = 128
    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, stride=2, padding=1)
        self.fire2 = Fire(64, 16, 64)
        self.fire3 = Fire(128, 16, 64)
        self.register_buffer("mean", torch.tensor(MEAN_RGB).view(1, 3, 1, 1), persistent=False)

    def forward(self, image: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch 128 h//4 w//4"]:
        """Features of RGB images in [0, 1]."""
        centred = image - self.mean
        parameters = list(self.parameters())
        if usable(centred, *parameters) and not any(parameter.requires_grad for parameter in parameters):
            return front(self._front, centred, parameters)
        return self._front(centred)

    def _front(self, centred: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch 128 h//4 w//4"]:
        half = functional.relu(self.conv1(centred))
        by_slices = half.is_cuda and torch.are_deterministic_algorithms_enabled()
        quarter = pooled_by_slices(half) if by_slices else functional.max_pool2d(half, 3, stride=2, padding=1)
        return self.fire3(self.fire2(quarter))


def pooled_by_slices(maps: Float[Tensor, "batch channels h w"]) -> Float[Tensor, "batch channels h//2 w//2"]:
    """3x3 maxima at every second pixel of maps that are nowhere negative, whose gradients add up in one order.

    The gradient of `max_pool2d` on a GPU adds in any order.
    """
    height, width = maps.shape[2:]
    framed = functional.pad(maps, (1, 1, 1, 1))
    shifted = [framed[:, :, y : y + height : 2, x : x + width : 2] for y in range(3) for x in range(3)]
    return torch.stack(shifted).amax(0)


def load_squeezenet_front() -> SqueezeNetFront:
    """The network with the shipped weights, in float32.

    The factors 255 of the input and `FEATURE_SCALE` of the output are folded into the first and the last
    layers; rectifiers and pooling commute with positive factors.

    Raises:
        CheckpointError: the shipped file is missing or damaged.
    """
    network = SqueezeNetFront()
    path = files("scr3d") / "assets" / ASSET
    try:
        state = {name: values.float() for name, values in load(path.read_bytes()).items()}
        network.load_state_dict(state)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise CheckpointError(
            f"the shipped feature weights {path} cannot be read ({type(error).__name__}); install scr3d again"
        ) from error
    with torch.no_grad():
        network.conv1.weight.mul_(PIXEL_LEVELS)
        for layer in (network.fire3.expand1x1, network.fire3.expand3x3):
            layer.weight.mul_(FEATURE_SCALE)
            if layer.bias is not None:
                layer.bias.mul_(FEATURE_SCALE)
    return network
