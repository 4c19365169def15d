"""What one pytest process knows about its guests, in pytest's stash."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from ..errors import GuestHang

if TYPE_CHECKING:
    from ..machine import Clock
    from .watched import Evidence, Finding, WatchedGuest


class State:
    """The guests that the running test may use, and what is known against them.

    in_use: booted and handed out. findings, evidence: of guests that were given back since
    the test began. about: one line for each machine that was prepared. boots, restores: seconds of each.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.in_use: list[WatchedGuest] = []
        self.findings: list[Finding] = []
        self.evidence: list[Evidence] = []
        self.about: list[str] = []
        self.boots: list[float] = []
        self.restores: list[float] = []
        self.was_used = False

    def begin_test(self) -> None:
        self.evidence.clear()
        self.was_used = False
        for watched in self.in_use:
            watched.begin_test()

    @contextlib.contextmanager
    def using(self, watched: WatchedGuest) -> Iterator[None]:
        """A block in which the guest is judged with every test that runs, at its end for the last time."""
        self.in_use.append(watched)
        self.was_used = True
        watched.begin_test()
        try:
            yield
        except GuestHang:
            self.findings += watched.judge_after_hang()
            raise
        except (KeyboardInterrupt, SystemExit):
            watched.broken = watched.is_damaged = True  # no time for cleaning up
            raise
        finally:
            self.findings += watched.finish()
            self.evidence.append(watched.evidence())
            self.in_use.remove(watched)

    def judge(self, *, after_hang: bool) -> list[Finding]:
        """Returns what the log of every guest in use holds against it since the last call.

        `after_hang`: a deadline was met, by whichever guest.
        """
        self.was_used = False
        findings, self.findings = self.findings, []
        for watched in self.in_use:
            findings += watched.judge_after_hang() if after_hang else watched.judge()
        return findings

    def end_hung_guests(self) -> None:
        """Ends QEMU where a guest hangs, so that no fixture's teardown waits for it."""
        for watched in self.in_use:
            if watched.hangs:
                watched.end()

    def all_evidence(self) -> list[Evidence]:
        return [*self.evidence, *(watched.evidence() for watched in self.in_use)]


class Case:
    """One test: the kinds it expects, those that came, what was found out about it.

    is_settled: a guest of it was damaged; what follows from that is not reported again.
    """

    def __init__(self, expected: frozenset[str]) -> None:
        self.expected = expected
        self.came: set[str] = set()
        self.is_settled = False
        self.has_bundle = False
        self.outcomes: list[str] = []
        self.sections: list[tuple[str, str]] = []


STATE = pytest.StashKey[State]()
CASE = pytest.StashKey[Case]()


def state_of(config: pytest.Config) -> State:
    """Returns the process's state, made when a fixture is first used."""
    if STATE not in config.stash:
        from ..machine import Clock

        config.stash[STATE] = State(Clock())
    return config.stash[STATE]
