"""When a fused kernel is used, and how its plain form gives what the kernel cannot.

Every kernel has a plain form in PyTorch, which defines what it computes. The kernel is for float32 on the CPU and first
derivatives. Whatever asks for more gets the plain form: other types and devices, autocast, and derivatives of
derivatives.
"""

from __future__ import annotations

import threading
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch
import warp as wp
from torch import Tensor

from scr3d.compiling import announced

_STATE = threading.local()
_COMPILING = threading.Lock()


def is_plain() -> bool:
    """Whether this thread has been told to compute everything in the plain form."""
    return getattr(_STATE, "plain", False)


@contextmanager
def plain() -> Iterator[None]:
    """Let this thread compute everything in the plain form."""
    before = is_plain()
    _STATE.plain = True
    try:
        yield
    finally:
        _STATE.plain = before


def usable(*tensors: Tensor | None) -> bool:
    """Whether kernels may be used for these tensors."""
    if is_plain() or torch.is_autocast_enabled("cpu"):
        return False
    return all(x is None or (x.is_cpu and x.dtype is torch.float32 and x.numel() > 0) for x in tensors)


def in_order(maps: Tensor) -> Tensor:
    """The tensor with its second axis last in memory."""
    return maps.contiguous(memory_format=torch.channels_last)


def scratch(size: int) -> Tensor:
    """This thread's memory for what a kernel needs for itself: always the same, which is still in the caches."""
    kept: Tensor | None = getattr(_STATE, "scratch", None)
    if kept is None or len(kept) < size:
        kept = _STATE.scratch = torch.empty(size)
    return kept


def launch(kernel: Any, numbers: Sequence[int | Tensor | None], *options: float) -> None:
    """Run a kernel in this thread, with addresses in place of tensors, 0 for None."""
    values = array("q", [x.data_ptr() if isinstance(x, Tensor) else x or 0 for x in numbers])
    command = _command(kernel, options)
    command.set_param_at_index(0, values.buffer_info()[0])
    command.launch()


def _command(kernel: Any, options: tuple[float, ...]) -> Any:
    """This thread's recorded launch of a kernel, which costs far less than a new one."""
    commands = _STATE.__dict__.setdefault("commands", {})
    found = commands.get((kernel, options))
    if found is None:
        ready(kernel)
        found = wp.launch(kernel, dim=1, inputs=[0, *options], device="cpu", record_cmd=True)
        commands[kernel, options] = found
    return found


@lru_cache(maxsize=64)
def _load(kernel: Any) -> None:
    from scr3d.rendering._kernels import start_warp  # rendering uses this module itself

    start_warp()
    with announced():
        wp.load_module(kernel.module.name, device="cpu")


def ready(kernel: Any) -> None:
    """Have the kernel compiled, before several threads ask for it at once."""
    with _COMPILING:
        _load(kernel)


def plain_gradients(
    form: Callable[..., Tensor | tuple[Tensor, ...]],
    inputs: Sequence[Tensor | None],
    wanted: Sequence[bool],
    given: Sequence[Tensor | None],
) -> list[Tensor | None]:
    """Gradients by way of the plain form, which can be differentiated again.

    Args:
        form: of the inputs.
        inputs: what the kernel was given.
        wanted: which of them need a gradient.
        given: gradients of the form's results.
    """
    with torch.enable_grad(), plain():
        # A view of its own for each input: what leads to an input must not be run through again here.
        own = [x.view_as(x) if x is not None and want else x for x, want in zip(inputs, wanted, strict=True)]
        results = form(*own)
        results = results if isinstance(results, tuple) else (results,)
        chosen = [x for x, want in zip(own, wanted, strict=True) if want and x is not None]
        found = torch.autograd.grad(
            [r for r, g in zip(results, given, strict=True) if g is not None],
            chosen,
            [g for g in given if g is not None],
            create_graph=True,
            allow_unused=True,
        )
    rest = iter(found)
    return [next(rest) if want and x is not None else None for x, want in zip(own, wanted, strict=True)]
