"""A training step as one CUDA graph, which the GPU repeats without being told every operation anew.

The small networks leave a GPU waiting for the next operation most of the time: a step has thousands of them. Recorded
once, from the loss to the running average, they are started together. The batch and the numbers that change from step
to step are copied into the places that the recording reads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from scr3d.data.dataset import Batch, Truth
from scr3d.training.layout import laid_out_as
from scr3d.training.objective import Whole
from scr3d.training.recipe import Moment, Recipe

REHEARSALS = 2
"""Steps without effect before the recording: libraries choose algorithms, kernels are compiled, constants are sent."""

Objective = Callable[[Whole, Moment], tuple[Tensor, dict[str, Tensor]]]


@dataclass(frozen=True)
class Recording:
    """One graph and the tensors that it reads and writes.

    Attributes:
        graph: of the step.
        inputs: what a batch is copied into.
        numbers: whether the step counts, learning rate, weight of the running average, view scale, and the weights of
            the regularisers.
        names: of the values.
        values: the loss, the gradient's norm, and what else is logged.
    """

    graph: torch.cuda.CUDAGraph
    inputs: list[Tensor]
    numbers: Float[Tensor, " numbers"]
    names: list[str]
    values: Float[Tensor, " values"]


class CapturedStep:
    """Takes steps from a recording, which is made anew when the terms of the recipe change.

    For one process and first derivatives; the optimiser must have taken a step before, which makes its state.
    """

    def __init__(
        self,
        objective: Objective,
        recipe: Recipe,
        model: nn.Module,
        averaged: nn.Module,
        optimiser: torch.optim.Adam,
        clip: Callable[[], Tensor],
    ):
        """Record nothing yet.

        Args:
            objective: loss and values to log of a batch.
            recipe: what changes with the images seen.
            model: is trained.
            averaged: holds the running average of its weights.
            optimiser: over the parameters that are trained; fused and capturable.
            clip: limits the gradient and returns its norm before.
        """
        self.objective = objective
        self.recipe = recipe
        self.parameters: list[Tensor] = list(model.parameters())
        self.averaged: list[Tensor] = list(averaged.parameters())
        self.optimiser = optimiser
        self.clip = clip
        self._key: object = None
        self._recording: Recording | None = None

    @property
    def ready(self) -> bool:
        """Whether the optimiser has a state."""
        return len(self.optimiser.state) > 0

    def take(self, batch: Batch, images_seen: int, rate: float, average_weight: float) -> dict[str, float]:
        """Take a step, which changes nothing where loss or gradient are not finite.

        Args:
            batch: on the GPU.
            images_seen: before the step.
            rate: learning rate.
            average_weight: by how much the running average follows the weights.

        Returns:
            `total`, `gradient` (norm before clipping), and the single terms.
        """
        moment = self.recipe.at(images_seen)
        tensors = tensors_of(batch)
        key = (tuple(moment.weights), [(tensor.shape, tensor.dtype) for tensor in tensors])
        if self._recording is None or key != self._key:
            self._recording = None  # its memory is needed for the next one
            self._recording, self._key = self._record(batch, moment), key
        recording = self._recording
        for place, tensor in zip(recording.inputs, tensors, strict=True):
            place.copy_(tensor)
        recording.numbers.copy_(numbers_of(moment, 1.0, rate, average_weight))
        recording.graph.replay()
        return dict(zip(recording.names, recording.values.tolist(), strict=True))

    def compute(
        self, given: Whole, moment: Moment, counts: Tensor, rate: Tensor, average_weight: Tensor
    ) -> dict[str, Tensor]:
        """The operations of a step, none of which waits for the device.

        Args:
            given: the batch.
            moment: the recipe, as tensors.
            counts: 1, or 0 for a step that changes nothing.
            rate: learning rate.
            average_weight: as in `take`.

        Returns:
            What `take` returns.
        """
        total, values = self.objective(given, moment)
        found = torch.autograd.grad(total, self.parameters, allow_unused=True)
        for parameter, gradient in zip(self.parameters, found, strict=True):
            parameter.grad = None if gradient is None else laid_out_as(gradient, parameter)
        norm = self.clip()
        effective = counts * (total.isfinite() & norm.isfinite())
        # Fused optimisers take no step where this is 1, as a scaler of gradients tells them.
        self.optimiser.found_inf = 1 - effective  # type: ignore[attr-defined]
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.step()
        with torch.no_grad():
            away = list(torch._foreach_sub(self.parameters, self.averaged))
            torch._foreach_mul_(away, average_weight * effective)
            torch._foreach_add_(self.averaged, away)
        return {"total": total, "gradient": norm, **values}

    def _record(self, batch: Batch, moment: Moment) -> Recording:
        """Rehearse a step on a stream of its own, and record it."""
        device = batch.image.device
        inputs = [tensor.clone() for tensor in tensors_of(batch)]
        numbers = numbers_of(moment, 0.0, 0.0, 0.0).to(device)
        given = Whole(batch_of(inputs, batch))
        counts, rate, average_weight, scale, *weights = numbers.unbind()
        held = Moment(scale, dict(zip(moment.weights, weights, strict=True)))
        try:
            stream = torch.cuda.Stream(device)
            stream.wait_stream(torch.cuda.current_stream(device))
            with torch.cuda.stream(stream):
                for _ in range(REHEARSALS):
                    self.compute(given, held, counts, rate, average_weight)
            torch.cuda.current_stream(device).wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                logged = self.compute(given, held, counts, rate, average_weight)
                values = torch.stack([value.detach().float() for value in logged.values()])
        finally:
            self._tidy()
        return Recording(graph, inputs, numbers, list(logged), values)

    def _tidy(self) -> None:
        """Leave nothing of the recording in the optimiser, which may also be used without it."""
        self.optimiser.__dict__.pop("found_inf", None)
        for group in self.optimiser.param_groups:
            group["lr"] = float("nan")  # whoever takes a step sets it
        for parameter in self.parameters:
            parameter.grad = None


def tensors_of(batch: Batch) -> list[Tensor]:
    """What the loss reads of a batch: images, and mask, target, true depth and foreground where there are any."""
    truth = batch.truth
    found = (
        batch.image,
        batch.mask,
        batch.target,
        None if truth is None else truth.depth,
        None if truth is None else truth.foreground,
    )
    return [tensor for tensor in found if tensor is not None]


def batch_of(tensors: Sequence[Tensor], like: Batch) -> Batch:
    """A batch of these tensors, which are those of one like it."""
    image, *rest = tensors
    mask = None if like.mask is None else rest.pop(0)
    target = None if like.target is None else rest.pop(0)
    truth = None if like.truth is None else Truth(rest[0], rest[1], None, None, None, {})
    return Batch(image, truth, mask, target)


def numbers_of(moment: Moment, *before: float) -> Float[Tensor, " numbers"]:
    """The given numbers, the view scale and the weights, in turn."""
    weights = [float(weight) for weight in moment.weights.values()]
    return torch.tensor([*before, float(moment.view_scale), *weights])
