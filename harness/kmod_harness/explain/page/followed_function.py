"""One function of the module, followed from the file into the kernel: which of its bytes change. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from kmod_harness.explain.observed.code_history import CodePatch, Moment
from kmod_harness.explain.observed.observations import Observations
from kmod_harness.explain.page.account import meaning_of_change
from kmod_harness.explain.page.relocations import PlaceNames, image_kind
from kmod_harness.kmod.elf.disassembly import Instruction, instructions
from kmod_harness.kmod.elf.module import Symbol
from kmod_harness.kmod.link.relocation import BoundRelocation
from kmod_harness.verify.mechanism import Mechanism

#: More instructions than this are no first picture.
MAX_ROWS = 14
#: Functions looked at for one that shows much in few instructions, smallest first.
_MAX_CANDIDATES = 60
#: Names of the kernel's functions that the drawing has room for.
_MAX_NAMES = 3
#: Why a row was changed after the link, in few words; any other reason as the account of bytes has it.
_SHORT_REASONS = {
    Mechanism.FENTRY: "the hook for tracers, made to do nothing",
    Mechanism.RETURN_SITE: "a return, in the form this processor needs",
    Mechanism.RETPOLINE: "an indirect call, in the form this processor needs",
    Mechanism.ALTERNATIVE: "exchanged for what this processor does better",
    Mechanism.SMP_LOCK: "no lock prefix: there is one processor",
}
_BRANCH = re.compile(r"(?P<name>call|j\w+) 0x(?P<target>[0-9a-f]+)$")


@dataclass(frozen=True)
class CodeText:
    """A row in one state: its bytes, and as code.

    runs: hexadecimal digits, and whether they differ from the state before.
    operand: what a call leads to, where the name stands for the number. blank: it has no target yet.
    """

    runs: tuple[tuple[str, bool], ...]
    code: str
    operand: str = ""
    blank: bool = False


@dataclass(frozen=True)
class FollowedRow:
    """One instruction, or what became of it, in three states.

    file_offset: from the file's first byte. wants: the symbol its blank is for, "" without a blank.
    image_kind: whose that is, as RelocationRow has it. patched: in words why the kernel changed it later,
    "" if it did not.
    """

    file_offset: int
    address: int
    file: CodeText
    linked: CodeText
    running: CodeText
    wants: str
    image_kind: str
    patched: str

    @property
    def changes(self) -> bool:
        return bool(self.wants or self.patched)


@dataclass(frozen=True)
class FollowedFunction:
    """The function, its rows in order, and what the five steps tell of it.

    blanks: relocations in it. patched_bytes: that differ from the link. names: functions of the kernel that
    it calls. table: where the module's data hold its address, as `chardev_fops+0x48`, "" for nowhere.
    permissions: of its page by moment, where that was seen. measured: whether the linked bytes were read
    from memory, not computed.
    """

    name: str
    file_offset: int
    address: int
    size: int
    rows: tuple[FollowedRow, ...]
    left_out: int
    blanks: int
    patched_bytes: int
    names: tuple[str, ...]
    table: str
    permissions: Mapping[Moment, str]
    measured: bool


@dataclass(frozen=True)
class _States:
    """The bytes of `.text` in three states, where it is, and what is bound and patched in it."""

    address: int
    file_offset: int
    file: bytes
    linked: bytes
    running: bytes
    bound: tuple[BoundRelocation, ...]
    patches: tuple[CodePatch, ...]

    def bound_in(self, start: int, end: int) -> list[BoundRelocation]:
        return [one for one in self.bound if start <= one.what.offset < end]

    def patches_in(self, start: int, end: int) -> list[CodePatch]:
        first, last = self.address + start, self.address + end
        return [one for one in self.patches if one.address < last and first < one.address + one.size]


def followed_function(seen: Observations) -> FollowedFunction | None:
    """Return the function that shows most in few instructions; None for a module whose code was not read."""
    states = _states(seen)
    chosen = _choice(seen, states) if states is not None else None
    if states is None or chosen is None:
        return None
    rows = tuple(_rows(states, chosen, seen.module.name))
    start, end = chosen.value, chosen.value + chosen.size
    bound = states.bound_in(start, end)
    names = (one.bound_to for one in bound if _is_named_call(one))
    return FollowedFunction(
        name=chosen.name,
        file_offset=states.file_offset + start,
        address=states.address + start,
        size=chosen.size,
        rows=rows[:MAX_ROWS],
        left_out=len(rows[MAX_ROWS:]),
        blanks=len(bound),
        patched_bytes=sum(
            a != b for a, b in zip(states.linked[start:end], states.running[start:end], strict=True)
        ),
        names=tuple(dict.fromkeys(names))[:_MAX_NAMES],
        table=_table_of(seen, states.address + start),
        permissions={one.moment: one.permissions for one in seen.code.moments},
        measured=seen.code.at(Moment.LINKED) is not None,
    )


def _states(seen: Observations) -> _States | None:
    section = seen.module.section(".text")
    placed = next((one for one in seen.sections if one.name == ".text" and one.size), None)
    running = seen.code.at(Moment.RUNNING)
    if section is None or placed is None or running is None:
        return None
    bound = tuple(one for one in seen.linking.relocations if one.what.section.name == ".text" and one.size)
    file = seen.module.content(section)
    linked = seen.code.at(Moment.LINKED)
    code = linked.code if linked is not None else _with_links(file, bound)
    if not len(file) == len(code) == len(running.code):
        return None
    return _States(placed.address, section.offset, file, code, running.code, bound, seen.code.patches)


def _with_links(file: bytes, bound: Sequence[BoundRelocation]) -> bytes:
    code = bytearray(file)
    for one in bound:
        code[one.what.offset : one.what.offset + one.size] = one.value.to_bytes(one.size, "little")
    return bytes(code)


def _choice(seen: Observations, states: _States) -> Symbol | None:
    """The function with most kinds of change among the short ones, the shortest of these."""
    functions = [
        one for one in seen.module.symbols if one.section == ".text" and one.kind == "FUNC" and one.size
    ]
    functions = [one for one in functions if one.value + one.size <= len(states.file)]
    calling = [one for one in functions if any(map(_is_named_call, _bound_in(states, one)))]
    relocated = [one for one in functions if _bound_in(states, one)]
    candidates = sorted(calling or relocated or functions, key=lambda one: one.size)[:_MAX_CANDIDATES]
    short = [one for one in candidates if sum(1 for _ in _cuts(states, one)) <= MAX_ROWS]
    return max(short, key=lambda one: (_kinds(states, one), -one.size), default=next(iter(candidates), None))


def _bound_in(states: _States, function: Symbol) -> list[BoundRelocation]:
    return states.bound_in(function.value, function.value + function.size)


def _is_named_call(bound: BoundRelocation) -> bool:
    # two underscores: hooks and thunks that the compiler adds, less telling than a function by name
    return bound.image == "vmlinux" and bound.what.addend == -4 and not bound.bound_to.startswith("__")


def _kinds(states: _States, function: Symbol) -> int:
    patches = states.patches_in(function.value, function.value + function.size)
    kinds = {patch.mechanism for patch in patches} | {one.image for one in _bound_in(states, function)}
    return len(kinds)


def _cuts(states: _States, function: Symbol) -> Iterator[tuple[int, int]]:
    """Start and end of each row: instructions begin there before and after the kernel changed any."""
    start, end = function.value, function.value + function.size
    before, after = (
        {one.address for one in instructions(code[start:end], start, past_data=True)}
        for code in (states.linked, states.running)
    )
    yield from pairwise([*sorted(before & after), end])


def _rows(states: _States, function: Symbol, own: str) -> Iterator[FollowedRow]:
    for start, end in _cuts(states, function):
        bound = next(iter(states.bound_in(start, end)), None)
        file, linked, running = (code[start:end] for code in (states.file, states.linked, states.running))
        patches = states.patches_in(start, end) if running != linked else []
        name = bound.bound_to if bound is not None else ""
        blank = (
            (bound.what.offset - start, bound.what.offset - start + bound.size) if bound is not None else None
        )
        yield FollowedRow(
            file_offset=states.file_offset + start,
            address=states.address + start,
            file=_text(file, start, function.value, blank, None if bound is None else ""),
            linked=_text(
                linked, states.address + start, states.address + function.value, blank, name or None
            ),
            running=_text(
                running,
                states.address + start,
                states.address + function.value,
                _difference(linked, running),
                name if bound is not None and running == linked else None,
            ),
            wants=name,
            image_kind=image_kind(bound.image, own) if bound is not None else "",
            patched=_reason(patches[0].mechanism) if patches else "",
        )


def _reason(mechanism: Mechanism) -> str:
    return _SHORT_REASONS.get(mechanism) or meaning_of_change(mechanism)


def _difference(linked: bytes, running: bytes) -> tuple[int, int] | None:
    changed = [at for at, (a, b) in enumerate(zip(linked, running, strict=True)) if a != b]
    return (changed[0], changed[-1] + 1) if changed else None


def _text(
    code: bytes, address: int, function: int, marked: tuple[int, int] | None, operand: str | None
) -> CodeText:
    """operand: the name that stands for a call's target, "" for a blank, None: as the processor reads it."""
    start, end = marked or (0, 0)
    runs = ((code[:start], False), (code[start:end], True), (code[end:], False))
    first, *others = instructions(code, address, past_data=True)
    branch = _BRANCH.match(first.text)
    if branch and operand is not None and not others:
        return CodeText(_hex(runs), branch["name"], operand, blank=not operand)
    texts = [_readable(one, function) for one in (first, *others)]
    counted = ((text, sum(1 for _ in same)) for text, same in groupby(texts))
    return CodeText(
        _hex(runs),
        ", ".join(
            f"{text} \N{MULTIPLICATION SIGN} {count}" if count > 1 else text for text, count in counted
        ),
    )


def _hex(runs: Sequence[tuple[bytes, bool]]) -> tuple[tuple[str, bool], ...]:
    return tuple((part.hex(" "), changed) for part, changed in runs if part)


def _readable(instruction: Instruction, function: int) -> str:
    """The text in few letters: `jae +0x7d` within the function, and a no-op without its operand."""
    branch = _BRANCH.match(instruction.text)
    if branch:
        return f"{branch['name']} {int(branch['target'], 16) - function:+#x}"
    text = instruction.text.replace("qword ptr ", "").replace(" ptr [", " [")
    return "nop" if text.startswith("nop ") else text.replace(" + ", "+").replace(" - ", "-")


def _table_of(seen: Observations, address: int) -> str:
    """Where the module's own data hold the function's address: the table that init hands to the kernel."""
    names = PlaceNames(seen.module, seen.sections)
    for bound in seen.linking.relocations:
        what = bound.what
        if bound.size == 8 and bound.value == address and what.section.name.startswith((".rodata", ".data")):
            return names.name_of(bound.where, what.section.name, what.offset)
    return ""
