"""Logs with source lines: the text around the frames; the lines themselves are drgn's."""

from __future__ import annotations

import itertools
import subprocess
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kmod_harness.kmod.elf.module import KernelModule, read_module
from kmod_harness.kmod.symbols.symbolizer import Symbolizer, addresses_apart
from kmod_harness.report.code_bytes import disassembled, parse_code
from kmod_harness.report.symbolized import symbolized

SOURCE = """\
static int divide(int a, int b) { return a / b; }
static inline __attribute__((always_inline)) int twice(int a) { return divide(a, 0) * 2; }
int demo_write(int a)
{
	return twice(a);
}
int demo_end(void) { return 1; }
__attribute__((section(".init.text"))) int demo_init(int a)
{
	return demo_write(a) + 1;
}
char __this[8] __attribute__((section(".gnu.linkonce.this_module")));
const char __info[] __attribute__((section(".modinfo"))) = "name=demo";
"""
#: A second file of the module, whose function `divide` is another one, and longer.
TWIN = """\
volatile int left;
static int divide(int a, int b)
{
	left = a % b;
	left += a;
	return a / b + left;
}
int demo_twin(int a) { return divide(a, 3); }
"""
#: There is padding between functions, as with the kernel's -O2.
ALIGNED = ["-falign-functions=64"]

pytestmark = pytest.mark.needs("binutils", "gcc")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> KernelModule:
    """An object file with what makes it a module, functions in two text sections, one inlined."""
    directory = tmp_path_factory.mktemp("demo")
    (directory / "demo.c").write_text(SOURCE)
    (directory / "twin.c").write_text(TWIN)
    flags = ["-g", "-O1", "-fno-optimize-sibling-calls", "-fno-inline-functions-called-once", "-fno-inline"]
    objects = ["demo.o", "twin.o"]
    for name in objects:
        source = name.replace(".o", ".c")
        subprocess.run(["gcc", *flags, *ALIGNED, "-c", source, "-o", name], cwd=directory, check=True)
    subprocess.run(["ld", "-r", *objects, "-o", "demo.ko"], cwd=directory, check=True)
    return read_module(directory / "demo.ko")


def addr2line(module: KernelModule, section: str, offset: int) -> list[tuple[str, int]]:
    """What binutils say of an address in a section: (function, line), the innermost first."""
    argv = ["addr2line", "-f", "-i", "-j", section, "-e", str(module.path), hex(offset)]
    words = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.splitlines()
    lines = [place.rpartition(":")[2].split()[0] for place in words[1::2]]
    return [(name, int(line)) for name, line in zip(words[::2], lines, strict=True) if line.isdigit()]


def test_every_address_of_every_text_section_reads_as_addr2line_reads_it(demo: KernelModule) -> None:
    symbolizer = Symbolizer(None, [demo])
    seen = set()
    for symbol in demo.symbols:
        if symbol.kind != "FUNC" or symbol.section is None:
            continue
        for offset in range(symbol.size):
            found = symbolizer.lines(symbol.name, offset, symbol.size, "demo", returns=False)
            assert found == symbolizer.lines_at("demo", symbol.section, symbol.value + offset)
            assert [(place.function, place.line) for place in found] == addr2line(
                demo, symbol.section, symbol.value + offset
            )
            seen.add(symbol.section)
    assert seen == {".text", ".init.text"}


def test_a_return_address_reads_as_the_call_before_it(demo: KernelModule) -> None:
    write = next(symbol for symbol in demo.symbols if symbol.name == "demo_write")
    symbolizer = Symbolizer(None, [demo])
    calls = [symbolizer.lines("demo_write", n, write.size, "demo") for n in range(1, write.size)]
    assert any([place.function for place in found] == ["twice", "demo_write"] for found in calls)


def test_functions_of_one_name_are_told_apart_by_size(demo: KernelModule) -> None:
    symbolizer = Symbolizer(None, [demo])
    twins = [symbol for symbol in demo.symbols if symbol.name == "divide"]
    assert len({symbol.size for symbol in twins}) == 2
    for symbol in twins:
        (found,) = symbolizer.lines("divide", 0, symbol.size, "demo", returns=False)
        assert [(found.function, found.line)] == addr2line(demo, ".text", symbol.value)


