import pytest
import torch

from scr3d.factors import View
from scr3d.geometry import Camera, DepthRange
from scr3d.rendering import render
from scr3d.rendering._kernels import rasterize
from scr3d.rendering.heightfield import grid_triangles, visible_triangles

SQUARE = torch.tensor([[1.0, 1.0], [5.0, 1.0], [1.0, 5.0]])
"""A triangle over the pixels x >= 1, y >= 1, x + y <= 6."""


def triangle_at(*depths: float) -> torch.Tensor:
    """Copies of the triangle at several depths, as one batch of vertices."""
    corners = [torch.cat([SQUARE, torch.full((3, 1), depth)], dim=1) for depth in depths]
    return torch.cat(corners)[None]


def numbers(count: int) -> torch.Tensor:
    return torch.arange(3 * count).view(count, 3)


def test_a_triangle_covers_the_pixel_centres_in_it():
    found = rasterize(triangle_at(1.0), numbers(1), 7, 8)[0]
    y, x = torch.meshgrid(torch.arange(7), torch.arange(8), indexing="ij")
    inside = (x >= 1) & (y >= 1) & (x + y <= 6)
    assert torch.equal(found, torch.where(inside, 0, -1))


def test_the_nearest_triangle_is_seen():
    found = rasterize(triangle_at(1.0, 0.9, 1.1), numbers(3), 7, 8)
    assert set(found.unique().tolist()) == {-1, 1}


def test_of_equal_triangles_the_lower_number_is_seen():
    points = triangle_at(1.0, 1.0, 1.0)
    assert set(rasterize(points, numbers(3), 7, 8).unique().tolist()) == {-1, 0}
    assert set(rasterize(points, numbers(3).flip(0), 7, 8).unique().tolist()) == {-1, 0}


def test_both_sides_are_seen():
    front = rasterize(triangle_at(1.0), numbers(1), 7, 8)
    back = rasterize(triangle_at(1.0), numbers(1).flip(1), 7, 8)
    assert torch.equal(front, back)


def test_depth_is_interpolated_with_perspective():
    # Two triangles cross; by interpolation of 1/z the border lies where 1/z = (1 + 1/3) / 2, not where z = 2.
    points = torch.tensor(
        [[[0.0, 0.0, 1.0], [12.0, 0.0, 3.0], [0.0, 12.0, 1.0], [0.0, 0.0, 1.4], [12.0, 0.0, 1.4], [0.0, 12.0, 1.4]]]
    )
    row = rasterize(points, numbers(2), 13, 13)[0, 0]
    border = 12 * (1 / 1 - 1 / 1.4) / (1 - 1 / 3)
    assert torch.equal(row, (torch.arange(13) > border).long())


def test_triangles_behind_the_camera_or_seen_edge_on_cover_nothing():
    points = triangle_at(-1.0, 0.0)
    assert (rasterize(points, numbers(2), 7, 8) == -1).all()
    points = torch.tensor([[[1.0, 1.0, 1.0], [3.0, 3.0, 1.0], [5.0, 5.0, 1.0]]])
    assert (rasterize(points, numbers(1), 7, 8) == -1).all()


@pytest.mark.parametrize("batch", [0, 1])
def test_nothing_to_draw(batch):
    found = rasterize(torch.zeros(batch, 3, 3), torch.zeros(0, 3, dtype=torch.int64), 4, 5)
    assert found.shape == (batch, 4, 5)
    assert (found == -1).all()


def test_neighbouring_triangles_leave_no_cracks():
    camera = Camera(48, 40)
    generator = torch.Generator().manual_seed(3)
    view = View(0.3 * torch.randn(8, 3, generator=generator), torch.zeros(8, 3))
    depth = torch.ones(8, 48, 40)
    covered = visible_triangles(depth, view, camera) >= 0
    for image in covered:
        # A plane stays convex: no hole between the first and the last covered pixel of a row.
        for row in image:
            seen = torch.nonzero(row).flatten()
            assert len(seen) == 0 or len(seen) == seen[-1] - seen[0] + 1


def test_at_the_identity_every_pixel_shows_its_lowest_triangle():
    camera = Camera(9, 12)
    triangles = grid_triangles(9, 12, torch.device("cpu"))
    lowest = torch.full((9 * 12,), -1)
    for number in reversed(range(len(triangles))):
        lowest[triangles[number].long()] = number
    depth = 0.9 + 0.2 * torch.rand(5, 9, 12)
    found = visible_triangles(depth, View.identity(5), camera)
    assert torch.equal(found, lowest.view(9, 12).expand(5, -1, -1))


def test_every_run_and_every_batch_gives_the_same_numbers():
    camera = Camera(32, 32)
    generator = torch.Generator().manual_seed(0)
    depth = 0.9 + 0.2 * torch.rand(12, 32, 32, generator=generator)
    view = View(torch.randn(12, 3, generator=generator), 0.02 * torch.randn(12, 3, generator=generator))
    found = visible_triangles(depth, view, camera)
    assert torch.equal(visible_triangles(depth, view, camera), found)
    parts = [visible_triangles(depth[part], view[part], camera) for part in (slice(0, 5), slice(5, 12))]
    assert torch.equal(torch.cat(parts), found)
    shuffled = torch.randperm(12, generator=generator)
    assert torch.equal(visible_triangles(depth[shuffled], view[shuffled], camera), found[shuffled])


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf"), 0.0, -1.0, 1e30, 1e-30])
def test_impossible_depths_neither_hang_nor_spread(bad):
    camera = Camera(16, 16)
    depth = 0.9 + 0.2 * torch.rand(3, 16, 16)
    view = View(torch.full((3, 3), 0.3), torch.zeros(3, 3))
    clean = visible_triangles(depth, view, camera)
    depth[1, ::3, ::2] = bad
    depth[2] = bad
    found = visible_triangles(depth, view, camera)
    assert torch.equal(found[0], clean[0])
    assert found.min() >= -1
    assert found.max() < 2 * 15 * 15
    view = View(torch.full((3, 3), bad), torch.zeros(3, 3))
    assert visible_triangles(torch.ones(3, 16, 16), view, camera).max() < 2 * 15 * 15


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_agrees_with_the_cpu():
    camera = Camera(64, 64)
    generator = torch.Generator().manual_seed(0)
    depth = 0.9 + 0.2 * torch.rand(16, 64, 64, generator=generator)
    texture = torch.rand(16, 3, 64, 64, generator=generator)
    view = View(0.4 * torch.randn(16, 3, generator=generator), 0.02 * torch.randn(16, 3, generator=generator))
    on_cpu = render(depth, view, texture, camera, DepthRange())
    cuda_view = View(view.rotation_rad.cuda(), view.translation.cuda())
    on_cuda = render(depth.cuda(), cuda_view, texture.cuda(), camera, DepthRange())
    same = (on_cuda.mask.cpu() == on_cpu.mask) & ((on_cuda.depth.cpu() - on_cpu.depth).abs() < 1e-4)
    # Projection is rounded differently: a few pixels on an occluding edge may fall to the other side.
    assert same.float().mean() > 0.999
    difference = (on_cuda.image.cpu() - on_cpu.image).abs().amax(1)
    assert (difference[same] < 1e-2).float().mean() > 0.999
