"""Surface normals of a depth map."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from scr3d.geometry.camera import Camera, back_project

SQUARED_LENGTH_GUARD = 1e-12
"""Added to the squared length of a cross product, so that a degenerate one has finite derivatives."""


def normals_from_depth(
    depth: Float[Tensor, "batch height width"], camera: Camera
) -> Float[Tensor, "batch 3 height width"]:
    """Unit normals: cross product (right x down) of central differences of the back-projected grid.

    A fronto-parallel plane has (0, 0, 1): the normal points away from the camera, so that light travelling
    along l shades by max(0, n.l). The one-pixel border is (0, 0, 1).

    Source: [U], supplementary, with the border of the public code.
    """
    points = back_project(depth, camera)
    right = points[:, :, 1:-1, 2:] - points[:, :, 1:-1, :-2]
    down = points[:, :, 2:, 1:-1] - points[:, :, :-2, 1:-1]
    normal = unit_cross(right, down, camera.focal_px / 2)
    inner = F.pad(normal, (1, 1, 1, 1))
    border = F.pad(torch.zeros_like(depth[:, 1:-1, 1:-1]), (1, 1, 1, 1), value=1.0)
    return torch.stack([inner[:, 0], inner[:, 1], inner[:, 2] + border], dim=1)


def unit_cross(
    first: Float[Tensor, "batch 3 *grid"], second: Float[Tensor, "batch 3 *grid"], scale: float
) -> Float[Tensor, "batch 3 *grid"]:
    """Unit vector along first x second.

    Args:
        first: vectors along axis 1.
        second: likewise.
        scale: factor that brings the vectors to a length of about 1, far from the guard against a zero length.

    Component by component: several times faster on the CPU than `torch.linalg.cross` along this axis.
    """
    (ax, ay, az), (bx, by, bz) = (first * scale).unbind(1), (second * scale).unbind(1)
    x, y, z = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
    inverse_length = (x * x + y * y + z * z + SQUARED_LENGTH_GUARD).rsqrt()
    return torch.stack([x * inverse_length, y * inverse_length, z * inverse_length], dim=1)
