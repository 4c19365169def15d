"""Lines that only read like reports: what drivers and programs print gives none."""

from __future__ import annotations

import pytest

from kmod_harness.klog.records import parse_console
from kmod_harness.klog.splats import Splat, find_splats

#: What a driver says, with the level it says it at.
DRIVERS = (
    (3, "if this fails the machine says: Kernel panic - not syncing: out of reserve"),
    (6, "demo: Kernel panic - not syncing: would come now"),
    (6, "INFO: rcu_ring detected gap"),
    (6, "INFO: rcu_ring self-detected loss of sync"),
    (6, "INFO: task queue:3 blocked for more than 1 ms"),
    (6, "INFO: task queue:3 blocked for more than a while"),
    (4, "rx overflow: 12 [#3]"),
    (4, "overflow: 12 [#3]"),
    (6, "debug: 1 [#2] of 8"),
    (6, "debug: 0001 [#2] of 8"),
    (4, "bounds: 10 [#4]"),
    (4, "bounds: 0010 [#4]"),
    (3, "double fault: 1 [#0]"),
    (3, "Oops: [#1] retry"),
    (3, "Oops: 0001 [#1] retry"),
    (3, "Oops: try [#2] of 3"),
    (6, "workaround for BUG 1234 (erratum 7): enabled"),
    (6, "BUG 1234 (erratum 7): worked around"),
    (4, "Out of memory: Killed request 5"),
    (4, "demo: Out of memory: Killed process 5"),
    (4, "WARNING: CPU: 1 PID: 0 at boot was odd"),
    (4, "WARNING: CPU: 1 PID: 7 at 40 degrees"),
    (4, "WARNING: at 40 degrees"),
    (4, "WARNING: CPU: 0 PID: 1 at drivers/x.c:3 is what a WARN would say"),
    (3, "kernel BUG at https://x.y:443"),
    (3, "kernel BUG at drivers/x.c:12! would be said here"),
    (3, "see BUG: https://bugs.example/1"),
    (6, "BUG: https://bugs.example/1"),
    (6, "unreferenced object 0xff (size 3)"),
    (3, "self-test: BUG: Bad page ..."),
    (3, "BUG: sleeping function called from invalid context is what comes without the fix"),
    (0, "BUG: ring index went backwards"),
    (6, "h7demo: BUG: firmware workaround active"),
    (6, "BUG: firmware workaround active"),
    (6, "DEBUG: queue 3"),
    (6, "not ok 3"),
    (3, "general protection fault, probably for the best"),
    (3, "UBSAN: is not built in"),
    (3, "KASAN: would report: BUG: KASAN: use-after-free in x+0x1/0x2"),
    (3, "BUG: unable to handle page fault for address: that would come"),
    (4, "watchdog: BUG: soft lockup would come after 20 s"),
)
AROUND = "<6>[    1.0{n}0000] demo: line {n}\n"
SILENCE = "".join(AROUND.format(n=n) for n in range(10, 40))


def reports_of_a_living_machine(line: str) -> tuple[Splat, ...]:
    """What is found in a log with this line in it, of a machine that said something later."""
    log = parse_console(f"{SILENCE}{line}\n{SILENCE}")
    return find_splats(log, survived=len(log))


@pytest.mark.parametrize(("level", "text"), DRIVERS, ids=lambda value: str(value)[:60])
def test_a_drivers_prose_is_no_report(level: int, text: str) -> None:
    assert reports_of_a_living_machine(f"<{level}>[    2.000000] {text}") == ()


@pytest.mark.parametrize(("level", "text"), DRIVERS, ids=lambda value: str(value)[:60])
def test_a_drivers_prose_is_none_at_a_logs_end_either(level: int, text: str) -> None:
    log = parse_console(f"{SILENCE}<{level}>[    2.000000] {text}\n")
    assert find_splats(log, survived=len(log)) == ()


