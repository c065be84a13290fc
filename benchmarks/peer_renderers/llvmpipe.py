"""What renderers by OpenGL share. Without a GPU, Mesa's llvmpipe does OpenGL's work in software."""

from __future__ import annotations

import numpy as np

NEAR, FAR = 0.5, 1.5
"""Depths between which triangles are drawn."""


def threads_of_llvmpipe(threads: int) -> str:
    """Its threads besides the calling one: with 0 that one draws."""
    return str(threads if threads > 1 else 0)


def clip_rows() -> tuple[float, float]:
    """a and b of the depth in clip coordinates, a + b / z, that is -1 at NEAR and 1 at FAR."""
    return (FAR + NEAR) / (FAR - NEAR), -2 * FAR * NEAR / (FAR - NEAR)


def depth_from_buffer(buffer: np.ndarray) -> np.ndarray:
    """Depth z from values of a depth buffer in [0, 1]; nothing drawn gives FAR."""
    a, b = clip_rows()
    return (b / (2 * buffer - 1 - a)).astype(np.float32)
