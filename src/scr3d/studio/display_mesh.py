"""The mesh as the browser draws it: binary glTF with a colour at every vertex, not lit by the browser.

The light of a photo is part of the colours. The browser maps the tones of what it draws as film does; the colours are
sent such that this gives back what they are to be.
"""

from __future__ import annotations

import json
import struct

import numpy as np
from jaxtyping import Float

from scr3d.export.mesh import mesh_from_depth
from scr3d.factors import Light
from scr3d.geometry.pose import CENTER_DEPTH
from scr3d.models.autoencoder import PhotoGeometricAutoencoder
from scr3d.rendering.projection import ProjectedPhoto
from scr3d.rendering.views import Surface
from scr3d.studio.appearance import surface_colors, trimmed_columns
from scr3d.studio.editing import Shown

FLOAT, UNSIGNED_SHORT, UNSIGNED_INT = 5126, 5123, 5125
"""Component types of glTF."""
VERTICES, TRIANGLES = 34962, 34963
"""What a buffer of glTF holds."""
EXPOSURE = 0.6
"""three.js divides by this before it maps the tones."""
FILM_INPUT = np.array([[0.59719, 0.35458, 0.04823], [0.07600, 0.90834, 0.01566], [0.02840, 0.13383, 0.83777]])
FILM_OUTPUT = np.array([[1.60475, -0.53108, -0.07367], [-0.10208, 1.10813, -0.00605], [-0.00327, -0.07276, 1.07602]])
"""ACESFilmicToneMapping of three.js, after Stephen Hill's fit."""
BRIGHTEST = 0.995
"""Linear light beyond which the film's curve is too flat to be inverted."""


def display_glb(
    surface: Surface,
    light: Light,
    shown: Shown,
    model: PhotoGeometricAutoencoder,
    photo: ProjectedPhoto | None = None,
) -> bytes:
    """The surface as the content of a GLB file whose colours the browser shows as they are."""
    colors = surface_colors(surface, light, shown, photo)
    trim = trimmed_columns(surface, model)
    mesh = mesh_from_depth(surface.depth, colors, surface.camera, trim_columns=trim)
    kept = colors[:, :, trim : surface.camera.width - trim].clamp(0, 1).movedim(0, -1).reshape(-1, 3)
    return pack(mesh.vertices, mesh.triangles, before_film(kept.double().cpu().numpy()))


def wire_lines(surface: Surface, model: PhotoGeometricAutoencoder, step: int) -> Float[np.ndarray, "lines 2 3"]:
    """Every so-many-th row and column of the grid as line segments, a little in front of the surface."""
    trim = trimmed_columns(surface, model)
    mesh = mesh_from_depth(surface.depth, surface.maps[:3], surface.camera, trim_columns=trim)
    grid = (mesh.vertices + 0.002 * mesh.normals).reshape(mesh.rows, mesh.columns, 3)
    rows, columns = grid[::step], grid[:, ::step]
    across = np.stack([rows[:, :-1], rows[:, 1:]], axis=2).reshape(-1, 2, 3)
    down = np.stack([columns[:-1], columns[1:]], axis=2).reshape(-1, 2, 3)
    return np.concatenate([across, down]).astype(np.float32)


def frame_scale(model: PhotoGeometricAutoencoder) -> float:
    """Units of the mesh in a unit of the camera distance."""
    return model.camera.focal_px / (model.camera.width - 1) / CENTER_DEPTH


def before_film(color: Float[np.ndarray, "vertices 3"]) -> Float[np.ndarray, "vertices 3"]:
    """Linear colours that the browser's tone mapping turns into the given ones (as stored, in [0, 1])."""
    linear = np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4)
    curve = np.clip(linear, 0, BRIGHTEST) @ np.linalg.inv(FILM_OUTPUT).T
    # The fit is (v (v + 0.0245786) - 0.000090537) / (v (0.983729 v + 0.4329510) + 0.238081); its positive root.
    a, b, c = 1 - 0.983729 * curve, 0.0245786 - 0.4329510 * curve, -0.000090537 - 0.238081 * curve
    value = (-b + np.sqrt(b * b - 4 * a * c)) / (2 * a)
    return EXPOSURE * value @ np.linalg.inv(FILM_INPUT).T


def film(linear: Float[np.ndarray, "vertices 3"]) -> Float[np.ndarray, "vertices 3"]:
    """What the browser makes of linear colours; the reference of `before_film`."""
    v = linear / EXPOSURE @ FILM_INPUT.T
    curve = (v * (v + 0.0245786) - 0.000090537) / (v * (0.983729 * v + 0.4329510) + 0.238081)
    shown = np.clip(curve @ FILM_OUTPUT.T, 0, 1)
    return np.where(shown <= 0.0031308, shown * 12.92, 1.055 * shown ** (1 / 2.4) - 0.055)


def pack(
    vertices: Float[np.ndarray, "vertices 3"], triangles: np.ndarray, colors: Float[np.ndarray, "vertices 3"]
) -> bytes:
    """A GLB file of one unlit mesh with linear colours at its vertices (which may lie outside of [0, 1])."""
    short = len(vertices) <= 2**16
    positions, index_type = vertices.astype("<f4"), "<u2" if short else "<u4"
    parts = [positions.tobytes(), colors.astype("<f4").tobytes(), triangles.astype(index_type).tobytes()]
    views, binary = [], bytearray()
    for content, target in zip(parts, (VERTICES, VERTICES, TRIANGLES), strict=True):
        views.append({"buffer": 0, "byteOffset": len(binary), "byteLength": len(content), "target": target})
        binary += content + b"\0" * (-len(content) % 4)
    span = {"min": positions.min(axis=0).tolist(), "max": positions.max(axis=0).tolist()}
    vertex = {"componentType": FLOAT, "count": len(vertices), "type": "VEC3"}
    index = {"componentType": UNSIGNED_SHORT if short else UNSIGNED_INT, "count": triangles.size, "type": "SCALAR"}
    primitive = {"attributes": {"POSITION": 0, "COLOR_0": 1}, "indices": 2, "material": 0}
    head = {
        "asset": {"version": "2.0"},
        "extensionsUsed": ["KHR_materials_unlit"],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [primitive]}],
        "materials": [{"extensions": {"KHR_materials_unlit": {}}, "doubleSided": True}],
        "accessors": [{"bufferView": 0, **vertex, **span}, {"bufferView": 1, **vertex}, {"bufferView": 2, **index}],
        "bufferViews": views,
        "buffers": [{"byteLength": len(binary)}],
    }
    text = json.dumps(head, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks
