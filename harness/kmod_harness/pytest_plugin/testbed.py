"""The machine that a session's tests run on: prepared once, booted once, restored for every test."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ..checkpoint import save_checkpoint
from ..errors import KmodHarnessError, MachineFailure, Misuse
from ..guest import Guest
from ..spec import Spec
from ..standby import GuestSource
from ..start import Prepared, prepare, start_guest
from ..template import Template
from .options import Settings
from .state import State
from .watched import WatchedGuest


def prepare_testbed(spec: Spec, settings: Settings, state: State) -> Testbed:
    """Returns the testbed for a spec. Builds nothing: a missing kernel raises Misuse with the command."""
    if not isinstance(spec, Spec):
        raise Misuse(
            f"machine_spec must return a kmod_harness.Spec, not {type(spec).__name__}",
            advice='e.g. return Spec(kernel="minimal", cpus=2)',
        )
    prepared = prepare(spec)
    state.about.append(
        f"kernel {prepared.kernel.release} ({prepared.kernel.name}), {prepared.qemu}, "
        f"{prepared.accelerator.name}: {prepared.accelerator.reason}"
    )
    return Testbed(prepared, settings, state)


class Testbed:
    """What the fixture `machine` gives: guests of one Prepared, watched by the running test.

    A context manager; it owns the guest on standby.
    """

    __test__ = False  # pytest: not a class of tests

    def __init__(self, prepared: Prepared, settings: Settings, state: State) -> None:
        self.prepared = prepared
        self.state = state
        self.settings = settings
        self._first_failure: KmodHarnessError | None = None
        self._had_a_guest = False
        self._owned = contextlib.ExitStack()
        self._saved = self._owned.enter_context(self.source(None))

    def __enter__(self) -> Testbed:
        return self

    def __exit__(self, *exc: object) -> None:
        self._owned.close()

    def source(self, checkpoint: Template | None) -> GuestSource:
        """Returns where restored guests come from: the machine's template, or a checkpoint."""
        return GuestSource(
            self.prepared,
            checkpoint=checkpoint,
            standby=self.settings.standby,
            boot_timeout=self.settings.boot_timeout,
            clock=self.state.clock,
        )

    @contextlib.contextmanager
    def guest(self, *, cold: bool = False) -> Iterator[Guest]:
        """A guest of the caller's own; cleaned up, judged with the running test, ended at the end.

        `cold` boots it, so that KASLR and all that a boot decides are decided anew.
        """
        with self.new_guest(cold=cold) as watched, self.state.using(watched):
            yield watched.guest

    @contextlib.contextmanager
    def new_guest(self, *, cold: bool = False, source: GuestSource | None = None) -> Iterator[WatchedGuest]:
        """A pristine guest. Raises the first one's failure again when there never was one."""
        if self._first_failure is not None:
            raise self._first_failure
        with contextlib.ExitStack() as stack:
            try:
                guest = stack.enter_context(self._start(cold or self.settings.cold, source or self._saved))
            except KmodHarnessError as error:
                if not self._had_a_guest:
                    self._first_failure = error
                raise
            self._had_a_guest = True
            guest.machine.call_limit = self.settings.timeout
            guest.saver = self._save
            watched = WatchedGuest(guest, settle=self.settings.settle)
            for finding in watched.judge(wait=not guest.was_restored):
                raise _retold(finding.error, "while the guest booted")
            yield watched

    @contextlib.contextmanager
    def _start(self, cold: bool, source: GuestSource) -> Iterator[Guest]:
        boot_timeout, clock = self.settings.boot_timeout, self.state.clock
        with start_guest(self.prepared, boot_timeout, clock) if cold else source.guest() as guest:
            (self.state.restores if guest.was_restored else self.state.boots).append(guest.boot_seconds)
            yield guest

    def _save(self, guest: Guest) -> Pristine:
        """What `guest.checkpoint()` does: saves it beside its own files, to live as long as it does."""
        number = len(list(guest.machine.directory.glob("checkpoint-*")))
        directory = guest.machine.directory / f"checkpoint-{number}"
        directory.mkdir(mode=0o700)
        checkpoint = save_checkpoint(self.prepared, guest, directory)
        source = self._owned.enter_context(self.source(checkpoint))
        return Pristine(self, source)


class Pristine:
    """What every test's guest starts from: the machine's template, or a checkpoint (`guest.checkpoint()`).

    With --kh-unrestored it is one booted guest, shared for as long as it stays sound. A context
    manager that ends it.
    """

    def __init__(self, testbed: Testbed, source: GuestSource | None = None) -> None:
        self._testbed = testbed
        self._source = source
        self._kept: WatchedGuest | None = None
        self._life = contextlib.ExitStack()

    def __enter__(self) -> Pristine:
        return self

    def __exit__(self, *exc: object) -> None:
        self._discard()

    @contextlib.contextmanager
    def guest(self) -> Iterator[Guest]:
        """A guest for one test: a new one, restored, or the shared one of an unrestored run."""
        if not self._testbed.settings.unrestored:
            with (
                self._testbed.new_guest(source=self._source) as watched,
                self._testbed.state.using(watched),
            ):
                yield watched.guest
            return
        watched = self._sound_guest()
        try:
            with self._testbed.state.using(watched):
                yield watched.guest
        finally:
            if watched.broken:
                self._discard()

    def _sound_guest(self) -> WatchedGuest:
        """Returns the kept guest, or a new one. Raises what the kernel reported between two tests."""
        if self._kept is None:
            self._kept = self._life.enter_context(self._testbed.new_guest(source=self._source))
            return self._kept
        for finding in self._kept.judge(wait=False):
            self._discard()
            raise _retold(finding.error, "after the test before this one had ended")
        return self._kept

    def _discard(self) -> None:
        self._kept = None
        self._life.close()


def _retold(error: MachineFailure, when: str) -> MachineFailure:
    error.message = f"{error.message}, {when}"
    return error
