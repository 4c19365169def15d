"""Which functions work for others: by place, number of callers, kind of report, and the words of a name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmod_harness.klog.guilty.machinery import is_always_machinery, is_exported_machinery, is_machinery
from kmod_harness.klog.guilty.places import ELSEWHERE, place_of
from kmod_harness.klog.guilty.words import likelihood, words_of
from kmod_harness.klog.kinds import SplatKind as K

KINDS = list(K)


@pytest.mark.parametrize(
    "function",
    [
        "dump_stack_lvl",
        "kasan_report",
        "__asan_report_load8_noabort",
        "memcpy",
        "_raw_spin_lock",
        "mutex_lock",
        "warn_slowpath_fmt",
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_who_reports_checks_and_locks_is_never_the_culprit(function: str, kind: K) -> None:
    assert is_machinery(function, kind)
    assert is_always_machinery(function)


@pytest.mark.parametrize(
    "function",
    ["ext4_evict_inode", "e1000_clean_rx_irq", "snd_pcm_release", "tcp_sendmsg_locked", "__x64_sys_ioctl"],
)
@pytest.mark.parametrize("kind", KINDS)
def test_what_belongs_to_one_subsystem_is_no_machinery(function: str, kind: K) -> None:
    assert not is_machinery(function, kind)


@pytest.mark.parametrize(
    ("function", "serves", "does_not"),
    [
        ("kfree", K.KASAN, K.KCSAN),
        ("schedule_timeout", K.HUNG_TASK, None),
        ("synchronize_rcu", K.OOPS, K.HUNG_TASK),
        ("device_del", K.KASAN, K.LOCKDEP),
        ("lock_sock_nested", K.WARNING, K.LOCKDEP),
        ("unregister_netdevice_many", K.KASAN, K.BUG),
    ],
)
def test_the_kind_decides(function: str, serves: K, does_not: K | None) -> None:
    assert is_machinery(function, serves)
    assert does_not is None or not is_machinery(function, does_not)


@pytest.mark.parametrize("name", ["__kmalloc_noprof", "refcount_inc_checked", "__mutex_lock_nested"])
def test_a_name_of_another_release_is_found(name: str) -> None:
    assert place_of(name) is not None


@pytest.mark.parametrize(
    "function", ["call_rcu_sched", "kasan_object_err", "rwsem_down_read_failed", "trace_lock_acquire"]
)
def test_the_words_of_a_name_that_no_list_has_tell(function: str) -> None:
    assert likelihood(function) > 0 or place_of(function) is not None
    assert is_machinery(function, K.KASAN)


def test_a_wrapper_of_a_service_is_one() -> None:
    assert is_machinery("my_copy_to_user", K.KASAN)
    assert not is_machinery("my_probe", K.KASAN)


def test_a_driver_is_told_by_name_where_its_words_deceive() -> None:
    place = place_of("nr_release")
    assert place is not None and place.path == ELSEWHERE


@pytest.mark.parametrize(("function", "is_one"), [("usb_submit_urb", True), ("faulty_write", False)])
def test_an_interface_that_many_call_may_lie_in_a_module(function: str, is_one: bool) -> None:
    assert is_exported_machinery(function) is is_one


@given(st.text(max_size=80), st.sampled_from(KINDS))
def test_any_name_is_judged_and_what_always_serves_serves_each_kind(name: str, kind: K) -> None:
    assert is_machinery(name, kind) in (True, False)
    assert is_always_machinery(name) in (True, False)
    assert all(word in name.lower() for word in words_of(name))
