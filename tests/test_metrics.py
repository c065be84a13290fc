import math

import pytest
import torch
import torch.nn.functional as F

from scr3d.errors import ShapeError
from scr3d.geometry import Camera, DepthRange, normals_from_depth
from scr3d.metrics import (
    DepthScores,
    angle_deg,
    correlation,
    depth_scores,
    depth_scores_from_normals,
    erode,
    log_depth_parts,
    masked_image_mean,
    scale_invariant_error,
    slope,
)

CAMERA, RANGE = Camera(24, 24), DepthRange()
WORST = math.log(1.1 / 0.9)


def everywhere(batch: int = 1) -> torch.Tensor:
    return torch.ones(batch, 24, 24, dtype=torch.bool)


def box(top: int, bottom: int, left: int, right: int) -> torch.Tensor:
    mask = torch.zeros(1, 24, 24, dtype=torch.bool)
    mask[:, top:bottom, left:right] = True
    return mask


def bumpy(batch: int = 1, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(batch, 1, 4, 4, generator=generator)
    return 1 + 0.05 * F.interpolate(coarse, size=(24, 24), mode="bicubic", align_corners=True)[:, 0].tanh()


def plane(tilt_deg: float) -> torch.Tensor:
    """Depth of a plane whose normal is turned by an angle about the vertical axis."""
    tilt = math.radians(tilt_deg)
    rays = CAMERA.rays(torch.zeros(1))
    return (math.cos(tilt) / (math.sin(tilt) * rays[0] + math.cos(tilt)))[None]


def scores(predicted, true, predicted_mask=None, foreground=None) -> DepthScores:
    batch = len(true)
    predicted_mask = everywhere(batch) if predicted_mask is None else predicted_mask
    foreground = everywhere(batch) if foreground is None else foreground
    return depth_scores(predicted, predicted_mask, true, foreground, CAMERA, RANGE)


# --- SIDE and MAD


def test_zero_for_the_truth():
    found = scores(bumpy(), bumpy())
    assert found.side == pytest.approx(0, abs=1e-6)
    assert found.strict_side == pytest.approx(0, abs=1e-6)
    assert found.mad_deg == pytest.approx(0, abs=0.1)
    assert found.coverage == 1


@pytest.mark.parametrize("scale", [0.5, 0.97, 3.0])
def test_side_does_not_see_the_scale(scale):
    assert scores(scale * bumpy(), bumpy()).side == pytest.approx(0, abs=1e-6)


def test_side_of_a_known_offset():
    predicted = bumpy()
    predicted[:, :, :12] *= math.exp(0.08)  # on half of the pixels: mean 0.04, deviation 0.04 everywhere
    assert scores(predicted, bumpy()).side == pytest.approx(0.04, abs=1e-5)
    predicted = bumpy()
    predicted[:, :, :6] *= math.exp(0.08)  # on a quarter: 0.08 sqrt(1/4 * 3/4)
    assert scores(predicted, bumpy()).side == pytest.approx(0.08 * math.sqrt(3) / 4, abs=1e-5)


@pytest.mark.parametrize(("first", "second"), [(0, 20), (-15, 25), (40, 40)])
def test_mad_of_tilted_planes(first, second):
    inside = box(2, 22, 2, 22)
    found = scores(plane(first), plane(second), foreground=inside)
    assert found.mad_deg == pytest.approx(abs(first - second), abs=0.1)
    assert found.strict_mad_deg == pytest.approx(abs(first - second), abs=0.1)


def test_normals_may_be_given():
    true, flat = bumpy(), torch.ones(1, 24, 24)
    normal = normals_from_depth(flat, CAMERA)
    found = depth_scores_from_normals(flat, normal, true, everywhere(), CAMERA, RANGE)
    expected = scores(flat, true)
    torch.testing.assert_close(found.mad_deg, expected.mad_deg)
    torch.testing.assert_close(found.side, expected.side)
    turned = F.normalize(torch.tensor([0.0, 1.0, 1.0]), dim=0)[None, :, None, None].expand(1, 3, 24, 24)
    tilted = depth_scores_from_normals(flat, turned, flat, box(2, 22, 2, 22), CAMERA, RANGE)
    assert tilted.mad_deg == pytest.approx(45, abs=1e-3)


def test_angles():
    first = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]).T[None, :, None]
    second = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]]).T[None, :, None]
    torch.testing.assert_close(angle_deg(first, second), torch.tensor([[[0.0, 90.0, 180.0]]]))
    assert torch.isfinite(angle_deg(1.0001 * first, first)).all()


