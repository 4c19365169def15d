"""Code that depends on a key: jump labels of static keys, static calls of the function a key holds.

kernel/jump_label.c, kernel/static_call_inline.c, arch/x86/kernel/{jump_label,static_call}.c, 6.1.192,
6.12.118 and 7.2.13.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from kmod_harness.releases import facts
from kmod_harness.verify.image import AllowedChange, ModuleImage
from kmod_harness.verify.mechanism import Mechanism
from kmod_harness.verify.outside.kernel_state import RETHUNK, KernelState
from kmod_harness.verify.patch.alternatives import NOPS
from kmod_harness.verify.patch.branches import CALL, JMP, JMP8, TRAMPOLINE_MARK, branch, is_jcc32, return_code
from kmod_harness.verify.patch.sorting import kernel_sort

#: `struct jump_entry` (include/linux/jump_label.h, 6.1): code and target relative to themselves, then the
#: key relative to itself with two flags in its low bits.
_JUMP = struct.Struct("<iiq")
_BRANCH, _INIT = 1, 2
#: `struct static_call_site` (include/linux/static_call_types.h, 6.1), the key with two flags in its low bits.
_SITE = struct.Struct("<ii")
_TAIL, _SITE_INIT, _SITE_FLAGS = 1, 2, 3
#: `cs cs cs xorl %eax, %eax`: replaces a call of `__static_call_return0`.
_RETURN_0 = b"\x2e\x2e\x2e\x31\xc0"
#: `ud1 (%edx),%rdi`: replaces a call of `__WARN_trap` (7.2.13).
_WARN = b"\x67\x48\x0f\xb9\x3a"


@dataclass(frozen=True)
class JumpEntry:
    """One jump label.

    code: address of the NOP or jump
    target: address it jumps to
    key: address of the static key
    branch: True when it jumps while the key is off
    """

    code: int
    target: int
    key: int
    branch: bool


def apply_jump_labels(image: ModuleImage, kernel: KernelState) -> None:
    """Sorts `__jump_table` and makes each place a NOP or a JMP by the present state of its key."""
    entries = sorted(jump_entries(image), key=lambda entry: (entry.key, entry.code))
    table = image.section("__jump_table")
    for number, entry in enumerate(entries):
        assert table is not None
        address = table.address + number * _JUMP.size
        init = in_init(image, entry.code)
        flags = (_BRANCH if entry.branch else 0) | (_INIT if init else 0)
        packed = _JUMP.pack(
            _signed(entry.code - address, 32),
            _signed(entry.target - address - 4, 32),
            _signed(entry.key + flags - address - 8, 64),
        )
        image.write(address, packed, Mechanism.JUMP_TABLE)
        if not init:
            _follow_key(image, kernel, entry)


def jump_entries(image: ModuleImage) -> Iterator[JumpEntry]:
    """Yields the module's jump labels in the order of the table."""
    for address, data in image.words("__jump_table", _JUMP.size):
        code, target, key = _JUMP.unpack(data)
        yield JumpEntry(address + code, address + 4 + target, address + 8 + (key & ~3), bool(key & _BRANCH))


def _follow_key(image: ModuleImage, kernel: KernelState, entry: JumpEntry) -> None:
    now = image.read(entry.code, 5)
    if now[:1] == bytes((JMP8,)) or now[:2] == NOPS[2]:
        jump = bytes((JMP8, (entry.target - entry.code - 2) & 0xFF))
    elif now[:1] == bytes((JMP,)) or now == NOPS[5]:
        jump = branch(JMP, entry.code, entry.target)
    else:
        return  # the kernel would have stopped with a BUG: memory will show what is there
    nop = NOPS[len(jump)]
    state = kernel.peek(entry.key, 4)
    if not state:  # the key lay in memory that was freed after init: either is right
        image.allow(
            AllowedChange(entry.code, len(jump), Mechanism.JUMP_LABEL, lambda now: now in (jump, nop))
        )
        return
    enabled = state != bytes(4)  # -1, while it is being switched on, counts
    image.write(entry.code, jump if enabled != entry.branch else nop, Mechanism.JUMP_LABEL)


def in_init(image: ModuleImage, address: int) -> bool:
    """Returns `within_module_init`: whether an address is in an init section, or in none with an address."""
    section = image.at(address)
    return section is None or section.section.init


@dataclass(frozen=True)
class CallSite:
    """One static call.

    address: address of the call
    key: address of its key
    flags: flags for a tail call and for an init section
    """

    address: int
    key: int
    flags: int


