"""How many synthetic heads a second, against the slow reference in numpy.

    python benchmarks/generator.py [--sizes 64 128 256] [--seconds 5] [--threads 1] [--device cpu]

Prints one JSON object. Rates count the whole way to the arrays of a store, without writing them to disk. The
rate per processor second tells what a busy machine would do if it were idle.
"""

from __future__ import annotations

import argparse
import json
import platform
import time

import numpy as np
import torch
import warp

from scr3d.data.heads import HeadsConfig, sample, to_arrays
from scr3d.data.heads._reference import render_reference
from scr3d.data.heads.identity import draw_identities
from scr3d.data.heads.scene import draw_scenes
from scr3d.geometry import Camera


def measure(size: int, seconds: float, device: str) -> dict[str, float]:
    """Samples a second of train samples, four views of each head."""
    config = HeadsConfig(size=size)
    to_arrays(sample(config, np.arange(4), device))  # compiles the kernels
    done, wall, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - wall < seconds:
        to_arrays(sample(config, np.arange(done, done + config.block), device))
        done += config.block
    return {
        "samples_per_s": done / (time.perf_counter() - wall),
        "samples_per_cpu_s": done / (time.process_time() - cpu),
    }


def measure_reference(size: int) -> float:
    """Processor seconds of one sample by the reference."""
    config, index = HeadsConfig(size=size), np.array([0])
    identities, scenes = draw_identities(0, "train", index), draw_scenes(0, "train", index)
    start = time.process_time()
    render_reference(identities, 0, scenes, 0, Camera(size, size), config.subsamples)
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--seconds", type=float, default=5.0, help="time spent on each size")
    parser.add_argument("--threads", type=int, default=1, help="threads of PyTorch; Warp uses one")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    results = {}
    for size in arguments.sizes:
        rates = measure(size, arguments.seconds, arguments.device)
        reference = measure_reference(size)
        results[str(size)] = {
            **{name: round(rate, 1) for name, rate in rates.items()},
            "reference_cpu_s_per_sample": round(reference, 3),
            "times_faster_than_reference": round(rates["samples_per_cpu_s"] * reference),
        }
    versions = {"python": platform.python_version(), "torch": torch.__version__, "warp": warp.__version__}
    print(
        json.dumps({"device": arguments.device, "threads": arguments.threads, **versions, "sizes": results}, indent=1)
    )


if __name__ == "__main__":
    main()
