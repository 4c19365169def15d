"""The kind of file that a module is, and how its names become addresses."""

from __future__ import annotations

import errno
from collections import Counter

from kmod_harness.explain.claims.claim import Claim, Evidence, Verdict
from kmod_harness.explain.claims.phrases import attempt_text, count, inside, lines, outside, stop_text
from kmod_harness.explain.observed.observations import Observations
from kmod_harness.kmod.link.relocation import BoundRelocation

_ET_REL = 1


# --- a relocatable executable


def _executable(seen: Observations) -> Verdict:
    if seen.linking.elf_header[0] != _ET_REL:
        return Verdict.FALSE
    return Verdict.TRUE if seen.linking.executable_type.worked else Verdict.IMPRECISE


def _explain_executable(seen: Observations) -> str:
    return (
        "It is a relocatable object, what the compiler makes of a source file (.o) with a little added: no "
        "entry point, no program headers, sections without addresses. The kernel refuses an executable. "
        f"What makes it loadable is its list of {len(seen.linking.relocations)} relocations."
    )


def _executable_inside(seen: Observations) -> Evidence:
    return inside(
        "The same file, called an executable in its header (e_type 2), is refused; as it is, it loads.",
        attempt_text(seen.linking.executable_type),
    )


def _executable_outside(seen: Observations) -> Evidence:
    kind, entry, headers = seen.linking.elf_header
    return outside(
        f"The file's ELF header: e_type {kind}, entry point {entry:#x}, {count(headers, 'program header')}.",
        lines(
            _section_line(seen, name)
            for name in (".text", ".init.text", ".data", ".bss")
            if seen.module.section(name)
        ),
    )


def _section_line(seen: Observations, name: str) -> str:
    section = seen.module.section(name)
    assert section is not None
    return f"{section.name}: address {section.address:#x} in the file, {section.size} bytes"


EXECUTABLE = Claim(
    1,
    "relocatable-executable",
    "A .ko is a relocatable executable.",
    "It contains machine code that is executed after relocation.",
    "kernel/module/main.c:1684 e_type must be ET_REL",
    _executable,
    _explain_executable,
    _executable_inside,
    _executable_outside,
)


# --- dynamically linked


def _imported(seen: Observations) -> tuple[BoundRelocation, ...]:
    own = {seen.module.name, "absolute"}
    return tuple(bound for bound in seen.linking.relocations if bound.image not in own)


def _dynamic(seen: Observations) -> Verdict:
    linking = seen.linking
    if linking.got_or_plt:
        return Verdict.TRUE
    if not _imported(seen) or linking.differing or seen.code.differing or not linking.compared:
        return Verdict.UNDECIDED
    return Verdict.IMPRECISE


def _explain_dynamic(seen: Observations) -> str:
    if seen.linking.differing or seen.code.differing:
        wrong = count(len(seen.linking.differing) or seen.code.differing, "relocation")
        return f"In memory {wrong} is not what a linker makes of the file."
    images = Counter(bound.image for bound in _imported(seen))
    to = ", ".join(f"{number} to {image}" for image, number in images.most_common())
    return (
        "It is linked at load time, as a shared library is, but all at once and for good: every address is "
        "written into the code itself. On x86-64 there is no PLT, no GOT and no lazy binding (a module for "
        "arm64, say, has a PLT). A relocation's type R_X86_64_PLT32 only bears the name: the kernel computes "
        "it as PC32. No name is looked up a second time. Who wants to get in between later has to change the "
        f"code, and ftrace, kprobes and livepatch do just that. Bound here: {to}."
    )


def _bound_line(bound: BoundRelocation) -> str:
    return (
        f"{bound.where:#018x} {bound.what.type_name:<15} <- {bound.value:#x} "
        f"({bound.bound_to}{bound.what.addend:+#x}, {bound.image})"
    )


def _dynamic_inside(seen: Observations) -> Evidence:
    calls = {step.function: step.count for step in seen.loading.timeline}
    if not calls:
        return Evidence("inside", impossible="this kernel has no function tracer")
    return inside(
        f"ftrace saw {calls.get('resolve_symbol', 0)} look-ups of symbols and "
        f"{calls.get('apply_relocate_add', 0)} sections relocated, all within the one finit_module.",
        seen.loading.timeline_raw,
    )


def _at_the_link(seen: Observations) -> str:
    if not seen.code.compared:
        return ""
    return (
        f"The debugger stopped the kernel when the link was done, and all {seen.code.compared} relocations "
        f"were compared with memory: {seen.code.differing} differ. Later "
    )


def _not_compared(seen: Observations) -> str:
    rest = len(seen.linking.relocations) - seen.linking.compared
    return f" The other {rest} were in what only init needs, which was freed by then." if rest else ""


def _dynamic_outside(seen: Observations) -> Evidence:
    linking = seen.linking
    return outside(
        f"{_at_the_link(seen)}{linking.compared} relocations, computed on the host from the file alone, were "
        f"compared with the running module's memory: {len(linking.differing)} differ without a reason."
        f"{_not_compared(seen)}",
        lines(_bound_line(bound) for bound in (_imported(seen) or linking.relocations)),
    )


