"""Textured meshes of depth maps, as glTF (GLB), OBJ and PLY.

Axes are those of glTF and OBJ: x right, y up, z towards the viewer, right-handed; the object stands upright,
looks along +z and is centred on the point about which scr3d turns it. Seen from outside, triangles are
counter-clockwise.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor

from scr3d.errors import ShapeError
from scr3d.export.media import to_uint8
from scr3d.files import write_bytes
from scr3d.geometry.camera import Camera, back_project
from scr3d.geometry.pose import CENTER_DEPTH

if TYPE_CHECKING:
    import trimesh

BORDER_COLUMNS = 2
"""Columns on either side of a canonical depth map that hold the border depth, not the object."""


def mesh_from_depth(
    canonical_depth: Float[Tensor, "height width"],
    texture: Float[Tensor, "3 texture_height texture_width"],
    camera: Camera,
    *,
    frame_width: float = 1.0,
    trim_columns: int = BORDER_COLUMNS,
    name: str = "reconstruction",
) -> trimesh.Trimesh:
    """The surface of a depth map: a vertex per pixel, two triangles per cell, and texture coordinates.

    Args:
        canonical_depth: depth of every pixel, in units of the camera distance.
        texture: RGB in [0, 1] (clamped), the canonical image or the albedo; its corner pixels lie on those of
            the depth map, whatever its resolution.
        camera: intrinsics of the depth map.
        frame_width: width of the image's frame at the rotation centre, in units of the mesh.
        trim_columns: outer columns left out on either side; 0 keeps the walls that lead to the border depth.
        name: name of the material.

    Raises:
        ShapeError: the depth map does not have the camera's size, the texture is not RGB, or nothing is left.
    """
    import trimesh

    height, width = camera.height, camera.width
    if tuple(canonical_depth.shape) != (height, width):
        raise ShapeError(f"expected a depth map of {height}x{width} pixels, got {list(canonical_depth.shape)}")
    columns = width - 2 * trim_columns
    if trim_columns < 0 or columns < 2 or height < 2:
        raise ShapeError(f"nothing is left of a {height}x{width} depth map without {trim_columns} columns on each side")
    kept = slice(trim_columns, width - trim_columns)
    points = back_project(canonical_depth.detach().cpu().double(), camera)[:, :, kept]
    # Half a turn about x leads from x right, y down, z forward to x right, y up, z towards the viewer.
    scale = frame_width * camera.focal_px / (camera.width - 1) / CENTER_DEPTH
    x, y, z = points.flatten(1)
    vertices = torch.stack([x, -y, CENTER_DEPTH - z], dim=1) * scale
    image = Image.fromarray(to_uint8(texture))
    material = trimesh.visual.material.PBRMaterial(
        name=name, baseColorTexture=image, metallicFactor=0.0, roughnessFactor=1.0, doubleSided=True
    )
    return trimesh.Trimesh(
        vertices=vertices.numpy(),
        faces=grid_triangles(height, columns).numpy(),
        visual=trimesh.visual.TextureVisuals(uv=_texture_coordinates(camera, kept, image.size), material=material),
        process=False,
        validate=False,
    )


def grid_triangles(rows: int, columns: int) -> Int[Tensor, "triangles 3"]:
    """Two triangles per cell of a pixel grid, counter-clockwise when y points up."""
    index = torch.arange(rows * columns).reshape(rows, columns)
    top_left, top_right = index[:-1, :-1].flatten(), index[:-1, 1:].flatten()
    bottom_left, bottom_right = index[1:, :-1].flatten(), index[1:, 1:].flatten()
    upper = torch.stack([top_left, bottom_left, top_right], dim=1)
    lower = torch.stack([top_right, bottom_left, bottom_right], dim=1)
    return torch.stack([upper, lower], dim=1).flatten(0, 1)


def export_glb(mesh: trimesh.Trimesh, path: Path) -> None:
    """Write one binary glTF file with texture and normals."""
    write_bytes(path, _exported(mesh, "glb", include_normals=True))


def export_obj(mesh: trimesh.Trimesh, path: Path) -> None:
    """Write `path` and, beside it and named after it, the material (.mtl) and the texture (.png)."""
    import trimesh
    from trimesh.exchange.obj import export_obj as obj_text

    # White, because programs multiply the texture by the diffuse colour; not shiny, as the shading model.
    material = trimesh.visual.material.SimpleMaterial(
        image=_textured(mesh).material.baseColorTexture,
        diffuse=[255, 255, 255, 255],
        ambient=[255, 255, 255, 255],
        specular=[0, 0, 0, 255],
        name=path.stem,
    )
    visual = trimesh.visual.TextureVisuals(uv=_textured(mesh).uv, material=material)
    text, extra = obj_text(
        trimesh.Trimesh(mesh.vertices, mesh.faces, visual=visual, process=False, validate=False),
        include_normals=True,
        return_texture=True,
        write_texture=False,
        mtl_name=path.with_suffix(".mtl").name,
        header=None,
    )
    # The file that names the others comes last.
    for name, content in extra.items():
        write_bytes(path.with_name(name), content)
    write_bytes(path, text.encode("utf-8"))


def export_ply(mesh: trimesh.Trimesh, path: Path) -> None:
    """Write a binary PLY file with normals and a colour per vertex: PLY has no common way to name a texture."""
    import trimesh

    colors = _textured(mesh).to_color().vertex_colors
    plain = trimesh.Trimesh(mesh.vertices, mesh.faces, vertex_colors=colors, process=False, validate=False)
    write_bytes(path, _exported(plain, "ply", vertex_normal=True))


def _textured(mesh: trimesh.Trimesh) -> Any:
    if getattr(getattr(mesh.visual, "material", None), "baseColorTexture", None) is None:
        raise ShapeError("expected a textured mesh as made by mesh_from_depth, got one without a texture")
    return mesh.visual


def _exported(mesh: trimesh.Trimesh, file_type: str, **options: Any) -> bytes:
    content = mesh.export(file_type=file_type, **options)
    if not isinstance(content, bytes):
        raise TypeError(f"trimesh returned {type(content).__name__} instead of bytes for {file_type}")
    return content


def _texture_coordinates(camera: Camera, kept: slice, texture_size: tuple[int, int]) -> Float[np.ndarray, "vertices 2"]:
    """(u, v) with v up: the centres of the texels that lie on the depth map's pixels."""
    texture_width, texture_height = texture_size
    column = np.arange(camera.width)[kept] * (texture_width - 1) / (camera.width - 1)
    row = np.arange(camera.height) * (texture_height - 1) / (camera.height - 1)
    u, v = np.meshgrid((column + 0.5) / texture_width, 1 - (row + 0.5) / texture_height)
    return np.stack([u.ravel(), v.ravel()], axis=1)
