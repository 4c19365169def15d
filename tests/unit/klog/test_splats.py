"""Splats: recorded on our own 6.1 kernel, from the kernel's format strings, and from any bytes at all."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmod_harness.klog.frames import Frame
from kmod_harness.klog.headers import header_of
from kmod_harness.klog.kinds import HANG_KINDS, SplatKind
from kmod_harness.klog.records import KernelRecord, parse_console
from kmod_harness.klog.splats import find_splats
from unit.klog.recorded_case import CASES, read_case


def recorded(fault: str) -> tuple[KernelRecord, ...]:
    """A log from `sysrq: Show backtrace` on; module `bad` misbehaves in init."""
    return parse_console(read_case(CASES / f"sysrq-then-{fault}.txt").log)


def from_lines(*lines: str):
    return find_splats(parse_console("".join(f"[   10.000000] {line}\n" for line in lines)))


@pytest.mark.parametrize(
    ("fault", "kind", "title", "rip_symbol"),
    [
        ("warn", SplatKind.WARNING, "WARNING in bad_warn", "bad_warn"),
        ("gpf", SplatKind.OOPS, "general protection fault in bad_gpf", "bad_gpf"),
        ("oops", SplatKind.OOPS, "NULL pointer dereference in bad_oops", "bad_oops"),
        ("bug", SplatKind.BUG, "kernel BUG in bad_bug", "bad_bug"),
        ("panic", SplatKind.PANIC, "kernel panic: bad: asked to panic", ""),
    ],
)
def test_a_recorded_fault_is_one_splat_with_its_task_and_module(
    fault: str, kind: SplatKind, title: str, rip_symbol: str
) -> None:
    (splat,) = find_splats(recorded(fault))
    assert (splat.kind, splat.title, splat.rip_symbol) == (kind, title, rip_symbol)
    assert (splat.task, splat.pid, splat.cpu) == ("init", 26, 0)
    assert splat.modules == ("bad",)


def test_sleeping_in_atomic_context_and_what_it_leads_to_are_two_splats() -> None:
    atomic, imbalance = find_splats(recorded("atomic"))
    assert (atomic.kind, atomic.title) == (SplatKind.ATOMIC_SLEEP, "scheduling while atomic in bad_atomic")
    assert (atomic.task, atomic.pid) == ("init", 26)
    assert (imbalance.kind, imbalance.function) == (SplatKind.INIT_IMBALANCE, "bad_init")
    assert "preemption imbalance" in imbalance.text


@pytest.mark.parametrize("fault", ["warn", "gpf", "oops", "bug"])
def test_a_splats_text_is_the_raw_lines_from_its_head_to_its_end_trace(fault: str) -> None:
    records = recorded(fault)
    (splat,) = find_splats(records)
    lines = splat.text.split("\n")
    assert lines == [record.raw for record in records[splat.first_line : splat.last_line + 1]]
    assert "---[ end trace" in lines[-1]
    assert "recorder" not in splat.text
    assert fault not in ("warn", "bug") or "[ cut here ]" in lines[0]


@pytest.mark.parametrize("fault", ["warn", "gpf", "oops", "bug", "panic", "atomic"])
def test_what_sysrq_provokes_is_no_splat(fault: str) -> None:
    records = recorded(fault)
    start = next(i for i, record in enumerate(records) if "recorder" in record.text)
    assert any("NMI backtrace for cpu 0" in record.text for record in records[:start])
    assert find_splats(records[:start]) == ()


def test_a_log_without_timestamps_gives_the_same_splats() -> None:
    records = recorded("oops")
    (bare,) = find_splats(parse_console("\n".join(record.text for record in records)))
    (stamped,) = find_splats(records)
    assert (bare.kind, bare.title, bare.first_line) == (stamped.kind, stamped.title, stamped.first_line)


def test_a_log_with_levels_and_callers_gives_the_same_splats() -> None:
    records = recorded("oops")
    log = "\n".join(f"<1>[    1.000000][   T26] {record.text}" for record in records)
    (splat,) = find_splats(parse_console(log))
    assert splat.title == "NULL pointer dereference in bad_oops"


@pytest.mark.parametrize(
    ("line", "kind", "title"),
    [
        ("BUG: unable to handle page fault for address: ffffc90000000000", "OOPS", "page fault"),
        ("BUG: unable to handle kernel NULL pointer dereference at 0000000000000008", "OOPS",
         "NULL pointer dereference"),
        ("divide error: 0000 [#1] PREEMPT SMP", "OOPS", "divide error"),
        ("Oops: general protection fault, probably for non-canonical address 0xdead000000000000: 0000 [#1]",
         "OOPS", "general protection fault"),
        ("BUG: TASK stack guard page was hit at 000000001 (stack is 1..2)", "OOPS",
         "stack guard page was hit"),
        ("kernel BUG at mm/slub.c:305!", "BUG", "kernel BUG"),
        ("WARNING: CPU: 1 PID: 7 at kernel/x.c:1 do_x+0x1/0x2", "WARNING", "WARNING in do_x"),
        ("WARNING: drivers/x.c:12 at x_probe+0x1/0x2 [x], CPU#3: modprobe/40", "WARNING",
         "WARNING in x_probe"),
        ("BUG: sleeping function called from invalid context at mm/slab.h:494", "ATOMIC_SLEEP",
         "sleeping function called from invalid context"),
        ("BUG: scheduling while atomic: my task/77/0x00000002", "ATOMIC_SLEEP", "scheduling while atomic"),
        ("watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [insmod:80]", "SOFT_LOCKUP", "soft lockup"),
        ("NMI watchdog: Watchdog detected hard LOCKUP on cpu 2", "HARD_LOCKUP", "hard lockup"),
        ("rcu: INFO: rcu_preempt self-detected stall on CPU", "RCU_STALL", "rcu stall"),
        ("rcu: INFO: rcu_sched detected stalls on CPUs/tasks:", "RCU_STALL", "rcu stall"),
        ("INFO: task cat:77 blocked for more than 120 seconds.", "HUNG_TASK", "task hung"),
        ("BUG: workqueue lockup - pool cpus=0 node=0 flags=0x0 nice=0 stuck for 30s!", "WORKQUEUE_LOCKUP",
         "workqueue lockup"),
        ("BUG: KASAN: slab-use-after-free in x_read+0x1/0x2 [x]", "KASAN",
         "KASAN: slab-use-after-free in x_read"),
        ("UBSAN: array-index-out-of-bounds in drivers/x.c:3:4", "UBSAN", "UBSAN: array-index-out-of-bounds"),
        ("WARNING: possible recursive locking detected", "LOCKDEP", "possible recursive locking detected"),
        ("WARNING: possible circular locking dependency detected", "LOCKDEP",
         "possible circular locking dependency detected"),
        ("kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)", "KMEMLEAK",
         "memory leak"),
        ("unreferenced object (phys) 0x01000000 (size 4096):", "KMEMLEAK", "memory leak"),
        ("kmemleak: unreferenced object (percpu) 0x607fd6c2c0 (size 4):", "KMEMLEAK", "per-CPU memory leak"),
        ("Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b", "PANIC",
         "kernel panic: Attempted to kill init! exitcode=ADDR"),
        ("BUG: Bad page state in process cat  pfn:12345", "BAD_PAGE", "bad page"),
        ("BUG kmalloc-64 (Tainted: G    B     ): Poison overwritten", "SLAB_CORRUPTION",
         "kmalloc-N (Tainted: G B ): Poison overwritten"),
        ("Out of memory: Killed process 81 (cat) total-vm:1kB", "OUT_OF_MEMORY", "out of memory"),
        ("initcall demo_init+0x0/0x20 returned with preemption imbalance", "INIT_IMBALANCE",
         "initcall imbalance in demo_init"),
    ],
)  # fmt: skip
def test_a_header_as_the_kernel_formats_it(line: str, kind: str, title: str) -> None:
    (splat,) = from_lines("chardev: loaded", line, "chardev: something else")
    assert (splat.kind.value, splat.title) == (kind, title)


@pytest.mark.parametrize(
    "line",
    [
        "chardev: loaded",
        "WARNING: /etc/ssh/moduli does not exist, using fixed modulus",
        "INFO: lockdep is turned off.",
        "ODEBUG: Out of memory. ODEBUG disabled",
        "traps: prog[123] general protection fault ip:401136 sp:7ffe error:0 in prog[401000+1000]",
        "prog[123]: segfault at 0 ip 0000000000401136 sp 00007ffe error 4 in prog[401000+1000]",
        "sysrq: Show backtrace of all active CPUs",
        "sysrq: Show Blocked State",
        "NMI backtrace for cpu 0",
        "---[ end Kernel panic - not syncing: x ]---",
        "unchecked MSR access error: RDMSR from 0x1 at rIP: 0x1",
        "tsc: Fast TSC calibration failed",
    ],
)
def test_a_line_that_is_no_report(line: str) -> None:
    assert from_lines(line) == ()


def test_task_pid_and_cpu_come_from_the_header_where_it_has_them() -> None:
    (soft,) = from_lines("watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [kworker/0:1:80]")
    assert (soft.task, soft.pid, soft.cpu) == ("kworker/0:1", 80, 1)
    (atomic,) = from_lines("BUG: scheduling while atomic: my task/77/0x00000002")
    assert (atomic.task, atomic.pid) == ("my task", 77)


def test_a_panic_after_an_oops_is_a_splat_of_its_own() -> None:
    oops = [record.text for record in recorded("oops") if "recorder" not in record.text]
    splats = from_lines(*oops, "Kernel panic - not syncing: Fatal exception", "Kernel Offset: disabled")
    assert [splat.kind for splat in splats] == [SplatKind.OOPS, SplatKind.PANIC]


def test_the_trace_below_panic_on_warn_tells_whose_warning_it_was() -> None:
    warning, panic = from_lines(
        "WARNING: CPU: 0 PID: 21 at lib/refcount.c:25 refcount_warn_saturate+0x1/0x2",
        "Kernel panic - not syncing: panic_on_warn set ...",
        "CPU: 0 PID: 21 Comm: insmod Not tainted 6.1.0 #1",
        "Call Trace:",
        " dump_stack+0x1/0x2",
        " x_init+0x1/0x2 [x]",
    )
    assert (warning.title, warning.task, warning.modules) == ("WARNING in x_init", "insmod", ("x",))
    assert panic.kind is SplatKind.PANIC


def test_another_lines_in_between_do_not_cut_a_report() -> None:
    texts = [record.text for record in recorded("warn")]
    (alone,) = find_splats(recorded("warn"))
    at = next(i for i, text in enumerate(texts) if text == "Call Trace:")
    mixed = from_lines(*texts[:at], "eth0: link up", "random: crng init done", *texts[at:])
    assert len(mixed) == 1
    assert mixed[0].title == alone.title
    assert mixed[0].last_line == alone.last_line + 2


@pytest.mark.parametrize("address", ["ffffc90000000000", "0000000012345678"])
def test_titles_hold_no_addresses(address: str) -> None:
    (splat,) = from_lines(f"Kernel panic - not syncing: bad thing at {address} in task 42")
    assert splat.title == "kernel panic: bad thing at ADDR in task N"


def test_the_kernels_own_hangs_are_the_hang_kinds() -> None:
    assert {kind.value for kind in HANG_KINDS} == {
        "SOFT_LOCKUP", "HARD_LOCKUP", "RCU_STALL", "HUNG_TASK", "WORKQUEUE_LOCKUP",
    }  # fmt: skip


pieces = st.sampled_from(
    [
        "BUG: ", "WARNING: CPU: 0 PID: 1 at ", "Oops: 0002 [#1]", "Kernel panic - not syncing: ", "KASAN: ",
        "INFO: task ", ":1 blocked for more than ", "------------[ cut here ]------------\n", "\n", " ",
        "---[ end trace 0 ]---\n", "RIP: 0010:", "f+0x1/0x2", " [m]", "Call Trace:\n", "=" * 40 + "\n", "0x",
        "[    1.000000] ", "INFO: rcu_x detected stall", "CPU: 0 PID: 1 Comm: x Not tainted", "\x00", "é",
    ]
)  # fmt: skip


@given(st.binary())
def test_any_bytes_give_splats_or_none_but_never_an_exception(data: bytes) -> None:
    find_splats(parse_console(data))


@given(st.lists(pieces, max_size=60).map("".join))
def test_splats_are_in_order_and_made_of_raw_lines_in_order(log: str) -> None:
    records = parse_console(log)
    begun = -1
    for splat in find_splats(records):
        assert begun < splat.first_line <= splat.last_line < len(records)
        begun = splat.first_line
        between = iter(r.raw for r in records[splat.first_line : splat.last_line + 1])
        assert all(line in between for line in splat.text.split("\n"))
        assert splat.title


@pytest.mark.parametrize(
    "line",
    ["BUG: " * 10_000, "WARNING: at " * 5_000, "KASAN: a " * 5_000, "[" * 50_000, " " * 60_000 + "x",
     "general protection fault, " * 2_000, "a" * 60_000 + "+0x", "INFO: task a:" * 4_000],
)  # fmt: skip
def test_a_hostile_line_costs_no_more_than_its_length(line: str) -> None:
    start = time.process_time()
    header_of(line)
    find_splats(parse_console(("[    1.000000] " + line + "\n") * 10))
    assert time.process_time() - start < 2


def test_two_cpus_that_report_at_once_are_told_apart_by_their_callers() -> None:
    # given: a kernel with PRINTK_CALLER, two tasks' oopses line by line in turn
    def oops(task: str, function: str) -> list[str]:
        return [
            f"[    5.000001][ {task}] BUG: kernel NULL pointer dereference, address: 0000000000000000",
            f"[    5.000002][ {task}] RIP: 0010:{function}+0x10/0x20 [demo]",
            f"[    5.000003][ {task}] Call Trace:",
            f"[    5.000004][ {task}]  {function}+0x10/0x20 [demo]",
        ]

    turns = zip(oops("T101", "demo_read"), oops("T102", "demo_write"), strict=True)

    # when
    splats = find_splats(parse_console("\n".join(line for pair in turns for line in pair)))

    # then
    assert [splat.function for splat in splats] == ["demo_read", "demo_write"]
    assert all("T102" not in line for line in splats[0].text.splitlines())


def test_a_report_gives_registers_frames_with_offsets_and_taint() -> None:
    # given: an oops in a module, then the registers of the system call it happened in
    (splat,) = from_lines(
        "BUG: kernel NULL pointer dereference, address: 0000000000000010",
        "CPU: 0 PID: 29 Comm: cat Tainted: G        W  O       6.1.192 #1",
        "RIP: 0010:demo_write+0x1c/0x40 [demo]",
        "RSP: 0018:ffffc900000b7e40 EFLAGS: 00010246",
        "RAX: 0000000000000000 RBX: ffff888003d7c000 RCX: 0000000000000005",
        "FS:  0000000000000000(0000) GS:ffff88800f400000(0000) knlGS:0000000000000000",
        "CR2: 0000000000000010 CR3: 0000000003c62000 CR4: 00000000000006f0",
        "Call Trace:",
        " <TASK>",
        " vfs_write+0xb4/0x300",
        " ? ksys_write+0x63/0xe0",
        " do_syscall_64+0x3b/0x90",
        "RIP: 0033:0x401234",
        "RSP: 002b:00007ffdc0de1188 EFLAGS: 00000246 ORIG_RAX: 0000000000000001",
        "RAX: ffffffffffffffda RBX: 0000000000000005 RCX: 0000000000401234",
    )

    assert splat.position == Frame("demo_write", "demo", offset=0x1C, size=0x40)
    assert [(f.function, f.offset, f.guess) for f in splat.frames] == [
        ("vfs_write", 0xB4, False),
        ("ksys_write", 0x63, True),
        ("do_syscall_64", 0x3B, False),
    ]
    assert splat.registers["RAX"] == 0 and splat.registers["CR2"] == 0x10
    assert splat.registers["RSP"] == 0xFFFFC900000B7E40 and splat.registers["EFLAGS"] == 0x10246
    assert splat.taint == "GWO"


def test_an_initcall_s_imbalance_is_told_by_the_message_of_its_warning() -> None:
    log = """\
