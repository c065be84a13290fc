"""The gradient of a batch that several processes, and in each several threads, compute together."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from scr3d.errors import ConfigError
from scr3d.processes import Group
from scr3d.training.objective import Whole
from scr3d.training.parallel import BatchInParts
from scr3d.training.survival import only_process


@dataclass(frozen=True)
class JointGradients:
    """Who computes gradients, and of what.

    Attributes:
        group: the processes.
        parameters: of which gradients are wanted.
        backward: from a loss to the gradients of the parameters.
        in_parts: the threads of this process, if there are several.
    """

    group: Group
    parameters: Sequence[nn.Parameter]
    backward: Callable[[Tensor], None]
    in_parts: BatchInParts | None = None

    def of(
        self, objective: Callable[..., tuple[Tensor, dict[str, Tensor]]], whole: Whole, images_seen: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Write the gradient of the joint batch's loss to the parameters, the same in every process.

        Returns:
            The loss and the values to log, both of the joint batch.

        Raises:
            ProcessLostError: another process has gone; no weight has changed.
        """
        if self.in_parts is not None:
            total, values = self.in_parts.gradients(objective, whole, images_seen, self.parameters)
            self._add_up(whole.weight)
        else:
            total, values = objective(whole, images_seen)
            self.backward(whole.weighted(total))
            self._add_up()
        return self._joint(total, values, whole.weight)

    @torch.no_grad()
    def _add_up(self, factor: float = 1.0) -> None:
        if self.group.size == 1:
            return
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        torch._foreach_mul_(gradients, factor)
        torch._foreach_copy_(gradients, self.group.sum_all(gradients))

    def _joint(self, total: Tensor, values: dict[str, Tensor], weight: float) -> tuple[Tensor, dict[str, Tensor]]:
        if self.group.size == 1:
            return total, values
        means = torch.stack([value.detach().double() for value in (total, *values.values())]) * weight
        found = self.group.sum(means).to(total.dtype)
        return found[0], dict(zip(values, found[1:], strict=True))


@contextmanager
def only_run(folder: Path, group: Group) -> Iterator[None]:
    """No other run trains in the folder meanwhile; the first process holds the lock for all.

    Raises:
        ConfigError: another one does.
    """
    with ExitStack() as stack:
        group.on_first(lambda: stack.enter_context(only_process(folder)))
        yield


def check_replicas(model: nn.Module, group: Group) -> None:
    """See that every process still holds the same weights.

    Raises:
        ConfigError: they differ.
    """
    if group.size == 1:
        return
    digest = hashlib.blake2b(digest_size=16)
    for value in model.state_dict().values():
        digest.update(value.detach().cpu().numpy().tobytes())
    found = group.gather(digest.hexdigest())
    if other := [number for number, one in enumerate(found) if one != found[0]]:
        raise ConfigError(
            f"processes {', '.join(map(str, other))} of the run hold other weights than the first; use the same "
            "versions of scr3d and PyTorch and the same kind of device everywhere, and give the same command again"
        )
