"""Stack frames in a report, and which function a report is about."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from .kinds import HANG_KINDS, SYMBOL, SplatKind

#: A line of a call trace: printk_stack_address, arch/x86/kernel/dumpstack.c, 6.1; before 4.10 with
#: `[<address>]`; `?` marks a leftover on the stack. Symbolised logs add file:line and `[inline]`.
_FRAME = re.compile(
    r"\s{0,16}(?:\[<[0-9a-f]{1,16}>\]\s?)?(?:<\w{1,8}>\s{1,4})?(?:\[<[0-9a-f]{1,16}>\]\s?)?"
    rf"(?P<guess>\? )?{SYMBOL}(?: \[(?P<module>\w{{1,64}})[^\]]{{0,60}}\])?"
)
_INLINE = re.compile(r"\s{0,16}(?P<function>[\w.$]{1,128}) [\w./-]{1,200}:\d{1,7} \[inline\]")
#: RIP (x86-64), EIP, IP (before 4.10), pc (arm64), PC is at (arm): where the CPU was.
_POSITION = re.compile(
    r"(?:(?P<user>RIP: 00(?:33|23):)|(?:\b[RE]?IP: (?:[0-9a-f]{4}:)?|\bpc : |\bPC is at )"
    rf"(?:\s?\[<[0-9a-f]{{1,16}}>\]){{0,2}}\s{{0,4}}{SYMBOL}(?: \[(?P<module>\w{{1,64}})[^\]]{{0,60}}\])?)"
)

#: Functions that report, check, wait or carry on behalf of others: never the guilty one.
_CARRIERS = re.compile(
    r"_{0,3}(?:"
    r"dump_stack\w*|show_stack|show_regs|show_trace|print_\w+|printk|_printk|vprintk|panic|nmi_panic|warn|"
    r"__warn\w*|warn_slowpath\w*|report_bug|fixup_bug|do_error_trap|do_invalid_op|do_trap\w*|invalid_op|"
    r"handle_bug|exc_\w+|asm_\w+|die|die_body|oops_\w+|no_context|bad_area\w*|page_fault\w*|do_page_fault|"
    r"do_user_addr_fault|do_kern_addr_fault|async_page_fault|error_entry|general_protection|do_general_protection|"
    r"common_exception_return|"
    r"kasan_\w+|asan_\w+|__asan_\w+|check_memory_region\w*|__kasan_\w+|kmsan_\w+|__msan_\w+|kcsan_\w+|__tsan_\w+|"
    r"kfence_\w+|ubsan_\w+|__ubsan_\w+|handle_overflow|object_err|end_report|describe_\w+|save_stack\w*|stack_trace\w*|"
    r"unwind_\w+|arch_stack_walk|sanitizer_\w+|__sanitizer_\w+|memcpy\w*|memset\w*|memmove\w*|memcmp|memscan|"
    r"memchr\w*|str(?:n?len|n?cpy|lcpy|scpy|n?cmp|chr|n?casecmp|str)\w*|crc\w+|csum_\w+|"
    r"(?:copy|raw_copy|_copy)_(?:to|from|in)_user\w*|rep_movs\w*|"
    r"refcount_\w+|kref_\w+|list_(?:add|del)\w*|hlist_\w+|atomic\w*|arch_atomic\w*|instrument_\w+|"
    r"(?:test|set|clear|change|arch_test|arch_set|arch_clear)_(?:and_\w+_)?bit\w*|native_\w+|paravirt_\w+|pv_\w+|"
    r"kvm_(?:wait|spin|guest_\w+)|read_once\w*|write_once\w*|READ_ONCE\w*|"
    r"(?:kz|k|kv|vz?|kmem_cache_|slab_|__slab_|___slab_|devm_k)(?:alloc|free|malloc|zalloc|calloc|realloc|memdup)\w*|"
    r"kmalloc\w*|cache_(?:free|alloc)\w*|slab_\w+|qlist_\w+|quarantine_\w+|page_frag_\w+|"
    r"debug_(?:check|object|locks|print|dma|smp)\w*|check_no_obj_freed|fault_create\w*|should_fail\w*|fail_dump|"
    r"lock_(?:acquire|release|is_held|sock_nested|downgrade)\w*|check_(?:noncircular|prev|deadlock|usage|chain|lock)\w*|"
    r"validate_chain|mark_(?:lock|held|usage)\w*|register_lock_class|reacquire_\w+|lockdep_\w+|debug_check_no_\w+|"
    r"look_up_lock_class|(?:down|up)_(?:read|write|interruptible|killable)\w*|down\w*|rwsem_\w+|percpu_\w+|rt_mutex\w*|"
    r"(?:_raw_|do_raw_|raw_|arch_)?(?:spin|read|write)_?(?:un|try|is_)?(?:locked|lock)\w*|queued_\w+|spin_dump|spin_bug|"
    r"mutex_\w+|semaphore\w*|"
    r"schedule\w*|preempt_schedule\w*|context_switch|io_schedule\w*|[mu]sleep\w*|wait_for_\w+|do_wait_for_common|bit_wait\w*|"
    r"out_of_line_wait\w*|wait_on_\w+|do_sched\w*|might_sleep|might_resched|might_fault|__might_\w+|___might_\w+|"
    r"sched_show_task|rcu_\w+|call_rcu\w*|synchronize_\w+|srcu_\w+|dyntick_\w+|check_cpu_stall|"
    r"nmi_\w+|trigger_\w+|arch_trigger\w*|watchdog\w*|check_hung\w*|update_process_times|tick_\w+|hrtimer_\w+|"
    r"run_hrtimer|local_apic_\w+|smp_\w+_interrupt|smp_apic_\w+|sysvec_\w+|apic_timer\w*|call_softirq|do_softirq\w*|"
    r"irq_exit\w*|irq_enter\w*|invoke_softirq|softirqentry_\w+|ret_from_\w+|do_syscall\w*|entry_\w+|"
    r"ktime_\w+|preempt_\w+|local_(?:bh|irq)_\w+|trace_\w+|ftrace_\w+|test_ti_thread_flag|"
    r"stack_chk_fail|__stack_chk_fail|pick_\w+|cpu_relax|rep_nop|el1\w*|el0\w*|do_mem_abort|do_translation_fault|"
    r"unreferenced|usercopy_\w+|check_object_size|check_heap_object|check_preemption_disabled|this_cpu_preempt_check|"
    r"smp_processor_id|debug_smp_processor_id|kthread|__x86_indirect_thunk\w*|__switch_to\w*|retint_\w+|"
    r"dump_cpu_task|dump_backtrace|warn_alloc\w*|object_is_on_stack|osq_lock|finish_wait|call_rwsem_\w+|"
    r"vprintk\w*|console_(?:unlock|trylock|lock\w*)|is_bpf_text_address|__?kernel_text_address|flush_work|"
    r"finish_task_switch|string|vsnprintf|vscnprintf|usb_(?:kill|submit)_urb|dequeue_task|bpf_\w+_text_\w+"
    r")(?:\.\w+){0,4}"
)


@dataclass(frozen=True)
class Frame:
    """A function on a stack; module is "" for the kernel, guess is True for `?` leftovers."""

    function: str
    module: str
    guess: bool


def frames_of(lines: Iterable[str]) -> Iterator[Frame]:
    """The call trace's frames in order, without the positions (RIP) between them."""
    for line in lines:
        line = line[:512]
        match = _FRAME.match(line)
        if match:
            yield Frame(match["function"], match["module"] or "", bool(match["guess"]))
            continue
        match = _INLINE.match(line)
        if match:
            yield Frame(match["function"], "", False)


