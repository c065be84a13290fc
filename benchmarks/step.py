"""Images a second in training, against what the machine can do at best.

    python benchmarks/step.py [--presets compact reference] [--sizes 64 128] [--structures dense ...]
                              [--precisions float32 bf16] [--batch 32] [--repeats 20] [--reference-repeats 3]
                              [--parts 5] [--threads 1] [--device cpu] [--out results/benchmarks/step.json]

A step is the trainer's own: batch, forward and backward pass, clipping, Adam, running average. All structures and
precisions of one network family and image size take their steps in turns in one process. In the same rounds run the
machine's fastest products, a copy, and for each of them all its convolutions by themselves:

    least_ms           a step cannot take less at these rates: its operations at the rate of the fastest product, or
                       the bytes that it must move at the rate of copying, whichever takes longer
    convolutions       time of PyTorch's convolutions of the step, forward and backward, with nothing around them
    of_least           least_ms / median of the step
    of_convolutions    median of the convolutions / median of the step

`parts` says what the parts of the compact step take (benchmarks/parts.py), on the CPU only.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from harness import Report, Timing, common_arguments, measure, prepare, run, settings, write_report
from limit import (
    Rates,
    Work,
    best_products,
    computes_in_bfloat16,
    convolutions_call,
    copy_call,
    count,
    rates,
    rates_json,
)
from parts import PARTS, step_parts
from runs import PRECISIONS, STRUCTURES, make_data, model_config, trainer
from scr3d.errors import ConfigError
from scr3d.fused.dispatch import plain
from scr3d.models import Preset
from scr3d.training.trainer import Trainer

DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16}
PARTS_OF = "compact"
WARMUP = 2


@dataclass(frozen=True)
class Counted:
    """One network in training, and what a step of it does.

    Attributes:
        run: its trainer.
        images: training images of a step (several batches in a step of a learned graph).
        work: operations, traffic and convolutions.
        least_bytes: what a step must move.
    """

    run: Trainer
    images: int
    work: Work
    least_bytes: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common_arguments(parser)
    parser.add_argument("--presets", nargs="+", choices=[str(preset) for preset in Preset], default=["compact"])
    parser.add_argument("--sizes", nargs="+", type=int, default=[64, 128], help="image sizes")
    parser.add_argument("--structures", nargs="+", choices=list(STRUCTURES), default=list(STRUCTURES))
    parser.add_argument("--precisions", nargs="+", choices=list(PRECISIONS), default=list(PRECISIONS))
    parser.add_argument("--batch", type=int, default=32, help="images of a step")
    parser.add_argument("--reference-repeats", type=int, default=3, help="rounds of the reference network")
    parser.add_argument("--parts", type=int, default=5, help="recorded steps of the compact network; 0 for none")
    arguments = parser.parse_args()
    description = prepare(arguments)
    steps: dict[str, Any] = {}
    limits: dict[str, Any] = {}
    parts: dict[str, Any] = {}
    results: dict[str, Any] = {"steps": steps, "limits": limits, "parts": parts}
    precisions = usable(arguments.precisions, arguments.device)
    left_out = [name for name in arguments.precisions if name not in precisions]
    if left_out:
        results["left_out"] = {name: "this processor does not compute in it" for name in left_out}
    for preset, size in product(arguments.presets, arguments.sizes):
        group = measure_group(preset, size, precisions, arguments)
        steps.update(group["steps"])
        limits.update(group["limits"])
        parts.update(group["parts"])
    write_report(arguments.out, Report("step", settings(arguments), description, results))


def usable(precisions: Iterable[str], device: str) -> list[str]:
    """The precisions that the device computes in.

    Raises:
        ConfigError: none is left.
    """
    found = [name for name in precisions if name != "bf16" or computes_in_bfloat16(device)]
    if not found:
        raise ConfigError("--precisions bf16: this processor does not compute in it; give float32")
    return found


def measure_group(preset: str, size: int, precisions: list[str], arguments: argparse.Namespace) -> dict[str, Any]:
    """All structures and precisions of one network family and image size, in turns."""
    device = arguments.device
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        data = make_data(root, size, arguments.batch)
        counted: dict[tuple[str, str], Counted] = {}
        for structure, precision in product(arguments.structures, precisions):
            made = trainer(
                data,
                root / f"{structure}-{precision}",
                model_config(preset, size, structure),
                arguments.batch,
                arguments.threads,
                device,
                precision,
            )
            counted[structure, precision] = count_step(made)
        calls: dict[str, Callable[[], object]] = {"copy": copy_call(device)}
        products = {precision: best_products(device, DTYPES[precision]) for precision in precisions}
        for precision, found in products.items():
            calls |= {f"{precision} {name}": single.call for name, single in found.items()}
        for (structure, precision), one in counted.items():
            calls[f"{structure} {precision}"] = one.run.train_step
            calls[f"{structure} {precision} convolutions"] = convolutions_call(one.work, device)
        repeats = arguments.repeats if preset == PARTS_OF else arguments.reference_repeats
        times = measure(calls, repeats, WARMUP, device)
        group: dict[str, Any] = {"steps": {}, "limits": {}, "parts": {}}
        best: dict[str, Rates] = {}
        for precision, found in products.items():
            timed = {name: times[f"{precision} {name}"] for name in found}
            best[precision] = rates(found, timed, times["copy"], device)
            group["limits"][f"{preset} {size} {precision}"] = rates_json(found, timed) | asdict(best[precision])
        for (structure, precision), one in counted.items():
            key = f"{structure} {precision}"
            name = f"{preset} {size} {key}"
            alone = times[f"{key} convolutions"]
            group["steps"][name] = step_record(one, times[key], alone, best[precision])
            if preset == PARTS_OF and arguments.parts and device == "cpu" and structure != "generic":
                group["parts"][name] = parts_record(one.run, arguments.parts, times[key])
    return group


def count_step(made: Trainer) -> Counted:
    """Count a step after a first one, which sets up the optimiser and compiles kernels.

    What is counted is the step in PyTorch's operations, on one thread: neither what fused kernels do nor what other
    threads do would be seen.
    """
    made.train_step()
    before = made.step
    trained = list(made.model.parameters())
    with plain(), patch.multiple(made.steps, in_parts=None, captured=None):
        work = count(made.train_step, [*trained, *made.features.parameters()])
    images = (made.step - before) * made.config.optimiser.batch_size
    return Counted(made, images, work, work.least_bytes(trained))


def step_record(one: Counted, step: Timing, alone: Timing, best: Rates) -> dict[str, Any]:
    """Rates, limits and ratios of one network."""
    operations_ms, bytes_ms = best.operations_ms(one.work.operations), best.bytes_ms(one.least_bytes)
    least_ms = max(operations_ms, bytes_ms)
    return {
        "step": step,
        "images": one.images,
        "images_per_s": 1e3 * one.images / step.median_ms,
        "operations": one.work.operations,
        "least_bytes": one.least_bytes,
        "traffic_bytes": one.work.traffic_bytes,
        "operations_ms": operations_ms,
        "bytes_ms": bytes_ms,
        "traffic_ms": best.bytes_ms(one.work.traffic_bytes),
        "least_ms": least_ms,
        "convolutions": alone,
        "convolution_calls": one.work.convolutions.total(),
        "distinct_convolutions": len(one.work.convolutions),
        "of_least": least_ms / step.median_ms,
        "of_convolutions": alone.median_ms / step.median_ms,
    }


def parts_record(made: Trainer, repeats: int, step: Timing) -> dict[str, Any]:
    """Time and share of every part."""
    found = step_parts(made, repeats)
    return {
        "recorded_ms": found.step_ms,
        "recorded_steps": repeats,
        "recorded_against_step": found.step_ms / step.median_ms,
        "parts": {
            part: {
                "forward_ms": found.forward_ms[part],
                "backward_ms": found.backward_ms[part],
                "share": (found.forward_ms[part] + found.backward_ms[part]) / found.step_ms,
            }
            for part in PARTS
        },
    }


if __name__ == "__main__":
    run(main)
