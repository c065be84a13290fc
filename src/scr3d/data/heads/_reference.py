"""A slow, obvious rendering of one synthetic head in numpy: what the Warp kernels are checked against.

Backgrounds are left out (the kernels are compared with plain ones); everything else is written a second time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from scr3d.data.heads.assets import EYE_DEPTH, HEAD_HEIGHT, HeadAssets, head_assets
from scr3d.data.heads.identity import Identities
from scr3d.data.heads.scene import Scenes
from scr3d.geometry.camera import Camera

EYE, MOUTH = 1, 2
MOUTH_COLOR = np.array([0.20, 0.07, 0.06])


@dataclass(frozen=True)
class ReferenceImage:
    """One sample; the fields are those of `scr3d.data.heads.render.Rendering`."""

    image: Float[np.ndarray, "size size 3"]
    depth: Float[np.ndarray, "size size"]
    albedo: Float[np.ndarray, "size size 3"]
    normal: Float[np.ndarray, "size size 3"]


def render_reference(
    identities: Identities, identity_row: int, scenes: Scenes, row: int, camera: Camera, subsamples: int
) -> ReferenceImage:
    """Render one sample on black."""
    vertices, normals = canonical_head(identities, identity_row)
    middle = np.array([0.0, 0.0, 1.0])
    rotation = scenes.rotation[row]
    moved = (vertices - middle) * scenes.head_scale[row] @ rotation.T + middle + scenes.translation[row]
    points = np.empty_like(moved)
    points[:, :2] = camera.focal_px * moved[:, :2] / moved[:, 2:] + np.array(camera.center_px)
    points[:, 2] = moved[:, 2]
    head = _Head(head_assets(), identities, identity_row, scenes.gaze[row], points, normals)
    slopes = scenes.light[row, 2:]
    direction = np.array([*slopes, 1.0]) / np.sqrt(slopes @ slopes + 1)
    size, fine = camera.width, (np.arange(camera.width * subsamples) + 0.5) / subsamples - 0.5
    _, fine_albedo, fine_normal = head.trace(fine)
    shading = scenes.light[row, 0] + scenes.light[row, 1] * np.maximum(fine_normal @ direction, 0)
    blocks = (size, subsamples, size, subsamples)
    image = (fine_albedo * shading[..., None]).reshape(*blocks, 3).mean((1, 3))
    depth, albedo, normal = head.trace(np.arange(size, dtype=np.float64))
    hits = (fine_albedo.sum(2) > 0).reshape(blocks).sum((1, 3))[..., None]
    albedo = (albedo + fine_albedo.reshape(*blocks, 3).sum((1, 3))) / (hits + 1)
    seen = depth[..., None] > 0
    return ReferenceImage(
        np.clip(image, 0, 1), depth, np.where(seen, albedo, 0), np.where(seen, normal @ rotation.T, 0)
    )


def canonical_head(identities: Identities, row: int) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and vertex normals of one head in the canonical frame."""
    assets = head_assets()
    owner = np.repeat(np.arange(len(assets.vertices_dm)), np.diff(assets.morph_offsets))
    moved = assets.vertices_dm.astype(np.float64)
    for vertex, target, delta in zip(owner, assets.morph_targets, assets.morph_deltas_dm, strict=True):
        moved[vertex] += identities.coefficients[row, target] * delta
    low, high, eye = moved[assets.chin], moved[assets.crown], moved[assets.eyes].mean(0)
    scale = HEAD_HEIGHT / (high[1] - low[1])
    origin = np.array([0.0, (high[1] + low[1]) / 2, eye[2]])
    vertices = (moved - origin) * scale * [1, -1, -1] + [0, 0, EYE_DEPTH]
    normals = np.zeros_like(vertices)
    for a, b, c in assets.triangles:
        face = np.cross(vertices[c] - vertices[a], vertices[b] - vertices[a])
        for corner in (a, b, c):
            normals[corner] += face
    return vertices, normals / np.linalg.norm(normals, axis=1, keepdims=True)


