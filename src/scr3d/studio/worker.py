"""A thread that does one browser's work, in order, and of what is asked for repeatedly the latest alone."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable


class Worker:
    """Jobs are known by a key: one that still waits is replaced when the key comes again.

    So a slider that moves faster than pictures are made does not leave a queue behind.
    """

    def __init__(self, failed: Callable[[Exception], None]):
        """Jobs can be handed in at once, and wait until `begin`.

        Args:
            failed: told what a job has raised; the thread goes on.
        """
        self._failed = failed
        self._jobs: OrderedDict[str, Callable[[], None]] = OrderedDict()
        self._changed = threading.Condition()
        self._closed = self._busy = False
        self._thread = threading.Thread(target=self._run, daemon=True, name="studio")

    def begin(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, key: str, job: Callable[[], None]) -> None:
        """Do a job soon; nothing after the worker was closed."""
        with self._changed:
            if not self._closed:
                self._jobs[key] = job
                self._changed.notify_all()

    def wait(self, timeout_s: float) -> bool:
        """Wait until there is nothing to do; False if there still is after that time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._jobs and not self._busy, timeout_s)

    def close(self) -> None:
        """Drop what waits, and end after the job at hand."""
        with self._changed:
            self._closed = True
            self._jobs.clear()
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs or self._closed)
                if self._closed:
                    return
                _, job = self._jobs.popitem(last=False)
                self._busy = True
            try:
                job()
            except Exception as error:
                self._failed(error)
            finally:
                with self._changed:
                    self._busy = False
                    self._changed.notify_all()
