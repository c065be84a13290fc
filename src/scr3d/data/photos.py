"""Photos as the networks see them: the middle square, scaled, as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from scr3d.data.images import center_square, read_image, resize


def read_square(path: Path) -> Float[np.ndarray, "side side 3"]:
    """The middle square of a photo in full resolution, RGB in [0, 1].

    Raises:
        DataError: it cannot be read.
    """
    return center_square(read_image(path))


def as_tensor(square: Float[np.ndarray, "side side 3"], size: int) -> Float[Tensor, "3 size size"]:
    """A square image in another size, channels first."""
    return torch.from_numpy(resize(square, size)).movedim(-1, 0).contiguous()


def read_photos(paths: Sequence[Path], size: int) -> Float[Tensor, "photos 3 size size"]:
    """The middle squares of photos in the size of a model.

    Raises:
        DataError: one of them cannot be read.
    """
    return torch.stack([as_tensor(read_square(path), size) for path in paths])
