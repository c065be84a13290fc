"""Do the fused kernels learn what their plain forms learn? Whole runs with each, over the same seeds.

    python benchmarks/same_scores.py [--size 32] [--batch 32] [--images 32000] [--heads 8000] [--repeats 4] [--jobs 2]
                                     [--out results/benchmarks/same_scores.json]

Both forms of a step compute the same numbers but for rounding, which the tests show; over a thousand steps rounding
grows until two runs are as far apart as two seeds. There are `--repeats` seeds. `--jobs` runs of one thread each train
at a time, from scratch, with the default recipe and network. Scores are those of the validation at the end, as
`scr3d train` reports them.

    scores      of each run, by form, in the order of the seeds
    compared    for each score: means of both forms, their difference, the deviation between seeds (pooled over both
                forms), and the difference in standard errors; beyond two, chance would be a poor explanation
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from harness import Report, common_arguments, prepare, run, settings, write_report
from runs import model_config
from scr3d.data.heads import HeadsConfig, generate
from scr3d.errors import ConfigError
from scr3d.fused.dispatch import plain
from scr3d.training.config import OptimiserConfig, TrainConfig
from scr3d.training.trainer import train

FORMS = {"plain": plain, "fused": nullcontext}
SCORES = ("reconstruction", "side_e2", "mad_deg", "yaw_correlation", "light_x_correlation")
HELD_OUT = 512


@dataclass(frozen=True)
class Task:
    """A run.

    Attributes:
        form: one of `FORMS`.
        config: of the run.
    """

    form: str
    config: TrainConfig


def scores_of(task: Task) -> dict[str, float]:
    """Train, and give what the validation at the end says."""
    with FORMS[task.form]():
        found = train(task.config)
    return {name: found[name] for name in SCORES}


def tasks(data: Path, root: Path, size: int, batch: int, images: int, seeds: int) -> list[Task]:
    """Runs of both forms in turns, so that both end early or late alike."""
    return [
        Task(
            form,
            TrainConfig(
                data=data,
                out=root / f"{form}-{seed}",
                model=model_config("compact", size, "dense"),
                optimiser=replace(OptimiserConfig(), batch_size=batch),
                images=images,
                seed=seed,
                validate_every=images,
                validation_images=HELD_OUT,
                device="cpu",
                threads=1,
                keep_going=True,
            ),
        )
        for seed in range(seeds)
        for form in FORMS
    ]


def compare(first: list[float], second: list[float]) -> dict[str, float]:
    """Means of two samples of one size, and how their difference stands to the deviation within them."""
    means = float(np.mean(first)), float(np.mean(second))
    deviation = float(np.sqrt((np.var(first, ddof=1) + np.var(second, ddof=1)) / 2))
    error = deviation * float(np.sqrt(2 / len(first)))
    difference = means[1] - means[0]
    return {
        **dict(zip(FORMS, means, strict=True)),
        "difference": difference,
        "deviation_between_seeds": deviation,
        "difference_in_standard_errors": difference / error,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common_arguments(parser)
    parser.set_defaults(repeats=4)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--images", type=int, default=32_000, help="length of a run")
    parser.add_argument("--heads", type=int, default=8_000, help="different heads to learn from")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    arguments = parser.parse_args()
    if arguments.device != "cpu" or arguments.threads != 1:
        raise ConfigError("the kernels are the CPU's and each run has one thread; leave out --device and --threads")
    if arguments.repeats < 2 or min(arguments.images, arguments.heads, arguments.jobs) < 1:
        raise ConfigError("--repeats must be at least 2; --images, --heads and --jobs at least 1")
    description = prepare(arguments)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for split, count in (("train", arguments.heads), ("val", HELD_OUT)):
            generate(HeadsConfig(split=split, count=count, size=arguments.size), root / "heads")
        made = tasks(root / "heads", root, arguments.size, arguments.batch, arguments.images, arguments.repeats)
        with ProcessPoolExecutor(arguments.jobs, multiprocessing.get_context("spawn")) as pool:
            found = list(pool.map(scores_of, made))
    scores: dict[str, dict[str, list[float]]] = {form: {name: [] for name in SCORES} for form in FORMS}
    for task, values in zip(made, found, strict=True):
        for name, value in values.items():
            scores[task.form][name].append(value)
    results: dict[str, Any] = {
        "scores": scores,
        "compared": {name: compare(*(scores[form][name] for form in FORMS)) for name in SCORES},
    }
    write_report(arguments.out, Report("same_scores", settings(arguments), description, results))


if __name__ == "__main__":
    run(main)
