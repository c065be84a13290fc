"""Signals that announce the end of a process, and worker processes that do not outlive who has started them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from types import FrameType

WARNINGS = ("SIGTERM", "SIGUSR1")
"""Signals by which schedulers announce that a process has to end; not all systems have both."""
REPEAT_SECONDS = 1.0


class Warnings:
    """Listens for signals that announce the end, for work that then saves and leaves at a place of its own choice."""

    def __init__(self) -> None:
        self.received: str | None = None
        """Name of the signal that has come."""

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Listen meanwhile; where this is not the main thread, signals are not ours to handle."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = [getattr(signal, name) for name in WARNINGS if hasattr(signal, name)]
        before = {number: signal.signal(number, self._take) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _take(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number).name


def end_with_parent() -> None:
    """Let this worker process end when the process that has started it is gone, however that went.

    It gets SIGTERM: a training that is under way saves and leaves, everything else ends at once.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent,), name="parent", daemon=True).start()


def _follow(parent: BaseProcess) -> None:
    parent.join()
    while True:  # the first ends a training, the next what comes after it
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(REPEAT_SECONDS)
