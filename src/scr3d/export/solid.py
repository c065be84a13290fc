"""A height field closed to a solid: walls around it and a flat plate behind, for printing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Int32

from scr3d.errors import ConfigError
from scr3d.export.mesh import Mesh

PLATE = 0.03
"""Thickness behind the surface's lowest point, in widths of the frame."""


def closed(mesh: Mesh, plate: float = PLATE) -> Mesh:
    """The mesh with walls and a back: every edge belongs to two triangles, all of them seen from outside.

    Walls and surface share the vertices of the rim, whose normals become means of both; walls and back have the colours
    of the rim.

    Args:
        mesh: a height field.
        plate: thickness behind the lowest point, in units of the mesh.

    Raises:
        ConfigError: the plate has no thickness.
    """
    if not plate > 0:
        raise ConfigError(f"the plate behind a closed mesh needs a thickness; got {plate}")
    rim = rim_of_grid(mesh.rows, mesh.columns)
    back_z = mesh.vertices[:, 2].min() - plate
    foot = mesh.vertices[rim] * (1, 1, 0) + (0, 0, back_z)
    middle = foot.mean(axis=0, keepdims=True)
    first, count = len(mesh.vertices), len(rim)
    here = np.arange(count, dtype=np.int32)
    after = np.roll(here, -1)
    # The rim runs counter-clockwise seen from the front, so the surface lies to its left and the wall's triangles turn
    # the other way about each of its edges.
    walls = [
        np.stack([rim[after], rim[here], first + here], axis=1),
        np.stack([rim[after], first + here, first + after], axis=1),
    ]
    back = np.stack([first + after, first + here, np.full_like(here, first + count)], axis=1)
    vertices = np.concatenate([mesh.vertices, foot, middle])
    triangles = np.concatenate([mesh.triangles, *walls, back]).astype(np.int32)
    normals = np.concatenate([mesh.normals, vertex_normals(vertices, triangles)[first:]])
    normals[rim] = vertex_normals(vertices, triangles)[rim]
    texel = np.concatenate([mesh.texel, mesh.texel[rim], mesh.texel[rim].mean(axis=0, keepdims=True)])
    return replace(mesh, vertices=vertices, normals=normals, texel=texel, triangles=triangles)


def rim_of_grid(rows: int, columns: int) -> Int32[np.ndarray, " rim"]:
    """The outer vertices of a grid, counter-clockwise seen from the front, each once."""
    index = np.arange(rows * columns, dtype=np.int32).reshape(rows, columns)
    down, right = index[:-1, 0], index[-1, :-1]
    up, left = index[:0:-1, -1], index[0, :0:-1]
    return np.concatenate([down, right, up, left])


def vertex_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Unit normals [vertices, 3]: the mean of those of their triangles, weighted by area."""
    a, b, c = (vertices[triangles[:, corner]] for corner in range(3))
    normal = np.cross(b - a, c - a)
    total = np.zeros_like(vertices)
    for corner in range(3):
        np.add.at(total, triangles[:, corner], normal)
    return total / np.linalg.norm(total, axis=1, keepdims=True)
