"""Gradients of a batch as one CUDA graph, which the GPU repeats without being told every operation anew.

The small networks leave a GPU waiting for the next operation most of the time: a step has more than a thousand of them.
Recorded once, they are started together. The batch and what the recipe changes with the images seen are copied into the
places that the recording reads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from scr3d.data.dataset import Batch, Truth
from scr3d.training.objective import Whole
from scr3d.training.recipe import Moment, Recipe

REHEARSALS = 2
"""Steps before the recording: libraries choose their algorithms, kernels are compiled, constants are sent."""

Objective = Callable[..., tuple[Tensor, dict[str, Tensor]]]


@dataclass(frozen=True)
class Recording:
    """One graph and the tensors that it reads and writes.

    Attributes:
        graph: of the loss and its gradients.
        inputs: what a batch is copied into.
        numbers: the view scale and the weights of the regularisers.
        total: the loss.
        values: to be logged.
        gradients: of the parameters, None where there is none.
    """

    graph: torch.cuda.CUDAGraph
    inputs: list[Tensor]
    numbers: Float[Tensor, " numbers"]
    total: Tensor
    values: dict[str, Tensor]
    gradients: tuple[Tensor | None, ...]


class CapturedGradients:
    """Computes the training loss and its gradient from a recording, which is made anew when the recipe's terms change.

    For one process and first derivatives. The gradients are those of the same operations one by one.
    """

    def __init__(self, recipe: Recipe):
        self.recipe = recipe
        self._key: object = None
        self._recording: Recording | None = None

    def gradients(
        self, objective: Objective, whole: Whole, images_seen: int, parameters: Sequence[nn.Parameter]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Write the gradient of the batch's loss to the parameters, until the next call.

        Returns:
            The loss and the values to log; the next call writes over them.
        """
        moment = self.recipe.at(images_seen)
        tensors = tensors_of(whole.batch)
        key = (tuple(moment.weights), [(tensor.shape, tensor.dtype) for tensor in tensors])
        recording = self._recording
        if recording is None or key != self._key:
            self._recording = None  # its memory is needed for the next one
            self._recording = recording = record(objective, whole.batch, moment, parameters)
            self._key = key
        for place, tensor in zip(recording.inputs, tensors, strict=True):
            place.copy_(tensor)
        recording.numbers.copy_(numbers_of(moment).pin_memory(), non_blocking=True)
        recording.graph.replay()
        for parameter, gradient in zip(parameters, recording.gradients, strict=True):
            parameter.grad = gradient
        return recording.total, recording.values


def record(objective: Objective, batch: Batch, moment: Moment, parameters: Sequence[nn.Parameter]) -> Recording:
    """Rehearse a step on a stream of its own, and record it."""
    device = batch.image.device
    inputs = [tensor.clone() for tensor in tensors_of(batch)]
    numbers = numbers_of(moment).to(device)
    places = Whole(batch_of(inputs, batch))
    scale, *weights = numbers.unbind()
    held = Moment(scale, dict(zip(moment.weights, weights, strict=True)))

    def compute() -> tuple[Tensor, dict[str, Tensor], tuple[Tensor | None, ...]]:
        total, values = objective(places, held)
        return total.detach(), values, torch.autograd.grad(total, list(parameters), allow_unused=True)

    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        for _ in range(REHEARSALS):
            compute()
    torch.cuda.current_stream(device).wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        total, values, gradients = compute()
    return Recording(graph, inputs, numbers, total, values, gradients)


def tensors_of(batch: Batch) -> list[Tensor]:
    """What the loss reads of a batch: images, and mask, true depth and foreground where there are any."""
    truth = batch.truth
    found = (
        batch.image,
        batch.mask,
        None if truth is None else truth.depth,
        None if truth is None else truth.foreground,
    )
    return [tensor for tensor in found if tensor is not None]


def batch_of(tensors: Sequence[Tensor], like: Batch) -> Batch:
    """A batch of these tensors, which are those of one like it."""
    image, *rest = tensors
    mask = None if like.mask is None else rest.pop(0)
    truth = None if like.truth is None else Truth(rest[0], rest[1], None, None, None, {})
    return Batch(image, truth, mask)


def numbers_of(moment: Moment) -> Float[Tensor, " numbers"]:
    """The view scale and the weights, in turn."""
    return torch.tensor([float(moment.view_scale), *(float(weight) for weight in moment.weights.values())])
