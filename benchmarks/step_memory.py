"""How well the memory of a training step is foreseen: what `scr3d train` would say, against what a step then takes.

    python benchmarks/step_memory.py [--cells compact-32-dense-64 ...] [--out FILE]

A cell is network, image size, structure, batch and, for a learned graph (`generic`, or `autograd` for one whose inner
steps are differentiated a second time), the number of inner steps (1 unless given).
`foreseen_mib` is `scr3d.training.memory.step_need`, measured with small batches; `peak_mib` is what a step of the whole
batch holds at most beyond what was there before, as torch's profiler of memory counts on the CPU, or torch's allocator
on CUDA; `ratio` is the first over the second.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from harness import Report, common_arguments, prepare, run, settings, write_report
from runs import make_data, model_config, trainer
from scr3d.out_of_memory import peak_bytes
from scr3d.training.config import GraphConfig
from scr3d.training.memory import step_need

CELLS = (
    "compact-32-dense-16",
    "compact-32-dense-64",
    "compact-32-dense-256",
    "compact-64-dense-16",
    "compact-64-dense-64",
    "compact-32-generic-16",
    "compact-32-generic-64",
    "compact-32-generic-16-2",
    "compact-32-generic-64-2",
    "compact-64-generic-16",
    "compact-32-autograd-16",
    "compact-32-autograd-64",
    "compact-32-autograd-16-2",
    "compact-32-autograd-64-2",
    "compact-64-autograd-16",
    "reference-32-dense-32",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common_arguments(parser)
    parser.add_argument("--cells", nargs="+", default=list(CELLS))
    arguments = parser.parse_args()
    description, results = prepare(arguments), {}
    with tempfile.TemporaryDirectory() as folder:
        for cell in arguments.cells:
            preset, size, structure, batch, *inner = cell.split("-")
            data = make_data(Path(folder) / cell, int(size), int(batch))
            twice = structure == "autograd"
            model = model_config(preset, int(size), "generic" if twice else structure)
            graph = GraphConfig(inner_steps=int(*inner or [1]), graph_gradient="autograd" if twice else "differences")
            out = Path(folder) / f"run-{cell}"
            made = trainer(data, out, model, int(batch), arguments.threads, arguments.device, graph=graph)
            made.train_step()  # the optimiser's state is there from the first step on
            foreseen = step_need(made).of(int(batch)) / 2**20
            peak = peak_bytes(made.train_step, arguments.device) / 2**20
            results[cell] = {"foreseen_mib": foreseen, "peak_mib": peak, "ratio": foreseen / peak}
    write_report(arguments.out, Report("step_memory", settings(arguments), description, results))


if __name__ == "__main__":
    run(main)