------------[ cut here ]------------
initcall faulty_init+0x0/0x1000 [faulty] returned with preemption imbalance 
WARNING: CPU: 0 PID: 30 at init/main.c:1284 do_one_initcall+0x147/0x19c
Modules linked in: faulty(O+)
CPU: 0 PID: 30 Comm: harness-worker Tainted: G           O       6.1.192-kmod-harness #1 
RIP: 0010:do_one_initcall+0x147/0x19c
Call Trace:
 <TASK>
 do_init_module+0x4b/0x1d4
 __do_sys_finit_module+0x9e/0xc8
 </TASK>
---[ end trace 0000000000000000 ]---
"""  # noqa: W291
    (splat,) = find_splats(parse_console("".join(f"[    2.843203] {line}\n" for line in log.splitlines())))
    assert (splat.kind, splat.title) == (
        SplatKind.INIT_IMBALANCE,
        "initcall imbalance in faulty_init",
    )
    assert (splat.task, splat.pid, splat.cpu) == ("harness-worker", 30, 0)


def test_a_warning_of_lockdeps_own_is_about_locks() -> None:
    log = """<4>[    2.000000] ------------[ cut here ]------------
<4>[    2.000001] DEBUG_LOCKS_WARN_ON(1)
<4>[    2.000002] WARNING: CPU: 0 PID: 41 at kernel/locking/lockdep.c:231 __lock_acquire+0x1/0x2
<4>[    2.000003] CPU: 0 PID: 41 Comm: sh Tainted: G           O       6.1.192 #1
<4>[    2.000004] RIP: 0010:__lock_acquire+0x1/0x2
<4>[    2.000005] Call Trace:
<4>[    2.000006]  lock_acquire+0x1/0x2
<4>[    2.000007]  _raw_spin_lock+0x1/0x2
<4>[    2.000008]  mine_write+0x1/0x2 [mine]
<4>[    2.000009] ---[ end trace 0000000000000000 ]---
"""
    (splat,) = find_splats(parse_console(log))
    assert (splat.kind, splat.title, splat.function) == (
        SplatKind.LOCKDEP,
        "locking bug in mine_write",
        "mine_write",
    )
