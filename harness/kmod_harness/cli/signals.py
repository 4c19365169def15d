"""SIGTERM and SIGHUP as exceptions, so that every context manager ends what it owns."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGHUP)
#: What a shell reports for a process that SIGINT or SIGPIPE ended: 128 plus the signal's number.
INTERRUPTED = 130
BROKEN_PIPE = 141


class Terminated(BaseException):
    """A signal asked this process to end; `exit_status` is what a shell reports for it."""

    def __init__(self, number: int) -> None:
        super().__init__(f"ended by {signal.Signals(number).name}")
        self.exit_status = 128 + number


@contextlib.contextmanager
def terminating_signals() -> Iterator[None]:
    """While inside, SIGTERM and SIGHUP raise Terminated; one that comes during the clean-up ends at once.

    A signal that was ignored when we started stays ignored (nohup). QEMU dies with
    this process however it ends.
    """

    def end(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise Terminated(number)

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, end)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
