"""Frozen networks whose features the perceptual loss compares.

Every feature network takes RGB images in [0, 1] and gives a map of a quarter of their resolution. SqueezeNet
is shipped with scr3d and is the default; VGG16's relu3_3, the papers' choice, needs torchvision's file.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from scr3d.errors import CheckpointError, ShapeError
from scr3d.losses.squeezenet import SqueezeNetFront, load_squeezenet_front

VGG16_URL = "https://download.pytorch.org/models/vgg16-397923af.pth"
VGG16_FILE = "vgg16-397923af.pth"
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_VGG16_STAGES = ((3, 64, 64), (64, 128, 128), (128, 256, 256, 256))
"""Channels of the convolutions of each stage up to relu3_3; stages are parted by 2x2 pooling."""


class FeatureNetwork(nn.Module):
    """A frozen network from images to features of a quarter of their resolution.

    Its weights never take part in training: they need no gradient and `train()` changes nothing. Gradients of
    any order with respect to the images pass through.
    """

    def __init__(self, network: SqueezeNetFront | Vgg16Front):
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.channels: int = network.channels
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, image: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch channels h//4 w//4"]:
        """Features of RGB images in [0, 1].

        Raises:
            ShapeError: the images are no RGB batch, or their sides are no multiples of 4.
        """
        if image.ndim != 4 or image.shape[1] != 3 or image.shape[2] % 4 or image.shape[3] % 4:
            raise ShapeError(
                "expected images [batch, 3, height, width] with sides that are multiples of 4, "
                f"got {list(image.shape)}; resize them"
            )
        return self.network(image)


class Vgg16Front(nn.Module):
    """VGG16 up to relu3_3 (Simonyan and Zisserman, 2015), the features of [U]."""

    channels = 256
    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Named as in torchvision's file: position in the sequence of convolutions, rectifiers and pooling.
        self.features = nn.ModuleDict()
        position = 0
        for stage in _VGG16_STAGES:
            for inputs, outputs in pairwise(stage):
                self.features[str(position)] = nn.Conv2d(inputs, outputs, 3, padding=1)
                position += 2
            position += 1
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, image: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch 256 h//4 w//4"]:
        """Features of RGB images in [0, 1]."""
        values = (image - self.mean) / self.std
        layers = iter(self.features.values())
        for number, stage in enumerate(_VGG16_STAGES):
            if number > 0:
                values = functional.max_pool2d(values, 2)
            for _ in stage[1:]:
                values = functional.relu(next(layers)(values))
        return values


def squeezenet_features() -> FeatureNetwork:
    """The shipped features: SqueezeNet v1.1, fire3, 128 channels.

    Raises:
        CheckpointError: the shipped file is missing or damaged.
    """
    return FeatureNetwork(load_squeezenet_front())


def vgg16_features(path: Path | str | None = None) -> FeatureNetwork:
    """The papers' features: VGG16, relu3_3, 256 channels, ImageNet weights.

    Args:
        path: torchvision's weight file `vgg16-397923af.pth`; without it torch.hub's cache is used, or
            the file is downloaded into it.

    Raises:
        CheckpointError: the file can neither be read nor downloaded, or holds something else.
    """
    state = _download_vgg16() if path is None else _read_vgg16(Path(path))
    network = Vgg16Front()
    wanted = network.state_dict()
    for name, values in wanted.items():
        found = state.get(name)
        if not isinstance(found, Tensor) or found.shape != values.shape:
            came = "nothing" if found is None else str(list(getattr(found, "shape", [])))
            raise CheckpointError(
                f"{path or VGG16_FILE} holds no VGG16 weights: {name} should be "
                f"{list(values.shape)}, got {came}; give torchvision's {VGG16_FILE}"
            )
    network.load_state_dict({name: state[name] for name in wanted})
    return FeatureNetwork(network)


def _read_vgg16(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise CheckpointError(f"there is no VGG16 weight file {path}; download it from {VGG16_URL}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what the bytes are not, torch says with many exceptions
        raise CheckpointError(
            f"{path} cannot be read as PyTorch weights ({type(error).__name__}); give torchvision's {VGG16_FILE}"
        ) from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} holds no dictionary of weights; give torchvision's {VGG16_FILE}")
    return state


def _download_vgg16() -> dict[str, Any]:
    try:
        return torch.hub.load_state_dict_from_url(
            VGG16_URL, map_location="cpu", check_hash=True, weights_only=True, progress=False
        )
    except Exception as error:
        raise CheckpointError(
            f"the VGG16 weights could not be downloaded from {VGG16_URL} ({type(error).__name__}); "
            f"download them elsewhere and give the path, or use the shipped SqueezeNet features"
        ) from error
