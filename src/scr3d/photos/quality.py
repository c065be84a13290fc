"""What can be measured of a collection of squares without knowing what they show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from scr3d.photos.duplicates import LUMA

RIM = 0.1
"""Share of a square's side that counts as its background, on each side."""


@dataclass(frozen=True)
class Quality:
    """Measures of some images, one number or colour for each.

    Attributes:
        brightness: mean of the grey values, in [0, 1].
        contrast: their standard deviation.
        clipped: share of the pixels that are quite black or quite white.
        sharpness: spread of the Laplacian relative to that of the image; about 0.4 for a sharp image of 64 pixels,
            0.2 for one that is blurred by a pixel.
        colorfulness: mean range of the three channels, in [0, 1]; 0 for a grey image.
        rim_color: mean colour of the rim.
        rim_spread: standard deviation of the grey values within the rim.
    """

    brightness: Float[np.ndarray, " n"]
    contrast: Float[np.ndarray, " n"]
    clipped: Float[np.ndarray, " n"]
    sharpness: Float[np.ndarray, " n"]
    colorfulness: Float[np.ndarray, " n"]
    rim_color: Float[np.ndarray, "n 3"]
    rim_spread: Float[np.ndarray, " n"]

    @staticmethod
    def cat(parts: list[Quality]) -> Quality:
        """Join the measures of several blocks."""
        return Quality(
            *(np.concatenate([getattr(part, name) for part in parts]) for name in Quality.__dataclass_fields__)
        )


def measure(images: UInt8[np.ndarray, "n size size 3"]) -> Quality:
    """Measure some images."""
    colors = images.astype(np.float32) / 255
    grey = colors @ LUMA
    contrast = grey.std(axis=(1, 2))
    laplacian = (
        4 * grey[:, 1:-1, 1:-1] - grey[:, :-2, 1:-1] - grey[:, 2:, 1:-1] - grey[:, 1:-1, :-2] - grey[:, 1:-1, 2:]
    )
    width = max(1, round(RIM * images.shape[1]))
    rim = np.ones(images.shape[1:3], bool)
    rim[width:-width, width:-width] = False
    return Quality(
        brightness=grey.mean(axis=(1, 2)),
        contrast=contrast,
        clipped=((grey < 0.01) | (grey > 0.99)).mean(axis=(1, 2), dtype=np.float32),
        sharpness=laplacian.std(axis=(1, 2)) / (contrast + 0.02),
        colorfulness=(colors.max(axis=3) - colors.min(axis=3)).mean(axis=(1, 2)),
        rim_color=colors[:, rim].mean(axis=1),
        rim_spread=grey[:, rim].std(axis=1),
    )
