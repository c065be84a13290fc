"""Out of memory, in one line that says what would fit.

What a batch needs is measured with small ones, since it grows in proportion to the images (docs/growth.md): the most
that is held at a time, as PyTorch's allocators count it. What is free is asked for before the work begins, because
memory that an attempt has taken may stay with the process.
"""

from __future__ import annotations

import gc
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from scr3d.errors import MemoryLimitError
from scr3d.memory import available_bytes
from scr3d.runtime import silenced_errors

if TYPE_CHECKING:
    from scr3d.models.autoencoder import PhotoGeometricAutoencoder

FIRST, LAST = 4, 64
"""Batches that are measured, each twice the one before; of few images, what does not depend on their number is most."""
PROPORTIONAL = 1.95
"""Memory grows in proportion where twice the images take so many times as much."""
SHARE = 0.75
"""Of the free memory, so much is counted on: the rest goes to fragments, libraries and the unforeseen."""
WORDS = (
    "can't allocate memory",
    "cannot allocate memory",
    "out of memory",
    "not enough memory",
    "bad_alloc",
    "failed to allocate",
)
"""How libraries say it that raise a RuntimeError."""


@dataclass(frozen=True)
class Need:
    """Memory of a piece of work.

    Attributes:
        fixed_bytes: for no images at all.
        image_bytes: for each image of a batch.
    """

    fixed_bytes: float
    image_bytes: float

    def of(self, images: int) -> float:
        """Bytes for a batch."""
        return self.fixed_bytes + self.image_bytes * images

    def fitting(self, free_bytes: float) -> int:
        """The largest batch that fits; 0 for none."""
        return max(0, int((free_bytes * SHARE - self.fixed_bytes) / self.image_bytes))


@dataclass(frozen=True)
class Work:
    """What is to be done with batches, for the message.

    Attributes:
        name: as in `a step`.
        batch_size: images of a batch.
        option: that sets it; empty where none does.
        need: measures what it takes; may fail for lack of memory itself.
        otherwise: what to do where no batch fits, or there is no option.
    """

    name: str
    batch_size: int
    option: str
    need: Callable[[], Need]
    otherwise: str = "end other programs, or take smaller images"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there is no more memory, on the CPU or a GPU."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(word in text for word in WORDS)


def free_bytes(device: torch.device | str) -> int | None:
    """Memory that a computation on a device can still take; None where nobody knows."""
    device = torch.device(device)
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    return available_bytes()


def peak_bytes(work: Callable[[], object], device: torch.device | str = "cpu") -> int:
    """The most that a piece of work holds at a time, beyond what was there before, as PyTorch's allocator counts it."""
    device = torch.device(device)
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        work()
        return torch.cuda.max_memory_allocated(device) - before
    from torch.profiler import ProfilerActivity, profile

    # It writes that it starts and stops.
    with silenced_errors(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    events = profiler.profiler.kineto_results.events()  # type: ignore[union-attr]
    changes = sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]")
    return int(np.cumsum([size for _, size in changes]).max()) if changes else 0


def measure_need(work: Callable[[int], object], device: torch.device | str = "cpu", fixed_bytes: float = 0.0) -> Need:
    """What work on a batch needs, from small ones.

    Args:
        work: given a number of images.
        device: where it computes.
        fixed_bytes: what is needed beside, whatever the batch.
    """
    work(1)  # kernels are compiled, and what is kept is made
    images, peak = FIRST, peak_bytes(partial(work, FIRST), device)
    while images < LAST:
        larger = peak_bytes(partial(work, 2 * images), device)
        image_bytes = max((larger - peak) / images, 1.0)
        if larger > PROPORTIONAL * peak:
            break
        images, peak = 2 * images, larger
    return Need(max(0.0, peak - images * image_bytes) + fixed_bytes, image_bytes)


def reconstruction_work(network: PhotoGeometricAutoencoder, batch_size: int, threads: int = 1) -> Work:
    """Batches of photos through a model, one in every thread at a time."""
    device, size = network.border.device, network.config.size

    def explain(images: int) -> None:
        with torch.no_grad():
            network.reconstruct(torch.rand(images, 3, size, size, device=device))

    def need() -> Need:
        one = measure_need(explain, device)
        return Need(one.fixed_bytes * threads, one.image_bytes * threads)

    name = "a batch" if threads == 1 else f"a batch in each of {threads} threads"
    return Work(name, batch_size, "--batch-size", need, "take fewer --threads, smaller photos, or end other programs")


@contextmanager
def advised(work: Work, device: torch.device | str = "cpu") -> Iterator[None]:
    """Turn an error for lack of memory into one line that says which batch fits.

    Raises:
        MemoryLimitError: instead of the error.
    """
    free = free_bytes(device)
    failed = False
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        # What the calls that failed still hold would be missing for the measurement.
        traceback.clear_frames(error.__traceback__)
        failed = True
    if failed:
        gc.collect()
        raise MemoryLimitError(advice(work, free))


def advice(work: Work, free: int | None) -> str:
    """What happened, how much is needed and free, and what to do."""
    begin = f"out of memory: {work.name} of {work.batch_size} images"
    try:
        need = work.need()
    except (MemoryError, RuntimeError):
        return f"{begin} does not fit, nor does one of {2 * FIRST}; {work.otherwise}"
    if free is None:
        return f"{begin} takes {_amount(need.of(work.batch_size))}; {_smaller(work, work.batch_size // 2)}"
    fits = need.fitting(free)
    numbers = f"{begin} takes about {_amount(need.of(work.batch_size))}, {_amount(free)} were free"
    if fits >= work.batch_size:
        # The estimate was too low, or others took memory meanwhile.
        return f"{numbers}, which others may have taken meanwhile; {_smaller(work, work.batch_size // 2)}"
    return f"{numbers}; {_smaller(work, fits)}"


def _smaller(work: Work, fits: int) -> str:
    if not work.option or fits < 1:
        return work.otherwise
    return f"{work.option} {fits if fits < 16 else fits // 8 * 8} fits"


def _amount(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
