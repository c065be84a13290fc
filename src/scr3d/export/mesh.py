"""Textured meshes of depth maps, as glTF (GLB), OBJ and PLY.

Axes are those of glTF and OBJ: x right, y up, z towards the viewer, right-handed; the object stands upright,
looks along +z and is centred on the point about which scr3d turns it. Seen from outside, triangles are
counter-clockwise.
"""

from __future__ import annotations

import io
import json
import struct
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int32, UInt8
from PIL import Image
from torch import Tensor

import scr3d
from scr3d.errors import ShapeError
from scr3d.export.media import COMPRESSION, to_uint8
from scr3d.files import write_bytes
from scr3d.geometry.camera import Camera, back_project
from scr3d.geometry.pose import CENTER_DEPTH

BORDER_COLUMNS = 2
"""Columns on either side of a canonical depth map that hold the border depth, not the object."""
FLOAT, UNSIGNED_SHORT, UNSIGNED_INT = 5126, 5123, 5125
"""Component types of glTF."""
VERTICES, TRIANGLES = 34962, 34963
"""What a buffer of glTF holds."""
CLAMP_TO_EDGE = 33071


@dataclass(frozen=True)
class Mesh:
    """A height field as triangles, with a texture.

    Attributes:
        vertices: positions, a row of the map after the other.
        normals: unit normals of the vertices, outward.
        texel: texture coordinates (u, v) of the vertices, v up.
        texture: RGB.
        rows: of the map.
        columns: of the map.
        name: of the material.
    """

    vertices: Float[np.ndarray, "vertices 3"]
    normals: Float[np.ndarray, "vertices 3"]
    texel: Float[np.ndarray, "vertices 2"]
    texture: UInt8[np.ndarray, "texture_height texture_width 3"]
    rows: int
    columns: int
    name: str

    @property
    def triangles(self) -> Int32[np.ndarray, "triangles 3"]:
        """Three vertices each, counter-clockwise seen from outside."""
        return grid_triangles(self.rows, self.columns)

    @cached_property
    def texture_png(self) -> bytes:
        """The texture as a PNG file."""
        stream = io.BytesIO()
        Image.fromarray(self.texture).save(stream, format="PNG", compress_level=COMPRESSION)
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
    return Mesh(grid.reshape(-1, 3), grid_normals(grid).reshape(-1, 3), texel, pixels, height, columns, name)


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
    count = len(mesh.vertices)
    u, v = mesh.texel.T
    index_type = (np.uint16, UNSIGNED_SHORT) if count <= 2**16 else (np.uint32, UNSIGNED_INT)
    positions = mesh.vertices.astype("<f4")
    parts = [
        (positions.tobytes(), VERTICES),
        (mesh.normals.astype("<f4").tobytes(), VERTICES),
        # v of glTF points down.
        (np.stack([u, 1 - v], axis=1).astype("<f4").tobytes(), VERTICES),
        (mesh.triangles.astype(np.dtype(index_type[0]).newbyteorder("<")).tobytes(), TRIANGLES),
        (mesh.texture_png, None),
    ]
    views: list[dict[str, int]] = []
    binary = bytearray()
    for content, target in parts:
        views.append({"buffer": 0, "byteOffset": len(binary), "byteLength": len(content)})
        if target is not None:
            views[-1]["target"] = target
        binary += _padded(content, b"\0")
    span = {"min": positions.min(axis=0).tolist(), "max": positions.max(axis=0).tolist()}
    accessors = [
        {"bufferView": 0, "componentType": FLOAT, "count": count, "type": "VEC3", **span},
        {"bufferView": 1, "componentType": FLOAT, "count": count, "type": "VEC3"},
        {"bufferView": 2, "componentType": FLOAT, "count": count, "type": "VEC2"},
        {"bufferView": 3, "componentType": index_type[1], "count": mesh.triangles.size, "type": "SCALAR"},
    ]
    surface = {"baseColorTexture": {"index": 0}, "metallicFactor": 0.0, "roughnessFactor": 1.0}
    attributes = {"POSITION": 0, "NORMAL": 1, "TEXCOORD_0": 2}
    head = {
        "asset": {"version": "2.0", "generator": f"scr3d {scr3d.__version__}"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": mesh.name}],
        "meshes": [{"primitives": [{"attributes": attributes, "indices": 3, "material": 0}]}],
        "materials": [{"name": mesh.name, "pbrMetallicRoughness": surface, "doubleSided": True}],
        "textures": [{"source": 0, "sampler": 0}],
        "samplers": [{"wrapS": CLAMP_TO_EDGE, "wrapT": CLAMP_TO_EDGE}],
        "images": [{"bufferView": 4, "mimeType": "image/png"}],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": len(binary)}],
    }
    text = _padded(json.dumps(head, separators=(",", ":")).encode(), b" ")
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary
    write_bytes(path, struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks)


def export_obj(mesh: Mesh, path: Path) -> None:
    """Write `path` and, beside it and named after it, the material (.mtl) and the texture (.png)."""
    count = len(mesh.vertices)
    # White, because programs multiply the texture by the diffuse colour; not shiny, as the shading model.
    material = [
        f"newmtl {path.stem}",
        *("Ka 1.0 1.0 1.0", "Kd 1.0 1.0 1.0", "Ks 0.0 0.0 0.0", "Ns 1.0"),
        f"map_Kd {path.stem}.png",
    ]
    text = [
        f"mtllib {path.stem}.mtl\nusemtl {path.stem}\n",
        "v %.7f %.7f %.7f\n" * count % tuple(mesh.vertices.ravel().tolist()),
        "vt %.7f %.7f\n" * count % tuple(mesh.texel.ravel().tolist()),
        "vn %.5f %.5f %.5f\n" * count % tuple(mesh.normals.ravel().tolist()),
        _faces_text(mesh.rows, mesh.columns),
    ]
    # The file that names the others comes last.
    write_bytes(path.with_suffix(".png"), mesh.texture_png)
    write_bytes(path.with_suffix(".mtl"), ("\n".join(material) + "\n").encode())
    write_bytes(path, "".join(text).encode())


def export_ply(mesh: Mesh, path: Path) -> None:
    """Write a binary PLY file with normals and a colour per vertex: PLY has no common way to name a texture."""
    fields = ["x", "y", "z", "nx", "ny", "nz"]
    colors = ["red", "green", "blue"]
    vertices = np.empty(len(mesh.vertices), [(name, "<f4") for name in fields] + [(name, "u1") for name in colors])
    for name, values in zip(fields, np.concatenate([mesh.vertices, mesh.normals], axis=1).T, strict=True):
        vertices[name] = values
    for name, values in zip(colors, mesh.colors.T, strict=True):
        vertices[name] = values
    faces = np.empty(len(mesh.triangles), [("count", "u1"), ("corners", "<i4", 3)])
    faces["count"], faces["corners"] = 3, mesh.triangles
    header = [
        "ply",
        "format binary_little_endian 1.0",
        f"element vertex {len(vertices)}",
        *(f"property float {name}" for name in fields),
        *(f"property uchar {name}" for name in colors),
        f"element face {len(faces)}",
        "property list uchar int vertex_indices",
        "end_header\n",
    ]
    write_bytes(path, "\n".join(header).encode() + vertices.tobytes() + faces.tobytes())


@lru_cache(maxsize=4)
def _faces_text(rows: int, columns: int) -> str:
    """The triangles as OBJ writes them, numbered from 1: vertex, texture coordinate and normal have one number."""
    numbers = np.repeat(grid_triangles(rows, columns).ravel() + 1, 3).tolist()
    return "f %d/%d/%d %d/%d/%d %d/%d/%d\n" * (len(numbers) // 9) % tuple(numbers)


def _cross(
    first: Float[np.ndarray, "rows columns 3"], second: Float[np.ndarray, "rows columns 3"]
) -> Float[np.ndarray, "rows columns 3"]:
    (ax, ay, az), (bx, by, bz) = np.moveaxis(first, 2, 0), np.moveaxis(second, 2, 0)
    return np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], axis=2)


def _padded(content: bytes, filler: bytes) -> bytes:
    """Chunks and buffers of a GLB file have lengths that four divides."""
    return content + filler * (-len(content) % 4)


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
