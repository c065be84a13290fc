import math

import pytest
import torch

from scr3d.geometry import Camera, DepthRange, back_project, project

CAMERAS = [Camera(64, 64), Camera(5, 9), Camera(33, 12, fov_deg=40.0)]


@pytest.mark.parametrize("camera", CAMERAS)
def test_projecting_undoes_back_projecting(camera):
    generator = torch.Generator().manual_seed(0)
    depth = 0.9 + 0.2 * torch.rand(3, camera.height, camera.width, generator=generator, dtype=torch.float64)
    points = back_project(depth, camera)
    pixels = project(points, camera)
    x = torch.arange(camera.width, dtype=torch.float64).expand(3, camera.height, -1)
    y = torch.arange(camera.height, dtype=torch.float64)[:, None].expand(3, -1, camera.width)
    torch.testing.assert_close(pixels, torch.stack([x, y], dim=1), rtol=0, atol=1e-10)
    torch.testing.assert_close(points[:, 2], depth)


def test_field_of_view_spans_the_outermost_pixel_centres():
    camera = Camera(65, 65, fov_deg=10.0)
    rays = camera.rays(torch.zeros((), dtype=torch.float64))
    edge = math.tan(math.radians(5.0))
    torch.testing.assert_close(rays[0, 0, [0, 32, 64]], torch.tensor([-edge, 0, edge], dtype=torch.float64))
    torch.testing.assert_close(rays[1, [0, 32, 64], 0], torch.tensor([-edge, 0, edge], dtype=torch.float64))
    assert (rays[2] == 1).all()


def test_axes_are_right_down_forward():
    camera = Camera(9, 9)
    points = torch.tensor([[0.01, 0.0, 1.0], [0.0, 0.01, 1.0]]).T[None]
    (right_x, down_x), (right_y, down_y) = project(points, camera)[0].tolist()
    assert right_x > 4
    assert right_y == 4
    assert down_x == 4
    assert down_y > 4


def test_rays_follow_the_type_and_are_not_shared_between_cameras():
    assert Camera(4, 6).rays(torch.zeros(1)).dtype == torch.float32
    assert Camera(4, 6).rays(torch.zeros(1, dtype=torch.float64)).dtype == torch.float64
    assert Camera(4, 6).rays(torch.zeros(1)).shape == (3, 4, 6)
    assert not torch.equal(Camera(4, 4, 10.0).rays(torch.zeros(1)), Camera(4, 4, 20.0).rays(torch.zeros(1)))


def test_depth_range():
    depth_range = DepthRange()
    assert depth_range.border == pytest.approx(1.04)
    assert depth_range.margin == pytest.approx(0.1)
