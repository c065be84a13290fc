"""The visibility kernel: one NVIDIA Warp source for CPU and CUDA."""

from __future__ import annotations

from functools import lru_cache

import torch
import warp as wp
from jaxtyping import Float, Int
from torch import Tensor

from scr3d.runtime import silenced_errors

# Warp greets on standard output and warns where there is no CUDA driver, which is no fault of a CPU machine.
wp.config.log_level = getattr(wp, "LOG_ERROR", 40)
wp.config.quiet = True  # type: ignore[attr-defined]  # The same for versions that do not know log levels.

EDGE_TOLERANCE_PX = 1e-3
"""A pixel centre this far outside an edge still counts as covered, so that shared edges leave no cracks."""
CPU_RUN = 512
"""Triangles of one thread on the CPU, where threads run one after another and each costs its start."""
LARGEST_QUANTA = 2.0**31 - 2**7
"""Depth, in quanta, of everything farther: the largest single-precision number below 2^31."""
EMPTY = 0x7FFFFFFFFFFFFFFF
"""Value of a pixel that no triangle covers: farther than any depth."""


@wp.func
def _edge(ax: float, ay: float, bx: float, by: float, px: float, py: float) -> float:
    return (bx - ax) * (py - ay) - (by - ay) * (px - ax)


@wp.func
def _floor(value: float) -> int:
    """Largest integer not above a small value; several times faster on the CPU than rounding by a library call."""
    truncated = int(value)
    if value < float(truncated):
        truncated = truncated - 1
    return truncated


@wp.func
def _inside(weight: float, length_x: float, length_y: float, tolerance_px: float) -> bool:
    """Whether a pixel centre lies inside an edge, or outside by at most the tolerance.

    An edge function is a distance times the edge's length; squares spare the root.
    """
    return weight >= 0.0 or weight * weight <= tolerance_px * tolerance_px * (length_x * length_x + length_y * length_y)


@wp.func
def _offer(
    points: wp.array2d(dtype=wp.vec3),  # type: ignore[valid-type]
    batch: int,
    triangle: int,
    corners: wp.vec3i,
    tolerance_px: float,
    depth_quantum: float,
    largest_quanta: float,
    nearest: wp.array3d(dtype=wp.int64),  # type: ignore[valid-type]
):
    """Offer a triangle to the pixels it covers; the smallest (depth, triangle) pair stays."""
    a = points[batch, corners[0]]
    b = points[batch, corners[1]]
    c = points[batch, corners[2]]
    ax = a[0]
    ay = a[1]
    az = a[2]
    bx = b[0]
    by = b[1]
    bz = b[2]
    cx = c[0]
    cy = c[1]
    cz = c[2]
    area = _edge(ax, ay, bx, by, cx, cy)
    # Written so that NaN fails it too: a triangle seen edge-on covers nothing.
    if not (wp.abs(area) > 1.0e-6 and wp.min(az, wp.min(bz, cz)) > 0.0):
        return
    height = nearest.shape[1]
    width = nearest.shape[2]
    x0 = wp.max(-_floor(-wp.clamp(wp.min(ax, wp.min(bx, cx)) - tolerance_px, -1.0, 1.0e6)), 0)
    x1 = wp.min(_floor(wp.clamp(wp.max(ax, wp.max(bx, cx)) + tolerance_px, -1.0, 1.0e6)), width - 1)
    y0 = wp.max(-_floor(-wp.clamp(wp.min(ay, wp.min(by, cy)) - tolerance_px, -1.0, 1.0e6)), 0)
    y1 = wp.min(_floor(wp.clamp(wp.max(ay, wp.max(by, cy)) + tolerance_px, -1.0, 1.0e6)), height - 1)
    if x1 < x0 or y1 < y0:
        return
    sign = wp.sign(area)
    inverse_area = 1.0 / wp.abs(area)
    inverse_a = 1.0 / az
    inverse_b = 1.0 / bz
    inverse_c = 1.0 / cz
    for y in range(y0, y1 + 1):
        for x in range(x0, x1 + 1):
            px = float(x)
            py = float(y)
            weight_a = sign * _edge(bx, by, cx, cy, px, py)
            weight_b = sign * _edge(cx, cy, ax, ay, px, py)
            weight_c = sign * _edge(ax, ay, bx, by, px, py)
            if (
                _inside(weight_a, cx - bx, cy - by, tolerance_px)
                and _inside(weight_b, ax - cx, ay - cy, tolerance_px)
                and _inside(weight_c, bx - ax, by - ay, tolerance_px)
            ):
                inverse_depth = (weight_a * inverse_a + weight_b * inverse_b + weight_c * inverse_c) * inverse_area
                if inverse_depth > 0.0:
                    # Depth in whole quanta above the triangle's number: triangles that meet in a point
                    # tie there in spite of rounding, and the lower number wins on every device.
                    quanta = wp.int64(wp.min(1.0 / (inverse_depth * depth_quantum) + 0.5, largest_quanta))
                    wp.atomic_min(nearest, batch, y, x, (quanta << wp.int64(32)) | wp.int64(triangle))


