"""Visibility of the triangles of a grid on the CPU: what `_kernels.rasterize` finds, several times faster.

Triangles of about a pixel each spend their time on mispredicted branches. Here sixteen neighbouring cells of a row, of
two triangles each, go through the same steps side by side, so that the compiler turns every step into vector
instructions. The steps are those of the general kernel, in the same order of operations, and so are the numbers; a test
holds the two together.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from threading import Lock

import torch
import warp as wp
from jaxtyping import Float, Int
from torch import Tensor

from scr3d.compiling import announced
from scr3d.rendering._kernels import EDGE_TOLERANCE_PX, EMPTY, LARGEST_QUANTA, start_warp

LANES = 16
"""Cells that are worked on side by side."""
CELLS_OF_A_THREAD = 1 << 15
"""Least number of cells for which a further thread is worth its start (a quarter of a millisecond of work)."""

_COMPILING = Lock()

_DRAW_MAP = """
#pragma clang fp contract(off)
    // The cell's corners are a b / c d; its triangles are "u" = (a, b, c) and "l" = (d, c, b), as in grid_triangles.
    constexpr int MISSING = 0x7fffffff;
    const auto least = [](float p, float q) { return p < q ? p : q; };  // of a nan and a number q it is q
    const auto most = [](float p, float q) { return p > q ? p : q; };
    const auto edge = [](float px, float py, float qx, float qy, float rx, float ry) {
        return (qx - px) * (ry - py) - (qy - py) * (rx - px);
    };
    const auto inside = [](float weight, float slack) { return weight * (weight < 0.f ? -weight : weight) >= -slack; };
    const int height = nearest.shape[1], width = nearest.shape[2];
    const int rows = points.shape[2] - 1, columns = points.shape[3], cells = columns - 1;
    const wp::int64 plane = (wp::int64)columns * points.shape[2];
    const float* map = points.data + 3 * plane * number;
    wp::int64* image = nearest.data + (wp::int64)height * width * number;
    const float last_x = (float)(width - 1), last_y = (float)(height - 1);
    for (wp::int64 pixel = 0; pixel < (wp::int64)height * width; ++pixel) image[pixel] = empty;

    for (int row = 0; row < rows; ++row) for (int start = 0; start < cells; start += LANES) {
        // The last block overlaps the one before it; to offer a triangle twice changes nothing.
        const int first = start + LANES <= cells ? start : cells - LANES;
        const float *x = map + (wp::int64)row * columns + first, *y = x + plane, *z = y + plane;
        const float *x_below = x + columns, *y_below = y + columns, *z_below = z + columns;
        int left[LANES], top[LANES], wide[LANES], high[LANES];
        float right[LANES], bottom[LANES];  // negative where there is no pixel
        float u_sign[LANES], u_scale[LANES], l_sign[LANES], l_scale[LANES];  // sign 0: covers nothing
        float a_inverse[LANES], b_inverse[LANES], c_inverse[LANES], d_inverse[LANES];
        float ab[LANES], ac[LANES], bc[LANES], bd[LANES], cd[LANES];  // slack of the edges

        for (int i = 0; i < LANES; ++i) {
            const float ax = x[i], bx = x[i + 1], cx = x_below[i], dx = x_below[i + 1];
            const float ay = y[i], by = y[i + 1], cy = y_below[i], dy = y_below[i + 1];
            const float az = z[i], bz = z[i + 1], cz = z_below[i], dz = z_below[i + 1];
            // Corners a and d come first, so that a nan in one of them does not hide the other triangle.
            const float x0 = most(least(least(least(ax, bx), least(dx, cx)) - tolerance, 1e6f), 0.f);
            const float y0 = most(least(least(least(ay, by), least(dy, cy)) - tolerance, 1e6f), 0.f);
            const float x1 = most(least(most(most(ax, bx), most(dx, cx)) + tolerance, last_x), -1.f);
            const float y1 = most(least(most(most(ay, by), most(dy, cy)) + tolerance, last_y), -1.f);
            left[i] = (int)x0 + ((float)(int)x0 < x0);
            top[i] = (int)y0 + ((float)(int)y0 < y0);
            right[i] = x1;
            bottom[i] = y1;
            const int w = (int)x1 - left[i] + 1, h = (int)y1 - top[i] + 1;
            wide[i] = h > 0 ? w : 0;
            high[i] = w > 0 ? h : 0;
            const float u_area = edge(ax, ay, bx, by, cx, cy), u_size = u_area < 0.f ? -u_area : u_area;
            const float l_area = edge(dx, dy, cx, cy, bx, by), l_size = l_area < 0.f ? -l_area : l_area;
            const bool u_seen = (u_size > 1e-6f) & (least(az, least(bz, cz)) > 0.f);
            u_sign[i] = u_seen ? (u_area < 0.f ? -1.f : 1.f) : 0.f;
            const bool l_seen = (l_size > 1e-6f) & (least(dz, least(bz, cz)) > 0.f);
            l_sign[i] = l_seen ? (l_area < 0.f ? -1.f : 1.f) : 0.f;
            u_scale[i] = 1.f / u_size;
            l_scale[i] = 1.f / l_size;
            a_inverse[i] = 1.f / az;
            b_inverse[i] = 1.f / bz;
            c_inverse[i] = 1.f / cz;
            d_inverse[i] = 1.f / dz;
            const float square = tolerance * tolerance;
            ab[i] = square * ((bx - ax) * (bx - ax) + (by - ay) * (by - ay));
            ac[i] = square * ((ax - cx) * (ax - cx) + (ay - cy) * (ay - cy));
            bc[i] = square * ((cx - bx) * (cx - bx) + (cy - by) * (cy - by));
            bd[i] = square * ((dx - bx) * (dx - bx) + (dy - by) * (dy - by));
            cd[i] = square * ((cx - dx) * (cx - dx) + (cy - dy) * (cy - dy));
        }
        int widest = 0, highest = 0;
        for (int i = 0; i < LANES; ++i) widest = wide[i] > widest ? wide[i] : widest;
        for (int i = 0; i < LANES; ++i) highest = high[i] > highest ? high[i] : highest;

        for (int down = 0; down < highest; ++down) for (int across = 0; across < widest; ++across) {
            int quanta[LANES], triangle[LANES];
            for (int i = 0; i < LANES; ++i) {
                const float ax = x[i], bx = x[i + 1], cx = x_below[i], dx = x_below[i + 1];
                const float ay = y[i], by = y[i + 1], cy = y_below[i], dy = y_below[i + 1];
                const float px = (float)(left[i] + across), py = (float)(top[i] + down);
                const bool there = (px <= right[i]) & (py <= bottom[i]);

                const float ua = u_sign[i] * edge(bx, by, cx, cy, px, py);
                const float ub = u_sign[i] * edge(cx, cy, ax, ay, px, py);
                const float uc = u_sign[i] * edge(ax, ay, bx, by, px, py);
                const float u = (ua * a_inverse[i] + ub * b_inverse[i] + uc * c_inverse[i]) * u_scale[i];
                const bool u_hit = there & (u > 0.f) & inside(ua, bc[i]) & inside(ub, ac[i]) & inside(uc, ab[i])
                    & (px >= least(ax, least(bx, cx)) - tolerance) & (px <= most(ax, most(bx, cx)) + tolerance)
                    & (py >= least(ay, least(by, cy)) - tolerance) & (py <= most(ay, most(by, cy)) + tolerance);
                const int u_quanta = (int)least(1.f / (u * quantum) + 0.5f, largest);

                const float ld = l_sign[i] * edge(cx, cy, bx, by, px, py);
                const float lc = l_sign[i] * edge(bx, by, dx, dy, px, py);
                const float lb = l_sign[i] * edge(dx, dy, cx, cy, px, py);
                const float l = (ld * d_inverse[i] + lc * c_inverse[i] + lb * b_inverse[i]) * l_scale[i];
                const bool l_hit = there & (l > 0.f) & inside(ld, bc[i]) & inside(lc, bd[i]) & inside(lb, cd[i])
                    & (px >= least(dx, least(cx, bx)) - tolerance) & (px <= most(dx, most(cx, bx)) + tolerance)
                    & (py >= least(dy, least(cy, by)) - tolerance) & (py <= most(dy, most(cy, by)) + tolerance);
                const int l_quanta = (int)least(1.f / (l * quantum) + 0.5f, largest);

                const int from_u = u_hit ? u_quanta : MISSING, from_l = l_hit ? l_quanta : MISSING;
                quanta[i] = from_l < from_u ? from_l : from_u;
                triangle[i] = from_l < from_u ? rows * cells : 0;  // all "u" are numbered before all "l"
            }
            for (int i = 0; i < LANES; ++i) {
                if (quanta[i] == MISSING) continue;
                wp::int64& pixel = image[(top[i] + down) * width + left[i] + across];
                const wp::int64 key = ((wp::int64)quanta[i] << 32) | (triangle[i] + row * cells + first + i);
                pixel = key < pixel ? key : pixel;
            }
        }
    }
    for (wp::int64 pixel = 0; pixel < (wp::int64)height * width; ++pixel) {
        image[pixel] = image[pixel] == empty ? -1 : image[pixel] & 0xffffffff;
    }
