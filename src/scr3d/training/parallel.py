"""Gradients of a batch by several threads, each with its part of the images and one thread of the kernels.

The small networks of a training step leave little for threads inside one operation; two halves of a batch side by side
keep two cores busy for the whole step. The result is that of the whole batch but for rounding, and the same every time.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from scr3d.data.dataset import Batch
from scr3d.fused.dispatch import is_plain, plain
from scr3d.losses.parts import AcrossParts
from scr3d.training.objective import TrainingObjective, Whole

Result = tuple[Tensor, dict[str, Tensor], tuple[Tensor | None, ...]]


class BatchInParts:
    """Threads that compute the training loss and its gradient together."""

    def __init__(self, threads: int):
        """Start `threads` threads, at least two; the calling thread keeps its number of kernel threads."""
        count = torch.get_num_threads()
        self.threads = threads
        self.pool = ThreadPoolExecutor(threads, "part", initializer=compute_alone)
        started = threading.Barrier(threads)
        list(self.pool.map(lambda _: started.wait(), range(threads)))
        torch.set_num_threads(count)  # setting the number in one thread also sets that of threads to come

    def gradients(
        self,
        objective: TrainingObjective | nn.Module,
        batch: Batch,
        images_seen: int,
        parameters: Sequence[nn.Parameter],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Write the gradient of the batch's loss to the parameters.

        Returns:
            The loss and the values to log, both means over the batch.
        """
        count = parts_of(len(batch.image), self.threads)
        exchange = Exchange(count)
        kernels = plain if is_plain() else nullcontext
        size = len(batch.image) // count

        def compute(part: int) -> Result:
            chosen = batch[part * size : (part + 1) * size]
            try:
                with kernels():
                    total, values = objective(Whole(chosen), images_seen, across=exchange.across(part))
                return total.detach(), values, torch.autograd.grad(total, list(parameters), allow_unused=True)
            except BaseException:
                exchange.barrier.abort()  # the others would wait for ever
                raise

        results = finish([self.pool.submit(compute, part) for part in range(count)])
        for parameter, *gradients in zip(parameters, *(gradients for _, _, gradients in results), strict=True):
            found = [gradient for gradient in gradients if gradient is not None]
            parameter.grad = torch.stack(found).sum(0).div_(count) if found else None
        values = {name: torch.stack([part[name] for _, part, _ in results]).mean() for name in results[0][1]}
        return torch.stack([total for total, _, _ in results]).mean(), values

    def close(self) -> None:
        """End the threads."""
        self.pool.shutdown()


def compute_alone() -> None:
    """Let this thread compute with one kernel thread, whatever the others do."""
    torch.get_num_threads()  # a thread takes over the process's number when it first asks, and not again
    torch.set_num_threads(1)


class Exchange:
    """Means over all parts of a batch, computed by threads that wait for one another."""

    def __init__(self, count: int):
        self.barrier = threading.Barrier(count)
        self.found: list[Tensor | None] = [None] * count

    def across(self, part: int) -> AcrossParts:
        """The mean over all parts, as seen from one of them.

        Gradients of the parts are averaged afterwards. So that the average is the gradient of the whole, the own share
        of the mean counts in full here, and that of the others not at all.
        """

        def mean(value: Tensor) -> Tensor:
            self.found[part] = value.detach()
            self.barrier.wait()
            total = torch.stack([one for one in self.found if one is not None]).mean(0)
            self.barrier.wait()
            return total + (value - value.detach())

        return mean


def parts_of(images: int, threads: int) -> int:
    """The largest number of equal parts up to the number of threads."""
    return max(count for count in range(1, threads + 1) if images % count == 0)


def finish(futures: list) -> list[Result]:
    """Results of all futures, or the error that broke the others' barrier."""
    errors = [error for future in futures if (error := future.exception()) is not None]
    for error in errors:
        if not isinstance(error, threading.BrokenBarrierError):
            raise error
    return [future.result() for future in futures]
