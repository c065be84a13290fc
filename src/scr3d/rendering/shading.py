"""Lambertian shading under one distant light and an ambient term."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from scr3d.factors import Light
from scr3d.fused.dispatch import usable
from scr3d.fused.surface import fits, lit
from scr3d.geometry.camera import Camera
from scr3d.geometry.normals import SQUARED_LENGTH_GUARD, normals_from_depth


def shade(normal: Float[Tensor, "batch 3 height width"], light: Light) -> Float[Tensor, "batch height width"]:
    """Shading = ambient + diffuse * max(0, n.l); may exceed 1.

    Normals point away from the camera and l is the direction in which the light travels, so surfaces that
    face the light have n.l > 0 ([U], equation 3).
    """
    cosine = (normal * light.direction[:, :, None, None]).sum(1).clamp(min=0)
    return light.ambient[:, None, None] + light.diffuse[:, None, None] * cosine


def light_surface(
    depth: Float[Tensor, "batch height width"],
    albedo: Float[Tensor, "batch 3 height width"],
    light: Light,
    camera: Camera,
) -> tuple[
    Float[Tensor, "batch 3 height width"], Float[Tensor, "batch height width"], Float[Tensor, "batch 3 height width"]
]:
    """Normals of a depth map, their shading, and what it makes of an albedo: albedo * shading, not clamped."""

    def plain(
        depth: Tensor, albedo: Tensor, ambient: Tensor, diffuse: Tensor, direction: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        normal = normals_from_depth(depth, camera)
        shading = shade(normal, Light(ambient, diffuse, direction))
        return normal, shading, albedo * shading[:, None]

    inputs = (depth, albedo, light.ambient, light.diffuse, light.direction)
    if not (fits(depth) and usable(*inputs)):
        return plain(*inputs)
    normal, shading, image = lit(plain, inputs, camera.rays(depth), camera.focal_px, SQUARED_LENGTH_GUARD)
    return normal, shading, image
