"""Branches that the kernel rewrites in a new module: paravirt, retpolines, returns, ENDBR, lock prefixes.

arch/x86/kernel/alternative.c, 6.1.192 and 6.12.118, in the order of module_finalize
(arch/x86/kernel/module.c).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from kmod_harness.releases import facts
from kmod_harness.verify.image import ModuleImage
from kmod_harness.verify.mechanism import Mechanism
from kmod_harness.verify.outside.kernel_state import (
    RETHUNK,
    RETPOLINE,
    RETPOLINE_LFENCE,
    KernelState,
    NotReplayed,
)
from kmod_harness.verify.patch.alternatives import NOPS, nops, optimise_nops
from kmod_harness.verify.patch.its import ItsThunks, wants_its_thunk
from kmod_harness.verify.patch.moved_code import with_joined_nops

CALL, JMP, JMP8, RET, INT3 = 0xE8, 0xE9, 0xEB, 0xC3, 0xCC
#: Bytes behind each static call trampoline, and nowhere else (arch/x86/kernel/static_call.c, 6.1).
TRAMPOLINE_MARK = b"\x0f\xb9\xcc"
#: `struct paravirt_patch_site` (arch/x86/include/asm/paravirt_types.h, 6.1): address, type, length, padding.
_PARAVIRT = struct.Struct("<QBB6x")
#: RETPOLINE_THUNK_SIZE (arch/x86/include/asm/nospec-branch.h, 6.1).
_THUNK_SIZE = 32
_LFENCE = b"\x0f\xae\xe8"
#: Entries of arch/x86/kernel/ftrace_64.S, 6.1, and how much of them a trampoline copies unchanged.
_TRACER_ENTRIES, _TRACER_BYTES = ("ftrace_caller", "ftrace_regs_caller"), 32
_ENDBR64, _ENDBR32 = b"\xf3\x0f\x1e\xfa", b"\xf3\x0f\x1e\xfb"
#: gen_endbr_poison (arch/x86/include/asm/ibt.h, 6.1).
_ENDBR_POISON = b"\x66\x0f\x1f\x00"
_CS = b"\x2e"
_ENDBR_POISON_NOP = b"\x0f\x1f\x40\xd6"


def branch(opcode: int, address: int, target: int) -> bytes:
    """Returns a CALL or JMP of five bytes at `address`."""
    return bytes((opcode,)) + ((target - address - 5) & 0xFFFFFFFF).to_bytes(4, "little")


def branch_target(address: int, code: bytes) -> int:
    """Returns the target of the 32-bit displacement at the end of the instruction `code`."""
    return address + len(code) + int.from_bytes(code[-4:], "little", signed=True)


def relative_sites(image: ModuleImage, table: str) -> Iterator[int]:
    """Yields the addresses in a table of 32-bit offsets, each relative to itself; zero is no entry."""
    for address, data in image.words(table, 4):
        offset = int.from_bytes(data, "little", signed=True)
        if offset:
            yield address + offset


def apply_paravirt(image: ModuleImage, kernel: KernelState) -> None:
    """Makes an indirect call through `pv_ops` a direct one, or NOPs (paravirt_patch, paravirt.c)."""
    for _, data in image.words(".parainstructions", _PARAVIRT.size):
        site, kind, length = _PARAVIRT.unpack(data)
        function = kernel.word(kernel.symbol("pv_ops") + 8 * kind) or kernel.symbol("paravirt_BUG")
        code = b"" if function == kernel.symbol("_paravirt_nop") else branch(CALL, site, function)
        image.write(site, code + nops(length - len(code)), Mechanism.PARAVIRT)


def apply_retpolines(image: ModuleImage, kernel: KernelState) -> None:
    """Makes a call of a retpoline thunk the indirect call itself, where the CPU needs no retpoline."""
    sites = list(relative_sites(image, ".retpoline_sites"))
    if not sites:
        return
    if kernel.has(RETPOLINE) and not kernel.has(RETPOLINE_LFENCE):
        kernel.refuse_call_depth()
        return
    thunks = kernel.symbol("__x86_indirect_thunk_array")
    its = ItsThunks(kernel)
    for site in sites:
        code = _branch_at(image, site)
        if not code:
            continue
        register, odd = divmod(branch_target(site, code) - thunks, _THUNK_SIZE)
        if odd or not 0 <= register <= 15:
            continue  # the kernel warns and leaves it
        patched = _inlined(site, code, register, kernel, its)
        if len(patched) == len(code):
            mechanism = Mechanism.ITS_THUNK if its.last_site == site else Mechanism.RETPOLINE
            image.write(site, _with_long_nops(patched, kernel), mechanism)
    image.problems += [
        f"the page of ITS thunks at {page:#x} holds something else than this module's thunks"
        for page in its.altered_pages()
    ]


def _with_long_nops(code: bytes, kernel: KernelState) -> bytes:
    joined = facts.LONG_NOPS_JOINED.holds(kernel.release)
    return with_joined_nops(code) if joined else optimise_nops(code, len(code))


def _branch_at(image: ModuleImage, site: int) -> bytes:
    """Returns the CALL, JMP or Jcc rel32 at a site, with its CS prefix if any; b"" for other code."""
    code = image.read(site, 6)
    at = 1 if code[:1] == b"\x2e" else 0
    if code[at : at + 1] in (b"\xe8", b"\xe9"):
        return code[: at + 5]
    if len(code) == 6 and is_jcc32(code):
        return code
    return b""


def is_jcc32(code: bytes) -> bool:
    return code[0] == 0x0F and code[1] & 0xF0 == 0x80


def _inlined(site: int, code: bytes, register: int, kernel: KernelState, its: ItsThunks) -> bytes:
    """Returns the code of patch_retpoline: LFENCE if wanted, the indirect branch or an ITS thunk's call."""
    conditional = is_jcc32(code)
    opcode = JMP if conditional else code[-5]
    start = bytes((0x70 + (code[1] & 0xF ^ 1), len(code) - 2)) if conditional else b""
    if kernel.has(RETPOLINE_LFENCE):
        start += _LFENCE
    if wants_its_thunk(kernel, site + len(start), register):
        thunk = its.allocate(site, code, register)
        if conditional:
            return code[:2] + branch(0, site + 1, thunk)[1:]
        prefix = b"\x2e" if len(code) == 6 else b""
        return prefix + branch(opcode, site + len(prefix), thunk)
    patched = start + _indirect(opcode, register, len(code) - len(start), kernel.release)
    return patched.ljust(len(code), NOPS[1])


