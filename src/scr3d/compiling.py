"""A word to whoever waits while kernels are compiled for this machine, which happens once."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE_SECONDS = 3.0
"""Loading compiled kernels takes a tenth of a second; what takes so long is being compiled."""
MESSAGE = "scr3d: compiling kernels for this machine; they are kept, and the next start does not wait"

_said = threading.Event()


@contextmanager
def announced(patience_s: float = PATIENCE_SECONDS) -> Iterator[None]:
    """Say on standard error that kernels are compiled if what is done meanwhile takes long; once in a process."""

    def say() -> None:
        if not _said.is_set():
            _said.set()
            print(MESSAGE, file=sys.stderr, flush=True)

    timer = threading.Timer(patience_s, say)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
