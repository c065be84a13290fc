"""How the studio's process ends, with browsers in the middle of their work.

A thread that computes in native code when the interpreter is taken down is unwound by force on its way back. C++
answers with `terminate`, and the process ends by SIGABRT. So nothing of ours is left running: threads are waited for,
and where one takes too long, the process leaves without taking the interpreter down.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

PATIENCE_SECONDS = 5.0
"""A picture takes far less; an animation is not worth waiting for once nobody is there to see it."""
CHECK_SECONDS = 0.1


def running_threads(patience_s: float) -> list[threading.Thread]:
    """The threads beside this one that have not ended after that time."""
    deadline = time.monotonic() + patience_s
    # Looked for again and again: a page that was being built may have started its worker meanwhile.
    while others := [thread for thread in threading.enumerate() if thread is not threading.current_thread()]:
        if time.monotonic() > deadline:
            break
        time.sleep(min(CHECK_SECONDS, patience_s))
    return others


def leave(code: int) -> NoReturn:
    """End the process at once, with threads at work; files are written whole or not at all (`scr3d.files`)."""
    for stream in (sys.stdout, sys.stderr):
        # Whoever read what we print may have gone.
        try:
            stream.flush()
        except (OSError, ValueError):
            continue
    os._exit(code)


@contextmanager
def second_interrupt_leaves(code: int) -> Iterator[None]:
    """A further Ctrl-C does not wait for anything."""

    def at_once(number: int, frame: FrameType | None) -> None:
        os._exit(code)

    before = signal.signal(signal.SIGINT, at_once)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
