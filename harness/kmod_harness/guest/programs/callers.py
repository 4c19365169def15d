"""The processes that a guest's own calls are made in, one for each thread that makes some."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from kmod_harness.guest.process import Process


class Callers:
    """Gives each thread its process; a new one when its last was killed or blocks.

    start: starts a process. first: one that is there already, for the first thread that asks.
    """

    def __init__(self, start: Callable[[], Process]) -> None:
        self._start = start
        self._of_threads: dict[int, Process] = {}
        self._blocked: list[Process] = []
        self.first: Process | None = None

    def __iter__(self) -> Iterator[Process]:
        yield from (*self._blocked, *self._of_threads.values(), *([self.first] if self.first else []))

    def of_this_thread(self) -> Process:
        """Returns a process that is alive and free."""
        thread = threading.get_ident()
        process = self._of_threads.get(thread)
        if process is None:
            process, self.first = self.first, None
        if process is not None and process.is_alive and process.is_busy:
            self._blocked.append(process)
            process = None
        if process is None or not process.is_alive:
            process = self._start()
        self._of_threads[thread] = process
        return process
