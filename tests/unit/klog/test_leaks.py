"""kmemleak's reports: one for each object that is leaked, named by the kind of memory."""

from __future__ import annotations

from kmod_harness.klog.kinds import SplatKind
from kmod_harness.klog.records import parse_console
from kmod_harness.klog.splats import Splat, find_splats


def from_lines(*lines: str) -> tuple[Splat, ...]:
    return find_splats(parse_console("".join(f"[   10.000000] {line}\n" for line in lines)))


def test_leaked_objects_are_reports_of_their_own_and_their_number_is_none() -> None:
    """As mm/kmemleak.c prints them with kmemleak.verbose=1 (6.1)."""

    def leaked(function: str) -> list[str]:
        return [
            "kmemleak: unreferenced object 0xffff888003a1c2c0 (size 64):",
            'kmemleak:   comm "provoke.sh", pid 40, jiffies 4294893296',
            "kmemleak:   hex dump (first 32 bytes):",
            "kmemleak:     01 6b 6b 6b 6b 6b 6b 6b 6b 6b 6b 6b 6b 6b 6b 6b  .kkkkkkkkkkkkkkk",
            "kmemleak:     6b 6b 6b 6b 6b 6b 6b 6b 6b 6b 6b 6b 6b 6b 6b 6b  kkkkkkkkkkkkkkkk",
            "kmemleak:   backtrace:",
            "kmemleak:     [<000000002d2f1a43>] kmalloc_trace+0x27/0xc0",
            f"kmemleak:     [<00000000a4a2b0a1>] {function}+0x1b/0x60 [faulty]",
            "kmemleak:     [<0000000090cf2d2a>] vfs_write+0x1bd/0x4d0",
        ]

    summary = "kmemleak: 2 new suspected memory leaks (see /sys/kernel/debug/kmemleak)"
    one, two = from_lines(*leaked("faulty_leak"), *leaked("other_leak"), summary, "faulty: unloaded")
    assert (one.kind, one.title, one.modules) == (
        SplatKind.KMEMLEAK,
        "memory leak in faulty_leak",
        ("faulty",),
    )
    assert (one.task, one.pid) == ("provoke.sh", 40)
    assert two.title == "memory leak in other_leak"
    assert two.text.endswith(summary)
    assert (
        len(from_lines("BUG: memory leak", *(line.removeprefix("kmemleak: ") for line in leaked("x_y")))) == 1
    )


def test_a_leaked_per_cpu_object_is_named_as_such_with_or_without_a_call_trace() -> None:
    """As mm/kmemleak.c prints them in 7.2; it has no trace of what was allocated before kmemleak kept any."""
    object_ = [
        "kmemleak: unreferenced object (percpu) 0x607f40c0d5a8 (size 4):",
        'kmemleak:   comm "provoke.sh", pid 40, jiffies 4294893296',
        "kmemleak:   hex dump (first 4 bytes on cpu 0):",
        "kmemleak:     01 00 00 00                                      ....",
    ]
    bare = [*object_, "kmemleak:   backtrace (crc 0):"]
    traced = [
        *object_,
        "kmemleak:   backtrace (crc b34f4e2d):",
        "kmemleak:     pcpu_alloc_noprof+0x5c4/0x9a0",
        "kmemleak:     faulty_percpu_leak+0x1f/0x50 [faulty]",
        "kmemleak:     vfs_write+0x1bd/0x4d0",
    ]
    summary = "kmemleak: 2 new suspected memory leaks (see /sys/kernel/debug/kmemleak)"

    one, two = from_lines(*bare, *traced, summary, "faulty: unloaded")

    assert (one.kind, one.title, one.function) == (SplatKind.KMEMLEAK, "per-CPU memory leak", "")
    assert (one.frames, one.task, one.pid) == ((), "provoke.sh", 40)
    assert (two.kind, two.title) == (SplatKind.KMEMLEAK, "per-CPU memory leak in faulty_percpu_leak")
    assert two.text.endswith(summary)