# --- what counts


def test_what_lies_outside_does_not_count():
    foreground = box(4, 20, 4, 20)
    predicted, true = bumpy(seed=1), bumpy(seed=2)
    before = scores(predicted, true, foreground=foreground)
    assert before.side > 0.01
    spoilt_prediction, spoilt_truth = predicted.clone(), true.clone()
    spoilt_prediction[~foreground] = 5.0
    spoilt_truth[~foreground] = 0.1
    after = scores(spoilt_prediction, spoilt_truth, foreground=foreground)
    for name in ("side", "mad_deg", "coverage", "strict_side", "strict_mad_deg"):
        torch.testing.assert_close(getattr(after, name), getattr(before, name))


def test_both_masks_are_eroded_by_one_pixel():
    foreground, predicted_mask = box(4, 20, 4, 20), box(0, 24, 0, 12)
    found = scores(bumpy(), bumpy(), predicted_mask, foreground)
    # Foreground without its rim: 14 x 14. Prediction without its rim: columns up to 10, so columns 5 to 10.
    assert found.coverage == pytest.approx(14 * 6 / (14 * 14))


def test_strict_scores_count_what_is_uncovered():
    foreground, predicted_mask = box(4, 20, 4, 20), box(0, 24, 0, 12)
    found = scores(bumpy(), bumpy(), predicted_mask, foreground)
    assert found.side == pytest.approx(0, abs=1e-6)
    assert found.mad_deg == pytest.approx(0, abs=0.1)
    uncovered = 1 - float(found.coverage)
    assert found.strict_side == pytest.approx(math.sqrt(uncovered) * WORST, rel=1e-4)
    assert found.strict_mad_deg == pytest.approx(uncovered * 90, abs=0.1)


def test_masking_the_worst_pixels_does_not_improve_the_strict_scores():
    true, foreground = plane(30), box(2, 22, 2, 22)
    honest = scores(torch.ones(1, 24, 24), true, foreground=foreground)
    masked = scores(torch.ones(1, 24, 24), true, box(9, 15, 9, 15), foreground)
    assert masked.side < honest.side
    assert masked.strict_side > honest.strict_side
    assert masked.strict_mad_deg > honest.strict_mad_deg


def test_an_uncovered_image_has_no_score_but_a_strict_one():
    found = scores(bumpy(), bumpy(), ~everywhere(), box(4, 20, 4, 20))
    assert found.side.isnan()
    assert found.mad_deg.isnan()
    assert found.coverage == 0
    assert found.strict_side == pytest.approx(WORST, rel=1e-5)
    assert found.strict_mad_deg == pytest.approx(90)


def test_every_image_has_its_own_foreground():
    predicted, true = bumpy(3, seed=1), bumpy(3, seed=2)
    foreground = torch.cat([box(2, 22, 2, 22), box(10, 18, 3, 20), box(0, 8, 16, 24)])
    together = scores(predicted, true, foreground=foreground)
    singles = [scores(predicted[i : i + 1], true[i : i + 1], foreground=foreground[i : i + 1]) for i in range(3)]
    joined = DepthScores.cat(singles)
    for name in ("side", "mad_deg", "coverage", "strict_side", "strict_mad_deg"):
        torch.testing.assert_close(getattr(joined, name), getattr(together, name))


