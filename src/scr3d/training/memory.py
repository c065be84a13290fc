"""How much memory a training step takes, and whether it will be there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from scr3d.causal import StructureKind
from scr3d.fused.dispatch import plain
from scr3d.out_of_memory import Need, Work, free_bytes, measure_need

if TYPE_CHECKING:
    from scr3d.training.trainer import Trainer

HELD_PER_IMAGE = 1.76
"""Memory that an inner step keeps to be differentiated again, in steps without fused kernels
(results/benchmarks/step_memory.json, like the others here)."""
HELD_WEIGHTS = 7.3
"""What it keeps whatever the batch, in copies of the weights."""
KEPT_WEIGHTS = 4.9
"""Likewise where inner steps are not differentiated: gradient and state."""
OUTER_WEIGHTS = 3.0
"""What the step of a graph needs beside its inner steps, in copies of the weights."""
ENDS_WEIGHTS = 2.2
"""What it needs beyond that where differences of gradients of the weights are taken, by way of several inner steps."""
PER_PIXEL_BYTES = 16_000
"""More than any network here takes for an image's pixel: what stays below with it need not be measured."""


def step_work(trainer: Trainer) -> Work:
    """A step of a run, for messages about memory."""
    config = trainer.config
    optimiser = config.optimiser
    return Work(
        f"a step of {config.model.size}-pixel images",
        optimiser.batch_size,
        "in another --out, --batch-size",
        lambda: step_need(trainer),
        "take a smaller --size, or fewer --inner-steps" if steps_held(trainer) else "take a smaller --size",
    )


def step_need(trainer: Trainer) -> Need:
    """Memory of a step, beyond what the run holds already; measured with small batches, which change nothing."""
    model, device = trainer.model, trainer.fabric.device
    data = trainer.data.train

    def work(images: int) -> None:
        batch = data.batch(np.arange(images) % len(data), device, with_truth=trainer.config.recipe.supervised)
        with trainer.fabric.autocast():
            total, _ = trainer.steps.objective.module(batch, trainer.images_seen)
        torch.autograd.grad(total, [p for p in model.parameters() if p.requires_grad], allow_unused=True)

    def work_in_pytorch(images: int) -> None:
        with plain():
            work(images)

    weights = sum(parameter.nbytes for parameter in model.parameters())
    # Adam's two moments come with the first step, the gradient with every one.
    need = measure_need(work, device, fixed_bytes=weights * (3 if not trainer.steps.optimiser.state else 1))
    if not learns_graph(trainer):
        return need
    held = steps_held(trainer)
    # Inner steps that are kept to be differentiated are computed without the fused kernels.
    kept = measure_need(work_in_pytorch, device).image_bytes * HELD_PER_IMAGE * held if held else 0.0
    more_weights = weights * graph_weights(trainer)
    return Need(need.fixed_bytes + more_weights, need.image_bytes + kept)


def learns_graph(trainer: Trainer) -> bool:
    """Whether steps of the graph go through inner steps of the weights."""
    config = trainer.config
    return config.model.structure is StructureKind.GENERIC and config.graph.graph_learning == "bilevel"


def steps_held(trainer: Trainer) -> int:
    """How many inner steps are kept to be differentiated again."""
    graph = trainer.config.graph
    return graph.inner_steps if learns_graph(trainer) and graph.graph_gradient == "autograd" else 0


def graph_weights(trainer: Trainer) -> float:
    """What a step of the graph keeps whatever the batch, in copies of the weights."""
    graph = trainer.config.graph
    if steps_held(trainer):
        return OUTER_WEIGHTS + HELD_WEIGHTS * graph.inner_steps
    return OUTER_WEIGHTS + KEPT_WEIGHTS * graph.inner_steps + (ENDS_WEIGHTS if graph.inner_steps > 1 else 0)


def foreseen(trainer: Trainer) -> str | None:
    """A warning where a step will not fit; a container that takes too much is ended without a word.

    Nothing is measured where even a rough upper limit fits.
    """
    free = free_bytes(trainer.fabric.device)
    size, images = trainer.config.model.size, trainer.config.optimiser.batch_size
    held = steps_held(trainer)
    copies = 4 + (graph_weights(trainer) if learns_graph(trainer) else 0)
    weights = sum(parameter.nbytes for parameter in trainer.model.parameters())
    rough = size**2 * images * PER_PIXEL_BYTES * (1 + 2 * held) + weights * copies
    if free is None or rough < free:
        return None
    need = step_need(trainer)
    if need.of(images) < free:
        return None
    fits = need.fitting(free)
    return (
        f"warning: a step of {images} images is likely to need {need.of(images) / 1e9:.1f} GB, {free / 1e9:.1f} GB are "
        f"free; " + (f"--batch-size {fits} would fit" if fits else "take a smaller --size")
    )
