"""`torch.compile` against PyTorch's separate operations and against the fused kernels, on the CPU.

    python benchmarks/compiled.py [--size 64] [--batch 32] [--threads 1] [--repeats 8] [--out FILE]

Forward and backward pass of networks, losses and shading, all in turns. It needs a C++ compiler. `compiling_s` is the
first call with an empty cache on disk, `again_s` the first call with that cache, after all in memory was forgotten.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fused import losses, views
from harness import Report, common_arguments, measure, prepare, run, settings, write_report
from runs import model_config
from scr3d.fused.dispatch import plain
from scr3d.losses.features import squeezenet_features
from scr3d.models import PhotoGeometricAutoencoder
from scr3d.models.autoencoder import channels_last

WARMUP = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common_arguments(parser)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    arguments = parser.parse_args()
    description = prepare(arguments)
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as cache:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
        for name, (function, tensors, inputs) in pieces(arguments.size, arguments.batch).items():
            results[name] = compare(function, tensors, inputs, arguments.repeats)
    write_report(arguments.out, Report("compiled", settings(arguments), description, {"pieces": results}))


def pieces(size: int, batch: int) -> dict[str, tuple[Callable[..., Tensor], list[Tensor], list[Tensor]]]:
    """What is timed: a function, what gets a gradient, and what the function is called with."""
    torch.manual_seed(0)
    config = model_config("compact", size, "dense")
    model = PhotoGeometricAutoencoder(config)
    channels_last(model)
    image = torch.rand(batch, 3, size, size).contiguous(memory_format=torch.channels_last)
    found = {}
    for name, network, source in (
        ("encoder", model.encoders["depth"], image),
        ("depth decoder", model.depth_decoder, torch.randn(batch, config.embedding)),
    ):
        found[name] = (network, list(network.parameters()), [source])
    features = squeezenet_features()
    pixels = torch.rand(2 * batch, 3, size, size).contiguous(memory_format=torch.channels_last).requires_grad_()
    found["perceptual features"] = (features, [pixels], [pixels])
    shading = views(size, 2 * batch)["normals and shading"]
    for name, piece in (losses(size, batch) | {"normals and shading": shading}).items():
        found[name] = (piece.compute, piece.tensors, piece.tensors)
    return found


def compare(function: Callable[..., Tensor], tensors: list[Tensor], inputs: list[Tensor], repeats: int) -> Any:
    """Times of the three, and of compiling."""
    compiled = torch.compile(function)

    def both(forward: Callable[..., Tensor], without_kernels: bool) -> Callable[[], object]:
        def call() -> None:
            torch.autograd.grad(forward(*inputs).sum(), tensors)

        def call_plain() -> None:
            with plain():
                call()

        return call_plain if without_kernels else call

    first = {}
    for name in ("compiling_s", "again_s"):
        torch.compiler.reset()
        start = time.perf_counter()
        both(compiled, True)()
        first[name] = time.perf_counter() - start
    calls = {"fused": both(function, False), "plain": both(function, True), "compiled": both(compiled, True)}
    times = measure(calls, repeats, WARMUP)
    return {
        **times,
        **first,
        "compiled_against_plain": times["plain"].median_ms / times["compiled"].median_ms,
        "fused_against_plain": times["plain"].median_ms / times["fused"].median_ms,
    }


if __name__ == "__main__":
    run(main)
