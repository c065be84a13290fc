"""Settings of the process: threads, device, and what the C library does with freed memory."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from scr3d.errors import ConfigError

if TYPE_CHECKING:
    import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST = 2**30


def keep_freed_memory() -> bool:
    """Let the C library keep freed blocks instead of giving them back to the system; True where that worked.

    A training step frees and takes hundreds of megabytes. glibc returns large blocks at once, and the system
    clears every page anew: a tenth of a step on the machine this was measured on. Other C libraries are left
    as they are.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST) and mallopt(M_TRIM_THRESHOLD, LARGEST))


@contextmanager
def silenced_errors() -> Iterator[None]:
    """Close the process's error output meanwhile: for native code that writes to it past every log level."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def use_threads(count: int) -> int:
    """Let this process compute with so many CPU threads; 0 leaves torch's choice, all cores unless OMP_NUM_THREADS.

    This is the one setting: whatever else computes in threads takes its number from `torch.get_num_threads()`.

    Returns:
        The number of threads from now on.

    Raises:
        ConfigError: the number is negative.
    """
    import torch

    if count < 0:
        raise ConfigError(f"--threads must be at least 1, or 0 for all; got {count}")
    if count:
        torch.set_num_threads(count)
    return torch.get_num_threads()


def find_device(name: str | torch.device) -> torch.device:
    """The device of a name, after a look at whether it is there.

    Raises:
        ConfigError: it is not, or no device is called so.
    """
    import torch

    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device {str(name)!r} is not available here; use --device cpu") from error
    return device
