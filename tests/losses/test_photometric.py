import math

import pytest
import torch

from scr3d.errors import ShapeError
from scr3d.losses import masked_mean, perceptual_loss, photometric_loss

LOSSES = [photometric_loss, perceptual_loss]


def inputs(batch: int = 2, channels: int = 3, height: int = 5, width: int = 7) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (batch, channels, height, width)
    return {
        "reconstruction": torch.randn(shape, generator=generator),
        "target": torch.randn(shape, generator=generator),
        "sigma": 0.5 + torch.rand((batch, height, width), generator=generator),
    }


@pytest.mark.parametrize("loss", LOSSES)
def test_zero_for_the_same_image_at_confidence_one(loss):
    image = inputs()["target"]
    assert loss(image, image, torch.ones(2, 5, 7)) == pytest.approx(0, abs=1e-6)


def test_photometric_in_closed_form():
    zero, one = torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4)
    found = photometric_loss(zero, 0.5 * one, torch.full((1, 4, 4), 0.2))
    assert found == pytest.approx(math.sqrt(2) * 0.5 / 0.2 + math.log(0.2), rel=1e-5)


def test_perceptual_in_closed_form():
    zero, one = torch.zeros(1, 8, 4, 4), torch.ones(1, 8, 4, 4)
    found = perceptual_loss(zero, 0.5 * one, torch.full((1, 4, 4), 0.2))
    assert found == pytest.approx(0.25 / (2 * 0.04) + math.log(0.2), rel=1e-5)


@pytest.mark.parametrize(("loss", "best"), [(photometric_loss, math.sqrt(2) * 0.3), (perceptual_loss, 0.3)])
def test_best_confidence_is_the_standard_deviation_of_the_error(loss, best):
    zero, error = torch.zeros(1, 3, 1, 1), torch.full((1, 3, 1, 1), 0.3)
    at = {factor: float(loss(zero, error, torch.full((1, 1, 1), factor * best))) for factor in (0.9, 1.0, 1.1)}
    assert at[1.0] < min(at[0.9], at[1.1])


@pytest.mark.parametrize("loss", LOSSES)
def test_mean_over_images_pixels_and_channels(loss):
    values = inputs()
    parts = [loss(*(v[i : i + 1] for v in values.values())) for i in range(2)]
    torch.testing.assert_close(loss(**values), torch.stack(parts).mean())
    stretched = {name: torch.cat([value, value], dim=-1) for name, value in values.items()}
    torch.testing.assert_close(loss(**stretched), loss(**values))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("rubbish", [100.0, math.inf, math.nan])
def test_the_mask_isolates(loss, rubbish):
    values = inputs()
    mask = torch.zeros(2, 5, 7)
    mask[:, 1:4, 2:5] = 1
    inside = {name: value[..., 1:4, 2:5] for name, value in values.items()}
    values["reconstruction"] = values["reconstruction"].where(mask[:, None] > 0, torch.tensor(rubbish))
    torch.testing.assert_close(loss(**values, mask=mask), loss(**inside))


@pytest.mark.parametrize("loss", LOSSES)
def test_the_mask_weighs(loss):
    values = inputs(batch=1)
    mask = torch.rand(1, 5, 7)
    singles = torch.stack(
        [loss(*(v[..., y : y + 1, x : x + 1] for v in values.values())) for y in range(5) for x in range(7)]
    )
    expected = (singles * mask.flatten()).sum() / mask.sum()
    torch.testing.assert_close(loss(**values, mask=mask), expected)
    torch.testing.assert_close(loss(**values, mask=torch.ones(1, 5, 7)), loss(**values))


@pytest.mark.parametrize("loss", LOSSES)
def test_an_empty_mask_gives_zero_and_finite_gradients(loss):
    values = {name: value.requires_grad_() for name, value in inputs().items()}
    found = loss(**values, mask=torch.zeros(2, 5, 7))
    found.backward()
    assert found == 0
    assert all(torch.isfinite(value.grad).all() for value in values.values())


@pytest.mark.parametrize("loss", LOSSES)
def test_certainty_about_a_wrong_pixel_stays_finite(loss):
    values = inputs()
    values["sigma"] = torch.zeros(2, 5, 7, requires_grad=True)
    found = loss(**values)
    found.backward()
    assert torch.isfinite(found)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    ("name", "shape", "words"),
    [
        ("target", (2, 3, 5, 6), "the same"),
        ("target", (2, 1, 5, 7), "the same"),
        ("sigma", (2, 1, 5, 7), "sigma must be"),
        ("sigma", (2, 5, 6), "sigma must be"),
        ("mask", (1, 5, 7), "mask must be"),
        ("mask", (2, 1, 5, 7), "mask must be"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(loss, name, shape, words):
    with pytest.raises(ShapeError, match=words):
        loss(**(inputs() | {name: torch.ones(shape)}))


def test_images_without_channels_are_refused():
    with pytest.raises(ShapeError, match="the same"):
        photometric_loss(torch.zeros(5, 7), torch.zeros(5, 7), torch.ones(5, 7))


def test_masked_mean():
    values = torch.arange(8.0).view(1, 2, 2, 2)
    assert masked_mean(values, None) == 3.5
    assert masked_mean(values, torch.tensor([[[0.0, 0.0], [0.0, 1.0]]])) == 5


@pytest.mark.parametrize("loss", LOSSES)
def test_derivatives(loss):
    values = {name: value.double().requires_grad_() for name, value in inputs(1, 3, 2, 2).items()}
    assert torch.autograd.gradcheck(loss, tuple(values.values()))
    assert torch.autograd.gradgradcheck(loss, tuple(values.values()))
