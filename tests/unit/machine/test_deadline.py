"""Deadlines: they pass, they stand still while a person debugs, they never go below zero."""

from __future__ import annotations

import select

from hypothesis import given
from hypothesis import strategies as st

from kmod_harness.machine.deadline import Clock, Deadline


def let_pass(seconds: float) -> None:
    select.select([], [], [], seconds)


def test_a_deadline_without_seconds_never_passes() -> None:
    deadline = Deadline("a boot", None)

    assert deadline.remaining is None
    assert not deadline.passed


@given(st.floats(0, 1e9))
def test_what_remains_is_between_nothing_and_what_was_given(seconds: float) -> None:
    deadline = Deadline("a call", seconds)

    assert deadline.remaining is not None
    assert 0 <= deadline.remaining <= seconds
    assert deadline.elapsed >= 0


def test_a_deadline_passes() -> None:
    deadline = Deadline("a call", 0.02)
    let_pass(0.03)

    assert deadline.passed
    assert deadline.remaining == 0.0


def test_a_paused_clock_takes_nothing_from_a_deadline() -> None:
    clock = Clock()
    deadline = Deadline("a call", 10, clock)
    clock.pause()
    before = deadline.remaining
    let_pass(0.03)

    assert deadline.remaining == before
    clock.resume()
    assert deadline.elapsed < 0.03


def test_pausing_twice_is_pausing_once() -> None:
    clock = Clock()
    start = clock.now()
    clock.pause()
    clock.pause()
    let_pass(0.02)
    clock.resume()
    clock.resume()

    assert clock.now() - start < 0.02
