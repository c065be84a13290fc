"""Warp kernels that shape, centre and turn the synthetic heads; one source for CPU and CUDA.

Every thread adds in a fixed order, so a sample's bytes do not depend on the batch it is made in.
"""

from __future__ import annotations

import warp as wp

# mypy cannot see through Warp's types.
# mypy: disable-error-code="valid-type, misc, return-value, assignment"


@wp.kernel(enable_backward=False)
def morph(
    base: wp.array(dtype=wp.vec3),
    offsets: wp.array(dtype=wp.int32),
    targets: wp.array(dtype=wp.int32),
    deltas: wp.array(dtype=wp.vec3),
    coefficients: wp.array2d(dtype=float),
    morphed: wp.array2d(dtype=wp.vec3),
):
    """Base mesh plus weighted targets."""
    batch, vertex = wp.tid()
    position = base[vertex]
    for entry in range(offsets[vertex], offsets[vertex + 1]):
        position += coefficients[batch, targets[entry]] * deltas[entry]
    morphed[batch, vertex] = position


@wp.kernel(enable_backward=False)
def center(
    morphed: wp.array2d(dtype=wp.vec3),
    chin: int,
    crown: int,
    eyes: wp.array(dtype=wp.int32),
    head_height: float,
    eye_depth: float,
    canonical: wp.array2d(dtype=wp.vec3),
):
    """Decimetres, y up, z to the front -> canonical frame, y down, z away; chin to crown has `head_height`."""
    batch, vertex = wp.tid()
    low = morphed[batch, chin]
    high = morphed[batch, crown]
    eye = float(0.0)  # noqa: UP018 (Warp: a variable)
    for i in range(eyes.shape[0]):
        eye += morphed[batch, eyes[i]][2]
    eye = eye / float(eyes.shape[0])
    scale = head_height / (high[1] - low[1])
    p = morphed[batch, vertex]
    middle = 0.5 * (high[1] + low[1])
    canonical[batch, vertex] = wp.vec3(p[0] * scale, (middle - p[1]) * scale, eye_depth + (eye - p[2]) * scale)


@wp.kernel(enable_backward=False)
def vertex_normals(
    canonical: wp.array2d(dtype=wp.vec3),
    triangles: wp.array2d(dtype=wp.int32),
    offsets: wp.array(dtype=wp.int32),
    incident: wp.array(dtype=wp.int32),
    normals: wp.array2d(dtype=wp.vec3),
):
    """Area-weighted mean of the normals around a vertex; they point away from the camera, into the head."""
    batch, vertex = wp.tid()
    total = wp.vec3(0.0, 0.0, 0.0)
    for entry in range(offsets[vertex], offsets[vertex + 1]):
        t = incident[entry]
        a = canonical[batch, triangles[t, 0]]
        b = canonical[batch, triangles[t, 1]]
        c = canonical[batch, triangles[t, 2]]
        # Corners run anticlockwise seen from outside, in the source and after the half turn about x.
        total += wp.cross(c - a, b - a)
    normals[batch, vertex] = wp.normalize(total)


@wp.kernel(enable_backward=False)
def view(
    canonical: wp.array2d(dtype=wp.vec3),
    identity: wp.array(dtype=wp.int32),
    rotation: wp.array(dtype=wp.mat33),
    translation: wp.array(dtype=wp.vec3),
    head_scale: wp.array(dtype=float),
    focal_px: float,
    center_px: float,
    subsamples: int,
    points_px: wp.array2d(dtype=wp.vec3),
    fine_points_px: wp.array2d(dtype=wp.vec3),
):
    """X_view = R s (X - c) + c + t, then pixels at the image's resolution and at that of the supersampling."""
    batch, vertex = wp.tid()
    middle = wp.vec3(0.0, 0.0, 1.0)
    p = rotation[batch] * (head_scale[batch] * (canonical[identity[batch], vertex] - middle))
    p = p + middle + translation[batch]
    x = focal_px * p[0] / p[2] + center_px
    y = focal_px * p[1] / p[2] + center_px
    points_px[batch, vertex] = wp.vec3(x, y, p[2])
    k = float(subsamples)
    fine_points_px[batch, vertex] = wp.vec3((x + 0.5) * k - 0.5, (y + 0.5) * k - 0.5, p[2])
