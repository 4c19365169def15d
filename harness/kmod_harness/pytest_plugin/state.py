"""The state of one pytest process: its guests, in pytest's stash."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import pytest

from kmod_harness.errors import GuestHang

if TYPE_CHECKING:
    from kmod_harness.klog.expected.allowance import Allowance
    from kmod_harness.klog.expected.expectation import Expectation, Report
    from kmod_harness.leftovers.listed.inventory import Inventory
    from kmod_harness.machine.deadline import Clock
    from kmod_harness.pytest_plugin.failure.evidence import Evidence
    from kmod_harness.pytest_plugin.failure.last_calls import Place
    from kmod_harness.pytest_plugin.watched import Incident, WatchedGuest


#: Failures of one session that leave their guest's memory and state: 13 to 25 MB each of a small guest.
_KEPT_GUESTS = 20


class State:
    """The guests that the running test may use, and what is known against them.

    in_use: booted and handed out. incidents, evidence: of guests that were given back since
    the test began. about: one line for each machine that was prepared. boots, restores: seconds of each.
    """

    def __init__(
        self,
        clock: Clock,
        running: Callable[[], pytest.Item | None],
        keeps_oops: Callable[[], bool],
        leave_bundle: Callable[[State, BaseException], None],
    ) -> None:
        self.clock = clock
        #: the test that runs; whether an oops of it is to leave its guest's state; what keeps its evidence
        self._running = running
        self._keeps_oops = keeps_oops
        self._leave_bundle_of_test = leave_bundle
        self.in_use: list[WatchedGuest] = []
        self.incidents: list[Incident] = []
        self.evidence: list[Evidence] = []
        self.about: list[str] = []
        self.boots: list[float] = []
        self.restores: list[float] = []
        self.was_used = False
        #: what the kernels of restored guests list before anything was loaded, by their template
        self.listings: dict[str, Inventory] = {}
        #: how many failures may still leave their guest's memory and state
        self.guests_to_keep = _KEPT_GUESTS

    def begin_test(self) -> None:
        self.evidence.clear()
        self.was_used = False
        for watched in self.in_use:
            watched.begin_test(self._running(), keeps_oops=self._keeps_oops())

    @contextlib.contextmanager
    def using(self, watched: WatchedGuest) -> Iterator[None]:
        """A block in which the guest is judged with every test that runs, at its end for the last time."""
        self.in_use.append(watched)
        self.was_used = True
        watched.begin_test(self._running(), keeps_oops=self._keeps_oops())
        try:
            yield
        except GuestHang:
            self.incidents += watched.judge_after_hang()
            raise
        except (KeyboardInterrupt, SystemExit):
            watched.broken = watched.is_damaged = True  # no time for cleaning up
            raise
        finally:
            incidents = watched.finish()
            self.incidents += incidents
            self._leave_bundle(incidents)
            self.evidence.append(watched.evidence())
            self.in_use.remove(watched)
            watched.end_test()
            kept_guest = watched.take_kept_guest()
            if kept_guest is not None:
                from kmod_harness.lifecycle.failing_state import discard  # lazy

                discard(kept_guest)

    def _leave_bundle(self, incidents: Sequence[Incident]) -> None:
        """Keeps the evidence of what came when the guest was cleaned up, before it is gone."""
        item = self._running()
        if item is None:
            return
        case = item.stash[CASE]
        own = [one for one in incidents if one.culprit is None]
        flags = case.expects(own)
        failure = next((one for one, flag in zip(own, flags, strict=True) if not flag), None)
        if failure is not None:
            self._leave_bundle_of_test(self, failure.error)

    def judge(self, *, after_hang: bool) -> list[Incident]:
        """Returns the reports in the log of every guest in use since the last call.

        `after_hang`: a deadline was met, by whichever guest.
        """
        self.was_used = False
        incidents, self.incidents = self.incidents, []
        for watched in self.in_use:
            incidents += watched.judge_after_hang() if after_hang else watched.judge()
        return incidents

    def end_hung_guests(self) -> None:
        """Ends QEMU where a guest hangs, so that no fixture's teardown waits for it."""
        for watched in self.in_use:
            if watched.hangs:
                watched.end()

    def all_evidence(self) -> list[Evidence]:
        return [*self.evidence, *(watched.evidence() for watched in self.in_use)]


class Case:
    """One test: the reports it expects, those that came, what was found out about it.

    is_settled: a guest of it was damaged; what follows from that is not reported again. where: its lines that
    were under way when the kernel did what it fails with.
    """

    def __init__(self, expected: tuple[Expectation, ...], allowed: tuple[Allowance, ...] = ()) -> None:
        self.expected = expected
        #: the reports that may come
        self.allowed = allowed
        #: the reports that came, in order
        self.came: list[Report] = []
        self.is_settled = False
        #: a deadline passed in it
        self.has_hung = False
        #: it uses guests, or used one
        self.is_judged = False
        self.has_bundle = False
        self.has_failed = False
        self.where: tuple[Place, ...] = ()
        self.outcomes: list[str] = []
        self.sections: list[tuple[str, str]] = []
        #: what earlier tests did, and the kernel reported during this one
        self.late: list[Incident] = []

    def expects(self, incidents: Sequence[Incident]) -> list[bool]:
        """Returns for each incident whether the test expects or allows it, after those that came."""
        if not self.expected and not self.allowed:
            return [False] * len(incidents)
        from kmod_harness.klog.expected.allowance import are_excused  # lazy

        reports = [incident.report for incident in incidents if incident.report is not None]
        flags = iter(are_excused([*self.came, *reports], self.expected, self.allowed)[len(self.came) :])
        return [incident.report is not None and next(flags) for incident in incidents]


STATE = pytest.StashKey[State]()
CASE = pytest.StashKey[Case]()
#: of the configuration: the test that runs
RUNNING = pytest.StashKey[pytest.Item]()
