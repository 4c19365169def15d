"""Pristine guests one after the other; the next one is made ready while the last is in use.

A guest on standby has been restored and is stopped, so that its clock does not advance. Where there is time,
it has run one program: emulation has then translated the code for that.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from kmod_harness.errors import BootFailed, MachineFailure
from kmod_harness.guest.guest import Guest
from kmod_harness.guest.restore import freshen
from kmod_harness.lifecycle.boot_template import discard, template_of
from kmod_harness.lifecycle.prepare import Prepared, start_guest
from kmod_harness.lifecycle.saved_guest import (
    SavedGuest,
    SavedGuestDamaged,
    SavedGuestUnusable,
    digest_of_disks,
    restore,
)
from kmod_harness.machine.deadline import Clock


def restored_guest(
    prepared: Prepared, boot_timeout: float | None = None, clock: Clock | None = None
) -> Guest:
    """Returns a guest of its machine's template, which is made first where there is none.

    The caller closes its machine. Raises SavedGuestUnusable (a template that does not load is discarded), and
    what a boot raises.
    """
    template = template_of(prepared, boot_timeout)
    try:
        return restore(prepared, template, clock, boot_timeout=boot_timeout)
    except SavedGuestUnusable:
        discard(template)
        raise


class GuestSource:
    """Gives guests in the state of a machine's template, or of `checkpoint`; a context manager.

    `standby=False` restores each guest only when it is asked for.
    """

    def __init__(
        self,
        prepared: Prepared,
        *,
        checkpoint: SavedGuest | None = None,
        standby: bool = True,
        boot_timeout: float | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.prepared = prepared
        self._boot_timeout = boot_timeout
        self._checkpoint = checkpoint
        self.clock = clock or Clock()
        self._executor = ThreadPoolExecutor(1, "standby") if standby else None
        self._next: Future[Guest] | None = None
        self._disks_then = ""
        #: monotonic time when a guest was last taken, and seconds that warming one last took
        self._taken = 0.0
        self._warmed_in = 0.0
        self._boots_cold = False

    def __enter__(self) -> GuestSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._executor is not None:
            waiting, self._next = self._next, None
            self._executor.shutdown(wait=True)
            if waiting is not None and waiting.exception() is None:
                waiting.result().machine.close()

    @contextlib.contextmanager
    def guest(self) -> Iterator[Guest]:
        """Gives a pristine guest: the one on standby, else a restored one, else a booted one."""
        guest = None
        try:
            guest = None if self._boots_cold else self._take()
        except SavedGuestUnusable as reason:
            if self._checkpoint is not None:
                raise BootFailed(f"a checkpoint is lost: {reason}") from reason
            print(f"kmod-harness: booting cold, since {reason}", file=sys.stderr)
            # a damaged template is made again; one that cannot be made is not asked for again
            self._boots_cold = not isinstance(reason, SavedGuestDamaged)
        if guest is None:
            with start_guest(self.prepared, self._boot_timeout, self.clock) as guest:
                yield guest
            return
        with guest.machine:
            yield guest

    def _take(self) -> Guest:
        if self._executor is None:
            return self._restored()
        if self._next is not None:
            # a guest that ended on standby is no fault of a test: another one is restored
            with contextlib.suppress(MachineFailure):
                return self._waiting_guest(self._executor, self._next)
        # the first guest may have to be booted: in this thread, so that Ctrl-C ends it
        guest = self._restored()
        self._next = self._next or self._executor.submit(self._ready, warm=True)
        self._taken = time.monotonic()
        return guest

    def _waiting_guest(self, executor: ThreadPoolExecutor, waiting: Future[Guest]) -> Guest:
        """Returns the guest on standby, running again, and starts to make the next one ready."""
        # Warming takes 0.08 s and saves 0.05 s of a test that runs programs. It pays only where the last
        # guest was in use for longer than making this one ready took.
        warm = time.monotonic() - self._taken > self._warmed_in
        try:
            # it stays in _next until it has arrived: after a Ctrl-C, __exit__ ends it
            guest = waiting.result()
        except Exception:
            self._next = None
            raise
        is_current = digest_of_disks(self.prepared.disks) == self._disks_then
        self._next = executor.submit(self._ready, warm=warm)
        with contextlib.ExitStack() as undo:
            undo.enter_context(guest.machine)
            if not is_current:
                raise MachineFailure("the file of a disk was changed while it waited")
            guest.machine.qmp("cont")
            freshen(guest.syscaller)
            undo.pop_all()
        self._taken = time.monotonic()
        return guest

    def _restored(self) -> Guest:
        if self._checkpoint is not None:
            return restore(self.prepared, self._checkpoint, self.clock, boot_timeout=self._boot_timeout)
        return restored_guest(self.prepared, self._boot_timeout, self.clock)

    def _ready(self, *, warm: bool) -> Guest:
        """Returns a stopped guest for standby; called in the standby thread."""
        started = time.monotonic()
        self._disks_then = digest_of_disks(self.prepared.disks)
        guest = self._restored()
        with contextlib.ExitStack() as undo:
            undo.enter_context(guest.machine)
            if warm:
                with contextlib.suppress(OSError):
                    guest.run(["true"])
                self._warmed_in = time.monotonic() - started
            guest.machine.qmp("stop")
            undo.pop_all()
        return guest
