"""Stacks that the kernel dumped for a reason of which no kind is known, and lines that are reports alone."""

from __future__ import annotations

import pytest

from kmod_harness.klog.kinds import SplatKind
from kmod_harness.klog.records import parse_console
from kmod_harness.klog.splats import Splat, find_splats

CPU = "CPU: 0 PID: 41 Comm: sh Tainted: G           O       6.1.192 #1"
CPU_7 = "CPU: 0 UID: 0 PID: 41 Comm: sh Tainted: G           O        7.2.1 #1 PREEMPT(lazy)"


def stack(*frames: str, cpu: str = CPU) -> tuple[str, ...]:
    return (cpu, "Call Trace:", " <TASK>", *(f" {frame}" for frame in frames), " </TASK>")


def found(*lines: str) -> tuple[Splat, ...]:
    around = "<6>[    1.000000] demo: fine\n" * 15
    said = "".join(f"<4>[    2.000000] {line}\n" for line in lines)
    log = parse_console(f"{around}{said}{around}")
    return find_splats(log, survived=len(log))


BY_KERNEL = (
    "dump_stack_lvl+0x33/0x46",
    "sysfs_warn_dup+0x56/0x62",
    "sysfs_create_dir_ns+0xa7/0xd3",
    "? __cond_resched+0x5b/0x64",
    "in+0x5a/0x1000 [demo]",
    "do_one_initcall+0x90/0x19c",
)


@pytest.mark.parametrize("cpu", [CPU, CPU_7])
def test_a_stack_that_the_kernel_dumped_is_a_report_named_by_the_line_above(cpu: str) -> None:
    message = "sysfs: cannot create duplicate filename '/kernel/demo'"
    (splat,) = found("demo: before", message, *stack(*BY_KERNEL, cpu=cpu))
    assert (splat.kind, splat.title) == (SplatKind.OTHER, f"{message} in in")
    assert (splat.function, splat.task, splat.pid, splat.modules) == ("in", "sh", 41, ("demo",))
    assert splat.text.splitlines()[0].endswith(message)
    assert splat.is_unnamed


@pytest.mark.parametrize(
    "frames",
    [
        ("dump_stack_lvl+0x33/0x46", "t_write+0x12/0x20 [demo]", "vfs_write+0x1/0x2"),
        ("dump_stack+0x33/0x46", "in+0x12/0x20 [demo]", "do_one_initcall+0x1/0x2"),
        # its function ends with a jump to dump_stack(): the caller's frame is behind it
        ("dump_stack_lvl+0x33/0x46", "process_one_work+0x12/0x20", "worker_thread+0x1/0x2"),
        ("dump_stack_lvl+0x33/0x46", "call_timer_fn+0x12/0x20", "__run_timers+0x1/0x2"),
        ("? dump_stack_lvl+0x33/0x46", "? sysfs_warn_dup+0x1/0x2"),
        ("dump_stack_lvl+0x33/0x46",),
        (),
    ],
)
def test_a_stack_that_a_module_dumped_is_its_authors_choice(frames: tuple[str, ...]) -> None:
    assert found("demo: look where we are", *stack(*frames)) == ()


@pytest.mark.parametrize(
    "frames",
    [
        ("dump_stack_lvl+0x33/0x46", "sysrq_handle_showallcpus+0x1/0x2", "__handle_sysrq+0x1/0x2"),
        ("dump_stack_lvl+0x33/0x46", "nmi_cpu_backtrace+0x1/0x2", "showacpu+0x1/0x2"),
        ("dump_stack_lvl+0x33/0x46", "should_fail_ex+0x1/0x2", "should_failslab+0x1/0x2"),
        ("schedule+0x33/0x46", "schedule_timeout+0x1/0x2", "kthread+0x1/0x2"),
    ],
)
def test_a_stack_that_somebody_asked_for_is_none(frames: tuple[str, ...]) -> None:
    assert found("FAULT_INJECTION: forcing a failure.", *stack(*frames)) == ()


