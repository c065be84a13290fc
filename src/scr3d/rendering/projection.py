"""The photo itself on the surface: sharper than the model's own colours, where the photo shows the object."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from scr3d.factors import Factors, Light
from scr3d.geometry.camera import back_project, project
from scr3d.geometry.pose import rotation_matrix, view_from_canonical
from scr3d.rendering.heightfield import sample_view
from scr3d.rendering.shading import shade
from scr3d.rendering.views import Surface

GRAZING, STEEP = 0.3, 0.6
"""Cosine between line of sight and normal up to which the photo is not used, and from which on it is used alone."""
BEHIND = 0.01
"""A point this far behind what its pixel shows is hidden, in camera distances."""
LEAST_SHADING = 0.1
"""Darker places of the photo are not made brighter than from this shading."""


@dataclass(frozen=True)
class ProjectedPhoto:
    """The photo in the canonical frame.

    Attributes:
        color: of the photo where it shows the point, else as the model has it, lit as found.
        shading: as found.
    """

    color: Float[Tensor, "3 height width"]
    shading: Float[Tensor, "height width"]

    def lit(self, normal: Float[Tensor, "3 height width"], light: Light) -> Float[Tensor, "3 height width"]:
        """The photo under another light or on another relief: brighter by as much as the shading is.

        The same light and relief give the photo itself.
        """
        return self.color * (shade(normal[None], light)[0] / self.shading)


@torch.no_grad()
def project_photo(photo: Float[Tensor, "3 side side"], factors: Factors, surface: Surface) -> ProjectedPhoto:
    """Look up every point of the canonical surface in the photo.

    Args:
        photo: the square that was reconstructed, RGB in [0, 1], of any resolution.
        factors: as the model has found them in this photo.
        surface: their surface in the wanted resolution.
    """
    camera, depth = surface.camera, surface.depth[None]
    in_view = view_from_canonical(back_project(depth, camera), factors.view)
    pixels = project(in_view, camera)[0].movedim(0, -1)
    seen = sample_view(depth, factors.view, camera, surface.depth_range)
    # The renderer's outermost pixel centres lie on the frame's edge; those of the photo half a pixel inside of it.
    size = factors.canonical_depth.shape[-1]
    step = (size - 1) / (camera.width - 1)
    photo_grid = (pixels * step + 0.5) * (2 / size) - 1
    color = F.grid_sample(
        photo[None].to(depth), photo_grid[None], mode="bilinear", padding_mode="border", align_corners=False
    )[0]
    grid = pixels * (2 / (camera.width - 1)) - 1
    in_front = F.grid_sample(seen.depth[None], grid[None], mode="nearest", align_corners=True)[0, 0]
    shown = (photo_grid.abs() <= 1).all(dim=-1) & (in_view[0, 2] <= in_front + BEHIND)
    normal = surface.maps[3:6]
    normal = normal / normal.square().sum(0, keepdim=True).clamp(min=1e-12).sqrt()
    shading = shade(normal[None], factors.light)[0].clamp(min=LEAST_SHADING)
    # Along the rim of what is seen, the photo gives way to the model's colours step by step.
    facing = (rotation_matrix(factors.view.rotation_rad)[0] @ normal.flatten(1))[2].view_as(shading)
    share = ((facing - GRAZING) / (STEEP - GRAZING)).clamp(0, 1) * shown
    return ProjectedPhoto(torch.lerp(surface.maps[:3] * shading, color, share), shading)
