"""What learning the graph costs: time and memory of an outer step against plain steps.

    python benchmarks/bilevel.py [--size 64] [--batch 32] [--repeats 5] [--threads 1] [--out FILE]

All forms take their steps in turns in one process, so `ratio` (time for one training image against plain training)
does not depend on the machine's other work. A step of a learned graph with k inner steps is one call of k training
steps. `peak_mib` is what the call holds at most beyond what was there before, measured by torch's profiler of memory on
the CPU.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from torch.profiler import ProfilerActivity, profile

from harness import Report, common_arguments, measure, prepare, run, settings, write_report
from runs import make_data, model_config, trainer
from scr3d.training.config import GraphConfig
from scr3d.training.trainer import Trainer

FORMS: dict[str, GraphConfig | None] = {
    "plain": None,
    "joint": GraphConfig(graph_learning="joint"),
    "first order, 1 inner step": GraphConfig(graph_gradient="first-order"),
    "differences, 1 inner step": GraphConfig(),
    "differences, 2 inner steps": GraphConfig(inner_steps=2),
    "differences, 5 inner steps": GraphConfig(inner_steps=5),
    "autograd, 1 inner step": GraphConfig(graph_gradient="autograd"),
    "autograd, 2 inner steps": GraphConfig(graph_gradient="autograd", inner_steps=2),
    "autograd, 5 inner steps": GraphConfig(graph_gradient="autograd", inner_steps=5),
}


def training_steps(graph: GraphConfig | None) -> int:
    """Steps of the weights in one call."""
    return graph.inner_steps if graph is not None and graph.graph_learning == "bilevel" else 1


def peak_mib(made: Trainer) -> float:
    """Most memory that a step holds at a time."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        made.train_step()
    changes = [
        event
        for event in profiler.profiler.kineto_results.events()
        if event.name() == "[memory]"  # type: ignore[union-attr]
    ]
    changes.sort(key=lambda event: event.start_ns())
    return float(np.cumsum([event.nbytes() for event in changes]).max() / 2**20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common_arguments(parser)
    parser.set_defaults(repeats=5)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--forms", nargs="+", choices=list(FORMS), default=list(FORMS), help="plain is always measured")
    arguments = parser.parse_args()
    description = prepare(arguments)
    forms = {name: graph for name, graph in FORMS.items() if name == "plain" or name in arguments.forms}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        data = make_data(root, arguments.size, arguments.batch)
        made = {
            name: trainer(
                data,
                root / name.replace(" ", "-"),
                model_config("compact", arguments.size, "dense" if graph is None else "generic"),
                arguments.batch,
                arguments.threads,
                arguments.device,
                graph=graph,
            )
            for name, graph in forms.items()
        }
        times = measure({name: one.train_step for name, one in made.items()}, arguments.repeats, 1, arguments.device)
        peaks = {name: peak_mib(one) for name, one in made.items()} if arguments.device == "cpu" else {}
    results = {}
    for name, graph in forms.items():
        ms = times[name].median_ms / training_steps(graph)
        results[name] = {
            "call": times[name],
            "training_steps": training_steps(graph),
            "ms_per_training_step": ms,
            "ratio": ms / times["plain"].median_ms,
        }
        if peaks:
            results[name]["peak_mib"] = peaks[name]
    write_report(arguments.out, Report("bilevel", settings(arguments), description, results))


if __name__ == "__main__":
    run(main)
