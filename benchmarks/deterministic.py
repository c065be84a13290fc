"""What `scr3d train --deterministic` costs: a step with PyTorch's deterministic algorithms and one without, in turns.

    python benchmarks/deterministic.py [--sizes 32 64] [--structures dense generic] [--batch 32] [--repeats 10]
                                       [--threads 1] [--device cpu] [--out results/benchmarks/deterministic.json]

`ratio` is the median time of the deterministic step over that of the other, `ratio_least` that of the shortest times,
`ratio_cpu` that of the processor times.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

import torch

from harness import Report, common_arguments, measure, prepare, run, settings, write_report
from runs import STRUCTURES, make_data, model_config, trainer
from scr3d.training.trainer import Trainer


def step(made: Trainer, deterministic: bool) -> None:
    """One step of the trainer in one of the two modes."""
    torch.use_deterministic_algorithms(deterministic)
    try:
        made.train_step()
    finally:
        torch.use_deterministic_algorithms(False)


def compare(made: Trainer, repeats: int, device: str) -> dict[str, Any]:
    """Times of both modes, and their ratio."""
    times = measure(
        {"usual": lambda: step(made, False), "deterministic": lambda: step(made, True)}, repeats, device=device
    )
    usual, deterministic = times["usual"], times["deterministic"]
    return {
        "times": times,
        "ratio": deterministic.median_ms / usual.median_ms,
        "ratio_least": deterministic.minimum_ms / usual.minimum_ms,
        "ratio_cpu": deterministic.cpu_ms / usual.cpu_ms,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common_arguments(parser)
    parser.set_defaults(repeats=10)
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 64])
    parser.add_argument("--structures", nargs="+", choices=sorted(STRUCTURES), default=["dense", "generic"])
    parser.add_argument("--batch", type=int, default=32)
    arguments = parser.parse_args()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when it is first used
    description = prepare(arguments)
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for size in arguments.sizes:
            data = make_data(Path(folder), size, arguments.batch)
            for structure in arguments.structures:
                out = Path(folder) / f"{size}-{structure}"
                model = model_config("compact", size, structure)
                made = trainer(data, out, model, arguments.batch, arguments.threads, arguments.device)
                results[f"compact {size} {structure}"] = compare(made, arguments.repeats, arguments.device)
    write_report(arguments.out, Report("deterministic", settings(arguments), description, results))


if __name__ == "__main__":
    run(main)
