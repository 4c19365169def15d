"""A guest as a context manager: restored from its machine's template, or booted."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kmod_harness.errors import Misuse
from kmod_harness.guest.guest import Guest
from kmod_harness.lifecycle.prepare import Prepared, start_guest
from kmod_harness.machine.deadline import Clock

if TYPE_CHECKING:
    from kmod_harness.lifecycle.saved_guest import SavedGuest


@contextlib.contextmanager
def boot(
    prepared: Prepared,
    *,
    cold: bool = True,
    boot_timeout: float | None = None,
    clock: Clock | None = None,
) -> Iterator[Guest]:
    """Gives a guest and ends it; no QEMU, socket or directory is left behind.

    Unless `cold`, the guest is restored from the machine's template, which is booted and saved first where
    there is none. `boot_timeout` is in seconds, and not stretched under emulation. Raises BootFailed,
    QemuDied, Misuse (QEMU refuses an argument).
    """
    with contextlib.ExitStack() as life:
        if cold:
            guest = life.enter_context(start_guest(prepared, boot_timeout, clock))
        else:
            guest = life.enter_context(_restored(prepared, None, boot_timeout, clock))
        guest._saver = functools.partial(_save, prepared, clock, life)
        yield guest


@contextlib.contextmanager
def _restored(
    prepared: Prepared, checkpoint: SavedGuest | None, boot_timeout: float | None, clock: Clock | None
) -> Iterator[Guest]:
    from kmod_harness.lifecycle.standby import GuestSource  # lazy: a cold boot needs no template

    source = GuestSource(
        prepared, checkpoint=checkpoint, standby=False, boot_timeout=boot_timeout, clock=clock
    )
    with source, source.guest() as guest:
        yield guest


@dataclass(frozen=True)
class _Saved:
    """A checkpoint: its files end with the guest it was taken of."""

    prepared: Prepared
    template: SavedGuest
    clock: Clock | None

    @contextlib.contextmanager
    def guest(self) -> Iterator[Guest]:
        """A guest in this state, restored; it can have checkpoints in turn."""
        with contextlib.ExitStack() as life:
            guest = life.enter_context(_restored(self.prepared, self.template, None, self.clock))
            guest._saver = functools.partial(_save, self.prepared, self.clock, life)
            yield guest


def _save(
    prepared: Prepared, clock: Clock | None, life: contextlib.ExitStack, guest: Guest, name: str
) -> _Saved:
    from kmod_harness.lifecycle.checkpoint import save_checkpoint  # lazy: few guests are saved
    from kmod_harness.machine.rundir import run_directory  # lazy: the same

    if name:
        raise Misuse(
            f"a name ({name!r}) is for checkpoints of the pytest fixture `machine`",
            advice="keep what guest.checkpoint() returns; it lives as long as this guest",
        )
    return _Saved(prepared, save_checkpoint(prepared, guest, life.enter_context(run_directory())), clock)
