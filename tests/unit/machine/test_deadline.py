"""Deadlines: they pass, they stand still while a person debugs, they never go below zero."""

from __future__ import annotations

import select

from hypothesis import given
from hypothesis import strategies as st

from kmod_harness.host.resources import kconfig_fragment, minimal_config
from kmod_harness.machine.deadline import BOOT_SECONDS, BootLimit, Clock, Deadline, boot_limit


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


def test_a_boot_has_the_usual_time_without_options_that_prolong_it() -> None:
    minimal = boot_limit(minimal_config().read_text())

    assert minimal == BootLimit(BOOT_SECONDS, ())
    assert str(minimal) == ""


def test_a_boot_of_a_debug_kernel_has_more_time_and_says_why() -> None:
    # given: the fragments that come with the project
    one = boot_limit(kconfig_fragment("lockdep").read_text())
    all_detectors = boot_limit(kconfig_fragment("debug").read_text())

    assert one.slow == ("PROVE_LOCKING",)
    assert BOOT_SECONDS < one.seconds < all_detectors.seconds
    # software emulation has four times as much; a busy machine was seen to need up to 200 s there
    assert all_detectors.seconds * 4 >= 200
    assert "KASAN, UBSAN, PROVE_LOCKING" in str(all_detectors)


def test_an_option_that_is_off_or_only_begins_alike_prolongs_nothing() -> None:
    assert (
        boot_limit("# CONFIG_KASAN is not set\nCONFIG_HAVE_ARCH_KASAN=y\nCONFIG_KASAN_SHADOW=y\n").slow == ()
    )