def position_of(lines: Iterable[str]) -> tuple[str, str]:
    """The function the CPU was in and its module ("" for the kernel): the first kernel-mode RIP."""
    for line in lines:
        match = _POSITION.search(line[:512])
        if match and match["function"]:
            return match["function"], match["module"] or ""
    return "", ""


def is_carrier(function: str) -> bool:
    """Whether the function only reports, checks, waits or allocates for another."""
    return bool(_CARRIERS.fullmatch(function))


def guilty_function(kind: SplatKind, named: str, position: str, frames: Sequence[Frame]) -> str:
    """The function a report is about, "" when nothing tells.

    named: what the header names. position: where the CPU was. The first of
    header, position and call trace that is not a carrier; a hang's header
    names the task, so that its stack alone counts.
    """
    if kind is SplatKind.RCU_STALL or (kind in HANG_KINDS and kind is not SplatKind.SOFT_LOCKUP):
        first: tuple[str, ...] = ()
    else:
        first = (named, position)
    for function in first:
        if function and not is_carrier(function):
            return plain(function)
    sure = [frame.function for frame in frames if not frame.guess]
    for function in sure or [frame.function for frame in frames]:
        if not is_carrier(function):
            return plain(function)
    return plain(named or position)


def plain(function: str) -> str:
    """The name without the suffixes that gcc adds: `.isra.0`, `.constprop.3`, `.part.1`, `.cold`."""
    return re.sub(r"\.(?:isra|constprop|part|cold|llvm)\b.*$", "", function)