REPORTS = (
    "Kernel panic - not syncing: x",
    "=== test of BUG: a_fixed_one ===",
    "BUG: a_fixed_one",
    "Oops: 0002 [#1] PREEMPT SMP",
    "WARNING: CPU: 0 PID: 45 at drivers/x.c:12 x_init+0x10/0x20 [x]",
    "watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [sh:45]",
    "INFO: task cat:77 blocked for more than 120 seconds.",
    "BUG: Bad page state in process sh  pfn:1234",
)
BODY = "CPU: 0 PID: 45 Comm: sh Not tainted 6.1.0 #1\nCall Trace:\n x_init+0x1/0x2 [x]\n"


@pytest.mark.parametrize("prefix", ["<12>[    2.000000] ", "<15>[    2.000000] ", "<30>[    2.000000] ", ""])
@pytest.mark.parametrize("text", REPORTS)
def test_what_a_program_writes_is_no_report_whatever_it_says(prefix: str, text: str) -> None:
    lines = "\n".join(f"{prefix}{line}" for line in (text, *BODY.splitlines()))
    assert reports_of_a_living_machine(lines) == ()
    assert find_splats(parse_console(f"{SILENCE}{lines}\n")) == ()


@pytest.mark.parametrize("text", [text for text in REPORTS if "a_fixed_one ===" not in text])
def test_the_same_from_the_kernel_is_one(text: str) -> None:
    lines = "\n".join(f"<4>[    2.000000] {line}" for line in (text, *BODY.splitlines()))
    assert len(find_splats(parse_console(f"{SILENCE}{lines}\n"))) == 1


def test_a_panic_counts_where_nothing_lives_behind_it() -> None:
    log = parse_console(f"{SILENCE}<0>[    2.000000] Kernel panic - not syncing: x\n{SILENCE}")
    assert [splat.kind for splat in find_splats(log)] == ["PANIC"]
    assert [splat.kind for splat in find_splats(log, survived=30)] == ["PANIC"]
    assert find_splats(log, survived=31) == ()


def test_a_log_without_prefixes_is_read_as_the_kernels() -> None:
    assert len(find_splats(parse_console(f"{REPORTS[4]}\n{BODY}"))) == 1


@pytest.mark.parametrize(
    ("line", "kind", "label"),
    [
        (
            "general protection fault for non-canonical address 0xdead000000000122: 0000 [#1]",
            "OOPS",
            "general",
        ),
        ("Oops: general protection fault, kernel NULL pointer dereference 0x0: 0000 [#1]", "OOPS", "general"),
        ("Oops: divide error: 0000 [#1] SMP NOPTI", "OOPS", "divide error"),
        ("WARNING: drivers/x.c:12 at x_init+0x10/0x20 [x], CPU#0: insmod/45", "WARNING", "WARNING in x_init"),
        (
            "WARNING: [ret < 0] drivers/x.c:12 at x_init+0x10/0x20 [x], CPU#0: sh/45",
            "WARNING",
            "WARNING in x_",
        ),
        ("WARNING: [a[i] == b] drivers/x.c:12 at x_init, CPU#0: insmod/45", "WARNING", "WARNING in x_init"),
        (
            "BUG my driver.cache (Tainted: G        W  O      ): Right Redzone overwritten",
            "SLAB_CORRUPTION",
            "BUG",
        ),
        (f"kernel BUG at /build/{'yocto/' * 50}drivers/x.c:12!", "BUG", "kernel BUG"),
        ("BUG: assuming non migratable context at x.c:3", "ATOMIC_SLEEP", "assuming"),
    ],
)
def test_other_spellings_of_the_kernels_reports(line: str, kind: str, label: str) -> None:
    lines = "\n".join(f"<4>[    2.000000] {text}" for text in (line, *BODY.splitlines()))
    (splat,) = find_splats(parse_console(f"{SILENCE}{lines}\n"))
    assert splat.kind == kind
    assert splat.title.startswith(label) or kind == "SLAB_CORRUPTION"
