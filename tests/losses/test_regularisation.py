import math

import pytest
import torch

from scr3d.losses import relief_loss, smoothness_loss, spread_loss
from scr3d.losses.regularisation import OBJECT_HALF_HEIGHT, OBJECT_HALF_WIDTH


def grid(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    axis = torch.linspace(-1, 1, size, dtype=torch.float64)
    return axis[None, None, :].expand(1, size, size), axis[None, :, None].expand(1, size, size)


def test_planes_are_smooth():
    x, y = grid(33)
    assert smoothness_loss(0.3 + 2 * x - 5 * y) == pytest.approx(0, abs=1e-12)


def test_paraboloid_in_closed_form():
    x, y = grid(33)
    step = 2 / 32
    expected = (33 / 32) ** 2 * (2 * 3.0 * step**2 + 2 * 0.5 * step**2)
    assert smoothness_loss(3.0 * x**2 - 0.5 * y**2) == pytest.approx(expected, rel=1e-9)


def test_does_not_depend_on_the_resolution():
    found = [float(smoothness_loss(torch.exp(-(x**2) - 2 * y**2))) for x, y in (grid(32), grid(64), grid(128))]
    assert max(found) / min(found) < 1.1


def test_mean_over_the_batch():
    maps = torch.randn(3, 8, 9)
    parts = torch.stack([smoothness_loss(maps[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(smoothness_loss(maps), parts.mean())


def test_derivatives():
    maps = torch.randn(1, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(smoothness_loss, maps)


def test_relief_prior_is_zero_on_the_round_body_wherever_it_lies():
    size, fov_deg = 64, 10.0
    axis = torch.linspace(-1, 1, size)
    level = 1 - (axis[None, :] / OBJECT_HALF_WIDTH) ** 2 - (axis[:, None] / OBJECT_HALF_HEIGHT) ** 2
    radius = OBJECT_HALF_WIDTH * math.tan(math.radians(fov_deg / 2))
    body = (1 - radius * level.clamp(min=0).sqrt())[None]
    assert float(relief_loss(body + 0.02, fov_deg)) < 1e-6
    outside = torch.where(level > 0, body[0], torch.rand(size, size))[None]
    assert float(relief_loss(outside, fov_deg)) < 1e-6
    mean = body[0][level > 0].mean()
    for factor in (2.0, 0.5):
        stretched = mean + factor * (body - mean)
        assert float(relief_loss(stretched, fov_deg)) == pytest.approx(math.log(2) ** 2, rel=1e-2)


def test_relief_prior_on_a_plane_is_finite_with_finite_gradient():
    plane = torch.ones(2, 32, 32, requires_grad=True)
    loss = relief_loss(plane, 10.0)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(plane.grad).all()


def test_spread_is_the_variance_over_the_batch_with_its_gradient():
    depth = torch.randn(5, 4, 4, dtype=torch.float64, requires_grad=True)
    expected = depth.var(dim=0, correction=0).mean()
    torch.testing.assert_close(spread_loss(depth), expected)
    found, wanted = (torch.autograd.grad(value, depth)[0] for value in (spread_loss(depth), expected))
    torch.testing.assert_close(found, wanted)


def test_the_curvature_of_the_spread_is_that_of_the_variance():
    """Steps of a learned graph are differentiated twice; a mean without a gradient would lose part of the curvature."""
    torch.manual_seed(0)
    depth = torch.rand(3, 2, 2, dtype=torch.float64)

    def variance(raw):
        return raw.var(dim=0, correction=0).mean()

    found, wanted = (torch.autograd.functional.hessian(loss, depth) for loss in (spread_loss, variance))
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-14)