""".replace("LANES", str(LANES))


@wp.func_native(_DRAW_MAP)
def _draw_map(
    points: wp.array4d(dtype=float),  # type: ignore[valid-type]
    number: int,
    tolerance: float,
    quantum: float,
    largest: float,
    empty: wp.int64,
    nearest: wp.array3d(dtype=wp.int64),  # type: ignore[valid-type]
):
    """Triangle seen at each pixel of one map."""
    ...


@wp.kernel(enable_backward=False)
def _draw_maps(
    points: wp.array4d(dtype=float),  # type: ignore[valid-type]
    tolerance: float,
    quantum: float,
    largest: float,
    empty: wp.int64,
    nearest: wp.array3d(dtype=wp.int64),  # type: ignore[valid-type]
):
    """One thread for each map, which alone writes that map's pixels."""
    _draw_map(points, wp.tid(), tolerance, quantum, largest, empty, nearest)


def rasterize_grid(
    points_px: Float[Tensor, "batch 3 rows columns"], height: int, width: int, depth_quantum: float = 2.0**-20
) -> Int[Tensor, "batch height width"]:
    """Which triangle of `grid_triangles` is nearest at each pixel centre; on the CPU, not differentiable.

    The maps are shared out among as many threads as torch uses.

    Args:
        points_px: x and y in pixels and depth z > 0 of the grid's corners, more than 16 columns of them.
        height: rows of the image.
        width: columns of the image.
        depth_quantum: see `rasterize`.

    Returns:
        What `rasterize` returns for these triangles.
    """
    points_px = points_px.detach().to(torch.float32).contiguous()
    batch, _, rows, columns = points_px.shape
    found = torch.empty(batch, height, width, dtype=torch.int64)
    with _COMPILING:
        _compile()
    threads = max(1, min(batch, torch.get_num_threads(), batch * rows * columns // CELLS_OF_A_THREAD))
    ends = [batch * thread // threads for thread in range(threads + 1)]
    parts = [(points_px[start:end], found[start:end], depth_quantum) for start, end in pairwise(ends)]
    if threads == 1:
        _draw(*parts[0])
        return found
    # Warp lets go of the interpreter's lock while a kernel runs.
    with ThreadPoolExecutor(threads - 1) as pool:
        others = [pool.submit(_draw, *part) for part in parts[1:]]
        _draw(*parts[0])
        for other in others:
            other.result()
    return found


def _draw(points_px: Tensor, found: Tensor, depth_quantum: float) -> None:
    wp.launch(
        _draw_maps,
        dim=len(found),
        inputs=[wp.from_torch(points_px), EDGE_TOLERANCE_PX, depth_quantum, LARGEST_QUANTA, EMPTY],
        outputs=[wp.from_torch(found)],
        device="cpu",
    )


@lru_cache(maxsize=1)
def _compile() -> None:
    """Have the kernel ready, before several threads ask for it at once."""
    start_warp()
    with announced():
        _draw(torch.ones(1, 3, 1, LANES + 1), torch.empty(1, 1, 1, dtype=torch.int64), 1.0)
