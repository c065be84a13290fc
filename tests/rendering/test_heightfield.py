import math

import pytest
import torch
import torch.nn.functional as F

from scr3d.errors import ShapeError
from scr3d.factors import View
from scr3d.geometry import Camera, DepthRange, back_project, canonical_from_view, rotation_matrix
from scr3d.rendering import look_up, render, sample_view
from scr3d.rendering._reference import reference_view
from scr3d.rendering.heightfield import visible_triangles

RANGE = DepthRange()
SIZES = [(16, 16), (11, 18), (19, 10)]


def smooth_depth(batch: int, height: int, width: int, seed: int, strength: float = 0.06) -> torch.Tensor:
    """Hilly random maps in double precision."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(batch, 1, 4, 4, generator=generator, dtype=torch.float64)
    hills = F.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=True)[:, 0]
    return 1 + strength * hills.tanh()


def random_view(batch: int, seed: int, max_deg: float, max_shift: float = 0.03) -> View:
    generator = torch.Generator().manual_seed(seed)
    draw = torch.rand(batch, 6, generator=generator, dtype=torch.float64) * 2 - 1
    return View(draw[:, :3] * math.radians(max_deg), draw[:, 3:] * max_shift)


def single(view: View) -> View:
    return View(view.rotation_rad.float(), view.translation.float())


# --- the identity view


@pytest.mark.parametrize("size", [(8, 8), (64, 64), (20, 31), (256, 256)])
@pytest.mark.parametrize("rough", [False, True])
def test_identity_returns_the_canonical_image(size, rough):
    depth = (0.9 + 0.2 * torch.rand(2, *size)) if rough else smooth_depth(2, *size, seed=0).float()
    texture = F.interpolate(torch.rand(2, 3, 8, 8), size=size, mode="bilinear", align_corners=True)
    seen = render(depth, View.identity(2), texture, Camera(*size), RANGE)
    assert seen.mask.all()
    torch.testing.assert_close(seen.image, texture, rtol=0, atol=1e-5)
    torch.testing.assert_close(seen.depth, depth, rtol=0, atol=1e-5)
    pixels = torch.stack(torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij"), dim=-1).flip(-1)
    found = sample_view(depth, View.identity(2), Camera(*size), RANGE).pixels
    torch.testing.assert_close(found, pixels.float().expand_as(found), rtol=0, atol=4e-7 * max(size))


# --- closed forms


@pytest.mark.parametrize("normal", [(0.0, 0.0, 1.0), (0.5, -0.3, 1.0)])
@pytest.mark.parametrize("rotation_deg", [(0, 0, 0), (0, 40, 0), (-35, 20, 15), (10, -60, 30)])
@pytest.mark.parametrize("size", [(24, 24), (17, 30)])
def test_plane_in_closed_form(normal, rotation_deg, size):
    camera = Camera(*size)
    direction = F.normalize(torch.tensor([normal], dtype=torch.float64), dim=1)[:, :, None]
    rays = camera.rays(direction).flatten(1)
    depth = (direction[:, 2] / (direction * rays).sum(1)).view(1, *size)  # through (0, 0, 1)
    view = View(torch.deg2rad(torch.tensor([rotation_deg], dtype=torch.float64)), torch.tensor([[0.01, -0.02, 0.03]]))
    view = View(view.rotation_rad, view.translation.double())

    sampling = sample_view(depth, view, camera, RANGE)

    turned = rotation_matrix(view.rotation_rad) @ direction
    center = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)[None, :, None] + view.translation[:, :, None]
    expected = ((turned * center).sum(1) / (turned * rays).sum(1)).view(1, *size)
    points = canonical_from_view(back_project(expected, camera), view)
    pixels_x = points[:, 0] / points[:, 2] * camera.focal_px + camera.center_px[0]
    pixels_y = points[:, 1] / points[:, 2] * camera.focal_px + camera.center_px[1]
    beyond = torch.stack([-pixels_x, pixels_x - size[1] + 1, -pixels_y, pixels_y - size[0] + 1]).amax(0)

    limit = RANGE.far + RANGE.margin
    assert sampling.mask[(beyond < -0.01) & (expected < limit - 1e-6)].all()
    assert not sampling.mask[(beyond > 0.01) | (expected > limit + 1e-6)].any()
    assert 0.2 < sampling.mask.double().mean() <= 1
    mask = sampling.mask
    torch.testing.assert_close(sampling.depth[mask], expected[mask], rtol=0, atol=1e-9)
    torch.testing.assert_close(sampling.pixels[..., 0][mask], pixels_x[mask], rtol=0, atol=1e-6)
    torch.testing.assert_close(sampling.pixels[..., 1][mask], pixels_y[mask], rtol=0, atol=1e-6)


def sphere_error(size: int) -> float:
    """Largest depth error of a turned sphere around the centre of rotation, near the middle of the view."""
    camera, radius = Camera(size, size), 0.08
    rays = camera.rays(torch.zeros((), dtype=torch.float64))
    square = (rays * rays).sum(0)
    discriminant = 1 - square * (1 - radius**2)
    depth = torch.where(discriminant > 0, (1 - discriminant.clamp(min=0).sqrt()) / square, 1.0)
    view = View(torch.tensor([[0.1, 0.5, -0.3]], dtype=torch.float64), torch.zeros(1, 3, dtype=torch.float64))
    sampling = sample_view(depth[None], view, camera, RANGE)
    middle = (rays[0] ** 2 + rays[1] ** 2).sqrt() < 0.4 * radius
    assert sampling.mask[0][middle].all()
    return float((sampling.depth[0] - depth)[middle].abs().max())


def test_a_turned_sphere_looks_the_same():
    coarse, fine = sphere_error(33), sphere_error(65)
    assert fine < 2e-4
    # Triangles approximate it to second order: half the pixel, a quarter of the error.
    assert fine < coarse / 3


# --- against the slow reference


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_the_reference(size, seed):
    camera = Camera(*size)
    rough = seed % 2 == 1
    generator = torch.Generator().manual_seed(seed)
    depth = smooth_depth(1, *size, seed)
    if rough:
        depth = 0.95 + 0.1 * torch.rand(1, *size, generator=generator, dtype=torch.float64)
    view = random_view(1, seed, max_deg=20 if rough else 50)
    sampling = sample_view(depth, view, camera, RANGE)
    triangle = visible_triangles(depth, view, camera)[0]
    ref_depth, ref_triangle, ref_pixels, ref_covered = reference_view(depth[0], view, camera)
    ref_covered &= ref_depth < RANGE.far + RANGE.margin

    # Rays through an edge may go to either side: the fast kernel works in single precision.
    assert (sampling.mask[0] == ref_covered).double().mean() > 0.995
    both = sampling.mask[0] & ref_covered
    assert both.double().mean() > 0.3
    same = both & (triangle == ref_triangle)
    assert same.sum() > 0.98 * both.sum()
    torch.testing.assert_close(sampling.depth[0][same], ref_depth[same], rtol=0, atol=1e-9)
    torch.testing.assert_close(sampling.pixels[0][same], ref_pixels[same], rtol=0, atol=1e-6)
    # Where another triangle is seen it mostly is the neighbour; across an occluding edge depth jumps.
    assert ((sampling.depth[0] - ref_depth)[both].abs() < 1e-3).double().mean() > 0.99


@pytest.mark.parametrize("size", SIZES)
def test_gradients_agree_with_the_reference(size):
    camera = Camera(*size)
    view = random_view(1, 5, max_deg=35)
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(*size, 3, generator=generator, dtype=torch.float64)
    inputs = [smooth_depth(1, *size, 5), view.rotation_rad, view.translation]
    inputs = [value.requires_grad_() for value in inputs]
    view = View(inputs[1], inputs[2])

    sampling = sample_view(inputs[0], view, camera, RANGE)
    ref_depth, ref_triangle, ref_pixels, covered = reference_view(inputs[0][0], view, camera)
    same = sampling.mask[0] & covered & (visible_triangles(inputs[0], view, camera)[0] == ref_triangle)
    assert same.sum() > 0.3 * same.numel()

    def gradients(depth, pixels):
        outputs = torch.cat([depth[..., None], pixels], dim=-1)
        return torch.autograd.grad((outputs * weight)[same].sum(), inputs)

    fast = gradients(sampling.depth[0], sampling.pixels[0])
    slow = gradients(ref_depth, ref_pixels)
    for name, a, b in zip(("depth", "rotation", "translation"), fast, slow, strict=True):
        cosine = F.cosine_similarity(a.flatten(), b.flatten(), dim=0)
        assert cosine > 1 - 1e-9, name
        assert abs(a.norm() / b.norm() - 1) < 1e-6, name


# --- derivatives


def derivative_inputs(seed: int) -> list[torch.Tensor]:
    view = random_view(1, seed, max_deg=25, max_shift=0.01)
    texture = torch.rand(1, 1, 5, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    inputs = [smooth_depth(1, 5, 6, seed, 0.02), view.rotation_rad, view.translation, texture]
    return [value.requires_grad_() for value in inputs]


def rendered(depth, rotation, translation, texture):
    seen = render(depth, View(rotation, translation), texture, Camera(5, 6), RANGE)
    return seen.image, seen.depth * seen.mask


def continued(depth, rotation, translation, texture):
    return render(depth, View(rotation, translation), texture, Camera(5, 6), RANGE, continued=True).image


@pytest.mark.parametrize("seed", [1, 2])
def test_first_derivatives(seed):
    inputs = derivative_inputs(seed)
    assert rendered(*inputs)[1].count_nonzero() > 10
    assert torch.autograd.gradcheck(rendered, inputs)


@pytest.mark.parametrize("seed", [1, 2])
def test_second_derivatives(seed):
    assert torch.autograd.gradgradcheck(rendered, derivative_inputs(seed), fast_mode=True)


def test_derivatives_of_a_continued_image():
    assert torch.autograd.gradcheck(continued, derivative_inputs(1), fast_mode=True)
    assert torch.autograd.gradgradcheck(continued, derivative_inputs(1), fast_mode=True)


@pytest.mark.parametrize("yaw_deg", [-85, 60, 80, 85, 89.9])
@pytest.mark.parametrize("is_continued", [False, True])
def test_gradients_stay_finite_at_grazing_views(yaw_deg, is_continued):
    camera = Camera(32, 32)
    depth = torch.cat([smooth_depth(2, 32, 32, seed=3).float(), 0.9 + 0.2 * torch.rand(2, 32, 32)])
    yaw = torch.full((4,), math.radians(yaw_deg))
    rotation = torch.stack([0.1 * torch.ones(4), yaw, torch.zeros(4)], dim=1)
    inputs = [depth, rotation, torch.zeros(4, 3), torch.rand(4, 3, 32, 32)]
    inputs = [value.requires_grad_() for value in inputs]
    seen = render(inputs[0], View(inputs[1], inputs[2]), inputs[3], camera, RANGE, is_continued)
    assert seen.mask.any()
    assert torch.isfinite(seen.image).all()
    for gradient in torch.autograd.grad(seen.image.square().sum() + seen.depth.sum(), inputs):
        assert torch.isfinite(gradient).all()


# --- masks


def test_surfaces_too_far_away_are_masked():
    camera, limit = Camera(12, 12), RANGE.far + RANGE.margin
    texture = torch.ones(1, 1, 12, 12)
    depth = torch.full((1, 12, 12), RANGE.far)
    near = View(torch.zeros(1, 3), torch.tensor([[0.0, 0.0, RANGE.margin - 0.001]]))
    far = View(torch.zeros(1, 3), torch.tensor([[0.0, 0.0, RANGE.margin + 0.001]]))
    assert render(depth, near, texture, camera, RANGE).mask[0, 1:-1, 1:-1].all()
    seen = render(depth, far, texture, camera, RANGE)
    assert not seen.mask.any()
    assert (seen.image == 0).all()
    torch.testing.assert_close(seen.depth, torch.full_like(seen.depth, limit))


def test_surfaces_behind_the_camera_are_masked():
    view = View(torch.zeros(1, 3), torch.tensor([[0.0, 0.0, -3.0]]))
    assert not sample_view(torch.ones(1, 8, 8), view, Camera(8, 8), RANGE).mask.any()


def test_a_nearer_part_hides_a_farther_one():
    # A wall stands in the right half; seen from its left side it hides what lies right behind its edge.
    camera = Camera(33, 33)
    depth = torch.full((1, 33, 33), 1.05)
    depth[:, :, 17:] = 0.95
    texture = torch.zeros(1, 1, 33, 33)
    texture[:, :, :, 17:] = 1
    seen = render(depth, View(torch.tensor([[0.0, 0.5, 0.0]]), torch.zeros(1, 3)), texture, camera, RANGE)
    ref_depth = reference_view(depth[0], View(torch.tensor([[0.0, 0.5, 0.0]]), torch.zeros(1, 3)), camera)[0].float()
    agree = (seen.depth[0] - ref_depth).abs()[seen.mask[0]] < 1e-4
    assert agree.float().mean() > 0.99


def test_the_mask_carries_no_gradient_and_uncovered_pixels_give_none():
    camera = Camera(16, 16)
    texture = torch.rand(1, 3, 16, 16)
    shift = torch.tensor([[0.06, 0.0, 0.0]], requires_grad=True)
    seen = render(torch.ones(1, 16, 16), View(torch.zeros(1, 3), shift), texture, camera, RANGE)
    assert not seen.mask.requires_grad
    assert (~seen.mask).any()
    outside = torch.where(seen.mask[:, None], 0.0, seen.image).sum()
    assert torch.autograd.grad(outside, shift)[0].abs().max() == 0


def test_continued_images_show_the_frame_where_nothing_is_visible():
    camera = Camera(24, 24)
    depth = smooth_depth(2, 24, 24, seed=1).float()
    view = single(random_view(2, 1, max_deg=40))
    texture = torch.rand(2, 3, 24, 24)
    plain = render(depth, view, texture, camera, RANGE)
    full = render(depth, view, texture, camera, RANGE, continued=True)
    assert torch.equal(plain.mask, full.mask)
    assert torch.equal(plain.depth, full.depth)
    assert not plain.mask.all()
    inside = plain.mask[:, None].expand_as(texture)
    torch.testing.assert_close(full.image[inside], plain.image[inside])
    even = render(depth, view, torch.full_like(texture, 0.3), camera, RANGE, continued=True)
    torch.testing.assert_close(even.image, torch.full_like(texture, 0.3))
    # Seen through no surface at all, the picture is the frame's plane, with the border's colours beyond its edge.
    shifted = View(torch.zeros(2, 3), torch.tensor([[0.5, 0.0, 0.0], [-0.5, 0.0, 0.0]]))
    away = render(depth, shifted, texture, camera, RANGE, continued=True)
    assert not away.mask.any()
    torch.testing.assert_close(away.image[0], texture[0, :, :, :1].expand(3, 24, 24), rtol=0, atol=1e-4)
    torch.testing.assert_close(away.image[1], texture[1, :, :, -1:].expand(3, 24, 24), rtol=0, atol=1e-4)


# --- batches, types, looks


def test_images_of_a_batch_do_not_influence_each_other():
    camera = Camera(20, 20)
    depth, view = smooth_depth(6, 20, 20, seed=2).float(), single(random_view(6, 2, max_deg=45))
    texture = torch.rand(6, 3, 20, 20)
    together = render(depth, view, texture, camera, RANGE)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    shuffled = render(depth[order], view[order], texture[order], camera, RANGE)
    assert torch.equal(shuffled.image, together.image[order])
    for i in range(6):
        alone = render(depth[i : i + 1], view[i : i + 1], texture[i : i + 1], camera, RANGE)
        torch.testing.assert_close(alone.image, together.image[i : i + 1], rtol=0, atol=1e-5)
        assert torch.equal(alone.mask, together.mask[i : i + 1])


@pytest.mark.parametrize("channels", [1, 3, 7])
def test_looking_up_again_gives_what_rendering_gives(channels):
    camera = Camera(15, 22)
    depth, view = smooth_depth(2, 15, 22, seed=4).float(), single(random_view(2, 4, max_deg=30))
    texture = torch.rand(2, channels, 15, 22)
    sampling = sample_view(depth, view, camera, RANGE)
    assert torch.equal(look_up(texture, sampling), render(depth, view, texture, camera, RANGE).image)


def test_moving_right_moves_the_picture_right():
    camera = Camera(33, 33)
    texture = torch.rand(1, 3, 33, 33)
    pixel_at_one = 1 / camera.focal_px
    view = View(torch.zeros(1, 3), torch.tensor([[4 * pixel_at_one, 0.0, 0.0]]))
    seen = render(torch.ones(1, 33, 33), view, texture, camera, RANGE)
    torch.testing.assert_close(seen.image[..., 4:], texture[..., :-4], rtol=0, atol=1e-4)
    assert not seen.mask[..., :4].any()


@pytest.mark.parametrize(
    ("depth_shape", "rotation_shape", "texture_shape"),
    [
        ((2, 8, 9), (2, 3), (2, 3, 8, 8)),
        ((2, 8), (2, 3), (2, 3, 8, 8)),
        ((2, 8, 8), (1, 3), (2, 3, 8, 8)),
        ((2, 8, 8), (2, 4), (2, 3, 8, 8)),
        ((2, 8, 8), (2, 3), (1, 3, 8, 8)),
        ((2, 8, 8), (2, 3), (2, 3, 8, 9)),
    ],
)
def test_shapes_that_do_not_fit_are_refused(depth_shape, rotation_shape, texture_shape):
    view = View(torch.zeros(rotation_shape), torch.zeros(2, 3))
    with pytest.raises(ShapeError, match="got"):
        render(torch.ones(depth_shape), view, torch.zeros(texture_shape), Camera(8, 8), RANGE)
