"""Gradients of a batch by several threads, each with its part of the images and one thread of the kernels.

The small networks of a training step leave little for threads inside one operation; two halves of a batch side by side
keep two cores busy for the whole step. The result is that of the whole batch but for rounding, and the same every time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from scr3d.data.dataset import Batch
from scr3d.fused.dispatch import is_plain, plain
from scr3d.losses.parts import AcrossParts, one_part
from scr3d.training.layout import laid_out_as
from scr3d.training.objective import Whole

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
        objective: Callable[..., tuple[Tensor, dict[str, Tensor]]],
        batch: Batch | Whole,
        images_seen: int,
        parameters: Sequence[nn.Parameter],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Write the gradient of the batch's loss to the parameters.

        For a batch that is itself a part of what several processes share, this is the gradient of its own loss; the
        sum of all processes', by their shares, is that of the joint batch.

        Returns:
            The loss and the values to log, both means over the batch.
        """
        whole = batch if isinstance(batch, Whole) else Whole(batch)
        batch = whole.batch
        count = parts_of(len(batch.image), self.threads)
        exchange = Exchange(count, whole.across)
        kernels = plain if is_plain() else nullcontext
        size = len(batch.image) // count

        def compute(part: int) -> Result:
            chosen = batch[part * size : (part + 1) * size]
            try:
                with kernels():
                    total, values = objective(Whole(chosen, exchange.across(part)), images_seen)
                gradients = torch.autograd.grad(total / count, list(parameters), allow_unused=True)
                return total.detach(), values, gradients
            except BaseException:
                exchange.barrier.abort()  # the others would wait for ever
                raise

        results = finish([self.pool.submit(compute, part) for part in range(count)])
        write_sum(parameters, [gradients for _, _, gradients in results])
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
    """Means over all parts of a batch, computed by threads that wait for one another.

    `outer` goes on from this batch to those of other processes; one of the threads asks for all.
    """

    def __init__(self, count: int, outer: AcrossParts = one_part):
        self.barrier = threading.Barrier(count, self._join)
        self.outer = outer
        self.found: list[Tensor | None] = [None] * count
        self.summed = False
        self.total: Tensor | None = None
        self.joins = 0

    def _join(self) -> None:
        """What one thread does when all have come to the barrier: the first time to hand in, the second to leave."""
        self.joins += 1
        if self.joins % 2 == 0:
            return
        values = torch.stack([one for one in self.found if one is not None])
        if self.summed and self.outer is not one_part:
            self.total = self.outer(values.sum(0), summed=True) / len(values)
        else:
            self.total = self.outer(values.mean(0))

    def across(self, part: int) -> AcrossParts:
        """The mean over all parts, as seen from one of them.

        Gradients of the parts are averaged afterwards. So that the average is the gradient of the whole, the own share
        of the mean counts in full here, and that of the others not at all.
        """

        def mean(value: Tensor, summed: bool = False) -> Tensor:
            self.found[part], self.summed = value.detach(), summed
            self.barrier.wait()
            total = self.total
            self.barrier.wait()
            assert total is not None  # the first barrier has seen to it
            return total + (value - value.detach())

        return mean


@torch.no_grad()
def write_sum(parameters: Sequence[nn.Parameter], parts: Sequence[Sequence[Tensor | None]]) -> None:
    """Write the sum of all parts' gradients to the parameters; what is missing in one is missing in all."""
    found = [[gradient for gradient in part if gradient is not None] for part in parts]
    # Never in place, and a copy of a single part: autograd may give one tensor for two parameters.
    total = tuple(gradient.clone() for gradient in found[0]) if len(found) == 1 else tuple(found[0])
    for other in found[1:] if total else ():
        total = torch._foreach_add(total, other)
    sums = iter(total)
    for parameter, gradient in zip(parameters, parts[0], strict=True):
        parameter.grad = None if gradient is None else laid_out_as(next(sums), parameter)


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
