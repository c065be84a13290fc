"""What one training step at the papers' scale does: operations, bytes and calls, counted and not timed.

    python benchmarks/paper_work.py [--out results/benchmarks/paper_work.json]

The reference networks with VGG16 features and the papers' losses at 64x64. Counts grow with the batch as a + b n, so
two small batches tell those of the papers' 64. The weights are random: counts do not depend on them. From the result,
`tools/cost_plan.py` makes a plan of the benchmark's cost.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from harness import Report, common_arguments, prepare, run, settings, write_report
from limit import count
from scr3d.benchmark.protocol import PROTOCOLS
from scr3d.data.dataset import Batch
from scr3d.fused.dispatch import plain
from scr3d.losses.features import FeatureNetwork, Vgg16Front
from scr3d.models import ModelConfig, PhotoGeometricAutoencoder
from scr3d.training.config import recipe_defaults
from scr3d.training.objective import TrainingObjective, Whole

SMALL_BATCHES = (2, 4)


@dataclass(frozen=True)
class StepWork:
    """What a step does.

    Attributes:
        operations: of convolutions and matrix products, a multiply-add counting two.
        traffic_bytes: read and written by all tensor operations, if no two were fused.
        least_bytes: that a step has to move at least.
        calls: tensor operations that compute something; on a GPU at least one kernel each.
    """

    operations: int
    traffic_bytes: int
    least_bytes: int
    calls: int


class Calls(TorchDispatchMode):
    """Counts tensor operations that are no views."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


def paper_model() -> ModelConfig:
    """The papers' networks with a dense structure."""
    protocol = PROTOCOLS["paper"]
    return replace(recipe_defaults(protocol.recipe)[0], preset=protocol.preset, size=protocol.size, order="VLAD")


def step_work(images: int) -> StepWork:
    """Count a step of the row with a dense structure."""
    protocol = PROTOCOLS["paper"]
    _, losses, options = recipe_defaults(protocol.recipe)
    torch.manual_seed(0)
    model = PhotoGeometricAutoencoder(paper_model())
    objective = TrainingObjective(model, FeatureNetwork(Vgg16Front()), losses)
    optimiser = torch.optim.Adam(model.parameters(), lr=options.rate, weight_decay=options.weight_decay, fused=True)
    batch = Batch(torch.rand(images, 3, protocol.size, protocol.size), None)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        objective(Whole(batch), 0)[0].backward()
        nn.utils.clip_grad_norm_(model.parameters(), torch.inf)
        optimiser.step()

    with plain():
        step()  # makes the optimiser's state
        work = count(step, objective.parameters())
        with Calls() as calls:
            step()
    return StepWork(work.operations, work.traffic_bytes, work.least_bytes(model.parameters()), calls.count)


def extrapolated(small: dict[int, StepWork], images: int) -> StepWork:
    """The counts of a larger batch: what belongs to weights stays, what belongs to images grows."""
    (few, first), (more, second) = sorted(small.items())
    slopes = {name: (value - asdict(first)[name]) / (more - few) for name, value in asdict(second).items()}
    return StepWork(**{name: round(asdict(first)[name] + slope * (images - few)) for name, slope in slopes.items()})


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    common_arguments(parser)
    arguments = parser.parse_args()
    machine = prepare(arguments)
    batch = recipe_defaults(PROTOCOLS["paper"].recipe)[2].batch_size
    small = {images: step_work(images) for images in SMALL_BATCHES}
    found = extrapolated(small, batch)
    results = {
        "batch": batch,
        "step": asdict(found),
        "counted": {str(images): asdict(work) for images, work in small.items()},
        "parameters": sum(p.numel() for p in PhotoGeometricAutoencoder(paper_model()).parameters()),
        "gflop_per_image": found.operations / batch / 1e9,
    }
    write_report(arguments.out, Report("paper_work", settings(arguments), machine, results))


if __name__ == "__main__":
    run(main)
