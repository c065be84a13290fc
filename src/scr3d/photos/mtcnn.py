"""The three networks of MTCNN, which find faces and their eyes, nose and mouth corners.

Source: Zhang, Zhang, Li and Qiao, "Joint face detection and alignment using multi-task cascaded convolutional
networks", 2016. `tools/build_mtcnn.py` makes the weights file. Every network takes RGB images in [-1, 1] and gives the
probability of a face, corrections of its box, and the last one also five landmarks.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn
from torch.nn import functional

from scr3d.errors import CheckpointError

ASSET = "mtcnn.safetensors"
PROPOSAL_SIZE, REFINEMENT_SIZE, OUTPUT_SIZE = 12, 24, 48
"""Side of the window that each network looks at, in pixels."""


class Proposal(nn.Module):
    """Looks at every window of 12 pixels of an image, two pixels apart."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_stage(3, 10, 3),
            nn.MaxPool2d(2, 2, ceil_mode=True),
            *_stage(10, 16, 3),
            *_stage(16, 32, 3),
        )
        self.face = nn.Conv2d(32, 2, 1)
        self.box = nn.Conv2d(32, 4, 1)

    def forward(
        self, image: Float[Tensor, "batch 3 height width"]
    ) -> tuple[Float[Tensor, "batch rows columns"], Float[Tensor, "batch 4 rows columns"]]:
        """Probability of a face and corrections (left, top, right, bottom) in window sizes, for every window."""
        seen = self.layers(image)
        return functional.softmax(self.face(seen), dim=1)[:, 1], self.box(seen)


class Refinement(nn.Module):
    """Judges windows of 24 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_stage(3, 28, 3),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            *_stage(28, 48, 3),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            *_stage(48, 64, 2),
            nn.Flatten(),
            nn.Linear(576, 128),
            nn.PReLU(128),
        )
        self.face = nn.Linear(128, 2)
        self.box = nn.Linear(128, 4)

    def forward(
        self, window: Float[Tensor, "batch 3 24 24"]
    ) -> tuple[Float[Tensor, " batch"], Float[Tensor, "batch 4"]]:
        """Probability of a face and corrections of the box in window sizes."""
        seen = self.layers(window)
        return functional.softmax(self.face(seen), dim=1)[:, 1], self.box(seen)


class Output(nn.Module):
    """Judges windows of 48 pixels and finds the landmarks."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_stage(3, 32, 3),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            *_stage(32, 64, 3),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            *_stage(64, 64, 3),
            nn.MaxPool2d(2, 2, ceil_mode=True),
            *_stage(64, 128, 2),
            nn.Flatten(),
            nn.Linear(1152, 256),
            nn.PReLU(256),
        )
        self.face = nn.Linear(256, 2)
        self.box = nn.Linear(256, 4)
        self.landmarks = nn.Linear(256, 10)

    def forward(
        self, window: Float[Tensor, "batch 3 48 48"]
    ) -> tuple[Float[Tensor, " batch"], Float[Tensor, "batch 4"], Float[Tensor, "batch 5 2"]]:
        """Probability of a face, corrections of the box, and landmarks (x, y) in the window, all in window sizes."""
        seen = self.layers(window)
        points = self.landmarks(seen).view(-1, 2, 5).transpose(1, 2)
        return functional.softmax(self.face(seen), dim=1)[:, 1], self.box(seen), points


class Mtcnn(nn.Module):
    """The three networks; the cascade around them is in `scr3d.photos.detect`."""

    def __init__(self) -> None:
        super().__init__()
        self.proposal, self.refinement, self.output = Proposal(), Refinement(), Output()


@lru_cache(maxsize=1)
def load_mtcnn() -> Mtcnn:
    """The shipped networks on the CPU, in evaluation mode.

    Raises:
        CheckpointError: the shipped file is missing or damaged.
    """
    network = Mtcnn()
    try:
        state = load((files("scr3d") / "assets" / ASSET).read_bytes())
        network.load_state_dict({name: value.float() for name, value in state.items()})
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(
            f"the face finder's file {ASSET} cannot be loaded ({reason}); install scr3d again"
        ) from error
    # With the channels last, pooling works on several channels at a time.
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network.eval().requires_grad_(False)


def _stage(inputs: int, outputs: int, kernel: int) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(inputs, outputs, kernel), nn.PReLU(outputs)
