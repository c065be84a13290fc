"""Settings of the process that speed up computing on the CPU."""

from __future__ import annotations

import ctypes

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
