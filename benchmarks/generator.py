"""How many synthetic heads a second, against the slow reference in numpy.

    python benchmarks/generator.py [--sizes 64 128 256] [--repeats 20] [--reference-repeats 1] [--threads 1]

Rates count the whole way to the arrays of a store, without writing them to disk: train samples, four views of each
head. The sizes take turns. `times_as_fast` compares the processor time of one sample with that of the reference, which
makes the same sample by brute force and is measured afterwards, as it takes seconds.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import count

import numpy as np

from harness import Report, common_arguments, measure, prepare, run, settings, write_report
from scr3d.data.heads import HeadsConfig, sample, to_arrays
from scr3d.data.heads._reference import render_reference
from scr3d.data.heads.identity import draw_identities
from scr3d.data.heads.scene import draw_scenes
from scr3d.geometry import Camera


def block_call(size: int, device: str) -> Callable[[], object]:
    """The next block of samples with every call."""
    config, blocks = HeadsConfig(size=size), count()

    def call() -> object:
        first = next(blocks) * config.block
        return to_arrays(sample(config, np.arange(first, first + config.block), device))

    return call


def reference_call(size: int) -> Callable[[], object]:
    """One sample by the reference."""
    config, index = HeadsConfig(size=size), np.array([0])
    identities, scenes = draw_identities(0, "train", index), draw_scenes(0, "train", index)
    return lambda: render_reference(identities, 0, scenes, 0, Camera(size, size), config.subsamples)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common_arguments(parser)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--reference-repeats", type=int, default=1)
    arguments = parser.parse_args()
    description = prepare(arguments)
    sizes = {str(size): size for size in arguments.sizes}
    times = measure(
        {name: block_call(size, arguments.device) for name, size in sizes.items()},
        arguments.repeats,
        device=arguments.device,
    )
    references = measure(
        {name: reference_call(size) for name, size in sizes.items()}, arguments.reference_repeats, warmup=0
    )
    results = {}
    for name, size in sizes.items():
        block = HeadsConfig(size=size).block
        results[name] = {
            "block": times[name],
            "samples": block,
            "samples_per_s": 1e3 * block / times[name].median_ms,
            "samples_per_cpu_s": 1e3 * block / times[name].cpu_ms,
            "reference_sample": references[name],
            "times_as_fast": references[name].cpu_ms * block / times[name].cpu_ms,
        }
    write_report(arguments.out, Report("generator", settings(arguments), description, results))


if __name__ == "__main__":
    run(main)
