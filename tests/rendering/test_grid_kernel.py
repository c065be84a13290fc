import pytest
import torch

from scr3d.factors import View
from scr3d.geometry import Camera
from scr3d.rendering import _grid_kernels
from scr3d.rendering._grid_kernels import LANES, rasterize_grid
from scr3d.rendering._kernels import rasterize
from scr3d.rendering.heightfield import grid_triangles, screen_corners, visible_triangles


def general(corners: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """The same by the kernel for any triangles."""
    triangles = grid_triangles(*corners.shape[2:], torch.device("cpu"))
    return rasterize(corners.flatten(2).mT, triangles, height, width)


def rough_corners(batch: int, height: int, width: int, turn_rad: float, rough: float, seed: int = 0) -> torch.Tensor:
    """Corners of random maps in random views: cells of all shapes, many of them folded over others."""
    generator = torch.Generator().manual_seed(seed)
    depth = 1 + rough * (torch.rand(batch, height, width, generator=generator) - 0.5)
    draw = 2 * torch.rand(batch, 6, generator=generator) - 1
    return screen_corners(depth, View(turn_rad * draw[:, :3], 0.02 * draw[:, 3:]), Camera(height, width))


@pytest.mark.parametrize("size", [(LANES + 1, LANES + 1), (9, 2 * LANES + 1), (30, 45), (2, 2 * LANES)])
@pytest.mark.parametrize(("turn_rad", "rough"), [(0.0, 0.2), (0.3, 0.002), (0.5, 0.02), (1.0, 0.2), (3.1, 0.1)])
def test_a_grid_is_drawn_as_the_general_kernel_draws_its_triangles(size, turn_rad, rough):
    corners = rough_corners(6, *size, turn_rad, rough)
    found = rasterize_grid(corners, *size)
    assert (found >= 0).any()
    assert torch.equal(found, general(corners, *size))


@pytest.mark.parametrize("image", [(7, 70), (64, 5)])
def test_the_picture_may_have_another_size(image):
    corners = rough_corners(3, 20, 40, turn_rad=0.4, rough=0.01)
    assert torch.equal(rasterize_grid(corners, *image), general(corners, *image))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf"), 0.0, -1.0, 1e30, 1e-30, 3e38])
@pytest.mark.parametrize("coordinate", [0, 1, 2])
def test_impossible_corners_are_treated_alike(bad, coordinate):
    corners = rough_corners(2, 18, 35, turn_rad=0.3, rough=0.01)
    corners[1, coordinate, ::5, ::3] = bad
    assert torch.equal(rasterize_grid(corners, 18, 35), general(corners, 18, 35))


@pytest.mark.parametrize("threads", [2, 3, 8])
def test_threads_share_the_maps_out(threads, monkeypatch):
    corners = rough_corners(7, 24, 40, turn_rad=0.5, rough=0.02)
    expected = rasterize_grid(corners, 24, 40)
    shares = []

    def counted(points, found, quantum, draw=_grid_kernels._draw):
        shares.append(len(found))
        draw(points, found, quantum)

    monkeypatch.setattr(_grid_kernels, "_draw", counted)
    monkeypatch.setattr(_grid_kernels, "CELLS_OF_A_THREAD", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    for _ in range(20):
        shares.clear()
        assert torch.equal(rasterize_grid(corners, 24, 40), expected)
        assert len(shares) == min(threads, 7)
        assert sum(shares) == 7


def test_little_work_stays_in_one_thread(monkeypatch):
    corners = rough_corners(7, 24, 40, turn_rad=0.5, rough=0.02)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(_grid_kernels, "ThreadPoolExecutor", None)  # to start one would fail
    assert torch.equal(rasterize_grid(corners, 24, 40), general(corners, 24, 40))


def test_no_map_gives_no_picture():
    assert rasterize_grid(torch.zeros(0, 3, 20, 20), 4, 5).shape == (0, 4, 5)


@pytest.mark.parametrize("width", [2, LANES, LANES + 1])
def test_grids_of_every_width_are_drawn(width):
    camera = Camera(12, width)
    depth = torch.full((2, 12, width), 1.0)
    view = View(torch.tensor([[0.1, -0.2, 0.3], [0.0, 0.0, 0.0]]), torch.zeros(2, 3))
    expected = general(screen_corners(depth, view, camera), 12, width)
    assert (expected >= 0).any()
    assert torch.equal(visible_triangles(depth, view, camera), expected)