DYNAMIC = Claim(
    11,
    "dynamically-linked",
    "It is linked dynamically with the kernel.",
    "Like a program with its shared libraries.",
    "kernel/module/main.c:2820 simplify_symbols, 2824 apply_relocations; "
    "arch/x86/kernel/module.c:132 __apply_relocate_add, 186 PLT32",
    _dynamic,
    _explain_dynamic,
    _dynamic_inside,
    _dynamic_outside,
)


# --- by insmod, with System.map


def _system_map(seen: Observations) -> Verdict:
    attempt = seen.linking.unexported_attempt
    if attempt.worked:
        return Verdict.TRUE
    # only ENOENT says that the name was looked up and not found
    if attempt.errno != errno.ENOENT:
        return Verdict.UNDECIDED
    return Verdict.IMPRECISE if seen.linking.system_map_files else Verdict.FALSE


def _explain_system_map(seen: Observations) -> str:
    return (
        "insmod only opens the file and passes it to the kernel with finit_module. The kernel searches its "
        "own table of exported symbols, and those of loaded modules. Up to Linux 2.4 insmod did link "
        "modules, in user space, and asked the kernel for the table (System.map is for people and "
        f"debuggers). {seen.linking.unexported} is a function of this kernel, but not exported, and a module "
        "cannot use it."
    )


def _system_map_inside(seen: Observations) -> Evidence:
    linking = seen.linking
    files = ", ".join(linking.system_map_files) or "none"
    return inside(
        f"The guest's System.map files: {files}; the module loads. One that wants {linking.unexported} "
        "instead is refused.",
        attempt_text(linking.unexported_attempt),
    )


def _system_map_outside(seen: Observations) -> Evidence:
    linking = seen.linking
    calls = [step for step in seen.loading.timeline if step.function == "resolve_symbol"]
    frames = seen.loading.resolve_stop
    if frames is None:
        return outside(
            f"The kernel's symbol table lists {linking.unexported}, which the kernel said it does not know.",
            linking.unexported_line,
        )
    return outside(
        f"The debugger stopped the kernel in {frames.function}, at privilege level {frames.cpl}: it is the "
        f"kernel that searches, {count(sum(step.count for step in calls), 'time')} in this load. The "
        f"kernel's symbol table lists {linking.unexported}.",
        f"{linking.unexported_line}\n{stop_text(frames)}",
    )


SYSTEM_MAP = Claim(
    12,
    "system-map",
    "insmod links it, with the addresses from System.map.",
    "The file with all symbols must be what it is for.",
    "kernel/module/main.c:1288 simplify_symbols, 1059 resolve_symbol, 281 the search in __ksymtab, "
    "298 find_symbol",
    _system_map,
    _explain_system_map,
    _system_map_inside,
    _system_map_outside,
)


# --- its names stay its own


def _private(seen: Observations) -> Verdict:
    linking = seen.linking
    if not linking.exports:
        return Verdict.TRUE
    if linking.dependent_with is None:
        return Verdict.IMPRECISE
    bound = [one for one in linking.dependent_bound if one.image == seen.module.name]
    return Verdict.FALSE if linking.dependent_with.worked and bound else Verdict.UNDECIDED


def _explain_private(seen: Observations) -> str:
    linking = seen.linking
    if not linking.exports:
        return "This one exports nothing: none of its functions can be called by name from another module."
    names = ", ".join(linking.exports[:4])
    if linking.dependent_with is None:
        return f"It exports {names}: a module that wants one of them can have it, once this one is loaded."
    return (
        f"It exports {names}. {linking.dependent} wants one of them: refused before, linked after, and from "
        f"then on {seen.module.name} cannot be removed."
    )


def _private_inside(seen: Observations) -> Evidence:
    linking = seen.linking
    shown = "\n".join(seen.shown.exports) or f"no __ksymtab_ entry of {seen.module.name} in /proc/kallsyms"
    tried = (linking.dependent_without, linking.dependent_with, linking.private_attempt)
    attempts = [one for one in tried if one is not None]
    if not attempts:
        return inside("/proc/kallsyms lists what the module exports.", shown)
    return inside(
        f"{linking.dependent} was refused while {seen.module.name} was not loaded, and taken when it was; "
        "wanting a function that is not exported it was refused again.",
        "\n".join([shown, *(attempt_text(attempt) for attempt in attempts)]),
    )


def _private_outside(seen: Observations) -> Evidence:
    linking = seen.linking
    bound = [one for one in linking.dependent_bound if one.image == seen.module.name]
    if not bound:
        exports = ", ".join(linking.exports) or "nothing"
        return outside(f"The file's own export table, read on the host, has {exports}.", exports)
    return outside(
        f"In {linking.dependent}'s code, computed on the host, {count(len(bound), 'relocation')} leads into "
        f"{seen.module.name}.",
        lines(_bound_line(one) for one in bound),
    )


PRIVATE = Claim(
    19,
    "private-names",
    "Its functions stay its own: no other module can call them by name.",
    "A module is linked with the kernel, so only the kernel's functions can be called.",
    "kernel/module/main.c:298 find_symbol goes through all modules; include/linux/export.h EXPORT_SYMBOL",
    _private,
    _explain_private,
    _private_inside,
    _private_outside,
)
