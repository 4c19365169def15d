"""One guest: restored from its machine's template, or booted."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from kmod_harness.guest.guest import Guest
from kmod_harness.lifecycle.prepare import Prepared, start_guest
from kmod_harness.machine.deadline import Clock


@contextlib.contextmanager
def boot(
    prepared: Prepared,
    *,
    cold: bool = True,
    boot_timeout: float | None = None,
    clock: Clock | None = None,
) -> Iterator[Guest]:
    """Gives a guest and ends it: no QEMU, socket or directory is left.

    Unless `cold`, the guest is restored from the machine's template, booted and
    saved when there is none yet. `boot_timeout` is in seconds, exact. Raises
    BootFailed, QemuDied, Misuse (QEMU refuses an argument).
    """
    if cold:
        with start_guest(prepared, boot_timeout, clock) as guest:
            yield guest
        return
    from kmod_harness.lifecycle.standby import GuestSource  # lazy: a cold boot needs no template

    source = GuestSource(prepared, standby=False, boot_timeout=boot_timeout, clock=clock)
    with source, source.guest() as guest:
        yield guest