def apply_static_calls(image: ModuleImage, kernel: KernelState) -> None:
    """Sorts `.static_call_sites` and makes each place call the function that its key holds now."""
    sites = static_call_sites(image, kernel)
    if sites:
        kernel.refuse_call_depth()
    sites = kernel_sort(sites, lambda a, b: (a.key > b.key) - (a.key < b.key), kernel.release)
    table = image.section(".static_call_sites")
    for number, site in enumerate(sites):
        assert table is not None
        address = table.address + number * _SITE.size
        flags = site.flags | (_SITE_INIT if in_init(image, site.address) else 0)
        packed = _SITE.pack(_signed(site.address - address, 32), _signed(site.key + flags - address - 4, 32))
        image.write(address, packed, Mechanism.STATIC_CALL_TABLE)
        if not flags & _SITE_INIT:
            _transform(image, kernel, site.address, kernel.word(site.key), tail=bool(flags & _TAIL))
    _apply_trampolines(image, kernel)


def static_call_sites(image: ModuleImage, kernel: KernelState) -> list[CallSite]:
    """Returns the module's static calls.

    A site names the trampoline of a key that is not exported (static_call_add_module).
    """
    found = []
    keys: dict[int, int] | None = None
    for address, data in image.words(".static_call_sites", _SITE.size):
        if keys is None:
            keys = _keys_by_trampoline(kernel)
        site, key = _SITE.unpack(data)
        flags = (address + 4 + key) & _SITE_FLAGS
        target = (address + 4 + key) & ~_SITE_FLAGS
        found.append(CallSite(address + site, keys.get(target, target), flags))
    return found


def _keys_by_trampoline(kernel: KernelState) -> dict[int, int]:
    """Returns trampoline -> key by the kernel's `.static_call_tramp_key`: pairs of self-relative offsets."""
    start = kernel.symbol("__start_static_call_tramp_key")
    stop = kernel.symbol("__stop_static_call_tramp_key")
    data = kernel.read(start, stop - start)
    return {
        start + at + trampoline: start + at + 4 + key
        for at, (trampoline, key) in zip(range(0, len(data), 8), _SITE.iter_unpack(data), strict=True)
    }


def _apply_trampolines(image: ModuleImage, kernel: KernelState) -> None:
    """Makes the module's own trampolines jump to the functions of its own keys."""
    for address, key in _trampolines(image):
        _transform(image, kernel, address, kernel.word(key), tail=True)


def _trampolines(image: ModuleImage) -> Iterator[tuple[int, int]]:
    """Yields the address of each of the module's own trampolines, and of its key."""
    symbols = {symbol.name: symbol for symbol in image.module.symbols}
    for name, symbol in symbols.items():
        key = symbols.get(name.replace("__SCT__", "__SCK__", 1)) if name.startswith("__SCT__") else None
        if key is None:
            continue
        places = [image.section(part.section or "") for part in (symbol, key)]
        if places[0] is None or places[1] is None:
            continue
        address = places[0].address + symbol.value
        if image.read(address + 5, 3) == TRAMPOLINE_MARK:
            yield address, places[1].address + key.value


def _transform(image: ModuleImage, kernel: KernelState, address: int, function: int, *, tail: bool) -> None:
    """Writes a call, jump, return or NOP, by the function and kind of site (__static_call_transform)."""
    now = image.read(address, 6)
    if tail and len(now) == 6 and is_jcc32(now):
        if not function:
            function = _return(kernel)
        code = now[:2] + branch(0, address + 1, function)[1:]
    elif tail:
        code = branch(JMP, address, function) if function else return_code(kernel, address)
    elif not function:
        code = NOPS[5]
    elif function == kernel.symbols.get("__static_call_return0"):
        code = _RETURN_0
    elif function == kernel.symbols.get("__WARN_trap"):
        code = _WARN
    else:
        code = branch(CALL, address, function)
    image.write(address, code, Mechanism.STATIC_CALL)


def _return(kernel: KernelState) -> int:
    """Returns the target of a conditional tail call of nothing; on 6.12 the thunk that this CPU needs."""
    if not kernel.has(RETHUNK):
        return kernel.symbol("__static_call_return")
    if facts.STATIC_RETURN_BY_THUNK.holds(kernel.release):
        return kernel.word(kernel.symbol("x86_return_thunk"))
    return kernel.symbol("__x86_return_thunk")


def _signed(value: int, bits: int) -> int:
    """Returns the value as a two's complement number of that many bits."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def jump_label_sites(image: ModuleImage) -> list[tuple[int, int]]:
    """Returns address and size of each jump label."""
    return [(entry.code, 5) for entry in jump_entries(image)]


def static_call_places(image: ModuleImage) -> list[tuple[int, int]]:
    """Returns address and size of each static call and trampoline, and of each entry of the sorted table."""
    places = [(address, 5) for address, _ in _trampolines(image)]
    for address, data in image.words(".static_call_sites", _SITE.size):
        places += [(address + _SITE.unpack(data)[0], 6), (address, _SITE.size)]
    return places
