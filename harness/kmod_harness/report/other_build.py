"""Whether a report is of another build of a module than the file at hand: its source lines would be wrong."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator, Mapping

from kmod_harness.klog.frames import Frame
from kmod_harness.klog.splats import Splat
from kmod_harness.kmod.elf.disassembly import instructions
from kmod_harness.kmod.elf.module import KernelModule, Section, Symbol
from kmod_harness.report.code_bytes import parse_code

#: CONFIG_STACKTRACE_BUILD_ID: `f+0x1/0x2 [my 0123...]`.
_BUILD_ID = re.compile(r"\+0x[0-9a-f]{1,8}/0x[0-9a-f]{1,8} \[(?P<module>\w{1,64}) (?P<id>[0-9a-f]{32,64})\]")
_RELEASE = re.compile(
    r"Comm: .{1,32}? (?:Not tainted|Tainted: [A-Z \[\]=,_]{1,200}?) (?P<release>\d\S{1,64}) #"
)
_RELOCATION = struct.Struct("<QQq")
#: R_X86_64_64 and R_X86_64_PC64 write eight bytes, all others that the kernel takes four.
_EIGHT_BYTES = (1, 24)
#: So many bytes have to be comparable. The kernel patches some (alternatives, retpolines, static calls,
#: __fentry__): of the same build far more than three of four are equal.
_FEWEST_BYTES, _MOST_PATCHED = 8, 0.25
#: A call's shortest and longest form that end at a return address: `call rax` to `call [r12 + r8 * 8 + x]`.
_CALL_SIZES = range(2, 9)
#: What a report says that the CPU met, and how an instruction looks that can meet it.
_AT_FAULT = (
    (re.compile(r"instruction fetch"), None),
    (re.compile(r"divide error"), ("divides nothing", re.compile(r"^i?div"))),
    (
        re.compile(r"kernel NULL pointer dereference|unable to handle (?:kernel paging request|page fault)"),
        ("touches no memory", re.compile(r"^(?!lea|nop).*\[|^(?:push|pop|ret|leave|enter|call|iret|rep )")),
    ),
    (
        re.compile(r"kernel BUG at|WARNING: .{0,40}at \S+:\d"),
        ("reports nothing", re.compile(r"^(?:ud[012]|call)")),
    ),
)


def releases_in(splats: Iterable[Splat]) -> tuple[str, ...]:
    """Returns the kernel releases that the reports are of, as they tell them."""
    return tuple(dict.fromkeys(match["release"] for one in splats for match in _RELEASE.finditer(one.text)))


def reasons_for_another_build(splats: Iterable[Splat], modules: Iterable[KernelModule]) -> Mapping[str, str]:
    """Returns name -> reason for each module whose file is not the one that the reports are of."""
    by_name = {module.name: module for module in modules}
    found: dict[str, str] = {}
    for splat in splats:
        for name, reason in _reasons(splat, by_name):
            found.setdefault(name, reason)
    return found


def _reasons(splat: Splat, modules: Mapping[str, KernelModule]) -> Iterator[tuple[str, str]]:
    told = {match["module"]: match["id"] for match in _BUILD_ID.finditer(splat.text)}
    for name, build_id in told.items():
        if name in modules and modules[name].build_id not in ("", build_id):
            yield name, f"the report tells the build-id {build_id}, the file has {modules[name].build_id}"
    places = [*([splat.position] if splat.position else []), *(f for f in splat.frames if not f.guess)]
    for frame in places:
        module = modules.get(frame.module)
        if module is None or told.get(frame.module) == module.build_id:
            continue
        reason = _reason(frame, module, splat if frame is splat.position else None)
        if reason:
            yield frame.module, reason


def _reason(frame: Frame, module: KernelModule, at_fault: Splat | None) -> str:
    """Returns why a frame cannot be of the file, "" where nothing tells; at_fault: whose position it is."""
    if frame.offset is None or frame.size is None or not module.symbols:
        return ""
    symbols = [symbol for symbol in module.symbols if symbol.name == frame.function]
    if not symbols:
        return f"the file has no function {frame.function}"
    sizes = {size for symbol in symbols if (size := _size_in_kallsyms(symbol, module)) is not None}
    if len(sizes) == len(symbols) and frame.size not in sizes:
        in_file = " or ".join(f"{size:#x}" for size in sorted(sizes))
        return f"{frame.function} had {frame.size:#x} bytes, and has {in_file} in the file"
    if len(symbols) > 1:
        return ""
    section = module.section(symbols[0].section or "")
    code = module.content(section) if section else b""
    at = symbols[0].value + frame.offset
    if not section or not code:
        return ""
    if at_fault is None:
        is_call = _is_call(code[:at]) or not frame.offset
        return "" if is_call else f"in the file nothing is called before {frame.function}+{frame.offset:#x}"
    place = f"{frame.function}+{frame.offset:#x}"
    if _has_other_bytes(at_fault, code, at, _written_by_relocation(module, section)):
        return f"the bytes of its Code: line are not those at {place} in the file"
    return _cannot_be_at_fault(at_fault, code[symbols[0].value :], frame.offset, place)


def _cannot_be_at_fault(splat: Splat, function: bytes, offset: int, place: str) -> str:
    """Returns why the instruction there cannot have done what is reported, "" where it can."""
    wanted = next((want for pattern, want in _AT_FAULT if pattern.search(splat.text)), None)
    if wanted is None:
        return ""
    what, does = wanted
    found = next((one for one in instructions(function[: offset + 16], 0) if one.end > offset), None)
    if found is None:
        return ""
    if found.address != offset:
        return f"in the file no instruction begins at {place}"
    return "" if does.search(found.text) else f"at {place} the file has `{found.text}`, which {what}"


def _size_in_kallsyms(symbol: Symbol, module: KernelModule) -> int | None:
    """Returns the distance to the next symbol (find_kallsyms_symbol, kernel/module/kallsyms.c, 6.1).

    None for a section's last one: what lies behind it is another section's.
    """
    behind = [s.value for s in module.symbols if s.section == symbol.section and s.value > symbol.value]
    return min(behind) - symbol.value if behind else None


def _is_call(code: bytes) -> bool:
    """Whether a call ends at the end of the code: `e8` with a distance, or `ff /2`."""
    if code[-5:-4] == b"\xe8":
        return True
    return any(
        code[-size] == 0xFF and code[1 - size] >> 3 & 7 == 2 for size in _CALL_SIZES if len(code) >= size
    )


def _has_other_bytes(splat: Splat, code: bytes, at: int, written: frozenset[int]) -> bool:
    """Whether the bytes around the fault differ from the file's, those aside that the loader writes."""
    shown, fault = parse_code(splat.text.partition("RIP: 0033:")[0].partition("Code: ")[2])
    places = [
        (index, at - fault + index)
        for index in range(len(shown))
        if 0 <= at - fault + index < len(code) and at - fault + index not in written
    ]
    differing = sum(shown[index] != code[place] for index, place in places)
    return len(places) >= _FEWEST_BYTES and differing > _MOST_PATCHED * len(places)


def _written_by_relocation(module: KernelModule, section: Section) -> frozenset[int]:
    """Returns the offsets of a section's bytes that relocation writes."""
    written: set[int] = set()
    for table in module.sections:
        if table.type == "SHT_RELA" and table.info == section.index:
            data = module.content(table)
            whole = data[: len(data) // _RELOCATION.size * _RELOCATION.size]
            for offset, info, _ in _RELOCATION.iter_unpack(whole):
                written.update(range(offset, offset + (8 if info & 0xFFFFFFFF in _EIGHT_BYTES else 4)))
    return frozenset(written)
