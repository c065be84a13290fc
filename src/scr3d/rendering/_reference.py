"""The renderer again, slow and obvious: the oracle of the tests.

Every pixel's ray is intersected with every triangle by Cramer's rule (Moeller and Trumbore, 1997) in double
precision, without projection, bounding boxes, packing or planes.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from scr3d.factors import View
from scr3d.geometry.camera import Camera, back_project
from scr3d.geometry.pose import view_from_canonical
from scr3d.rendering.heightfield import grid_triangles


def reference_view(
    canonical_depth: Float[Tensor, "height width"], view: View, camera: Camera
) -> tuple[
    Float[Tensor, "height width"],
    Int[Tensor, "height width"],
    Float[Tensor, "height width 2"],
    Bool[Tensor, "height width"],
]:
    """Depth, triangle, canonical pixel and coverage of one view of one map.

    Returns:
        depth (inf where nothing is hit), triangle (-1), canonical pixel (x, y) and whether anything is hit.
    """
    depth64 = canonical_depth.double()
    view64 = View(view.rotation_rad.double(), view.translation.double())
    points = view_from_canonical(back_project(depth64[None], camera), view64)[0].flatten(1).T
    triangles = grid_triangles(camera.height, camera.width, depth64.device).long()
    corner = points[triangles]
    rays = camera.rays(depth64).flatten(1).T
    first, edge_b, edge_c = corner[:, 0], corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]

    # ray * t = first + b * edge_b + c * edge_c, for all pairs (pixel, triangle)
    cross = torch.linalg.cross(rays[:, None], edge_c[None])
    determinant = (cross * edge_b).sum(-1)
    weight_b = (cross * -first).sum(-1) / determinant
    cross = torch.linalg.cross(-first, edge_b)
    weight_c = (rays[:, None] * cross).sum(-1) / determinant
    distance = (edge_c * cross).sum(-1) / determinant
    slack = -1e-9
    hit = (weight_b >= slack) & (weight_c >= slack) & (weight_b + weight_c <= 1 - slack) & (distance > 0)
    distance = torch.where(hit, distance, torch.inf)

    depth, triangle = distance.min(dim=1)
    covered = torch.isfinite(depth)
    pixel = torch.arange(len(rays))
    weights = torch.stack(
        [
            1 - weight_b[pixel, triangle] - weight_c[pixel, triangle],
            weight_b[pixel, triangle],
            weight_c[pixel, triangle],
        ],
        -1,
    )
    corner_id = triangles[triangle]
    corner_pixel = torch.stack([corner_id % camera.width, corner_id // camera.width], dim=-1).double()
    # Straight lines stay straight under projection, but even steps do not stay even: weights in the canonical
    # image are those on the triangle times the corners' canonical depths.
    weights = weights * depth64.flatten()[corner_id]
    canonical = (weights[..., None] * corner_pixel).sum(1) / weights.sum(1, keepdim=True)
    shape = (camera.height, camera.width)
    return (
        depth.view(shape),
        torch.where(covered, triangle, -1).view(shape),
        canonical.view(*shape, 2),
        covered.view(shape),
    )
