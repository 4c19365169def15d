"""Pristine guests one after the other, the next one made ready while the last is in use.

A guest that waits has been restored, has run its first program and is stopped: what
software emulation translated for that stays, the guest's clock does not move.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from .boot_template import discard, template_of
from .errors import BootFailed, MachineFailure
from .guest import Guest
from .guest.restore import freshen
from .machine import Clock
from .start import Prepared, start_guest
from .template import Template, TemplateDamaged, TemplateUnusable, restore


def restored_guest(
    prepared: Prepared, boot_timeout: float | None = None, clock: Clock | None = None
) -> Guest:
    """Returns a guest from its machine's template, made first if there is none; its machine is the caller's.

    Raises TemplateUnusable, a template that does not load being discarded, and what a boot raises.
    """
    template = template_of(prepared, boot_timeout)
    try:
        return restore(prepared, template, clock)
    except TemplateUnusable:
        discard(template)
        raise


class GuestSource:
    """Gives guests in the state of one machine's template, or of `checkpoint`; a context manager.

    `standby=False` restores each guest when it is asked for.
    """

    def __init__(
        self,
        prepared: Prepared,
        *,
        checkpoint: Template | None = None,
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
        """Gives a pristine guest: the one that waits, a restored one, or a booted one where none loads."""
        guest = None
        try:
            guest = None if self._boots_cold else self._take()
        except TemplateUnusable as reason:
            if self._checkpoint is not None:
                raise BootFailed(f"a checkpoint is lost: {reason}") from reason
            print(f"kmod-harness: booting cold, since {reason}", file=sys.stderr)
            # a template that is only damaged is made anew; one that cannot be had is not asked for again
            self._boots_cold = not isinstance(reason, TemplateDamaged)
        if guest is None:
            with start_guest(self.prepared, self._boot_timeout, self.clock) as guest:
                yield guest
            return
        with guest.machine:
            yield guest

    def _take(self) -> Guest:
        if self._executor is None:
            return self._restored()
        # kept until it is here: a Ctrl-C meanwhile leaves it to __exit__
        self._next = self._next or self._executor.submit(self._ready)
        try:
            guest = self._next.result()
        except MachineFailure:
            # it ended while it was made ready, which no test has done
            self._next = None
            return self._restored()
        except Exception:
            self._next = None
            raise
        self._next = self._executor.submit(self._ready)
        with contextlib.ExitStack() as undo:
            undo.enter_context(guest.machine)
            with contextlib.suppress(MachineFailure):
                guest.machine.qmp("cont")
                freshen(guest.syscaller)
                undo.pop_all()
                return guest
        # it ended while it waited, which no test has done
        return self._restored()

    def _restored(self) -> Guest:
        if self._checkpoint is not None:
            return restore(self.prepared, self._checkpoint, self.clock)
        return restored_guest(self.prepared, self._boot_timeout, self.clock)

    def _ready(self) -> Guest:
        """Returns a guest that waits; called in the standby thread."""
        guest = self._restored()
        with contextlib.ExitStack() as undo:
            undo.enter_context(guest.machine)
            with contextlib.suppress(OSError):
                guest.run(["true"])
            guest.machine.qmp("stop")
            undo.pop_all()
        return guest