def test_a_stack_of_a_report_that_is_known_is_no_second_one() -> None:
    (splat,) = found("BUG: sleeping function called from invalid context at x.c:3", *stack(*BY_KERNEL))
    assert splat.kind is SplatKind.ATOMIC_SLEEP


def test_two_stacks_are_two_reports_and_the_known_one_comes_first() -> None:
    warning = "WARNING: CPU: 0 PID: 45 at drivers/x.c:12 x_init+0x10/0x20 [x]"
    splats = found("irq 10: nobody cared", *stack(*BY_KERNEL), *("demo: on",) * 13, warning, CPU)
    assert [splat.kind for splat in splats] == [SplatKind.WARNING, SplatKind.OTHER]
    assert splats[1].title == "irq N: nobody cared in in"


@pytest.mark.parametrize("function", ["warn_alloc", "dump_header.isra.0"])
def test_an_allocation_that_failed_is_of_the_kind_out_of_memory(function: str) -> None:
    frames = ("dump_stack_lvl+0x33/0x46", f"{function}+0x1/0x2", "t_write+0x1/0x2 [demo]")
    (splat,) = found("sh: page allocation failure: order:10, mode:0xcc0(GFP_KERNEL)", *stack(*frames))
    assert splat.kind is SplatKind.OUT_OF_MEMORY


def test_without_a_line_above_the_stack_stands_alone() -> None:
    log = parse_console("".join(f"[    2.000000] {line}\n" for line in stack(*BY_KERNEL)))
    (splat,) = find_splats(log)
    assert splat.title.startswith("a stack that the kernel dumped")


@pytest.mark.parametrize(
    "line",
    [
        "softirq: huh, entered softirq 6 TASKLET 00000000f8b1 with preempt_count 0100, exited with 0101?",
        "softirq: Attempt to kill tasklet from interrupt",
        "resource: Trying to free nonexistent resource <0x00000000000005a0-0x00000000000005a7>",
        "dma_pool_destroy d13, 00000000e1f2 busy",
        "misc demo: dma_pool_destroy d13, 00000000e1f2 busy",
        "platform demo.0: dma_pool_destroy my pool busy",
        "debugfs: Directory 'd14' with parent '/' already present!",
        "debugfs: File 'state' in directory 'd14' already present!",
        "debugfs: 'd14' already exists in '/'",
        "do_init_module: 'd01'->init suspiciously returned 1, it should follow 0/-E convention",
        "d01: init suspiciously returned 1, it should follow 0/-E convention",
        "unregister_netdevice: waiting for dummy0 to become free. Usage count = 2",
        "VFS: Close: file count is zero",
        "IPv4: Attempt to release alive inet socket 00000000e1f2",
        "Disabling IRQ #10",
        "Fixing recursive fault but reboot is needed!",
        "mce: [Hardware Error]: CPU 0: Machine Check Exception: 5 Bank 0: b200000000000000",
    ],
)
def test_a_line_without_a_stack_is_a_report_where_the_kernel_says_so(line: str) -> None:
    (splat,) = found("demo: before", line)
    assert splat.kind is SplatKind.OTHER
    assert splat.text.endswith(line)


@pytest.mark.parametrize(
    "line",
    [
        "demo: huh, entered softirq 6",
        "demo: Disabling IRQ #10",
        "demo: resource: Trying to free nonexistent resource <0x5a0-0x5a7>",
        "demo is busy",
        "debugfs: Directory 'd14' created",
        "demo: init suspiciously slow",
    ],
)
def test_a_driver_that_says_much_the_same_reports_nothing(line: str) -> None:
    assert found(line) == ()


def test_a_line_within_a_report_does_not_cut_it() -> None:
    waiting = "unregister_netdevice: waiting for lo to become free. Usage count = 2"
    hung = "INFO: task cat:77 blocked for more than 120 seconds."
    splats = found(hung, waiting, *stack("__schedule+0x1/0x2", "demo_wait+0x1/0x2 [demo]"))
    assert [splat.kind for splat in splats] == [SplatKind.HUNG_TASK, SplatKind.OTHER]
    assert splats[0].function == "demo_wait"
