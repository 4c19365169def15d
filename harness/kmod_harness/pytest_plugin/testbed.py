"""The machine that a session's tests run on: prepared once, booted once, restored for every test."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator

from kmod_harness.errors import KmodHarnessError, MachineFailure, Misuse
from kmod_harness.guest.guest import Guest
from kmod_harness.host.exceptions import os_errors_as_misuse
from kmod_harness.leftovers.watch import LeftoverWatch
from kmod_harness.lifecycle.checkpoint import save_checkpoint
from kmod_harness.lifecycle.prepare import Prepared, prepare, start_guest
from kmod_harness.lifecycle.saved_guest import SavedGuest
from kmod_harness.lifecycle.standby import GuestSource
from kmod_harness.machine.rundir import run_directory
from kmod_harness.pytest_plugin.options import Settings
from kmod_harness.pytest_plugin.state import State
from kmod_harness.pytest_plugin.watched import WatchedGuest
from kmod_harness.spec.spec import Spec


def prepare_testbed(spec: Spec, settings: Settings, state: State) -> Testbed:
    """Returns the testbed for a spec. Builds nothing: a missing kernel raises Misuse with the command."""
    if not isinstance(spec, Spec):
        raise Misuse(
            f"machine_spec must return a kmod_harness.Spec, not {type(spec).__name__}",
            advice='e.g. return Spec(kernel="minimal", cpus=2)',
        )
    with os_errors_as_misuse():
        prepared = prepare(spec)
    state.about.append(
        f"kernel {prepared.kernel.release} ({prepared.kernel.name}), "
        f"{prepared.accelerator.name}: {prepared.accelerator.reason}"
    )
    return Testbed(prepared, settings, state)


class Testbed:
    """The value of the fixture `machine`: guests of one Prepared, watched by the running test.

    A context manager; it owns the named checkpoints, and `standard`: guests in the state of the
    machine's template, one of them on standby.
    """

    __test__ = False  # pytest: not a class of tests

    def __init__(self, prepared: Prepared, settings: Settings, state: State) -> None:
        self.prepared = prepared
        self.state = state
        self.settings = settings
        self._first_failure: KmodHarnessError | None = None
        self._had_a_guest = False
        self._named: dict[str, Pristine] = {}
        self._owned = contextlib.ExitStack()
        self.standard = self._owned.enter_context(self.source(None))

    def __repr__(self) -> str:
        return f"<Testbed: {self.prepared.kernel.name}, {self.prepared.accelerator.name}>"

    def __enter__(self) -> Testbed:
        return self

    def __exit__(self, *exc: object) -> None:
        self._owned.close()

    def source(self, checkpoint: SavedGuest | None, *, standby: bool = True) -> GuestSource:
        """Returns where restored guests come from: the machine's template, or a checkpoint."""
        return GuestSource(
            self.prepared,
            checkpoint=checkpoint,
            standby=standby and self.settings.standby,
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

    def checkpoint(self, name: str) -> Pristine:
        """The checkpoint that `guest.checkpoint(name)` saved. Raises Misuse for a name without one."""
        if name not in self._named:
            raise Misuse(
                f"there is no checkpoint {name!r}",
                evidence=f"saved until now: {', '.join(self._named) or 'none'}",
                advice="guest.checkpoint(name), in a fixture that this one asks for, saves one",
            )
        return self._named[name]

    @contextlib.contextmanager
    def new_guest(self, *, cold: bool = False, source: GuestSource | None = None) -> Iterator[WatchedGuest]:
        """A pristine guest, of the machine's own state or of `source`'s.

        Raises the first one's failure again when there never was one.
        """
        if self._first_failure is not None:
            raise self._first_failure
        with contextlib.ExitStack() as life:
            try:
                # what a checkpoint holds, no boot gives
                cold = cold or (self.settings.cold and source is None)
                with os_errors_as_misuse():
                    guest = life.enter_context(self._start(cold, source or self.standard))
            except KmodHarnessError as error:
                if not self._had_a_guest:
                    self._first_failure = error
                raise
            self._had_a_guest = True
            guest.machine.call_limit = self.settings.timeout
            guest.machine.calls_prolonged_by = "timeout= of the call, or --kh-timeout"
            guest._saver = functools.partial(self._save, life)
            watched = WatchedGuest(
                guest,
                self.prepared.kernel,
                settle=self.settings.settle,
                leftovers=self._leftover_watch(guest),
            )
            for incident in watched.judge(wait=not guest.was_restored):
                raise _retold(incident.error, "while the guest booted")
            yield watched

    def _leftover_watch(self, guest: Guest) -> LeftoverWatch | None:
        if not self.settings.leftovers:
            return None
        return LeftoverWatch(guest, self.prepared.kernel, self.state.listings)

    @contextlib.contextmanager
    def _start(self, cold: bool, source: GuestSource) -> Iterator[Guest]:
        boot_timeout, clock = self.settings.boot_timeout, self.state.clock
        with start_guest(self.prepared, boot_timeout, clock) if cold else source.guest() as guest:
            (self.state.restores if guest.was_restored else self.state.boots).append(guest.boot_seconds)
            yield guest

    def _save(self, life: contextlib.ExitStack, guest: Guest, name: str) -> Pristine:
        """Makes `guest.checkpoint()`; one without a name ends with the guest, whose life this is."""
        if name in self._named:
            raise Misuse(
                f"there is a checkpoint {name!r} already", advice="each name is saved once a session"
            )
        owner = self._owned if name else life
        directory = owner.enter_context(run_directory())
        pristine = owner.enter_context(Pristine(self, save_checkpoint(self.prepared, guest, directory)))
        if name:
            self._named[name] = pristine
        return pristine


class Pristine:
    """The state that every test's guest starts from: the machine's template, or a checkpoint.

    A context manager that ends what waits.
    """

    def __init__(self, testbed: Testbed, checkpoint: SavedGuest | None = None) -> None:
        self._testbed = testbed
        self._checkpoint = checkpoint
        self._source: GuestSource | None = None
        self._kept: WatchedGuest | None = None
        self._had_a_turn = False
        self._waiting = contextlib.ExitStack()

    def __repr__(self) -> str:
        state = "the machine's template" if self._checkpoint is None else "a checkpoint"
        return f"<Pristine: {state} of {self._testbed!r}>"

    def __enter__(self) -> Pristine:
        return self

    def __exit__(self, *exc: object) -> None:
        self.rest()

    @contextlib.contextmanager
    def guest(self, *, in_turn: bool = False) -> Iterator[Guest]:
        """A guest in this state, restored.

        in_turn: one of several, one after the other. From the second on the next is made ready meanwhile,
        and waits until it is taken or until `rest`; with --kh-unrestored they are all one, for as long as it
        is sound.
        """
        if not (in_turn and self._testbed.settings.unrestored):
            with (
                self._testbed.new_guest(source=self._source_of_guests(in_turn)) as watched,
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
                self.rest()

    def rest(self) -> None:
        """Ends the guest that waits, and the shared one of an unrestored run; `guest` gives others.

        What the shared one's kernel has reported since its last test is judged with the test that ends.
        """
        kept, self._kept, self._source = self._kept, None, None
        if kept is not None and not kept.broken:
            self._testbed.state.incidents += kept.judge()
        self._had_a_turn = False
        self._waiting.close()

    def _source_of_guests(self, in_turn: bool) -> GuestSource | None:
        if self._checkpoint is None:
            return None
        # one that is asked for once, as a `pristine` of function scope is, need not have another wait
        if in_turn and self._had_a_turn and self._source is None:
            self._source = self._waiting.enter_context(self._testbed.source(self._checkpoint))
        self._had_a_turn = self._had_a_turn or in_turn
        return self._source or self._testbed.source(self._checkpoint, standby=False)

    def _sound_guest(self) -> WatchedGuest:
        """Returns the kept guest, or a new one. Raises what the kernel reported between two tests."""
        if self._kept is None:
            source = self._source_of_guests(in_turn=True)
            self._kept = self._waiting.enter_context(self._testbed.new_guest(source=source))
            return self._kept
        incidents = self._kept.judge(wait=False)
        if not incidents:
            return self._kept
        self.rest()
        state = self._testbed.state
        state.incidents += [incident for incident in incidents if incident.culprit is not None]
        for incident in incidents:
            if incident.culprit is None:
                raise incident.error
        return self._sound_guest()


def _retold(error: MachineFailure, when: str) -> MachineFailure:
    error.message = f"{error.message}, {when}"
    return error
