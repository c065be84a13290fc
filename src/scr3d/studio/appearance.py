"""What a surface looks like: colours of its points, pictures of it in a view, and the mesh that turns in the browser.

Pictures and mesh take their colours from one map, so that they agree.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from scr3d.errors import ConfigError
from scr3d.export.media import colorize, normal_colors, to_uint8
from scr3d.export.mesh import BORDER_COLUMNS, Mesh, mesh_from_depth
from scr3d.factors import Factors, Light, View
from scr3d.geometry.pose import rotation_matrix
from scr3d.models.autoencoder import PhotoGeometricAutoencoder
from scr3d.rendering.heightfield import ViewSampling, look_up, sample_view
from scr3d.rendering.projection import ProjectedPhoto
from scr3d.rendering.shading import shade
from scr3d.rendering.views import GREY_ALBEDO, Surface, ViewOptions, enlarge
from scr3d.studio.editing import Shown

PICTURE_SIDE = 224
"""Width of the rendered pictures in pixels."""
MESH_SIDE = 128
"""Vertices of the displayed mesh along a side."""


@dataclass(frozen=True)
class Look:
    """A surface in a view, ready to be coloured under any light.

    Attributes:
        surface: the canonical surface at the resolution of the picture.
        sampling: which of its points every pixel of the view shows.
        nearest: depth that is shown brightest in depth colours.
        farthest: depth that is shown darkest.
    """

    surface: Surface
    sampling: ViewSampling
    nearest: float
    farthest: float


def fine_surface(factors: Factors, model: PhotoGeometricAutoencoder, side: int) -> Surface:
    """The canonical surface of one image in another resolution.

    Exaggerated relief may lie beyond the model's depths; the surface's range is wide enough for it.
    """
    depth = factors.canonical_depth
    near, far = min(model.depth_range.near, float(depth.min())), max(model.depth_range.far, float(depth.max()))
    wide = replace(model.depth_range, near=near, far=far)
    return enlarge(factors, model.camera, wide, ViewOptions(side, 1, 0.0, trim_columns=BORDER_COLUMNS))


def look(factors: Factors, model: PhotoGeometricAutoencoder, side: int = PICTURE_SIDE) -> Look:
    """See the factors' surface in their view; what is slow about a picture, and the same for every light."""
    surface = fine_surface(factors, model, side)
    sampling = sample_view(surface.depth[None], factors.view, surface.camera, surface.depth_range)
    return Look(surface, sampling, *_span(surface))


def picture(
    seen: Look, light: Light, shown: Shown, photo: ProjectedPhoto | None = None
) -> UInt8[np.ndarray, "height width 4"]:
    """RGBA of what is seen; transparent where nothing is."""
    colors = surface_colors(seen.surface, light, shown, photo)
    inside = seen.surface.maps[6:7]
    maps = look_up(torch.cat([colors, inside])[None], seen.sampling)[0]
    opaque = (seen.sampling.mask[0] & (maps[3] > 0.5)).to(maps)
    return np.dstack([to_uint8(maps[:3]), (255 * opaque).to(torch.uint8).cpu().numpy()])


def surface_colors(
    surface: Surface, light: Light, shown: Shown, photo: ProjectedPhoto | None = None
) -> Float[Tensor, "3 height width"]:
    """Colours of the canonical points, in [0, 1] after clamping.

    Args:
        surface: of one image.
        light: in the canonical frame; it matters to texture, photo and shading alone.
        shown: what is painted on the surface.
        photo: in the surface's resolution; needed to show it.

    Raises:
        ConfigError: the photo is to be shown and is not there.
    """
    albedo, normal = surface.maps[:3], surface.maps[3:6]
    normal = normal / normal.square().sum(0, keepdim=True).clamp(min=1e-12).sqrt()
    match shown:
        case Shown.ALBEDO:
            return albedo
        case Shown.NORMALS:
            return normal_colors(normal)
        case Shown.DEPTH:
            near, far = _span(surface)
            return colorize(-surface.depth, -far, -near)
        case Shown.SHADING:
            return (GREY_ALBEDO * shade(normal[None], light)).expand(3, -1, -1)
        case Shown.PHOTO:
            if photo is None:
                raise ConfigError("the photo cannot be shown on factors that are not its own; show the texture")
            return photo.lit(normal, light)
        case Shown.TEXTURE:
            return albedo * shade(normal[None], light)


def trimmed_columns(surface: Surface, model: PhotoGeometricAutoencoder) -> int:
    """Outer columns of the enlarged surface that lie on the border, not on the object."""
    return math.ceil(BORDER_COLUMNS * (surface.camera.width - 1) / (model.camera.width - 1))


def export_mesh(
    factors: Factors, model: PhotoGeometricAutoencoder, shown: Shown, photo: ProjectedPhoto | None = None
) -> Mesh:
    """The mesh that is saved: the model's own vertices, painted with what is shown in the picture's resolution."""
    fine = fine_surface(factors, model, PICTURE_SIDE)
    return mesh_from_depth(
        factors.canonical_depth[0],
        surface_colors(fine, factors.light, shown, photo),
        model.camera,
        trim_columns=BORDER_COLUMNS,
    )


def pose(view: View) -> tuple[Float[np.ndarray, "4"], Float[np.ndarray, "3"]]:
    """A view as rotation (unit quaternion, w first) and position of the mesh in its own axes.

    Half a turn about x leads from x right, y down, z forward to x right, y up, z towards the viewer.
    """
    flip = np.diag([1.0, -1.0, -1.0])
    rotation = flip @ rotation_matrix(view.rotation_rad[:1])[0].double().cpu().numpy() @ flip
    return quaternion(rotation), flip @ view.translation[0].double().cpu().numpy()


def quaternion(rotation: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "4"]:
    """Unit quaternion (w first) of a rotation by less than half a turn about some axis."""
    w = math.sqrt(max(1e-12, 1 + float(np.trace(rotation)))) / 2
    x, y, z = rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]
    found = np.array([w, x / (4 * w), y / (4 * w), z / (4 * w)])
    return found / np.linalg.norm(found)


def _span(surface: Surface) -> tuple[float, float]:
    inside = surface.depth[surface.maps[6] > 0.5]
    return float(inside.min()), float(inside.max())
