"""The machine that a session's tests run on: prepared once, booted as often as needed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ..errors import KmodHarnessError, MachineFailure, Misuse
from ..guest import Guest
from ..spec import Spec
from ..start import Prepared, boot, prepare
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
    """What the fixture `machine` gives: boots guests of one Prepared, watched by the running test."""

    __test__ = False  # pytest: not a class of tests

    def __init__(self, prepared: Prepared, settings: Settings, state: State) -> None:
        self.prepared = prepared
        self.state = state
        self._settings = settings
        self._first_failure: KmodHarnessError | None = None
        self._has_booted = False

    @contextlib.contextmanager
    def guest(self) -> Iterator[Guest]:
        """Boots a guest of the caller's own; judged with every test that runs, cleaned up at the end."""
        with self.booted() as watched, self.state.using(watched):
            yield watched.guest

    @contextlib.contextmanager
    def booted(self) -> Iterator[WatchedGuest]:
        """Boots a guest and ends it. Raises the first boot's failure again when none ever succeeded."""
        if self._first_failure is not None:
            raise self._first_failure
        with contextlib.ExitStack() as stack:
            try:
                guest = stack.enter_context(self._boot())
            except KmodHarnessError as error:
                if not self._has_booted:
                    self._first_failure = error
                raise
            self._has_booted = True
            guest.machine.call_limit = self._settings.timeout
            watched = WatchedGuest(guest)
            for finding in watched.judge():
                raise _retold(finding.error, "while the guest booted")
            yield watched

    @contextlib.contextmanager
    def _boot(self) -> Iterator[Guest]:
        with boot(self.prepared, boot_timeout=self._settings.boot_timeout, clock=self.state.clock) as guest:
            self.state.boots.append(guest.boot_seconds)
            yield guest


class Pristine:
    """What every test's guest starts from: one booted guest, shared for as long as it stays sound.

    A context manager that ends it.
    """

    def __init__(self, testbed: Testbed) -> None:
        self._testbed = testbed
        self._kept: WatchedGuest | None = None
        self._life = contextlib.ExitStack()

    def __enter__(self) -> Pristine:
        return self

    def __exit__(self, *exc: object) -> None:
        self._discard()

    @contextlib.contextmanager
    def guest(self) -> Iterator[Guest]:
        """A guest for one test. This is the place, and the only one, that decides how it becomes pristine."""
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
            self._kept = self._life.enter_context(self._testbed.booted())
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
