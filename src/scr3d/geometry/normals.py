"""Surface normals of a depth map."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from scr3d.geometry.camera import Camera, back_project


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
    # A pixel step is about 1e-3: scale first, so that the length is far from the guard of `normalize`.
    scale = camera.focal_px / 2
    normal = F.normalize(torch.linalg.cross(right * scale, down * scale, dim=1), dim=1)
    inner = F.pad(normal, (1, 1, 1, 1))
    border = F.pad(torch.zeros_like(depth[:, 1:-1, 1:-1]), (1, 1, 1, 1), value=1.0)
    return torch.stack([inner[:, 0], inner[:, 1], inner[:, 2] + border], dim=1)
