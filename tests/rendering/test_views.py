import math

import pytest
import torch
import torch.nn.functional as F

from scr3d.errors import ConfigError, ShapeError
from scr3d.factors import Factors, Light, View
from scr3d.geometry import Camera, DepthRange
from scr3d.rendering import shade
from scr3d.rendering import views as views_module
from scr3d.rendering.views import ViewOptions, enlarge, relighting, textureless, turntable

CAMERA, RANGE = Camera(32, 32), DepthRange()
OPTIONS = ViewOptions(size=63, frames=8, max_yaw_deg=40)


def make_factors(depth, albedo=None, slopes=(0.3, 0.2)):
    depth = depth.clone()
    depth[:, :2] = depth[:, -2:] = RANGE.border
    albedo = torch.full((3, 32, 32), 0.6) if albedo is None else albedo
    light = Light.from_slopes(torch.tensor([0.4]), torch.tensor([0.5]), torch.tensor([slopes]))
    return Factors(View.identity(1), depth[None], light, albedo[None])


def bump():
    axis = torch.linspace(-1, 1, 32)
    return 1 - 0.05 * torch.exp(-2 * (axis[None, :] ** 2 + axis[:, None] ** 2))


def plane(slope=0.0):
    """Depth of the plane z = 1 + slope * x."""
    x = CAMERA.rays(torch.zeros(1))[0]
    return 1 / (1 - slope * x)


def test_enlarged_plane_keeps_its_depth_and_normal():
    surface = enlarge(make_factors(plane(0.4)), CAMERA, RANGE, OPTIONS)
    x = surface.camera.rays(torch.zeros(1))[0]
    inner = slice(4, 59)
    torch.testing.assert_close(surface.depth[:, inner], (1 / (1 - 0.4 * x))[:, inner], atol=2e-6, rtol=0)
    expected = F.normalize(torch.tensor([-0.4, 0.0, 1.0]), dim=0)
    # Up to the trimmed edge, although the border depth jumps there.
    error = (F.normalize(surface.maps[3:6], dim=0) - expected[:, None, None])[:, :, inner].abs().max()
    assert error < 1e-3


def test_turntable_starts_at_the_front_with_the_canonical_image():
    albedo = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0))
    factors = make_factors(bump(), albedo)
    frames = turntable(factors, CAMERA, RANGE, OPTIONS)
    assert frames.shape == (8, 3, 63, 63)
    surface = enlarge(factors, CAMERA, RANGE, OPTIONS)
    expected = surface.maps[:3] * shade(F.normalize(surface.maps[3:6], dim=0)[None], factors.light)
    torch.testing.assert_close(frames[0][:, :, 5:58], expected.clamp(0, 1)[:, :, 5:58], atol=2e-3, rtol=0)


def test_turntable_swings_to_both_sides_and_back():
    frames = turntable(make_factors(bump()), CAMERA, RANGE, OPTIONS)
    torch.testing.assert_close(frames[0], frames[4], atol=2e-3, rtol=0)
    torch.testing.assert_close(frames[1], frames[3])
    torch.testing.assert_close(frames[5], frames[7])
    assert (frames[2] - frames[6]).abs().mean() > 0.02


def test_border_columns_are_shown_as_background_only_when_trimmed():
    factors = make_factors(bump())
    for trim, shown in ((2, False), (0, True)):
        options = ViewOptions(63, 1, 0, background=0.92, trim_columns=trim)
        frame = turntable(factors, CAMERA, RANGE, options)[0]
        assert bool((frame[:, :, 1] != 0.92).all()) is shown
        assert (frame[:, :, 6] != 0.92).all()


def test_batches_do_not_change_the_frames():
    factors = make_factors(bump())
    one = turntable(factors, CAMERA, RANGE, ViewOptions(63, 8, 40, batch=1))
    torch.testing.assert_close(one, turntable(factors, CAMERA, RANGE, ViewOptions(63, 8, 40, batch=100)))


def test_relighting_of_a_plane_is_constant_and_as_computed():
    frames = relighting(make_factors(plane()), CAMERA, RANGE, OPTIONS, ambient=0.3, diffuse=0.8, slope=0.75)
    expected = 0.6 * (0.3 + 0.8 / math.hypot(1, 0.75))
    torch.testing.assert_close(frames[:, :, :, 6:57], torch.full((8, 3, 63, 51), expected), atol=1e-4, rtol=0)


def test_relighting_brightens_the_side_that_faces_the_light():
    frames = relighting(make_factors(bump()), CAMERA, RANGE, OPTIONS)
    left, right = frames[:, 0, 31, 20], frames[:, 0, 31, 42]
    # The first light travels to the right and so meets the left side; half a circle later it is the other way round.
    assert left[0] > right[0] + 0.1
    assert right[4] > left[4] + 0.1
    top, bottom = frames[:, 0, 20, 31], frames[:, 0, 42, 31]
    assert top[2] > bottom[2] + 0.1


def test_relighting_shows_the_view_of_the_image_or_the_canonical_one():
    still = make_factors(bump())
    turned = Factors(
        View(torch.tensor([[0.0, 0.5, 0.0]]), torch.zeros(1, 3)),
        still.canonical_depth,
        still.light,
        still.canonical_albedo,
    )
    front = relighting(still, CAMERA, RANGE, OPTIONS)
    assert (relighting(turned, CAMERA, RANGE, OPTIONS) - front).abs().mean() > 0.02
    torch.testing.assert_close(relighting(turned, CAMERA, RANGE, OPTIONS, canonical=True), front)


def test_textureless_does_not_depend_on_albedo_or_light():
    colorful = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0))
    one = textureless(make_factors(bump()), CAMERA, RANGE, OPTIONS)
    other = textureless(make_factors(bump(), colorful, (-0.5, 0.9)), CAMERA, RANGE, OPTIONS)
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize("yaw_rad", [-0.4, 0.0, 0.4])
def test_textureless_light_stays_with_the_camera(yaw_rad):
    view = View(torch.tensor([[0.0, yaw_rad, 0.0]]), torch.zeros(1, 3))
    frame = textureless(make_factors(plane()), CAMERA, RANGE, OPTIONS, view=view)[0]
    light = F.normalize(torch.tensor([*views_module.STUDIO_SLOPES, 1.0]), dim=0)
    normal = torch.tensor([math.sin(yaw_rad), 0.0, math.cos(yaw_rad)])
    shading = views_module.STUDIO_AMBIENT + views_module.STUDIO_DIFFUSE * float(light @ normal)
    expected = min(1.0, views_module.GREY_ALBEDO * shading)
    torch.testing.assert_close(frame[:, 31, 31], torch.full((3,), expected), atol=1e-3, rtol=0)


def test_misfits_are_refused():
    factors = make_factors(bump())
    two = Factors(
        *(f for f in (factors.view, factors.canonical_depth.expand(2, -1, -1), factors.light, factors.canonical_albedo))
    )
    with pytest.raises(ShapeError, match="one image"):
        turntable(two, CAMERA, RANGE, OPTIONS)
    with pytest.raises(ShapeError, match="one image"):
        turntable(factors, Camera(64, 64), RANGE, OPTIONS)
    with pytest.raises(ShapeError, match="nothing is left"):
        turntable(factors, CAMERA, RANGE, ViewOptions(63, 1, 0, trim_columns=15))
    for wrong in ({"size": 1}, {"frames": 0}, {"max_yaw_deg": 90}, {"batch": 0}):
        with pytest.raises(ConfigError):
            ViewOptions(**{"size": 8, "frames": 2, "max_yaw_deg": 3, **wrong})