def _indirect(opcode: int, register: int, size: int, release: tuple[int, int]) -> bytes:
    """Returns a CALL or JMP through a register (emit_indirect) that has room for `size` bytes.

    A JMP is followed by one INT3 if there is room; on 7.2 by as many as there is room for, and up to three
    CS prefixes fill the room before a CALL.
    """
    prefix = b"\x41" if register >= 8 else b""
    code = prefix + bytes((0xFF, 0xC0 | (0x10 if opcode == CALL else 0x20) | register & 7))
    room = max(size - len(code), 0)
    filled = facts.BRANCHES_FILLED.holds(release)
    if opcode == JMP:
        return code + bytes((INT3,)) * (room if filled else min(room, 1))
    return _CS * (room if filled and room <= 3 else 0) + code


def apply_returns(image: ModuleImage, kernel: KernelState) -> None:
    """Makes a jump to the return thunk a RET, or a jump to the thunk that this CPU needs.

    clang's jump has a CS prefix; what is over behind the new instruction is filled (patch_return, 6.1).
    """
    thunk = None
    for site in relative_sites(image, ".return_sites"):
        prefix = 1 if image.read(site, 1) == _CS else 0
        code = image.read(site, prefix + 5)
        if len(code) < prefix + 5 or code[prefix] != JMP:
            continue
        if thunk is None:
            thunk = kernel.symbol("__x86_return_thunk")
        if branch_target(site, code) == thunk:
            mark = image.read(site + len(code), 3)
            is_trampoline = mark == TRAMPOLINE_MARK
            image.write(
                site,
                return_code(kernel, site).ljust(len(code), bytes((INT3,))),
                Mechanism.STATIC_CALL if is_trampoline else Mechanism.RETURN_SITE,
            )


