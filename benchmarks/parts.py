"""Which part of a training step takes how much of its time, forward and backward.

torch's profiler records every tensor operation. The model's methods and the trainer's are wrapped in named ranges for
the time of the measurement, and the time within a range, Python's included, belongs to the innermost one. A node of the
backward pass carries the number of the operation that made it, so its time goes to the part which that operation
belongs to. What lies in no part is `other`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import numpy as np
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile, record_function

from scr3d.training.trainer import Trainer

OTHER = "other"
PARTS = (
    "encoders",
    "structure",
    "decoders",
    "confidence",
    "renderer",
    "shading and normals",
    "losses",
    "perceptual features",
    "optimiser",
    "data",
    OTHER,
)
MARK = "part: "
STEP = "whole step"
NODE = "autograd::engine::evaluate_function: "
ACCUMULATE = "torch::autograd::AccumulateGrad"


@dataclass(frozen=True)
class Shares:
    """Milliseconds of each part, medians over steps.

    Attributes:
        forward_ms: outside the backward pass, by part.
        backward_ms: in the backward pass.
        step_ms: the whole step while it was recorded.
    """

    forward_ms: dict[str, float]
    backward_ms: dict[str, float]
    step_ms: float


def step_parts(trainer: Trainer, repeats: int) -> Shares:
    """Record some steps of training.

    Args:
        trainer: on the CPU: on a GPU, the host's time says nothing about that of the kernels.
        repeats: steps that are recorded, after one that is not.
    """
    trainer.train_step()
    forward, backward, whole = [], [], []
    with named_ranges(trainer):
        for _ in range(repeats):
            with profile(activities=[ProfilerActivity.CPU]) as profiler, record_function(STEP):
                trainer.train_step()
            events = list(profiler.events() or [])
            outside, inside = attribute(events)
            forward.append(outside)
            backward.append(inside)
            whole.append(sum(event.cpu_time_total for event in events if event.name == STEP) / 1e3)
    return Shares(_medians(forward), _medians(backward), float(np.median(whole)))


@contextmanager
def named_ranges(trainer: Trainer) -> Iterator[None]:
    """Wrap the parts of a step; a name that no longer exists is an AttributeError."""
    model = trainer.model
    targets: list[tuple[Any, str, str]] = [
        (model, "encode", "encoders"),
        (model.structure, "forward", "structure"),
        (model.mixing, "forward", "structure"),
        (model, "decode", "decoders"),
        (model, "estimate_confidence", "confidence"),
        (importlib.import_module("scr3d.training.step"), "explain_both", "shading and normals"),
        (importlib.import_module("scr3d.models.autoencoder"), "render", "renderer"),
        (importlib.import_module("scr3d.training.step"), "reconstruction_losses", "losses"),
        (importlib.import_module("scr3d.training.step"), "regularisation", "losses"),
        (trainer.features, "forward", "perceptual features"),
        (trainer.steps.optimiser, "step", "optimiser"),
        (trainer.steps.optimiser, "zero_grad", "optimiser"),
        (trainer.steps, "_clip", "optimiser"),
        (trainer.steps.average, "follow", "optimiser"),
        (trainer.data, "train_batch", "data"),
    ]
    with ExitStack() as stack:
        for owner, name, part in targets:
            stack.enter_context(patch.object(owner, name, _in_range(getattr(owner, name), part)))
        yield


def _in_range(function: Callable[..., Any], part: str) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        with record_function(MARK + part):
            return function(*args, **kwargs)

    return call


def attribute(events: list[FunctionEvent]) -> tuple[dict[str, float], dict[str, float]]:
    """Milliseconds of each part outside and inside the backward pass.

    Args:
        events: of one or more recorded steps, in the order in which they began.
    """
    events = sorted(events, key=lambda event: event.time_range.start)
    makers: dict[int, FunctionEvent] = {}
    for event in events:
        # Operations that make no node have the number of the next one, so the last with a number has made it.
        if event.sequence_nr >= 0 and not event.name.startswith(NODE) and _node(event) is None:
            makers[event.sequence_nr] = event
    forward, backward = dict.fromkeys(PARTS, 0.0), dict.fromkeys(PARTS, 0.0)
    last = OTHER
    for event in events:
        if not _in_step(event):
            continue
        node = _node(event)
        if node is None:
            forward[_part(event)] += event.self_cpu_time_total / 1e3
            continue
        if ACCUMULATE not in node.name:  # gradients are added up right after the node that they come from
            maker = makers.get(node.sequence_nr)
            last = OTHER if maker is None else _part(maker)
        backward[last] += event.self_cpu_time_total / 1e3
    return forward, backward


def _ancestors(event: FunctionEvent) -> Iterator[FunctionEvent]:
    current: FunctionEvent | None = event
    while current is not None:
        yield current
        current = current.cpu_parent


def _node(event: FunctionEvent) -> FunctionEvent | None:
    return next((one for one in _ancestors(event) if one.name.startswith(NODE)), None)


def _in_step(event: FunctionEvent) -> bool:
    return any(one.name == STEP for one in _ancestors(event))


def _part(event: FunctionEvent) -> str:
    name = next((one.name for one in _ancestors(event) if one.name.startswith(MARK)), MARK + OTHER)
    return name.removeprefix(MARK)


def _medians(found: list[dict[str, float]]) -> dict[str, float]:
    return {part: float(np.median([one[part] for one in found])) for part in PARTS}
