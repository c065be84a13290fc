"""How well the gradient of a learned graph foretells what a change of the graph does, along a training run.

    python benchmarks/hypergradient.py --data DIR [--size 32] [--images 1600 6400 25600] [--pairs 12] [--out FILE]

Trains a generic graph on heads and stops after each of the given numbers of images. There, the gradient of the held-out
loss with respect to the graph is computed for the same pairs of a training and a held-out batch in every way that
`--graph-gradient` knows, through 1, 2 and 5 inner steps. Beside them stands what it should foretell: the graph is moved
along random directions, forwards and back, the inner steps are taken and the held-out losses compared. For each:

    error        root mean square of foretold minus measured slopes, against that of the measured ones
    correlation  of foretold and measured slopes
    noise        norm of the standard error of the mean gradient over the pairs, against the norm of that mean
    ms           median time of one gradient

`reaches` adds the error of differences over other distances than `scr3d.training.differences.REACH`.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness import Report, common_arguments, prepare, run, settings, write_report
from scr3d.causal import StructureKind
from scr3d.models import ModelConfig
from scr3d.training import differences
from scr3d.training.config import GraphConfig, OptimiserConfig, TrainConfig
from scr3d.training.graph import OuterStep
from scr3d.training.trainer import Trainer

INNER_STEPS = (1, 2, 5)
WAYS = ("first-order", "autograd", "differences")
REACHES = (0.1, 0.25, 1.0, 2.0)
DIRECTIONS = 4
"""Random directions of the graph for each pair of batches."""
CHANGE = 0.03
"""How far the graph is moved along them to either side: its entries begin at about 0.1 and end at up to 3."""


def start(arguments: argparse.Namespace, folder: Path) -> Trainer:
    """A run of a generic graph, trained with the first order, which favours none of the others."""
    model = ModelConfig(size=arguments.size, structure=StructureKind.GENERIC, order=arguments.order)
    return Trainer(
        TrainConfig(
            data=arguments.data,
            out=folder,
            model=model,
            graph=GraphConfig(graph_gradient="first-order"),
            optimiser=OptimiserConfig(batch_size=arguments.batch, rate=arguments.rate),
            images=max(200_000, 2 * max(arguments.images)),
            validate_every=10_000_000,
            threads=arguments.threads,
            device=arguments.device,
        )
    )


def solve(trainer: Trainer, pair: int, inner: int, way: str) -> OuterStep:
    """The outer problem of one pair of batches."""
    graph = trainer.graph
    assert graph is not None
    kept = graph.config
    graph.config = replace(kept, graph_gradient=way, inner_steps=inner, dag_weight=0.0)  # type: ignore[arg-type]
    try:
        found, _ = graph.hypergradient(
            trainer.steps.objective.module,
            trainer.steps.optimiser.optimizer,
            lambda number: (trainer.data.train_batch(trainer.step + pair * inner + number), trainer.images_seen),
            (trainer.data.graph_batch(trainer.step + pair), trainer.images_seen),
            [trainer.learning_rate(trainer.step)] * inner,
            trainer.step,
        )
    finally:
        graph.config = kept
    return found


def flat(tensors: list[Tensor]) -> Tensor:
    """All numbers in a row, in double precision."""
    return torch.cat([tensor.detach().flatten() for tensor in tensors]).double()


def gradients(trainer: Trainer, inner: int, way: str, pairs: int) -> tuple[Tensor, float]:
    """Gradients of the held-out loss, one row for each pair of batches, and the median time of one in ms."""
    rows, times = [], []
    for pair in range(pairs):
        before = time.perf_counter()
        rows.append(flat(solve(trainer, pair, inner, way).gradients))
        times.append(1e3 * (time.perf_counter() - before))
    return torch.stack(rows), float(torch.tensor(times).median())


def measured(trainer: Trainer, inner: int, directions: Tensor) -> Tensor:
    """Slopes of the held-out loss along [pair, direction, number] directions of the graph: [pair, direction]."""
    graph = trainer.graph
    assert graph is not None
    parameters = list(graph.structure.parameters())
    start = [parameter.detach().clone() for parameter in parameters]

    def held_out(pair: int, change: Tensor) -> float:
        parts = change.float().split([parameter.numel() for parameter in parameters])
        with torch.no_grad():
            for parameter, value, part in zip(parameters, start, parts, strict=True):
                parameter.copy_(value + part.view_as(value))
        return float(solve(trainer, pair, inner, "first-order").held_out)

    try:
        return torch.tensor(
            [
                [(held_out(pair, CHANGE * d) - held_out(pair, -CHANGE * d)) / (2 * CHANGE) for d in of_pair]
                for pair, of_pair in enumerate(directions)
            ],
            dtype=torch.float64,
        )
    finally:
        with torch.no_grad():
            for parameter, value in zip(parameters, start, strict=True):
                parameter.copy_(value)


def at_present(trainer: Trainer, pairs: int) -> dict[str, Any]:
    """All ways of computing the gradient, at the present state of a run."""
    assert trainer.graph is not None
    mask = flat([trainer.graph.structure.mask])  # entries that the graph may have
    draw = torch.Generator().manual_seed(trainer.step)
    directions = torch.randn(pairs, DIRECTIONS, len(mask), generator=draw, dtype=torch.float64) * mask
    directions /= directions.norm(dim=-1, keepdim=True)
    results: dict[str, Any] = {}
    for inner in INNER_STEPS:
        slopes = measured(trainer, inner, directions)

        def against(rows: Tensor, slopes: Tensor = slopes) -> dict[str, float]:
            foretold = (rows[:, None] * directions).sum(-1)
            both = torch.stack([foretold.flatten(), slopes.flatten()])
            return {
                "error": float((foretold - slopes).norm() / slopes.norm()),
                "correlation": float(torch.corrcoef(both)[0, 1]),
            }

        found = results[f"inner steps {inner}"] = {}
        for way in WAYS:
            rows, ms = gradients(trainer, inner, way, pairs)
            noise = float((rows.std(0) / len(rows) ** 0.5).norm() / rows.mean(0).norm())
            found[way] = against(rows) | {"noise": noise, "ms": ms}
        usual = differences.REACH
        for reach in REACHES:
            differences.REACH = reach
            found.setdefault("reaches", {})[str(reach)] = against(gradients(trainer, inner, WAYS[-1], pairs)[0])
        differences.REACH = usual
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common_arguments(parser)
    parser.add_argument("--data", type=Path, required=True, help="folder of a data set with train/ and val/")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=1e-3, help="learning rate of the weights")
    parser.add_argument("--order", help="mask of the graph (Eq. 6); without it any graph (Eq. 5)")
    parser.add_argument("--images", type=int, nargs="+", default=[1_600, 6_400, 25_600], help="where to compare")
    parser.add_argument("--pairs", type=int, default=12, help="pairs of batches at each place")
    arguments = parser.parse_args()
    description = prepare(arguments)
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        trainer = start(arguments, Path(folder))
        for images in sorted(arguments.images):
            while trainer.images_seen < images:
                trainer.train_step()
            results[f"after {images} images"] = at_present(trainer, arguments.pairs)
    options = settings(arguments) | {"data": arguments.data.name}
    write_report(arguments.out, Report("hypergradient", options, description, results))


if __name__ == "__main__":
    run(main)
