"""What learning the graph costs: time and memory of an outer step against plain steps.

    python benchmarks/bilevel.py [--size 64] [--batch 32] [--repeats 5] [--threads 1]

Prints one JSON object. All forms take their steps in turns in one process, so `ratio` (time for one training image
against plain training) does not depend on the machine's other work. `peak_mib` is what the step holds at most beyond
what was there before, measured by torch's profiler of memory on the CPU.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

import scr3d
from scr3d.causal import StructureKind
from scr3d.data.heads import HeadsConfig, generate
from scr3d.models import ModelConfig
from scr3d.training.config import GraphConfig, OptimiserConfig, TrainConfig
from scr3d.training.trainer import Trainer

FORMS: dict[str, GraphConfig | None] = {
    "plain": None,
    "joint": GraphConfig(graph_learning="joint"),
    "first order, 1 inner step": GraphConfig(first_order=True),
    "exact, 1 inner step": GraphConfig(),
    "exact, 2 inner steps": GraphConfig(inner_steps=2),
    "exact, 5 inner steps": GraphConfig(inner_steps=5),
}
STEPS = 100_000
"""Length of the pretended run, so that no schedule ends while it is timed."""


def trainer(data: Path, out: Path, arguments: argparse.Namespace, graph: GraphConfig | None) -> Trainer:
    """A run under way, in one of the forms."""
    model = ModelConfig(size=arguments.size, order="VLAD")
    if graph is not None:
        model = replace(model, structure=StructureKind.GENERIC, order=None)
    config = TrainConfig(
        data=data,
        out=out,
        model=model,
        graph=graph or GraphConfig(),
        optimiser=OptimiserConfig(batch_size=arguments.batch),
        images=STEPS * arguments.batch,
        threads=arguments.threads,
        device="cpu",
    )
    return Trainer(config)


def peak_mib(run: Trainer) -> float:
    """Most memory that a step holds at a time."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run.train_step()
    changes = [
        event
        for event in profiler.profiler.kineto_results.events()
        if event.name() == "[memory]"  # type: ignore[union-attr]
    ]
    changes.sort(key=lambda event: event.start_ns())
    return float(np.cumsum([event.nbytes() for event in changes]).max() / 2**20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for split, count in (("train", 256), ("val", 256)):
            generate(HeadsConfig(split=split, count=count, size=arguments.size), root, progress=lambda *_: None)
        runs = {n: trainer(root, root / n.replace(" ", "-"), arguments, g) for n, g in FORMS.items()}
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        for repeat in range(arguments.repeats + 1):
            for name, run in runs.items():
                before, start = run.step, time.perf_counter()
                run.train_step()
                if repeat:  # the first step compiles and fills caches
                    seconds[name].append((time.perf_counter() - start) / (run.step - before))
        peaks = {name: peak_mib(run) for name, run in runs.items()}
    plain = float(np.median(seconds["plain"]))
    record = {
        "device": platform.machine() + " CPU",
        "threads": arguments.threads,
        "versions": {"scr3d": scr3d.__version__, "torch": torch.__version__},
        "size": arguments.size,
        "batch": arguments.batch,
        "forms": {
            name: {
                "ms_per_training_step": round(1e3 * float(np.median(values)), 1),
                "ratio": round(float(np.median(values)) / plain, 2),
                "peak_mib": round(peaks[name], 1),
            }
            for name, values in seconds.items()
        },
    }
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
