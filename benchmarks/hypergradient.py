"""What the first-order approximation of the graph's gradient leaves out, along a training run.

    python benchmarks/hypergradient.py --data DIR [--size 32] [--images 1600 6400 25600] [--pairs 12] [--out FILE]

Trains a generic graph on heads and stops after each of the given numbers of images. There, the gradient of the held-out
loss with respect to the graph is computed for the same pairs of a training and a held-out batch in several ways: first
order (the weights after the inner steps count as constants), and exactly through 1, 2 and 5 inner steps. Reported for
each:

    cosine       of its mean over the pairs with that of the first order at as many inner steps
    norm_ratio   of those means
    pair_cosine  mean over the pairs of the cosine of the two gradients of a pair
    left_out     norm of the difference against that of the first order, median over the pairs
    noise        norm of the standard error of its mean against the norm of its mean
    ms           median time of one gradient
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
from scr3d.training.config import GraphConfig, OptimiserConfig, TrainConfig
from scr3d.training.trainer import Trainer

INNER_STEPS = (1, 2, 5)


def start(arguments: argparse.Namespace, folder: Path) -> Trainer:
    """A run of a generic graph, trained with the first order."""
    model = ModelConfig(size=arguments.size, structure=StructureKind.GENERIC, order=arguments.order)
    return Trainer(
        TrainConfig(
            data=arguments.data,
            out=folder,
            model=model,
            graph=GraphConfig(first_order=True),
            optimiser=OptimiserConfig(batch_size=arguments.batch, rate=arguments.rate),
            images=max(200_000, 2 * max(arguments.images)),
            validate_every=10_000_000,
            threads=arguments.threads,
            device=arguments.device,
        )
    )


def gradients(trainer: Trainer, inner: int, first_order: bool, pairs: int) -> tuple[Tensor, float]:
    """Gradients of the held-out loss, one row for each pair of batches, and the median time of one in ms."""
    graph = trainer.graph
    assert graph is not None
    kept = graph.config
    graph.config = replace(kept, first_order=first_order, inner_steps=inner, dag_weight=0.0)
    rows, times = [], []
    for pair in range(pairs):
        before = time.perf_counter()
        found, _ = graph.hypergradient(
            trainer.steps.objective.module,
            trainer.steps.optimiser.optimizer,
            lambda number, pair=pair: (
                trainer.data.train_batch(trainer.step + pair * inner + number),
                trainer.images_seen,
            ),
            (trainer.data.graph_batch(trainer.step + pair), trainer.images_seen),
            [trainer.learning_rate(trainer.step)] * inner,
            trainer.step,
        )
        times.append(1e3 * (time.perf_counter() - before))
        rows.append(torch.cat([gradient.flatten() for gradient in found.gradients]).double())
    graph.config = kept
    return torch.stack(rows), float(torch.tensor(times).median())


def compare(exact: Tensor, approximate: Tensor) -> dict[str, float]:
    """Agreement of the rows of two sets of gradients."""
    mean, mean_approximate = exact.mean(0), approximate.mean(0)
    return {
        "cosine": float(torch.cosine_similarity(mean, mean_approximate, dim=0)),
        "norm_ratio": float(mean.norm() / mean_approximate.norm()),
        "pair_cosine": float(torch.cosine_similarity(exact, approximate, dim=1).mean()),
        "left_out": float(((exact - approximate).norm(dim=1) / approximate.norm(dim=1)).median()),
        "noise": float((exact.std(0) / len(exact) ** 0.5).norm() / mean.norm()),
    }


def at_present(trainer: Trainer, pairs: int) -> dict[str, Any]:
    """All ways of computing the gradient, at the present state of a run."""
    results: dict[str, Any] = {}
    for inner in INNER_STEPS:
        approximate, approximate_ms = gradients(trainer, inner, True, pairs)
        exact, exact_ms = gradients(trainer, inner, False, pairs)
        results[f"inner steps {inner}"] = compare(exact, approximate) | {
            "first_order_noise": compare(approximate, approximate)["noise"],
            "ms": exact_ms,
            "first_order_ms": approximate_ms,
        }
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
