"""The four factors of an image and the records that carry them.

Angles are radians, lengths are in units of the mean camera distance (the object sits at depth 1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from scr3d.names import FACTORS, Factor

__all__ = ["FACTORS", "MAX_ROTATION_RAD", "Factor", "Factors", "Light", "View", "cat_factors"]

MAX_ROTATION_RAD = math.radians(60.0)


@dataclass(frozen=True)
class View:
    """A rigid motion of the object: X_view = R (X_canonical - c) + c + t with c = (0, 0, 1).

    Attributes:
        rotation_rad: angles about x, y and z (pitch, yaw, roll), in radians; R = Rz Ry Rx.
        translation: shift along x, y and z, in units of the camera distance.
    """

    rotation_rad: Float[Tensor, "batch 3"]
    translation: Float[Tensor, "batch 3"]

    @classmethod
    def identity(cls, batch: int, like: Tensor | None = None) -> View:
        """The view that moves nothing."""
        zeros = torch.zeros(batch, 3) if like is None else like.new_zeros(batch, 3)
        return cls(zeros, zeros.clone())

    def __getitem__(self, index: slice | Tensor) -> View:
        return View(self.rotation_rad[index], self.translation[index])


@dataclass(frozen=True)
class Light:
    """One distant light and an ambient term.

    Attributes:
        ambient: strength in [0, 1].
        diffuse: strength in [0, 1].
        direction: unit vector in which the light travels, z forward.
    """

    ambient: Float[Tensor, " batch"]
    diffuse: Float[Tensor, " batch"]
    direction: Float[Tensor, "batch 3"]

    @classmethod
    def from_slopes(
        cls,
        ambient: Float[Tensor, " batch"],
        diffuse: Float[Tensor, " batch"],
        slopes: Float[Tensor, "batch 2"],
    ) -> Light:
        """A light travelling along (lx, ly, 1), normalised ([U], section 3.3)."""
        direction = torch.cat([slopes, torch.ones_like(slopes[:, :1])], dim=1)
        return cls(ambient, diffuse, torch.nn.functional.normalize(direction, dim=1))

    def __getitem__(self, index: slice | Tensor) -> Light:
        return Light(self.ambient[index], self.diffuse[index], self.direction[index])


@dataclass(frozen=True)
class Factors:
    """What one image is explained by: canonical depth and albedo, view and light.

    Attributes:
        canonical_depth: z of the surface on each canonical pixel's ray, in [0.9, 1.1].
        canonical_albedo: RGB in [0, 1].
        view: motion from the canonical frame to the camera frame of the image.
        light: light in the canonical frame.
    """

    view: View
    canonical_depth: Float[Tensor, "batch height width"]
    light: Light
    canonical_albedo: Float[Tensor, "batch 3 height width"]

    def __getitem__(self, index: slice | Tensor) -> Factors:
        return Factors(self.view[index], self.canonical_depth[index], self.light[index], self.canonical_albedo[index])

    def detach(self) -> Factors:
        """The same values cut from the autograd graph."""
        return Factors(
            View(self.view.rotation_rad.detach(), self.view.translation.detach()),
            self.canonical_depth.detach(),
            Light(self.light.ambient.detach(), self.light.diffuse.detach(), self.light.direction.detach()),
            self.canonical_albedo.detach(),
        )


def cat_factors(parts: Sequence[Factors]) -> Factors:
    """Join factors along the batch axis."""
    return Factors(
        View(torch.cat([p.view.rotation_rad for p in parts]), torch.cat([p.view.translation for p in parts])),
        torch.cat([p.canonical_depth for p in parts]),
        Light(
            torch.cat([p.light.ambient for p in parts]),
            torch.cat([p.light.diffuse for p in parts]),
            torch.cat([p.light.direction for p in parts]),
        ),
        torch.cat([p.canonical_albedo for p in parts]),
    )
