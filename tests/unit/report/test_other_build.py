"""A report of another build of a module is told from one of the file at hand."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from kmod_harness.errors import ModuleFileError
from kmod_harness.klog.records import parse_console
from kmod_harness.klog.splats import Splat, find_splats
from kmod_harness.kmod.elf.module import KernelModule, Symbol, read_module
from kmod_harness.kmod.elf.split_debug import read_symbols
from kmod_harness.kmod.symbols.symbolizer import Symbolizer
from kmod_harness.report.other_build import reasons_for_another_build, releases_in
from kmod_harness.report.without_lines import notes_on_missing_lines

SOURCE = """\
extern int outside(int);
int demo_read(volatile int *at) { %s return *at; }
int demo_write(volatile int *at) { int got = demo_read(at) + outside(1); return got + 3; }
int demo_end(void) { return 1; }
char __this[8] __attribute__((section(".gnu.linkonce.this_module")));
const char __info[] __attribute__((section(".modinfo"))) = "name=demo";
"""
FLAGS = ["-g", "-O1", "-fno-inline", "-fno-optimize-sibling-calls", "-fno-pic", "-fcf-protection=none"]
MORE_CODE = "at[3] = 7; at[4] = outside(2);"

pytestmark = pytest.mark.needs("binutils", "gcc")


def built(directory: Path, added: str = "", build_id: str = "") -> KernelModule:
    directory.mkdir()
    (directory / "demo.c").write_text(SOURCE % added)
    subprocess.run(["gcc", *FLAGS, "-c", "demo.c", "-o", "demo.o"], cwd=directory, check=True)
    note = [f"--build-id=0x{build_id}"] if build_id else ["--build-id=none"]
    subprocess.run(["ld", "-r", *note, "demo.o", "-o", "demo.ko"], cwd=directory, check=True)
    return read_module(directory / "demo.ko")


def symbol(module: KernelModule, name: str) -> Symbol:
    return next(one for one in module.symbols if one.name == name)


def code_of(module: KernelModule) -> bytes:
    section = module.section(".text")
    assert section is not None
    return module.content(section)


def oops(module: KernelModule, offset: int | None = None, build_id: str = "", code: str = "") -> Splat:
    """The report of a read of NULL in demo_read of this build, called by demo_write."""
    read, write, end = (symbol(module, name) for name in ("demo_read", "demo_write", "demo_end"))
    data = code_of(module)
    load = data.index(b"\x8b\x07", read.value) - read.value if offset is None else offset
    returns = data.index(b"\xe8", write.value) + 5 - write.value
    brackets = f"demo {build_id}" if build_id else "demo"
    sizes = (write.value - read.value, end.value - write.value)
    (splat,) = find_splats(
        parse_console(
            "[    1.0] BUG: kernel NULL pointer dereference, address: 0000000000000000\n"
            "[    1.0] Oops: 0000 [#1] SMP NOPTI\n"
            "[    1.0] CPU: 0 PID: 31 Comm: a b Tainted: G           O       6.1.9-mine #1 \n"
            f"[    1.0] RIP: 0010:demo_read+{load:#x}/{sizes[0]:#x} [{brackets}]\n"
            f"[    1.0] Code: {code or 'Unable to access opcode bytes at 0xffffffffc02c3fe6.'}\n"
            "[    1.0] Call Trace:\n"
            f"[    1.0]  demo_write+{returns:#x}/{sizes[1]:#x} [{brackets}]\n"
            "[    1.0] ---[ end trace 0000000000000000 ]---\n"
        )
    )
    return splat


def test_a_report_of_the_same_build_gives_no_reason(tmp_path: Path) -> None:
    module = built(tmp_path / "one")
    assert reasons_for_another_build([oops(module)], [module]) == {}


def test_functions_that_have_grown_give_one(tmp_path: Path) -> None:
    old, new = built(tmp_path / "old"), built(tmp_path / "new", MORE_CODE)
    (reason,) = reasons_for_another_build([oops(old)], [new]).values()
    assert "demo_read had 0x" in reason


def test_a_function_that_is_not_there_gives_one(tmp_path: Path) -> None:
    old = built(tmp_path / "old")
    other = built(tmp_path / "new", "}\nint more(volatile int *at) {")
    renamed = [one for one in other.symbols if one.name not in ("demo_read", "demo_write")]
    (reason,) = reasons_for_another_build([oops(old)], [_with_symbols(other, renamed)]).values()
    assert reason == "the file has no function demo_read"


@pytest.mark.parametrize(("offset", "why"), [(1, "no instruction begins"), (2, "touches no memory")])
def test_an_instruction_that_cannot_fault_gives_one(tmp_path: Path, offset: int, why: str) -> None:
    module = built(tmp_path / "one")
    read = symbol(module, "demo_read")
    assert code_of(module)[read.value :][:3] == b"\x8b\x07\xc3"  # mov eax, [rdi]; ret
    found = reasons_for_another_build([oops(module, offset)], [module])
    # a ret touches the stack
    assert (why in "".join(found.values())) == (offset == 1)


def test_other_code_bytes_give_one_and_the_kernels_own_patches_do_not(tmp_path: Path) -> None:
    module = built(tmp_path / "one", MORE_CODE)
    read = symbol(module, "demo_read")
    data = bytearray(code_of(module))
    at = data.index(b"\xe8", read.value)
    data[at + 1 : at + 5] = b"\x11\x22\x33\x44"  # what relocation writes
    load = data.index(b"\x8b", at + 5)
    words = [f"{byte:02x}" for byte in data[read.value : load + 2]]
    words[load - read.value] = f"<{words[load - read.value]}>"
    same = oops(module, load - read.value, code=" ".join(words))
    assert reasons_for_another_build([same], [module]) == {}

    others = [word if word.startswith("<") else f"{int(word, 16) ^ 0x55:02x}" for word in words]
    other = oops(module, load - read.value, code=" ".join(others))
    assert "Code: line" in reasons_for_another_build([other], [module])["demo"]


def test_a_build_id_in_the_report_decides(tmp_path: Path) -> None:
    one, two = "ab" * 20, "cd" * 20
    module = built(tmp_path / "one", build_id=one)
    assert module.build_id == one
    assert reasons_for_another_build([oops(module, build_id=one)], [module]) == {}
    assert two in reasons_for_another_build([oops(module, build_id=two)], [module])["demo"]


def test_the_release_is_read_from_the_reports(tmp_path: Path) -> None:
    assert releases_in([oops(built(tmp_path / "one"))]) == ("6.1.9-mine",)


def test_split_debug_information_alone_gives_lines_and_is_no_module(tmp_path: Path) -> None:
    module = built(tmp_path / "one")
    debug, stripped = tmp_path / "demo.ko.debug", tmp_path / "demo.ko"
    subprocess.run(["objcopy", "--only-keep-debug", module.path, debug], check=True)
    subprocess.run(["objcopy", "--strip-debug", module.path, stripped], check=True)
    symbols = read_symbols(debug)

    (line,) = Symbolizer(None, [symbols]).lines("demo_read", 0, None, "demo", returns=False)

    assert (symbols.name, line.line) == ("demo", 2)
    with pytest.raises(ModuleFileError, match="debug information of a kernel module"):
        read_module(debug)
    report = [oops(module)]
    assert notes_on_missing_lines(report, [symbols]) == []
    (note,) = notes_on_missing_lines(report, [read_module(stripped)])
    assert "demo.ko has no debug information" in note


def _with_symbols(module: KernelModule, symbols: list[Symbol]) -> KernelModule:
    return replace(module, symbols=tuple(symbols))
