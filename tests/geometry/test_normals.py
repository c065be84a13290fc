import math

import pytest
import torch
import torch.nn.functional as F

from scr3d.geometry import Camera, normals_from_depth
from scr3d.geometry.normals import unit_cross


def plane_depth(camera: Camera, normal: torch.Tensor) -> torch.Tensor:
    """Depth of the plane through (0, 0, 1) with the given normal."""
    return normal[2] / (normal[:, None, None] * camera.rays(normal)).sum(0)


@pytest.mark.parametrize("camera", [Camera(32, 32), Camera(7, 20), Camera(21, 15, fov_deg=30.0)])
@pytest.mark.parametrize("slopes", [(0.0, 0.0), (0.7, 0.0), (0.0, -0.4), (-1.5, 0.8)])
def test_normal_of_a_tilted_plane(camera, slopes):
    normal = F.normalize(torch.tensor([*slopes, 1.0], dtype=torch.float64), dim=0)
    found = normals_from_depth(plane_depth(camera, normal)[None], camera)[0]
    inner = found[:, 1:-1, 1:-1]
    torch.testing.assert_close(inner, normal[:, None, None].expand_as(inner), rtol=0, atol=1e-6)


def test_border_faces_the_camera():
    camera = Camera(6, 8)
    found = normals_from_depth(0.9 + 0.2 * torch.rand(2, 6, 8), camera)
    border = torch.ones(6, 8, dtype=torch.bool)
    border[1:-1, 1:-1] = False
    expected = torch.tensor([0.0, 0.0, 1.0])[None, :, None].expand(2, 3, int(border.sum()))
    assert torch.equal(found[:, :, border], expected)


def test_normals_of_a_sphere_point_to_its_middle():
    camera, radius = Camera(129, 129), 0.2
    rays = camera.rays(torch.zeros((), dtype=torch.float64))
    # |z r - c| = radius with c = (0, 0, 1): the nearer root
    square = (rays * rays).sum(0)
    depth = (1 - (1 - square * (1 - radius**2)).sqrt()) / square
    found = normals_from_depth(depth[None], camera)[0, :, 1:-1, 1:-1]
    center = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)[:, None, None]
    expected = ((center - depth * rays) / radius)[:, 1:-1, 1:-1]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_steep_and_rough_maps_give_unit_vectors():
    camera = Camera(64, 64)
    found = normals_from_depth(0.9 + 0.2 * torch.rand(2, 64, 64), camera)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(2, 64, 64), rtol=0, atol=1e-5)


def test_a_cross_product_of_parallel_vectors_has_finite_derivatives():
    first = torch.ones(1, 3, 1, requires_grad=True)
    unit_cross(first, 2 * torch.ones(1, 3, 1), scale=1.0).sum().backward()
    assert torch.isfinite(first.grad).all()


def test_derivatives():
    depth = (0.9 + 0.2 * torch.rand(1, 4, 5, dtype=torch.float64)).requires_grad_()
    camera = Camera(4, 5, fov_deg=math.degrees(1.0))

    def normals(depth):
        return normals_from_depth(depth, camera)

    assert torch.autograd.gradcheck(normals, depth)
    assert torch.autograd.gradgradcheck(normals, depth)