@wp.kernel(enable_backward=False)
def _rasterize(
    points: wp.array2d(dtype=wp.vec3),  # type: ignore[valid-type]
    triangles: wp.array(dtype=wp.vec3i),  # type: ignore[valid-type]
    run_count: int,
    run_length: int,
    tolerance_px: float,
    depth_quantum: float,
    largest_quanta: float,
    nearest: wp.array3d(dtype=wp.int64),  # type: ignore[valid-type]
):
    """Offer every triangle of a run of consecutive ones."""
    thread = wp.tid()
    batch = thread // run_count
    first = (thread % run_count) * run_length
    for triangle in range(first, wp.min(first + run_length, triangles.shape[0])):
        _offer(points, batch, triangle, triangles[triangle], tolerance_px, depth_quantum, largest_quanta, nearest)


@lru_cache(maxsize=1)
def start_warp() -> None:
    """Initialise Warp, once.

    Without a CUDA driver its native code writes a warning straight to the process's error output, past every log
    level. On a machine that torch finds no GPU on either, that is no news, so the output is closed meanwhile.
    """
    if torch.cuda.is_available():
        wp.init()
        return
    with silenced_errors():
        wp.init()


def rasterize(
    points_px: Float[Tensor, "batch vertices 3"],
    triangles: Int[Tensor, "triangles 3"],
    height: int,
    width: int,
    depth_quantum: float = 2.0**-20,
) -> Int[Tensor, "batch height width"]:
    """Which triangle is nearest at each pixel centre; not differentiable.

    Both sides of a triangle are seen. Depths closer than `depth_quantum` tie, and the triangle with the lower
    number wins, so the result does not depend on the order of execution.

    Args:
        points_px: x and y in pixels (pixel centres on integers) and depth z > 0 of every vertex.
        triangles: three vertex numbers each, the same for the whole batch.
        height: rows of the image.
        width: columns of the image.
        depth_quantum: resolution of the depth comparison, in the unit of z.

    Returns:
        Number of the visible triangle, -1 where there is none.
    """
    points_px = points_px.detach().to(torch.float32).contiguous()
    triangles = triangles.to(device=points_px.device, dtype=torch.int32).contiguous()
    batch, count = points_px.shape[0], triangles.shape[0]
    nearest = torch.full((batch, height, width), EMPTY, dtype=torch.int64, device=points_px.device)
    if batch and count:
        start_warp()
        device = wp.device_from_torch(points_px.device)
        length = CPU_RUN if device.is_cpu else 1
        runs = -(-count // length)
        stream = wp.stream_from_torch(points_px.device) if device.is_cuda else None
        wp.launch(
            _rasterize,
            dim=batch * runs,
            inputs=[
                wp.from_torch(points_px, dtype=wp.vec3),
                wp.from_torch(triangles, dtype=wp.vec3i),
                runs,
                length,
                EDGE_TOLERANCE_PX,
                depth_quantum,
                LARGEST_QUANTA,
            ],
            outputs=[wp.from_torch(nearest, dtype=wp.int64)],
            device=device,
            stream=stream,
        )
    return torch.where(nearest == EMPTY, -1, nearest & 0xFFFFFFFF)
