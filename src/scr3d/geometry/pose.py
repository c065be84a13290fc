"""Rigid motion between the canonical frame and the frame of the image."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from scr3d.factors import View

CENTER_DEPTH = 1.0
"""Rotations are about the point (0, 0, CENTER_DEPTH)."""


def rotation_matrix(rotation_rad: Float[Tensor, "batch 3"]) -> Float[Tensor, "batch 3 3"]:
    """R = Rz Ry Rx for angles (about x, about y, about z) in radians."""
    sin, cos = rotation_rad.sin(), rotation_rad.cos()
    (sx, sy, sz), (cx, cy, cz) = sin.unbind(1), cos.unbind(1)
    rows = [
        cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx,
        sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx,
        -sy, cy * sx, cy * cx,
    ]  # fmt: skip
    return torch.stack(rows, dim=1).unflatten(1, (3, 3))


def view_from_canonical(points: Float[Tensor, "batch 3 *points"], view: View) -> Float[Tensor, "batch 3 *points"]:
    """X_view = R (X_canonical - c) + c + t, with c = (0, 0, 1)."""
    flat = points.flatten(2)
    rotation = rotation_matrix(view.rotation_rad)
    center = _center(flat)
    moved = rotation @ (flat - center) + (center + view.translation[:, :, None])
    return moved.unflatten(2, points.shape[2:])


def canonical_from_view(points: Float[Tensor, "batch 3 *points"], view: View) -> Float[Tensor, "batch 3 *points"]:
    """The inverse motion: X_canonical = R^T (X_view - c - t) + c."""
    flat = points.flatten(2)
    rotation = rotation_matrix(view.rotation_rad)
    center = _center(flat)
    moved = rotation.mT @ (flat - (center + view.translation[:, :, None])) + center
    return moved.unflatten(2, points.shape[2:])


def _center(points: Tensor) -> Tensor:
    center = points.new_zeros(1, 3, 1)
    center[:, 2].fill_(CENTER_DEPTH)
    return center
