"""Layers in one kernel against the same layers in PyTorch, in double precision."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from scr3d.fused.convolution import Activation, Convolution, Kind, layer
from scr3d.fused.dispatch import plain
from scr3d.models import ModelConfig, PhotoGeometricAutoencoder
from scr3d.models.autoencoder import channels_last

CASES = {
    "same": (8, 0, 16, [(Kind.SAME, 8)]),
    "same, small maps": (24, 0, 4, [(Kind.SAME, 40)]),
    "few outputs": (16, 0, 8, [(Kind.SAME, 3)]),
    "halving": (16, 0, 8, [(Kind.HALVING, 24)]),
    "halving with the image": (16, 3, 16, [(Kind.HALVING, 32)]),
    "enlarging": (16, 0, 8, [(Kind.ENLARGING, 8)]),
    "enlarging small maps": (40, 0, 4, [(Kind.ENLARGING, 16)]),
    "enlarging, with an output": (8, 0, 16, [(Kind.ENLARGING, 16), (Kind.SAME, 1)]),
    "activation alone": (16, 3, 8, [(Kind.NONE, 0)]),
    "four channels": (4, 0, 16, [(Kind.SAME, 4)]),
    "four channels, few outputs": (4, 0, 16, [(Kind.SAME, 3)]),
    "four channels, many outputs": (4, 0, 8, [(Kind.SAME, 24)]),
    "to four channels": (16, 0, 8, [(Kind.SAME, 4)]),
    "halving four channels with the image": (4, 3, 16, [(Kind.HALVING, 8)]),
    "halving four channels": (4, 0, 8, [(Kind.HALVING, 4)]),
    "halving to four channels": (8, 3, 16, [(Kind.HALVING, 4)]),
    "enlarging to four channels, with an output": (8, 0, 16, [(Kind.ENLARGING, 4), (Kind.SAME, 3)]),
    "enlarging four channels, with an output": (4, 0, 16, [(Kind.ENLARGING, 4), (Kind.SAME, 1)]),
    "enlarging four channels of small maps": (4, 0, 8, [(Kind.ENLARGING, 8), (Kind.SAME, 2)]),
    "four channels, activation alone": (4, 0, 8, [(Kind.NONE, 0)]),
}


def make(name: str, normed: bool, slope: float) -> tuple[list[Tensor], dict[str, object]]:
    """The tensors of a case that need gradients, and the rest."""
    channels, extra, size, kinds = CASES[name]
    draw = torch.Generator().manual_seed(1)
    source = torch.randn(3, channels, size, size, generator=draw).contiguous(memory_format=torch.channels_last)
    tensors = [source.requires_grad_()]
    if normed:
        tensors += [(0.5 + torch.rand(channels, generator=draw)).requires_grad_()]
        tensors += [torch.randn(channels, generator=draw).requires_grad_()]
    for kind, outputs in kinds:
        if kind is Kind.NONE:
            continue
        side = 4 if kind is Kind.HALVING else 3
        weights = torch.randn(outputs, channels + extra, side, side, generator=draw) / (side * channels**0.5)
        tensors += [weights.contiguous(memory_format=torch.channels_last).requires_grad_()]
        if outputs < 8:
            tensors += [torch.randn(outputs, generator=draw).requires_grad_()]
    pooled = torch.randn(3, extra, size, size, generator=draw) if extra else None
    return tensors, {"normed": normed, "slope": slope, "kinds": kinds, "extra": pooled}


def run(tensors: list[Tensor], what: dict) -> tuple[Tensor, ...]:
    source, *rest = tensors
    left = iter(rest)
    gains, shifts = (next(left), next(left)) if what["normed"] else (None, None)
    convolutions = []
    for kind, outputs in what["kinds"]:
        weights = None if kind is Kind.NONE else next(left)
        convolutions.append(Convolution(kind, weights, next(left) if 0 < outputs < 8 else None))
    extra = None if what["extra"] is None else what["extra"].to(source.dtype)
    return layer(source, Activation(gains, shifts, what["slope"], extra), convolutions)


def with_gradients(tensors: list[Tensor], what: dict) -> list[Tensor]:
    results = run(tensors, what)
    loss = sum((result * weight(result)).sum() for result in results)
    return [*results, *torch.autograd.grad(loss, tensors)]


def weight(result: Tensor) -> Tensor:
    return (1.5 + torch.arange(result.numel(), dtype=torch.float64).sin()).view(result.shape).to(result)


def is_fused(result: Tensor) -> bool:
    return result.grad_fn is not None and "Fused" in type(result.grad_fn).__name__


@pytest.mark.parametrize("name", list(CASES))
@pytest.mark.parametrize(("normed", "slope"), [(True, 0.2), (True, 0.0), (False, 0.0), (False, 1.0)])
def test_results_and_gradients(name: str, normed: bool, slope: float) -> None:
    tensors, what = make(name, normed, slope)
    assert is_fused(run(tensors, what)[0])
    found = with_gradients(tensors, what)
    double = [tensor.detach().double().requires_grad_() for tensor in tensors]
    assert not is_fused(run(double, what)[0])
    for value, wanted in zip(found, with_gradients(double, what), strict=True):
        assert value.shape == wanted.shape
        assert (value.double() - wanted).norm() <= 1e-5 * wanted.norm()


def test_each_image_by_itself() -> None:
    tensors, what = make("enlarging, with an output", True, 0.0)
    together = run(tensors, what)
    alone = run([tensors[0][1:2], *tensors[1:]], what)
    assert all(torch.equal(whole[1:2], one) for whole, one in zip(together, alone, strict=True))


def test_derivatives_of_derivatives() -> None:
    tensors, what = make("enlarging, with an output", True, 0.2)

    def twice(inputs: list[Tensor]) -> list[Tensor]:
        loss = sum((result * weight(result)).sum() for result in run(inputs, what))
        first = torch.autograd.grad(loss, inputs, create_graph=True)
        return list(torch.autograd.grad(sum(g.square().sum() for g in first), inputs, allow_unused=True))

    found = twice(tensors)
    wanted = twice([tensor.detach().double().requires_grad_() for tensor in tensors])
    for value, expected in zip(found, wanted, strict=True):
        if expected is not None and expected.norm() > 0:
            assert (value.double() - expected).norm() <= 1e-4 * expected.norm()


def test_an_output_that_is_not_used() -> None:
    tensors, what = make("enlarging, with an output", True, 0.0)
    first, _ = run(tensors, what)
    found = torch.autograd.grad(first.square().sum(), tensors, allow_unused=True)
    with plain():
        first, _ = run(tensors, what)
        wanted = torch.autograd.grad(first.square().sum(), tensors, allow_unused=True)
    assert found[-1] is None or not found[-1].any()
    for value, expected in zip(found[:4], wanted[:4], strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("size", "width"), [(32, 16), (64, 16), (128, 16), (32, 4), (32, 12)])
def test_networks_compute_what_their_modules_compute(size: int, width: int) -> None:
    torch.manual_seed(2)
    model = PhotoGeometricAutoencoder(ModelConfig(size=size, width=width, order="VDLA"))
    channels_last(model)
    image = torch.rand(2, 3, size, size)
    embeddings = torch.randn(2, 4, model.config.embedding)

    def answers() -> list[Tensor]:
        factors = model.decode(embeddings).factors
        confidence = model.estimate_confidence(image)
        return [
            model.encode(image),
            factors.canonical_depth,
            factors.canonical_albedo,
            confidence.pixel,
            confidence.perceptual,
        ]

    found = answers()
    with plain():
        wanted = answers()
    for value, expected in zip(found, wanted, strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-5)


def test_groups_that_fill_no_vector_take_the_plain_form() -> None:
    """The kernels normalise groups of 8 channels, or one of 4."""
    draw = torch.Generator().manual_seed(3)
    source = torch.randn(2, 12, 8, 8, generator=draw)
    weights = torch.randn(8, 12, 3, 3, generator=draw).requires_grad_()
    activation = Activation(torch.ones(12), torch.zeros(12), 0.2)
    (result,) = layer(source, activation, [Convolution(Kind.SAME, weights)])
    assert not is_fused(result)


def test_other_types_take_the_plain_form() -> None:
    tensors, what = make("same", True, 0.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (result,) = run(tensors, what)
    assert result.dtype == torch.bfloat16