def test_a_leftover_behind_a_function_s_padding_is_of_the_function_it_names(demo: KernelModule) -> None:
    # given: the size that kallsyms tells, as far as the next function
    write = next(symbol for symbol in demo.symbols if symbol.name == "demo_write")
    size = (write.size + 63) // 64 * 64
    assert size > write.size

    (found,) = Symbolizer(None, [demo]).lines("demo_write", size, size, "demo")

    assert (found.function, found.line) == (
        "demo_write",
        addr2line(demo, ".text", write.value + size - 1)[0][1],
    )


def test_damaged_debug_information_gives_no_line_and_is_named(demo: KernelModule) -> None:
    info = demo.section(".debug_info")
    assert info is not None
    # the version of its first unit (DWARF 5, 7.5.1): none that there is
    data = bytearray(demo.data)
    data[info.offset + 4 : info.offset + 6] = b"\xff\x7f"
    symbolizer = Symbolizer(None, [replace(demo, data=bytes(data))])

    assert symbolizer.lines("demo_write", 4, None, "demo") == ()
    assert "DWARF" in symbolizer.unreadable["demo"]


def test_what_is_not_known_gives_no_line(demo: KernelModule) -> None:
    symbolizer = Symbolizer(None, [demo])
    assert symbolizer.lines("vfs_write", 4) == ()
    assert symbolizer.lines("demo_write", 4, None, "other") == ()
    assert symbolizer.lines("no_such", 4, None, "demo") == ()
    assert symbolizer.lines("demo_write", 1 << 20, None, "demo") == ()


def test_sections_lie_apart(demo: KernelModule) -> None:
    addresses, end = addresses_apart(demo)
    sizes = {section.name: section.size for section in demo.sections if section.allocated}
    ranges = sorted((start, start + sizes[name]) for name, start in addresses.items())
    assert all(one[1] <= other[0] for one, other in itertools.pairwise(ranges))
    assert ranges[-1][1] == end


def test_a_log_gets_places_source_and_the_instruction_at_fault(demo: KernelModule) -> None:
    # given: a divide error in `divide`, whose code bytes the kernel could not read
    divide = min((symbol for symbol in demo.symbols if symbol.name == "divide"), key=lambda one: one.size)
    log = "\n".join(
        (
            "[    1.000000] demo: hello",
            "[    2.000000] divide error: 0000 [#1] PREEMPT SMP",
            f"[    2.000001] RIP: 0010:divide+0x3/{divide.size:#x} [demo]",
            "[    2.000002] Code: Unable to access opcode bytes at 0xffffffffc0000fed.",
            "[    2.000003] Call Trace:",
            "[    2.000004]  unknown_function+0x10/0x20",
        )
    )

    # when
    told = symbolized(log, Symbolizer(None, [demo])).splitlines()

    # then: lines without a frame, and frames of nobody we know, are as they were
    assert told[0] == "[    1.000000] demo: hello"
    assert told[2].endswith("demo.c:1")
    assert told[5] == "[    2.000004]  unknown_function+0x10/0x20"
    assert any(line.strip().startswith("> ") and "return a / b" in line for line in told)
    assert any(line.strip().startswith(">") and "idiv" in line for line in told)


def test_code_bytes_are_decoded_from_an_instructions_start() -> None:
    # given: a line that begins within an instruction
    data, fault = parse_code("00 00 00 48 89 c3 48 85 db <0f> 0b c3 90")

    told = disassembled(data, fault)

    assert (data[fault], fault) == (0x0F, 9)
    marked = [line for line in told if line.startswith(">")]
    assert len(marked) == 1 and "ud2" in marked[0]
    assert any("test" in line and "rbx" in line for line in told)


@given(st.text(alphabet="0123456789abcdef <>()xCode:", max_size=200))
@example("<00>00")  # a line that lost its blanks
def test_no_code_line_raises(code: str) -> None:
    assert isinstance(disassembled(*parse_code(code)), list)
