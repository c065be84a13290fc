"""Several processes that work on one thing: who does what, and sums over all of them.

A process alone is a group of one, for which everything here changes nothing and costs nothing. What is computed by many
equals what one computes on the joined batch, but for rounding, because sums and counts are added up, never means over
unequal shares (`Part`), and because the sum can be differentiated as often as anything else (`Group.sum`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor

from scr3d.errors import ConfigError, ElsewhereError, ProcessLostError, Scr3dError

T = TypeVar("T")
LOST = "another process of the run has been lost"
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Group:
    """The processes that share the work, seen from one of them.

    Attributes:
        rank: number of this process.
        size: how many there are; one alone needs no others and no connection.
        device: where tensors are that pass between processes.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = CPU

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and speaks for all."""
        return self.rank == 0

    def part(self, images: int) -> Part:
        """This process's part of a batch.

        Raises:
            ConfigError: there are fewer images than processes.
        """
        if images < self.size:
            raise ConfigError(
                f"a batch of {images} images cannot be shared by {self.size} processes; raise --batch-size, or start "
                "fewer processes"
            )
        start, stop = (number * images // self.size for number in (self.rank, self.rank + 1))
        return Part(self, start, stop, images)

    def sum(self, value: Tensor) -> Tensor:
        """Sum over all processes, the same in each; can be differentiated any number of times.

        Raises:
            ProcessLostError: another process has gone.
        """
        return value if self.size == 1 else cast(Tensor, _Sum.apply(value))

    def sum_all(self, values: Sequence[Tensor]) -> list[Tensor]:
        """`sum` of several tensors of one type in one go."""
        if self.size == 1 or not values:
            return list(values)
        joined = self.sum(torch.cat([value.reshape(-1) for value in values]))
        return [
            torch.empty_like(value).copy_(total.view_as(value)) if not total.requires_grad else total.view_as(value)
            for value, total in zip(values, joined.split([value.numel() for value in values]), strict=True)
        ]

    def gather(self, value: T) -> list[T]:
        """What every process has, in their order; tensors come on this process's device.

        Raises:
            ProcessLostError: another process has gone.
        """
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        with noticing_losses():
            dist.all_gather_object(found, moved(value, CPU))
        return [moved(one, self.device) for one in found]

    def own(self, blocks: Iterable[T]) -> Iterator[tuple[int, T]]:
        """Number and value of the blocks of work that fall to this process: every one of as many as there are."""
        return ((number, block) for number, block in enumerate(blocks) if number % self.size == self.rank)

    def in_order(self, found: list[tuple[int, T]]) -> list[T]:
        """What all processes have found, by number: as one process would have found it, so sums have the same bits."""
        parts = self.gather(found)
        return [value for _, value in sorted((one for part in parts for one in part), key=lambda one: one[0])]

    def any(self, flag: bool) -> bool:
        """Whether it holds in any process."""
        if self.size == 1:
            return flag
        return bool(self.sum(torch.tensor(float(flag), device=self.device)) > 0)

    def wait(self) -> None:
        """Go on when all have come here."""
        self.any(False)

    def together(self, work: Callable[[], T]) -> T:
        """Do something in every process; what one cannot do, none goes on from.

        Raises:
            Scr3dError: what this process, or the first one for another, has met with.
            ElsewhereError: another process has met with it and says so.
        """
        if self.size == 1:
            return work()
        result: T | None = None
        error: Scr3dError | OSError | None = None
        try:
            result = work()
        except (Scr3dError, OSError) as raised:
            error = raised
        failed = self.gather(error is not None)
        if error is not None and failed.index(True) == self.rank:
            raise error
        if any(failed):
            raise ElsewhereError(f"process {failed.index(True)} of the run could not go on")
        return cast(T, result)

    def first_then_others(self, work: Callable[[], T]) -> T:
        """Like `together`, but the others begin when the first is done and has left its files behind."""
        if self.size == 1:
            return work()
        done = self.on_first(work)
        other = self.together(lambda: None if self.first else work())
        return cast(T, done if self.first else other)

    def on_first(self, work: Callable[[], T]) -> T | None:
        """Like `together`, but in the first process alone; None in the others."""
        return self.together(lambda: work() if self.first else None)


ALONE = Group()


@dataclass(frozen=True)
class Part:
    """The images of a joint batch that one process computes with.

    Attributes:
        group: who shares the batch.
        start: first image of this part.
        stop: first image behind it.
        of: images of the joint batch.
    """

    group: Group
    start: int
    stop: int
    of: int

    @property
    def chosen(self) -> slice:
        """Which images of the joint batch these are."""
        return slice(self.start, self.stop)

    @property
    def weight(self) -> float:
        """Share of the joint batch; means over parts count by it."""
        return (self.stop - self.start) / self.of

    def across(self, value: Tensor, summed: bool = False) -> Tensor:
        """From a mean over this part's images to the mean over the joint batch; see `scr3d.losses.parts`."""
        if self.group.size == 1:
            return value
        return self.group.sum(value) * self.weight if summed else self.group.sum(value * self.weight)


class _Sum(torch.autograd.Function):
    """The sum over all processes. Each result depends on every process's value, so gradients add up likewise."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.detach().clone(memory_format=torch.contiguous_format)
        with noticing_losses():
            dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, given: Tensor) -> Any:
        return _Sum.apply(given)


@contextmanager
def noticing_losses() -> Iterator[None]:
    """Turn what the connection reports into an error that says what has happened.

    Raises:
        ProcessLostError: another process has gone.
    """
    try:
        yield
    except RuntimeError as error:
        reason = re.sub(r"^\[[^]]*\] ?", "", str(error).splitlines()[0]).partition(". ")[0]  # less a place in C++
        raise ProcessLostError(f"{LOST} ({reason})") from error


def moved(value: Any, device: torch.device) -> Any:
    """A value with all tensors in it on a device."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, (list, tuple)):
        return type(value)(moved(one, device) for one in value)
    if isinstance(value, dict):
        return {name: moved(one, device) for name, one in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{item.name: moved(getattr(value, item.name), device) for item in fields(value)})
    return value
