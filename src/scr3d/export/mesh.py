"""Textured meshes of depth maps, as glTF (GLB), OBJ and PLY.

Axes are those of glTF and OBJ: x right, y up, z towards the viewer, right-handed; the object stands upright,
looks along +z and is centred on the point about which scr3d turns it. Seen from outside, triangles are
counter-clockwise.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int32, UInt8
from PIL import Image
from torch import Tensor

from scr3d.errors import ConfigError, ShapeError
from scr3d.export.media import COMPRESSION, to_uint8
from scr3d.files import write_bytes
from scr3d.geometry.camera import Camera, back_project
from scr3d.geometry.pose import CENTER_DEPTH

if TYPE_CHECKING:
    import trimesh

BORDER_COLUMNS = 2
"""Columns on either side of a canonical depth map that hold the border depth, not the object."""


@dataclass(frozen=True)
class Mesh:
    """A height field as triangles, with a texture.

    Attributes:
        vertices: positions, a row of the map after the other; more may follow (`scr3d.export.solid`).
        normals: unit normals of the vertices, outward.
        texel: texture coordinates (u, v) of the vertices, v up.
        texture: RGB.
        triangles: three vertices each, counter-clockwise seen from outside.
        rows: of the map.
        columns: of the map.
        name: of the material.
    """

    vertices: Float[np.ndarray, "vertices 3"]
    normals: Float[np.ndarray, "vertices 3"]
    texel: Float[np.ndarray, "vertices 2"]
    texture: UInt8[np.ndarray, "texture_height texture_width 3"]
    triangles: Int32[np.ndarray, "triangles 3"]
    rows: int
    columns: int
    name: str

    def scaled(self, factor: float) -> Mesh:
        """The mesh in other units."""
        return replace(self, vertices=factor * self.vertices)

    @property
    def picture(self) -> Image.Image:
        """The texture as an image."""
        return Image.fromarray(self.texture)

    @cached_property
    def texture_png(self) -> bytes:
        """The texture as a PNG file."""
        stream = io.BytesIO()
        self.picture.save(stream, format="PNG", compress_level=COMPRESSION)
        return stream.getvalue()

    @property
    def colors(self) -> UInt8[np.ndarray, "vertices 3"]:
        """Colour of the texel in which each vertex lies."""
        height, width = self.texture.shape[:2]
        column = np.clip((self.texel[:, 0] * width).astype(int), 0, width - 1)
        row = np.clip(((1 - self.texel[:, 1]) * height).astype(int), 0, height - 1)
        return self.texture[row, column]


def mesh_from_depth(
    canonical_depth: Float[Tensor, "height width"],
    texture: Float[Tensor, "3 texture_height texture_width"],
    camera: Camera,
    *,
    frame_width: float = 1.0,
    trim_columns: int = BORDER_COLUMNS,
    name: str = "reconstruction",
) -> Mesh:
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
    height, width = camera.height, camera.width
    if tuple(canonical_depth.shape) != (height, width):
        raise ShapeError(f"expected a depth map of {height}x{width} pixels, got {list(canonical_depth.shape)}")
    columns = width - 2 * trim_columns
    if trim_columns < 0 or columns < 2 or height < 2:
        raise ShapeError(f"nothing is left of a {height}x{width} depth map without {trim_columns} columns on each side")
    pixels = to_uint8(texture)
    points = back_project(canonical_depth.detach().cpu().double(), camera)[:, :, trim_columns : width - trim_columns]
    # Half a turn about x leads from x right, y down, z forward to x right, y up, z towards the viewer.
    scale = frame_width * camera.focal_px / (camera.width - 1) / CENTER_DEPTH
    x, y, z = points.numpy()
    grid = np.stack([x, -y, CENTER_DEPTH - z], axis=2) * scale
    texel = _texture_coordinates(camera, trim_columns, pixels.shape[0], pixels.shape[1])
    triangles = grid_triangles(height, columns)
    return Mesh(grid.reshape(-1, 3), grid_normals(grid).reshape(-1, 3), texel, pixels, triangles, height, columns, name)


@lru_cache(maxsize=16)
def grid_triangles(rows: int, columns: int) -> Int32[np.ndarray, "triangles 3"]:
    """Two triangles per cell of a pixel grid, counter-clockwise when y points up; read-only."""
    index = np.arange(rows * columns, dtype=np.int32).reshape(rows, columns)
    top_left, top_right, bottom_left, bottom_right = (
        index[row, column].ravel()
        for row in (slice(None, -1), slice(1, None))
        for column in (slice(None, -1), slice(1, None))
    )
    upper = np.stack([top_left, bottom_left, top_right], axis=1)
    lower = np.stack([top_right, bottom_left, bottom_right], axis=1)
    triangles = np.stack([upper, lower], axis=1).reshape(-1, 3)
    triangles.flags.writeable = False
    return triangles


def grid_normals(grid: Float[np.ndarray, "rows columns 3"]) -> Float[np.ndarray, "rows columns 3"]:
    """Unit normals of the vertices: the mean of those of their triangles, weighted by area."""
    top_right, bottom_left = grid[:-1, 1:], grid[1:, :-1]
    upper = _cross(bottom_left - grid[:-1, :-1], top_right - grid[:-1, :-1])
    lower = _cross(bottom_left - top_right, grid[1:, 1:] - top_right)
    normals = np.zeros_like(grid)
    both = upper + lower
    normals[:-1, :-1] += upper
    normals[1:, :-1] += both
    normals[:-1, 1:] += both
    normals[1:, 1:] += lower
    return normals / np.sqrt((normals**2).sum(axis=2, keepdims=True))


def export_glb(mesh: Mesh, path: Path) -> None:
    """Write one binary glTF file with texture and normals."""
    from trimesh.visual.material import PBRMaterial

    material = PBRMaterial(
        name=mesh.name, baseColorTexture=mesh.picture, metallicFactor=0.0, roughnessFactor=1.0, doubleSided=True
    )
    write_bytes(path, _exported(_textured(mesh, material), "glb", include_normals=True))


def export_obj(mesh: Mesh, path: Path) -> None:
    """Write `path` and, beside it and named after it, the material (.mtl) and the texture (.png)."""
    from trimesh.exchange.obj import export_obj as obj_text
    from trimesh.visual.material import SimpleMaterial

    # White, because programs multiply the texture by the diffuse colour; not shiny, as the shading model.
    white, black = [255, 255, 255, 255], [0, 0, 0, 255]
    material = SimpleMaterial(image=mesh.picture, diffuse=white, ambient=white, specular=black, name=path.stem)
    text, extra = obj_text(
        _textured(mesh, material),
        include_normals=True,
        return_texture=True,
        write_texture=False,
        mtl_name=path.with_suffix(".mtl").name,
        header=None,
    )
    # The file that names the others comes last.
    for name, content in extra.items():
        write_bytes(path.with_name(name), content)
    write_bytes(path, text.encode())


def export_ply(mesh: Mesh, path: Path) -> None:
    """Write a binary PLY file with normals and a colour per vertex: PLY has no common way to name a texture."""
    import trimesh

    plain = trimesh.Trimesh(
        mesh.vertices, mesh.triangles, vertex_normals=mesh.normals, vertex_colors=mesh.colors, process=False
    )
    write_bytes(path, _exported(plain, "ply", vertex_normal=True))


def export_mesh(mesh: Mesh, path: Path, frame_width_mm: float | None = None) -> None:
    """Write a mesh in the format that the file's ending names: .glb, .obj or .ply.

    Args:
        mesh: whose frame is one unit wide.
        path: of the file.
        frame_width_mm: width of the frame in millimetres. A file is then in the unit that its format has, or that is
            usual for it: GLB in metres, OBJ and PLY in millimetres.

    Raises:
        ConfigError: it names another.
    """
    writers = {".glb": export_glb, ".obj": export_obj, ".ply": export_ply}
    writer = writers.get(path.suffix.lower())
    if writer is None:
        raise ConfigError(f"meshes are written as {', '.join(writers)}; got {path.name!r}")
    if frame_width_mm is not None:
        mesh = mesh.scaled(frame_width_mm / 1000 if writer is export_glb else frame_width_mm)
    writer(mesh, path)


def _textured(mesh: Mesh, material: Any) -> trimesh.Trimesh:
    import trimesh

    visual = trimesh.visual.TextureVisuals(uv=mesh.texel, material=material)
    return trimesh.Trimesh(
        mesh.vertices, mesh.triangles, vertex_normals=mesh.normals, visual=visual, process=False, validate=False
    )


def _exported(mesh: trimesh.Trimesh, file_type: str, **options: Any) -> bytes:
    content = mesh.export(file_type=file_type, **options)
    if not isinstance(content, bytes):
        raise TypeError(f"trimesh returned {type(content).__name__} instead of bytes for {file_type}")
    return content


def _cross(
    first: Float[np.ndarray, "rows columns 3"], second: Float[np.ndarray, "rows columns 3"]
) -> Float[np.ndarray, "rows columns 3"]:
    (ax, ay, az), (bx, by, bz) = np.moveaxis(first, 2, 0), np.moveaxis(second, 2, 0)
    return np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], axis=2)


@lru_cache(maxsize=16)
def _texture_coordinates(
    camera: Camera, trim_columns: int, texture_height: int, texture_width: int
) -> Float[np.ndarray, "vertices 2"]:
    """(u, v) with v up: the centres of the texels that lie on the depth map's pixels."""
    kept = slice(trim_columns, camera.width - trim_columns)
    column = np.arange(camera.width)[kept] * (texture_width - 1) / (camera.width - 1)
    row = np.arange(camera.height) * (texture_height - 1) / (camera.height - 1)
    u, v = np.meshgrid((column + 0.5) / texture_width, 1 - (row + 0.5) / texture_height)
    texel = np.stack([u.ravel(), v.ravel()], axis=1)
    texel.flags.writeable = False
    return texel
