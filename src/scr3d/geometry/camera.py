"""The pinhole camera: x right, y down, z forward, pixel centres on integers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from scr3d.geometry.depth_range import DepthRange

__all__ = ["Camera", "DepthRange", "back_project", "project"]


@dataclass(frozen=True)
class Camera:
    """Intrinsics of an image; the principal point is ((W-1)/2, (H-1)/2).

    The focal length is ((W-1)/2) / tan(fov/2) pixels, so the outermost pixel centres of a row lie on the
    edge of the field of view ([U], `align_corners=True`).
    """

    height: int
    width: int
    fov_deg: float = 10.0

    @property
    def focal_px(self) -> float:
        """Focal length in pixels."""
        return (self.width - 1) / 2 / math.tan(math.radians(self.fov_deg) / 2)

    @property
    def center_px(self) -> tuple[float, float]:
        """Principal point (x, y) in pixels."""
        return (self.width - 1) / 2, (self.height - 1) / 2

    def rays(self, like: Tensor) -> Float[Tensor, "3 height width"]:
        """Direction (x, y, 1) of every pixel's ray, on the device and in the type of `like`."""
        return _rays(self, like.dtype, like.device)


@lru_cache(maxsize=64)
def _rays(camera: Camera, dtype: torch.dtype, device: torch.device) -> Tensor:
    center_x, center_y = camera.center_px
    x = (torch.arange(camera.width, dtype=torch.float64) - center_x) / camera.focal_px
    y = (torch.arange(camera.height, dtype=torch.float64) - center_y) / camera.focal_px
    rays = torch.stack(
        [
            x.expand(camera.height, -1),
            y[:, None].expand(-1, camera.width),
            torch.ones(camera.height, camera.width, dtype=torch.float64),
        ]
    )
    return rays.to(dtype=dtype, device=device)


def back_project(depth: Float[Tensor, "*batch height width"], camera: Camera) -> Float[Tensor, "*batch 3 height width"]:
    """3D point of every pixel: its ray times its depth."""
    return depth.unsqueeze(-3) * camera.rays(depth)


def project(points: Float[Tensor, "batch 3 *points"], camera: Camera) -> Float[Tensor, "batch 2 *points"]:
    """Pixel coordinates (x, y) of 3D points in front of the camera (z > 0)."""
    center_x, center_y = camera.center_px
    inverse_z = camera.focal_px / points[:, 2]
    return torch.stack([points[:, 0] * inverse_z + center_x, points[:, 1] * inverse_z + center_y], dim=1)
