"""What QEMU, ftrace, kprobes and gdb print, as data: lines recorded from Linux 6.1.192 on QEMU 7.2."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kmod_harness.explain.observe.sharing import flag_names
from kmod_harness.explain.observed.function_names import FunctionNames, apart_from, named
from kmod_harness.explain.observed.observations import ExecutedBlock, ExecutedCode, Region
from kmod_harness.explain.probes.backtrace import parse_backtrace
from kmod_harness.explain.probes.execution_log import execution_log_arguments, parse_execution_log
from kmod_harness.explain.probes.stack_scan import TextNames, scan_stack
from kmod_harness.explain.probes.tracing import parse_stack_pointer, parse_timeline, traced_functions
from kmod_harness.kmod.elf.module import Symbol
from unit.explain.sample_claims import MODULE

EXECUTED = """\
Trace 0: 0x7f8ccadbf380 [0000000000000000/ffffffffc030a14b/10c0c2b0/ff000200]
Trace 1: 0x7f8ccadbf7c0 [0000000000000000/ffffffffc030a178/10c0c2b3/ff000200] chardev_open
Linking TBs 0x7f8ccadbf7c0 index 0 -> 0x7f8ccadbf900
Trace 0: 0x7f8ccadbf900 [0000000000000000/ffffffffc030a1
"""
GRAPH = """\
# tracer: function_graph
#
#     TIME        CPU  TASK/PID         DURATION                  FUNCTION CALLS
#      |          |     |    |           |   |                     |   |   |   |
    5.224910 |   0)   harness-35   |   2.263 us    |  module_put();
 ------------------------------------------
 0)   harness-28   =>   harness-35
 ------------------------------------------

    2.956372 |   0)   harness-35   |               |  __x64_sys_finit_module() {
    2.956806 |   0)   harness-35   |   3355.920 us |    kernel_read_file();
    2.960348 |   0)   harness-35   |               |    load_module() {
    2.964038 |   0)   harness-35   |   85.005 us   |      module_alloc();
    2.964201 |   0)   harness-35   |   20.470 us   |      module_alloc();
    2.964873 |   0)   harness-35   |   153.477 us  |      resolve_symbol();
    2.964880 |   0)   kworker-9    |   1.000 us    |      resolve_symbol();
    3.083807 |   0)   harness-35   |               |      do_init_module() {
    3.083877 |   0)   harness-35   |               |        do_one_initcall() {
    3.083920 |   0)   harness-35   |   2373.375 us |          chardev_init [chardev]();
    3.086359 |   0)   harness-35   |   2481.985 us |        } /* do_one_initcall */
    3.087643 |   0)   harness-35   |   3833.316 us |      } /* do_init_module */
    3.087655 |   0)   harness-35   |   127309.5 us |    } /* load_module */
    3.087672 |   0)   harness-35   |   131586.1 us |  } /* __x64_sys_finit_module */
    3.187672 |   0)   harness-35   |               |  __x64_sys_finit_module() {
"""
FUNCTIONS = """\
# tracer: function
#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
  harness-worker-29      [000] ...1.     2.925818: chardev_open <-chrdev_open
  harness-worker-29      [000] ...1.     2.926610: chardev_release [chardev] <-__fput
"""
SOURCE = "/root/.cache/kmod-harness/source/7124/linux"
BACKTRACE = f"""\
#0  0xffffffffc02f714b in chardev_open (inode=..., file=...) at /work/modules/chardev/fops.c:30
#1  0xffffffff97959e9c in chrdev_open (inode=..., filp=...) at {SOURCE}/fs/char_dev.c:414
#2  0xffffffff97964750 in do_open (op=..., file=...) at {SOURCE}/fs/namei.c:3677
#3  0xffffffff97964750 in path_openat (nd=..., op=..., flags=...) at {SOURCE}/fs/namei.c:3838
#4  0xffffffff97b00000 in without_a_line ()
#5  0xffffffff97c00126 in entry_SYSCALL_64 () at {SOURCE}/arch/x86/entry/entry_64.S:121
#6  0x0000000000000004 in chardev_init () at /work/modules/chardev/main.c:153
#7  0x00007ffd76686c40 in ?? ()
"""
IMAGES = (
    (range(0xFFFFFFFF97800000, 0xFFFFFFFF98800000), "vmlinux"),
    (range(0xFFFFFFFFC02F7000, 0xFFFFFFFFC02FC000), "chardev"),
)


class TestTheExecutionLog:
    def test_blocks_have_address_level_and_cpu(self) -> None:
        assert parse_execution_log(EXECUTED) == (
            ExecutedBlock(0xFFFFFFFFC030A14B, 0, 0),
            ExecutedBlock(0xFFFFFFFFC030A178, 3, 1),
        )

    @pytest.mark.parametrize(
        ("randomize_base", "base"),
        [(True, "0xffffffffc0000000"), (None, "0xffffffffc0000000"), (False, "0xffffffffa0000000")],
    )
    def test_the_filter_is_the_module_range(self, randomize_base: bool | None, base: str) -> None:
        arguments = execution_log_arguments(Path("/run/x"), randomize_base)
        assert arguments == ("-D", "/run/x", "-dfilter", f"{base}..0xfffffffffeffffff")

    def test_blocks_are_given_to_the_module_they_lie_in(self) -> None:
        symbols = (
            Symbol("chardev_open", 0x10, 0x20, "FUNC", "LOCAL", ".text"),
            Symbol("init_module", 0, 0x40, "FUNC", "GLOBAL", ".init.text"),
            Symbol("chardev_init", 0, 0x40, "FUNC", "LOCAL", ".init.text"),
            Symbol("data", 0x10, 0x20, "OBJECT", "LOCAL", ".text"),
        )
        names = FunctionNames(replace(MODULE, symbols=symbols), {".text": 0x1000, ".init.text": 0x8000})
        ran = ExecutedCode(
            "x", 1.0, tuple(ExecutedBlock(at, 0, 0) for at in (0x1010, 0x1024, 0x1030, 0x5000, 0x8000))
        )
        block = Region("core", 0x1000, 0x2000)

        mine = named(ran, (block, Region("init", 0x8000, 0x9000)), names)

        assert [one.symbol for one in mine.blocks] == [
            "chardev_open",
            "chardev_open+0x14",
            "",
            "chardev_init",
        ]
        assert [one.address for one in apart_from(ran, (block,)).blocks] == [0x5000, 0x8000]


class TestTheTimeline:
    def test_steps_are_nested_timed_and_counted(self) -> None:
        steps = parse_timeline(GRAPH, 35)
        assert [(step.depth, step.function, step.count) for step in steps] == [
            (0, "__x64_sys_finit_module", 1),
            (1, "kernel_read_file", 1),
            (1, "load_module", 1),
            (2, "module_alloc", 2),
            (2, "resolve_symbol", 1),
            (2, "do_init_module", 1),
            (3, "do_one_initcall", 1),
            (4, "chardev_init", 1),
        ]
        assert (steps[0].at, steps[0].took) == (0, 131586.1)
        assert (steps[1].at, steps[1].took) == (434, 3355.92)
        # from the first of the two to the end of the second
        assert steps[3].took == pytest.approx(163 + 20.47)

    def test_another_process_has_none(self) -> None:
        assert parse_timeline(GRAPH, 28) == () == parse_timeline("", 35)

    def test_a_trace_that_breaks_off_gives_what_it_has(self) -> None:
        cut = GRAPH[: GRAPH.index("    3.086359")]
        assert [step.function for step in parse_timeline(cut, 35)][-1] == "chardev_init"


def test_traced_functions_come_in_order() -> None:
    assert traced_functions(FUNCTIONS) == ("chardev_open", "chardev_release")
    assert traced_functions("# tracer: function\n") == ()


def test_a_probe_tells_the_stack_pointer() -> None:
    line = "  worker-41 [000] ...1. 6.911775: stack: (chardev_open+0x0/0x9d [chardev]) sp=0xffffab838011fc98"
    assert parse_stack_pointer(line) == 0xFFFFAB838011FC98
    assert parse_stack_pointer("") == 0


def test_page_flags_have_names() -> None:
    assert flag_names(0) == ()
    assert flag_names(1 << 5 | 1 << 12 | 1 << 14) == ("LRU", "ANON", "SWAPBACKED")


class TestABacktrace:
    def test_ends_where_the_kernel_was_entered(self) -> None:
        frames = parse_backtrace(BACKTRACE, IMAGES, SOURCE)
        assert [(frame.function, frame.image, frame.inlined) for frame in frames] == [
            ("chardev_open", "chardev", False),
            ("chrdev_open", "vmlinux", False),
            ("do_open", "vmlinux", True),
            ("path_openat", "vmlinux", False),
            ("without_a_line", "vmlinux", False),
            ("entry_SYSCALL_64", "vmlinux", False),
        ]

    def test_kernel_files_are_relative_to_the_source(self) -> None:
        frames = parse_backtrace(BACKTRACE, IMAGES, SOURCE)
        assert (frames[0].file, frames[0].line) == ("/work/modules/chardev/fops.c", 30)
        assert (frames[1].file, frames[1].line) == ("fs/char_dev.c", 414)
        assert (frames[4].file, frames[4].line) == ("", 0)

    def test_a_frame_outside_every_image_ends_it(self) -> None:
        assert [frame.function for frame in parse_backtrace(BACKTRACE, IMAGES[:1], SOURCE)] == []
        assert parse_backtrace("No stack.", IMAGES) == ()


#: The bytes before an address: `call rel32`, `call *%rax`, NOPs; a call that ends its function.
CODE = {
    0x1105: b"\x90\x90\xe8\0\0\0\0",
    0x1202: b"\x90\x90\x90\x90\x90\xff\xd0",
    0x1300: b"\x90" * 7,
    0x1200: b"\x90\x90\xe8\0\0\0\0",
}


class TestAStackWithoutDebugInformation:
    def scan(self, *words: int) -> list[tuple[str, int]]:
        known = TextNames({"first": 0x1100, "second": 0x1200, "data": 0x9000}, range(0x1000, 0x2000))
        stack = b"".join(word.to_bytes(8, "little") for word in words)
        frames = scan_stack(stack, lambda address, size: CODE[address + size], {"vmlinux": known})
        return [(frame.function, frame.address) for frame in frames]

    def test_return_addresses_are_what_stands_behind_a_call(self) -> None:
        assert self.scan(0, 0x1105, 0xFFFF, 0x1300, 0x1202) == [("first", 0x1105), ("second", 0x1202)]

    def test_a_call_at_a_functions_very_end_is_its_own(self) -> None:
        assert self.scan(0x1200) == [("first", 0x1200)]

    def test_an_empty_stack_has_none(self) -> None:
        assert self.scan() == []