def return_code(kernel: KernelState, site: int) -> bytes:
    """Returns five bytes that return from there (patch_return; cpu_wants_rethunk_at)."""
    if kernel.has(RETHUNK):
        thunk = kernel.word(kernel.symbol("x86_return_thunk"))
        if thunk != kernel.symbols.get("its_return_thunk") or not site & 0x20:
            return branch(JMP, site, thunk)
    return bytes((RET,)) + bytes((INT3,)) * 4


def apply_endbr_seal(image: ModuleImage, kernel: KernelState) -> None:
    """Replaces ENDBR in functions whose address is never taken by a NOP of its own (apply_ibt_endbr)."""
    for site in relative_sites(image, ".ibt_endbr_seal"):
        if image.read(site, 4) in (_ENDBR64, _ENDBR32):
            poison = _ENDBR_POISON_NOP if facts.ENDBR_POISON_NOP.holds(kernel.release) else _ENDBR_POISON
            image.write(site, poison, Mechanism.ENDBR)


def apply_smp_locks(image: ModuleImage, kernel: KernelState) -> None:
    """Makes LOCK prefixes DS prefixes when booted with one CPU (alternatives_smp_unlock).

    6.1 does so in `.text`, 6.12 in the whole block that it lies in.
    """
    sites = list(relative_sites(image, ".smp_locks"))
    text = image.section(".text")
    if not sites or text is None or kernel.read(kernel.symbol("uniproc_patched"), 1) == b"\0":
        return
    whole_block = facts.MEMORY_TYPES.holds(kernel.release)
    for site in sites:
        part = image.at(site)
        within = part is text or (part is not None and whole_block and part.block == text.block)
        if within and image.read(site, 1) == b"\xf0":
            image.write(site, b"\x3e", Mechanism.SMP_LOCK)


def apply_cfi(image: ModuleImage, kernel: KernelState) -> None:
    """Raises NotReplayed for a module with clang's kCFI, which 6.2 and later rewrite (apply_fineibt)."""
    if image.section(".cfi_sites") is not None:
        raise NotReplayed("the module was built by clang with kCFI, whose rewriting is not replayed")


def apply_fentry(image: ModuleImage, kernel: KernelState) -> None:
    """Makes each call of `__fentry__` in `__mcount_loc` a NOP, or again the call of an active tracer.

    kernel/trace/ftrace.c:ftrace_code_disable, arch/x86/kernel/ftrace.c, 6.1.
    """
    for site, size in fentry_sites(image):
        if image.read(site, 1) != bytes((CALL,)):
            continue
        image.write(site, NOPS[size], Mechanism.FENTRY)
        section = image.at(site)
        now = kernel.peek(site, size) if section is not None and not section.section.init else b""
        if now[:1] == bytes((CALL,)) and _is_tracer(kernel, branch_target(site, now)):
            image.write(site, now, Mechanism.TRACER)


def _is_tracer(kernel: KernelState, address: int) -> bool:
    """Returns whether a tracer starts there: one of ftrace's own entries, or a trampoline that copies one.

    A function with one tracer calls a copy of the entry made for it (create_trampoline,
    arch/x86/kernel/ftrace.c, 6.1).
    """
    entries = [kernel.symbols[name] for name in _TRACER_ENTRIES if name in kernel.symbols]
    if address in entries:
        return True
    code = kernel.peek(address, _TRACER_BYTES)
    return bool(code) and any(kernel.peek(entry, _TRACER_BYTES) == code for entry in entries)


def paravirt_sites(image: ModuleImage) -> list[tuple[int, int]]:
    """Returns address and size of each paravirt site."""
    entries = (_PARAVIRT.unpack(data) for _, data in image.words(".parainstructions", _PARAVIRT.size))
    return [(site, length) for site, _, length in entries]


def fentry_sites(image: ModuleImage) -> list[tuple[int, int]]:
    """Returns address and size of each call of `__fentry__`."""
    return [(int.from_bytes(data, "little"), 5) for _, data in image.words("__mcount_loc", 8)]