@pytest.mark.parametrize("place", range(3))
def test_maps_of_different_shapes_are_refused(place):
    maps = [torch.ones(2, 24, 24), everywhere(2), torch.ones(2, 24, 24), everywhere(2)]
    maps[place + 1] = maps[place + 1][:1]
    with pytest.raises(ShapeError, match="one shape"):
        depth_scores(*maps, CAMERA, RANGE)


def test_erosion_keeps_pixels_whose_neighbours_are_all_inside():
    mask = torch.rand(3, 9, 11, generator=torch.Generator().manual_seed(0)) < 0.8
    found = erode(mask)
    for b in range(3):
        for y in range(9):
            for x in range(11):
                around = mask[b, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
                assert found[b, y, x] == around.all()


def test_masked_image_mean():
    values = torch.tensor([[[1.0, 2.0], [3.0, math.nan]], [[1.0, 1.0], [1.0, 1.0]]])
    mask = torch.tensor([[[True, True], [True, False]], [[False, False], [False, False]]])
    found = masked_image_mean(values, mask)
    assert found[0] == 2
    assert found[1].isnan()


# --- signs of a good run


def test_the_plane_of_log_depth_and_the_relief_are_told_apart():
    axis = torch.linspace(-0.5, 0.5, 24)
    tilt = 0.03 * axis[None, None, :] - 0.05 * axis[None, :, None] + 0.01
    relief = 0.02 * (8 * axis[None, None, :]).cos() * (8 * axis[None, :, None]).cos()
    mask = box(2, 22, 4, 20)
    flat, rest = log_depth_parts(tilt.exp(), mask)
    torch.testing.assert_close(flat, torch.tensor([[0.03, -0.05, 0.01]]), rtol=0, atol=1e-5)
    torch.testing.assert_close(rest, torch.zeros(1, 24, 24), rtol=0, atol=1e-5)
    with_relief, rest = log_depth_parts((tilt + relief).exp(), mask)
    alone, expected = log_depth_parts(relief.exp(), mask)
    torch.testing.assert_close(with_relief, flat + alone, rtol=0, atol=1e-5)
    torch.testing.assert_close(rest, expected, rtol=0, atol=1e-5)
    assert (rest[~mask] == 0).all()
    # Least squares: what is left over is orthogonal to the plane.
    assert (rest * axis[None, None, :]).sum().abs() < 1e-4


def test_an_empty_mask_has_a_finite_plane():
    flat, relief = log_depth_parts(bumpy(), ~everywhere())
    assert torch.isfinite(flat).all()
    assert (relief == 0).all()


def test_correlation_and_slope():
    true = torch.randn(50)
    assert correlation(2 * true + 3, true) == pytest.approx(1)
    assert correlation(-true, true) == pytest.approx(-1)
    assert math.isnan(correlation(torch.ones(50), true))
    assert slope(0.4 * true - 1, true) == pytest.approx(0.4, rel=1e-5)


def test_albedo_error_ignores_brightness_but_not_colour():
    true = torch.rand(2, 3, 24, 24)
    mask = everywhere(2)
    assert scale_invariant_error(0.5 * true, true, mask).max() < 1e-5
    mask = box(4, 20, 4, 20).expand(2, -1, -1)
    spoilt = torch.where(mask[:, None], true, torch.zeros(()))
    assert scale_invariant_error(spoilt, true, mask).max() < 1e-5
    grey, red = torch.full((1, 3, 24, 24), 0.5), torch.zeros(1, 3, 24, 24)
    red[:, 0] = 1
    # The best factor on grey is (0.5 / 0.75) = 2/3, so grey becomes 1/3: errors 2/3, 1/3, 1/3.
    expected = math.sqrt((4 / 9 + 1 / 9 + 1 / 9) / 3)
    assert scale_invariant_error(grey, red, everywhere()) == pytest.approx(expected, rel=1e-5)
