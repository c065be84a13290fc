"""Lambertian shading under one distant light and an ambient term."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from scr3d.factors import Light


def shade(normal: Float[Tensor, "batch 3 height width"], light: Light) -> Float[Tensor, "batch height width"]:
    """Shading = ambient + diffuse * max(0, n.l); may exceed 1.

    Normals point away from the camera and l is the direction in which the light travels, so surfaces that
    face the light have n.l > 0 ([U], equation 3).
    """
    cosine = (normal * light.direction[:, :, None, None]).sum(1).clamp(min=0)
    return light.ambient[:, None, None] + light.diffuse[:, None, None] * cosine
