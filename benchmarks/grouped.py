"""The factors' four encoders as one network of grouped convolutions, against one after another.

    python benchmarks/grouped.py [--sizes 32 64 128] [--batch 32] [--threads 1] [--repeats 8] [--out FILE]

Forward and backward pass of encoders of equal size, all in turns: one after another in PyTorch (`apart`), joined in
PyTorch (`grouped`), and one after another with fused kernels (`fused`), which is how scr3d trains on the CPU.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness import Report, common_arguments, measure, prepare, run, settings, write_report
from runs import model_config
from scr3d.factors import FACTORS
from scr3d.fused.convolution import EPSILON, GROUP
from scr3d.fused.dispatch import plain
from scr3d.models import PhotoGeometricAutoencoder
from scr3d.models.autoencoder import channels_last
from scr3d.models.encoders import LEAK, Encoder
from scr3d.models.layers import PooledInput

WARMUP = 2


class GroupedEncoders(nn.Module):
    """Encoders of equal size as one network, with their weights one behind the other."""

    def __init__(self, encoders: list[Encoder]):
        super().__init__()
        self.count = len(encoders)
        self.pooled = [isinstance(stage, PooledInput) for stage in encoders[0].stages]
        self.weights = nn.ParameterList()
        self.norms = nn.ParameterList()
        for stages in zip(*(encoder.stages for encoder in encoders), strict=True):
            own = [cast(nn.Sequential, getattr(stage, "stage", stage)) for stage in stages]
            self.weights.append(torch.cat([cast(nn.Conv2d, stage[0]).weight.detach() for stage in own]))
            for part in ("weight", "bias"):
                self.norms.append(torch.cat([getattr(stage[1], part).detach() for stage in own]))
        self.heads = nn.ParameterList(
            torch.cat([cast(nn.Conv2d, encoder.head[place]).weight.detach() for encoder in encoders])
            for place in (0, 2)
        )

    def forward(self, image: Tensor) -> Tensor:
        """[batch, encoders, embedding] of an image."""
        maps, groups = image, 1
        for number, (weights, pools) in enumerate(zip(self.weights, self.pooled, strict=True)):
            gains, shifts = self.norms[2 * number], self.norms[2 * number + 1]
            maps = F.conv2d(maps, weights, stride=2, padding=1, groups=groups)
            maps = F.leaky_relu(F.group_norm(maps, len(gains) // GROUP, gains, shifts, EPSILON), LEAK)
            groups = self.count
            if pools:
                image = F.avg_pool2d(image, 2)
                each = maps.unflatten(1, (groups, -1))
                shared = image[:, None].expand(-1, groups, -1, -1, -1)
                maps = torch.cat([shared, each], dim=2).flatten(1, 2)
        hidden = F.conv2d(maps, self.heads[0], groups=groups).relu()
        return F.conv2d(hidden, self.heads[1], groups=groups).unflatten(1, (groups, -1)).flatten(2)


def encoders_of(size: int) -> list[Encoder]:
    """The encoders of all factors, equal in size, with weights of their own."""
    torch.manual_seed(0)
    model = PhotoGeometricAutoencoder(model_config("compact", size, "dense"))
    channels_last(model)
    return [cast(Encoder, model.encoders[factor.name.lower()]) for factor in FACTORS]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common_arguments(parser)
    parser.add_argument("--sizes", nargs="+", type=int, default=[32, 64, 128])
    parser.add_argument("--batch", type=int, default=32)
    arguments = parser.parse_args()
    description = prepare(arguments)
    calls: dict[str, Callable[[], object]] = {}
    for size in arguments.sizes:
        encoders = encoders_of(size)
        image = torch.rand(arguments.batch, 3, size, size).contiguous(memory_format=torch.channels_last)
        calls |= {f"{size} {way}": call for way, call in ways(encoders, image).items()}
    times = measure(calls, arguments.repeats, WARMUP)
    results: dict[str, Any] = {}
    for size in arguments.sizes:
        own = {way: times[f"{size} {way}"] for way in ("apart", "grouped", "fused")}
        ratios = {f"{way}_against_apart": own["apart"].median_ms / own[way].median_ms for way in ("grouped", "fused")}
        results[f"{len(FACTORS)} encoders, {size}x{size}"] = own | ratios
    write_report(arguments.out, Report("grouped", settings(arguments), description, {"pieces": results}))


def ways(encoders: list[Encoder], image: Tensor) -> dict[str, Callable[[], object]]:
    """Calls that compute embeddings and the gradient with respect to all weights."""
    joined = GroupedEncoders(encoders)
    apart = [parameter for encoder in encoders for parameter in encoder.parameters()]

    def fused() -> None:
        torch.autograd.grad(torch.stack([encoder(image) for encoder in encoders], 1).sum(), apart)

    def separate() -> None:
        with plain():
            fused()

    def grouped() -> None:
        torch.autograd.grad(joined(image).sum(), list(joined.parameters()))

    return {"apart": separate, "grouped": grouped, "fused": fused}


if __name__ == "__main__":
    run(main)
