"""Which function of a report's stack is the guilty one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kmod_harness.klog.frames import Frame, plain
from kmod_harness.klog.guilty.guilty_function import guilty_function
from kmod_harness.klog.kinds import SplatKind as K


def stack(*names: str, module: str = "") -> list[Frame]:
    return [Frame(name, module=module) for name in names]


def test_machinery_is_passed_over() -> None:
    frames = stack("dump_stack_lvl", "kasan_report", "memcpy", "ext4_evict_inode", "evict")
    assert guilty_function(K.KASAN, "memcpy", frames, None) == "ext4_evict_inode"


def test_a_modules_function_is_the_culprit_whatever_its_name() -> None:
    frames = [
        *stack("dump_stack_lvl", "kasan_report"),
        *stack("read_lock_copy", module="mine"),
        *stack("vfs_read"),
    ]
    assert guilty_function(K.KASAN, "read_lock_copy", frames, None) == "read_lock_copy"


def test_what_a_trap_pushed_stands_above_the_position() -> None:
    frames = stack("dump_stack", "panic", "never_heard_of_it", "invalid_op", "ext4_evict_inode", "evict")
    assert guilty_function(K.WARNING, "", frames, 4) == "ext4_evict_inode"


def test_what_an_interrupt_interrupted_is_not_its_fault() -> None:
    frames = stack("rb_erase", "timerqueue_del", "asm_sysvec_apic_timer_interrupt", "ext4_evict_inode")
    assert guilty_function(K.OOPS, "", frames, 0) == "timerqueue_del"


def test_an_interrupt_that_ran_nothing_but_checks_tells_nothing() -> None:
    frames = stack("dump_stack_lvl", "kasan_report", "asm_common_interrupt", "ext4_evict_inode")
    assert guilty_function(K.KASAN, "", frames, None) == "ext4_evict_inode"


def test_a_stall_is_about_the_operation() -> None:
    frames = stack("update_process_times", "tick_sched_handle", "asm_sysvec_apic_timer_interrupt", "memset")
    frames += stack("ext4_free_blocks", "ext4_file_write_iter", "vfs_write", "ksys_write")
    assert guilty_function(K.RCU_STALL, "", frames, None) == "ext4_file_write_iter"


def test_a_hang_is_about_what_is_waited_for() -> None:
    frames = stack("__schedule", "schedule", "wait_for_completion", "synchronize_rcu", "packet_release")
    assert guilty_function(K.HUNG_TASK, "", frames, None) == "synchronize_rcu"


@given(
    st.sampled_from(list(K)),
    st.sampled_from(["", "memcpy", "mine_probe"]),
    st.lists(
        st.builds(Frame, st.sampled_from(["memcpy", "asm_common_interrupt", "vfs_write", "mine.cold", "x"]))
    ),
    st.integers(0, 9),
    st.booleans(),
)
def test_the_guilty_function_is_one_that_the_report_names(
    kind: K, named: str, frames: list[Frame], at: int, by_operation: bool
) -> None:
    position = at if at < len(frames) else None
    found = guilty_function(kind, named, frames, position, by_operation=by_operation)
    assert found in {"", plain(named), *(plain(frame.function) for frame in frames)}


def test_a_function_that_no_list_has_is_a_part_of_the_leaf_that_calls_it() -> None:
    frames = stack("dump_stack_lvl", "kasan_report", "zq9_inner", "kfree", "ext4_evict_inode")
    assert guilty_function(K.KASAN, "", frames, None) == "ext4_evict_inode"
    assert guilty_function(K.KASAN, "", frames[:3] + stack("ext4_evict_inode"), None) == "zq9_inner"
