"""Every fused kernel against the PyTorch that defines it, and a whole training step with and without them.

    python benchmarks/fused.py [--size 64] [--batch 32] [--threads 1] [--repeats 20] [--out FILE]

All take turns in one process, forward and backward pass together, with the sizes of the compact networks at `--size`.
`Adam` is the optimiser's step alone, one parameter list after another against one pass over all.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness import Report, common_arguments, measure, prepare, run, settings, write_report
from runs import make_data, model_config, trainer
from scr3d.factors import Light, View
from scr3d.fused.convolution import Activation, Convolution, Kind, layer
from scr3d.fused.dispatch import plain
from scr3d.geometry.camera import Camera, DepthRange
from scr3d.losses import perceptual_loss, photometric_loss
from scr3d.losses.features import squeezenet_features
from scr3d.rendering import light_surface, render

WARMUP = 2


@dataclass(frozen=True)
class Piece:
    """What is timed: results from tensors, which all get a gradient."""

    compute: Callable[..., Tensor]
    tensors: list[Tensor]

    def call(self, fused: bool) -> Callable[[], object]:
        """Forward and backward pass."""

        def both() -> None:
            with nullcontext() if fused else plain():
                total = self.compute(*self.tensors)
            torch.autograd.grad(total, self.tensors)

        return both


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common_arguments(parser)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    arguments = parser.parse_args()
    description = prepare(arguments)
    calls: dict[str, Callable[[], object]] = {}
    for name, piece in pieces(arguments.size, arguments.batch).items():
        calls |= {f"{name}, fused": piece.call(True), f"{name}, plain": piece.call(False)}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        data = make_data(root, arguments.size, arguments.batch)
        config = model_config("compact", arguments.size, "dense")
        made = trainer(data, root / "run", config, arguments.batch, arguments.threads, "cpu")
        made.train_step()
        calls |= {"Adam, plain": adam(made.model, False), "Adam, fused": adam(made.model, True)}

        def plain_step() -> None:
            with plain():
                made.train_step()

        calls |= {"training step, plain": plain_step, "training step, fused": made.train_step}
        times = measure(calls, arguments.repeats, WARMUP)
    results: dict[str, Any] = {}
    for name in dict.fromkeys(call.rpartition(", ")[0] for call in calls):
        own, other = times[f"{name}, fused"], times[f"{name}, plain"]
        results[name] = {
            "fused": own,
            "plain": other,
            "times_as_fast": other.median_ms / own.median_ms,
            "times_as_fast_by_processor": other.cpu_ms / own.cpu_ms,
        }
    write_report(arguments.out, Report("fused", settings(arguments), description, {"pieces": results}))


def pieces(size: int, batch: int) -> dict[str, Piece]:
    """Layers of encoder and decoder, features, losses and renderer, each by itself."""
    found = {}
    for side in (4, 8, 16, 32, 64):
        width = 512 // side
        shapes = {
            "3x3 convolution": (Kind.SAME, width, width, side),
            "3x3 convolution of the doubled map": (Kind.ENLARGING, 2 * width, width, side // 2),
            "4x4 convolution with stride 2": (Kind.HALVING, width, 2 * width, side),
        }
        for name, (kind, inputs, outputs, height) in shapes.items():
            if side > size or (kind is not Kind.SAME and height < 4) or (kind is Kind.HALVING and not 4 < side < size):
                continue
            title = f"{name}, {inputs} to {outputs} channels, {height}x{height}"
            found[title] = layer_piece(kind, inputs, outputs, height, batch)
    network = squeezenet_features()
    image = torch.rand(2 * batch, 3, size, size).contiguous(memory_format=torch.channels_last).requires_grad_()
    found["perceptual features"] = Piece(lambda x: network(x).sum(), [image])
    found |= losses(size, batch) | views(size, 2 * batch)
    return found


def layer_piece(kind: Kind, inputs: int, outputs: int, side: int, batch: int) -> Piece:
    """Normalisation, rectifier and one convolution."""
    kernel = 4 if kind is Kind.HALVING else 3
    order = torch.channels_last
    source = torch.randn(batch, inputs, side, side).contiguous(memory_format=order).requires_grad_()
    weights = torch.randn(outputs, inputs, kernel, kernel).contiguous(memory_format=order).requires_grad_()
    gains, shifts = torch.ones(inputs, requires_grad=True), torch.zeros(inputs, requires_grad=True)

    def compute(source: Tensor, weights: Tensor, gains: Tensor, shifts: Tensor) -> Tensor:
        (result,) = layer(source, Activation(gains, shifts, 0.0), [Convolution(kind, weights)])
        return result.sum()

    return Piece(compute, [source, weights, gains, shifts])


def losses(size: int, batch: int) -> dict[str, Piece]:
    """The losses of one reconstruction."""
    found = {}
    for name, loss, channels, side in (
        ("photometric loss", photometric_loss, 3, size),
        ("perceptual loss", perceptual_loss, 128, size // 4),
    ):
        target = torch.rand(batch, channels, side, side)
        seen = torch.rand(batch, channels, side, side).contiguous(memory_format=torch.channels_last).requires_grad_()
        sigma = (0.1 + torch.rand(batch, side, side)).requires_grad_()
        found[name] = Piece(lambda x, s, loss=loss, target=target: loss(x, target, s), [seen, sigma])
    return found


def views(size: int, count: int) -> dict[str, Piece]:
    """Shading and view of a batch of smooth surfaces."""
    camera, depth_range = Camera(size, size), DepthRange()
    coarse = torch.rand(count, 1, 8, 8)
    depth = 0.95 + 0.1 * torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic")[:, 0]
    albedo = torch.rand(count, 3, size, size).contiguous(memory_format=torch.channels_last)
    light = Light.from_slopes(torch.rand(count), torch.rand(count), torch.randn(count, 2))
    tensors = [depth.requires_grad_(), albedo.requires_grad_(), (0.3 * torch.randn(count, 3)).requires_grad_()]
    still = torch.zeros(count, 3)

    def shaded(depth: Tensor, albedo: Tensor) -> Tensor:
        return light_surface(depth, albedo, light, camera)[2].sum()

    def viewed(depth: Tensor, albedo: Tensor, rotation: Tensor) -> Tensor:
        return render(depth, View(rotation, still), albedo, camera, depth_range, True).image.sum()

    return {"normals and shading": Piece(shaded, tensors[:2]), "renderer": Piece(viewed, tensors)}


def adam(model: torch.nn.Module, fused: bool) -> Callable[[], object]:
    """The optimiser's step on weights of its own."""
    own = copy.deepcopy(model)
    for parameter in own.parameters():
        parameter.grad = torch.randn_like(parameter)
    return torch.optim.Adam(own.parameters(), lr=1e-3, fused=fused).step


if __name__ == "__main__":
    run(main)
