"""Renderer, losses, features and a whole training step by fused kernels, against PyTorch."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import Tensor

from scr3d.data.dataset import Batch
from scr3d.factors import Light, View
from scr3d.fused.dispatch import plain, usable
from scr3d.geometry.camera import Camera, DepthRange
from scr3d.losses import perceptual_loss, photometric_loss
from scr3d.losses.features import squeezenet_features
from scr3d.models import ModelConfig, PhotoGeometricAutoencoder
from scr3d.rendering import heightfield, light_surface, render
from scr3d.training.objective import TrainingObjective, Whole
from scr3d.training.parallel import BatchInParts
from scr3d.training.recipe import Recipe

RANGE = DepthRange()
NAMES = ("depth", "albedo", "rotation", "translation", "ambient", "diffuse", "slopes")


def scene(size: int = 24, count: int = 3) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(4)
    coarse = torch.rand(count, 1, 5, 5, generator=draw)
    depth = 0.95 + 0.1 * torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic", align_corners=True)[:, 0]
    return {
        "depth": depth,
        "albedo": torch.rand(count, 3, size, size, generator=draw),
        "rotation": 0.4 * torch.randn(count, 3, generator=draw),
        "translation": 0.01 * torch.randn(count, 3, generator=draw),
        "ambient": torch.rand(count, generator=draw),
        "diffuse": torch.rand(count, generator=draw),
        "slopes": 0.5 * torch.randn(count, 2, generator=draw),
    }


def look(values: dict[str, Tensor], continued: bool) -> dict[str, Tensor]:
    camera = Camera(*values["depth"].shape[1:])
    light = Light.from_slopes(values["ambient"], values["diffuse"], values["slopes"])
    normal, shading, image = light_surface(values["depth"], values["albedo"], light, camera)
    seen = render(
        values["depth"], View(values["rotation"], values["translation"]), image, camera, RANGE, continued=continued
    )
    return {"normal": normal, "shading": shading, "picture": image, "image": seen.image, "view_depth": seen.depth}


def weighted(results: dict[str, Tensor]) -> Tensor:
    total = torch.zeros((), dtype=results["image"].dtype)
    for value in results.values():
        total = total + (value * torch.arange(value.numel()).mul(0.37).sin().view(value.shape).to(value)).sum()
    return total


@pytest.mark.parametrize("continued", [False, True])
@pytest.mark.parametrize("chosen", ["all", "image"])
def test_lit_and_seen_surface(monkeypatch: pytest.MonkeyPatch, continued: bool, chosen: str) -> None:
    values = {name: value.requires_grad_() for name, value in scene().items()}
    view = View(values["rotation"], values["translation"])
    triangle = heightfield.visible_triangles(values["depth"], view, Camera(24, 24))
    assert 0.2 < (triangle >= 0).float().mean() < 1
    # In double precision a corner on the edge between two triangles may show the other one.
    monkeypatch.setattr(heightfield, "visible_triangles", lambda *_: triangle)

    def compute(inputs: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[Tensor]]:
        results = look(inputs, continued)
        results = results if chosen == "all" else {"image": results["image"]}
        return results, list(torch.autograd.grad(weighted(results), [inputs[name] for name in NAMES]))

    double = {name: value.detach().double().requires_grad_() for name, value in values.items()}
    with plain():
        single, single_gradients = compute(values)
    found, gradients = compute(values)
    wanted, wanted_gradients = compute(double)
    assert "Seen" in type(found["image"].grad_fn).__name__
    for name, value in found.items():
        own = (single[name].double() - wanted[name]).abs().max()
        assert (value.double() - wanted[name]).abs().max() <= 2 * own + 1e-5, name
    for name, value, of_plain, expected in zip(NAMES, gradients, single_gradients, wanted_gradients, strict=True):
        # Rounding of the depth is steep at outlines; the kernel may be off by no more than PyTorch is.
        error, own = (value.double() - expected).norm(), (of_plain.double() - expected).norm()
        assert error <= 2 * own + 1e-5 * expected.norm(), name


def test_masks_are_the_same() -> None:
    values = scene()
    view, camera = View(values["rotation"], values["translation"]), Camera(24, 24)
    found = render(values["depth"], view, values["albedo"], camera, RANGE)
    with plain():
        wanted = render(values["depth"], view, values["albedo"], camera, RANGE)
    assert torch.equal(found.mask, wanted.mask)
    assert not found.image.movedim(1, -1)[~found.mask].any()


def test_derivatives_of_derivatives_of_a_view() -> None:
    values = {name: value.requires_grad_() for name, value in scene(count=1).items()}

    def twice() -> list[Tensor]:
        inputs = [values[name] for name in NAMES]
        first = torch.autograd.grad(
            look(values, True)["picture"].square().sum(), inputs, create_graph=True, allow_unused=True
        )
        return list(torch.autograd.grad(sum(g.square().sum() for g in first if g is not None), [values["depth"]]))

    found = twice()
    with plain():
        wanted = twice()
    for value, expected in zip(found, wanted, strict=True):
        assert (value - expected).norm() <= 1e-3 * expected.norm()


@pytest.mark.parametrize("width", [8, 7])
@pytest.mark.parametrize(
    ("loss", "channels"), [(photometric_loss, 3), (perceptual_loss, 3), (perceptual_loss, 128), (perceptual_loss, 11)]
)
def test_losses(loss, channels: int, width: int) -> None:
    draw = torch.Generator().manual_seed(5)
    reconstruction = torch.randn(3, channels, 5, width, generator=draw).requires_grad_()
    target = torch.randn(3, channels, 5, width, generator=draw)
    target[0, 1] = reconstruction.detach()[0, 1]
    sigma = (0.05 + torch.rand(3, 5, width, generator=draw)).requires_grad_()
    found = loss(reconstruction, target, sigma)
    assert "Loss" in type(found.grad_fn).__name__
    gradients = torch.autograd.grad(3 * found, [reconstruction, sigma])
    double = [x.detach().double().requires_grad_() for x in (reconstruction, sigma)]
    wanted = loss(double[0], target.double(), double[1])
    torch.testing.assert_close(found.double(), wanted, rtol=1e-6, atol=1e-6)
    for value, expected in zip(gradients, torch.autograd.grad(3 * wanted, double), strict=True):
        torch.testing.assert_close(value.double(), expected, rtol=1e-4, atol=1e-7)


def test_a_masked_loss_takes_the_plain_form() -> None:
    image = torch.rand(1, 3, 8, 8).requires_grad_()
    found = photometric_loss(image, torch.rand(1, 3, 8, 8), torch.ones(1, 8, 8), torch.ones(1, 8, 8))
    assert "Loss" not in type(found.grad_fn).__name__


@pytest.mark.parametrize(("height", "width"), [(32, 32), (24, 40)])
def test_features(height: int, width: int) -> None:
    network = squeezenet_features()
    draw = torch.Generator().manual_seed(6)
    image = torch.rand(2, 3, height, width, generator=draw).requires_grad_()
    found = network(image)
    assert "Front" in type(found.grad_fn).__name__
    double = image.detach().double().requires_grad_()
    wanted = deepcopy(network).double()(double)
    assert (found.double() - wanted).norm() <= 1e-5 * wanted.norm()
    direction = torch.randn(found.shape, generator=draw)
    (gradient,) = torch.autograd.grad(found, image, direction)
    (expected,) = torch.autograd.grad(wanted, double, direction.double())
    assert (gradient.double() - expected).norm() <= 1e-4 * expected.norm()
    with torch.no_grad():
        assert torch.equal(network(image), found)


def objective() -> TrainingObjective:
    torch.manual_seed(7)
    model = PhotoGeometricAutoencoder(ModelConfig(size=32, width=8, order="VDLA", start_scale=3.0))
    return TrainingObjective(model, squeezenet_features(), Recipe(relief_start=0, relief_rampup=1))


def batch(count: int) -> Batch:
    coarse = torch.rand(count, 3, 6, 6, generator=torch.Generator().manual_seed(8))
    return Batch(torch.nn.functional.interpolate(coarse, (32, 32), mode="bilinear"), None)


def test_a_training_step() -> None:
    """Loss and gradient of everything, about as close to double precision as PyTorch's own."""
    made, wanted = objective(), objective().double()
    images = batch(4)
    total, _ = made(Whole(images), 50_000)
    gradients = torch.autograd.grad(total, list(made.model.parameters()), allow_unused=True)
    with plain():
        plain_total, _ = made(Whole(images), 50_000)
        of_plain = torch.autograd.grad(plain_total, list(made.model.parameters()), allow_unused=True)
    expected_total, _ = wanted(Whole(Batch(images.image.double(), None)), 50_000)
    expected = torch.autograd.grad(expected_total, list(wanted.model.parameters()), allow_unused=True)
    torch.testing.assert_close(total.double(), expected_total, rtol=1e-5, atol=1e-5)
    size = torch.stack([g.norm() for g in expected if g is not None]).norm()
    for (name, _), value, own, right in zip(made.model.named_parameters(), gradients, of_plain, expected, strict=True):
        assert (value is None) == (right is None), name
        if value is not None:
            error, usual = (value.double() - right).norm(), (own.double() - right).norm()
            assert error <= 3 * usual + 1e-4 * right.norm() + 1e-6 * size, name


def test_the_plain_form_also_in_parts_of_a_batch() -> None:
    seen = []

    class Looking(torch.nn.Module):
        def forward(self, whole: Whole, *_: object, **__: object) -> object:
            seen.append(usable(whole.batch.image))
            return parameter.sum(), {"loss": parameter.detach().sum()}

    parameter = torch.nn.Parameter(torch.ones(2))
    in_parts = BatchInParts(2)
    with plain():
        in_parts.gradients(Looking(), batch(4), 0, [parameter])
    in_parts.gradients(Looking(), batch(4), 0, [parameter])
    in_parts.close()
    assert seen == [False, False, True, True]


def test_kernels_are_for_float32_on_the_cpu() -> None:
    assert usable(torch.ones(1), None)
    assert not usable(torch.ones(1), torch.ones(1, dtype=torch.float64))
    assert not usable(torch.ones(1, device="meta"))
