import math

import numpy as np
import pytest
import torch

from scr3d.factors import View
from scr3d.geometry import canonical_from_view, rotation_matrix, view_from_canonical


def random_view(batch: int, seed: int = 0) -> View:
    generator = torch.Generator().manual_seed(seed)
    draw = torch.rand(batch, 6, generator=generator, dtype=torch.float64) * 2 - 1
    return View(draw[:, :3] * math.pi, draw[:, 3:] * 0.2)


def test_rotations_are_orthogonal_with_determinant_one():
    rotation = rotation_matrix(random_view(50).rotation_rad)
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3, dtype=torch.float64).expand(50, 3, 3))
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(50, dtype=torch.float64))


def test_rotation_is_z_times_y_times_x():
    for x, y, z in random_view(5).rotation_rad.tolist():
        about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
        about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
        about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
        rotation = rotation_matrix(torch.tensor([[x, y, z]], dtype=torch.float64))[0].numpy()
        np.testing.assert_allclose(rotation, about_z @ about_y @ about_x, atol=1e-12)


@pytest.mark.parametrize("shape", [(7,), (4, 5)])
def test_the_motions_undo_each_other(shape):
    points = torch.randn(6, 3, *shape, dtype=torch.float64)
    view = random_view(6)
    torch.testing.assert_close(canonical_from_view(view_from_canonical(points, view), view), points)
    torch.testing.assert_close(view_from_canonical(canonical_from_view(points, view), view), points)


def test_rotation_is_about_the_point_at_depth_one():
    view = random_view(4)
    center = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64).expand(4, 3)[:, :, None]
    torch.testing.assert_close(view_from_canonical(center, view)[:, :, 0], center[:, :, 0] + view.translation)


def test_identity_moves_nothing():
    points = torch.randn(2, 3, 8)
    torch.testing.assert_close(view_from_canonical(points, View.identity(2)), points)


def test_positive_yaw_turns_the_near_side_to_the_left():
    # x is right and z is away from the camera, so the nose (nearer than the centre) moves towards -x.
    nose = torch.tensor([0.0, 0.0, 0.9])[None, :, None]
    view = View(torch.tensor([[0.0, 0.3, 0.0]]), torch.zeros(1, 3))
    assert view_from_canonical(nose, view)[0, 0, 0] < 0


def test_derivatives():
    view = random_view(2)
    points = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    rotation, translation = view.rotation_rad.requires_grad_(), view.translation.requires_grad_()

    def both(points, rotation, translation):
        view = View(rotation, translation)
        return view_from_canonical(points, view), canonical_from_view(points, view)

    assert torch.autograd.gradcheck(both, (points, rotation, translation))
    assert torch.autograd.gradgradcheck(both, (points, rotation, translation))