@dataclass(frozen=True)
class _Head:
    assets: HeadAssets
    identities: Identities
    row: int
    gaze: np.ndarray
    points: np.ndarray
    normals: np.ndarray

    def trace(self, centers: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Depth, albedo and canonical normal on the grid of pixel coordinates `centers` x `centers`."""
        size = len(centers)
        depth = np.full((size, size), np.inf)
        albedo, normal = np.zeros((size, size, 3)), np.zeros((size, size, 3))
        for number, corners in enumerate(self.assets.triangles):
            points = self.points[corners]
            columns = np.flatnonzero((centers >= points[:, 0].min()) & (centers <= points[:, 0].max()))
            rows = np.flatnonzero((centers >= points[:, 1].min()) & (centers <= points[:, 1].max()))
            for y in rows:
                for x in columns:
                    weights, z = self._weights(points, centers[x], centers[y])
                    if weights is not None and z < depth[y, x]:
                        depth[y, x] = z
                        interpolated = weights @ self.normals[corners]
                        normal[y, x] = interpolated / np.linalg.norm(interpolated)
                        albedo[y, x] = self._albedo(number, weights, points)
        depth[np.isinf(depth)] = 0
        return depth, albedo, normal

    @staticmethod
    def _weights(points: np.ndarray, x: float, y: float) -> tuple[np.ndarray | None, float]:
        """Perspective-correct weights of the corners at a pixel, None outside; depth there."""
        matrix = np.stack([points[:, 0], points[:, 1], np.ones(3)])
        if abs(np.linalg.det(matrix)) < 1e-6:
            return None, 0.0
        flat = np.linalg.solve(matrix, np.array([x, y, 1.0]))
        if flat.min() < 0:
            return None, 0.0
        inverse_z = flat / points[:, 2]
        return inverse_z / inverse_z.sum(), 1 / inverse_z.sum()

    def _albedo(self, triangle: int, weights: np.ndarray, points: np.ndarray) -> np.ndarray:
        u, v = weights @ self.assets.triangle_uvs[triangle]
        (ax, ay), (bx, by), (cx, cy) = points[:, :2]
        seen_from_inside = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax) > 0
        if self.assets.triangle_material[triangle] == EYE:
            color = self._eye(u, v)
        elif self.assets.triangle_material[triangle] == MOUTH or seen_from_inside:
            color = MOUTH_COLOR
        else:
            color = self._skin(u, v)
        return np.clip(color, 0, 1)

    def _skin(self, u: float, v: float) -> np.ndarray:
        who, assets = self.identities, self.assets
        color = _bilinear(assets.skins[who.skin[self.row]], u, v)
        light = color.mean()
        color = color * who.tint[self.row]
        opacity, threshold, *hair_color = who.hair[self.row]
        hair = _step(threshold - 0.25, threshold + 0.25, _bilinear(assets.hair_mask, u, v)) * opacity
        color = color + hair * ((0.8 + 1.2 * min(light, 0.5)) * np.array(hair_color) - color)
        left, top, right, bottom = assets.brow_box
        number, opacity, *brow_color = who.brow[self.row]
        if left < u < right and top < v < bottom:
            mask = assets.brow_masks[int(number)]
            brow = opacity * _bilinear(mask, (u - left) / (right - left), (v - top) / (bottom - top))
            color = color + brow * (np.array(brow_color) - color)
        return color

    def _eye(self, x: float, y: float) -> np.ndarray:
        iris_radius, pupil_radius, *iris_color = self.identities.iris[self.row]
        radius = float(np.hypot(x - self.gaze[0], y - self.gaze[1]))
        sclera = np.array([0.80, 0.77, 0.74]) * (1 - 0.35 * _step(0.45, 0.95, abs(x)))
        iris = np.array(iris_color) * (1.1 - 0.6 * _step(0.75 * iris_radius, iris_radius, radius))
        color = iris + _step(iris_radius - 0.03, iris_radius + 0.03, radius) * (sclera - iris)
        color = 0.03 + _step(pupil_radius - 0.03, pupil_radius + 0.03, radius) * (color - 0.03)
        return color * (1 - 0.3 * _step(0.1, 0.6, y))


def _step(low: float, high: float, x: float) -> float:
    t = min(max((x - low) / (high - low), 0.0), 1.0)
    return t * t * (3 - 2 * t)


def _bilinear(texture: np.ndarray, u: float, v: float) -> Any:
    """A colour for a colour texture, a number for a grey one; in [0, 1]."""
    height, width = texture.shape[:2]
    x, y = min(max(u * width - 0.5, 0), width - 1), min(max(v * height - 0.5, 0), height - 1)
    x0, y0 = min(int(x), width - 2), min(int(y), height - 2)
    patch = texture[y0 : y0 + 2, x0 : x0 + 2].astype(np.float64) / 255
    rows = patch[0] + (y - y0) * (patch[1] - patch[0])
    return rows[0] + (x - x0) * (rows[1] - rows[0])
