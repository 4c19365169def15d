"""Given tables of branches, when a module is finished, then each branch is as 6.1 leaves it on that CPU."""

from __future__ import annotations

import struct

import pytest

from kmod_harness.releases import facts
from kmod_harness.verify.image import ModuleImage
from kmod_harness.verify.mechanism import Mechanism
from kmod_harness.verify.outside.kernel_state import RETHUNK, RETPOLINE, RETPOLINE_LFENCE
from kmod_harness.verify.patch import branches
from unit.verify.images import KERNEL, TABLES, TEXT, image, kernel, relative

THUNKS = KERNEL + 0x2000
RETURN_THUNK, ITS_RETURN, OTHER_RETURN = KERNEL + 0x3000, KERNEL + 0x3100, KERNEL + 0x3200
THUNK_POINTER = KERNEL + 0x4000
RAX, R11 = 0, 11
ITS_PAGE = 0xFFFFFFFFC0300000


def branch_to(opcode: bytes, address: int, target: int) -> bytes:
    """An instruction that ends in a 32-bit displacement."""
    return opcode + struct.pack("<i", target - address - len(opcode) - 4)


def with_site(table: str, code: bytes, site: int = TEXT) -> ModuleImage:
    return image({".text": (site, code + b"\xc3" * 8), table: (TABLES, relative(TABLES, site))})


def retpolined(opcode: str, register: int, *features: int) -> str:
    code = branch_to(bytes.fromhex(opcode), TEXT, THUNKS + 32 * register)
    it = with_site(".retpoline_sites", code)
    state = kernel(*features, symbols={"__x86_indirect_thunk_array": THUNKS})
    branches.apply_retpolines(it, state)
    now = it.read(TEXT, len(code))
    return "as it was" if now == code else now.hex(" ")


@pytest.mark.parametrize(
    ("opcode", "register", "features", "expected"),
    [
        ("e8", RAX, (RETPOLINE,), "as it was"),
        ("e8", RAX, (), "ff d0 0f 1f 00"),
        ("e8", R11, (), "41 ff d3 66 90"),
        ("e9", RAX, (), "ff e0 cc 66 90"),
        ("e9", R11, (), "41 ff e3 cc 90"),
        ("2e e8", RAX, (), "ff d0 0f 1f 40 00"),
        ("e8", RAX, (RETPOLINE, RETPOLINE_LFENCE), "0f ae e8 ff d0"),
        ("2e e9", R11, (RETPOLINE, RETPOLINE_LFENCE), "0f ae e8 41 ff e3"),
        ("0f 84", RAX, (), "75 04 ff e0 cc 90"),
        # LFENCE and a Jcc leave no room in six bytes: the kernel gives up
        ("e8", R11, (RETPOLINE, RETPOLINE_LFENCE), "as it was"),
    ],
)
def test_a_retpoline_becomes_what_the_cpu_needs(
    opcode: str, register: int, features: tuple[int, ...], expected: str
) -> None:
    assert retpolined(opcode.replace(" ", ""), register, *features) == expected


def its_module(site: int, thunk: int) -> tuple[ModuleImage, bytes]:
    code = branch_to(b"\xe8", site, THUNKS)
    return with_site(".retpoline_sites", code, site), branch_to(b"\xe8", site, thunk)


def its_kernel(now: bytes, page: bytes, site: int = TEXT) -> object:
    return kernel(
        facts.ITS_FEATURE.of((6, 1)),
        memory={site: now, ITS_PAGE: page},
        symbols={"__x86_indirect_thunk_array": THUNKS},
    )


def its_page() -> bytes:
    page = bytearray(b"\xcc" * 4096)
    page[32:35] = b"\xff\xe0\xcc"
    return bytes(page)


def test_an_indirect_branch_in_a_lower_half_line_calls_a_thunk_of_its_own() -> None:
    it, now = its_module(TEXT, ITS_PAGE + 32)
    branches.apply_retpolines(it, its_kernel(now, its_page()))  # type: ignore[arg-type]
    assert it.read(TEXT, 5) == now
    assert not it.problems
    part = it.section(".text")
    assert part is not None and part.owner[0] == list(Mechanism).index(Mechanism.ITS_THUNK) + 1


def test_one_in_the_upper_half_stays_an_indirect_branch() -> None:
    site = TEXT + 0x20
    it, now = its_module(site, ITS_PAGE + 32)
    branches.apply_retpolines(it, its_kernel(now, its_page(), site))  # type: ignore[arg-type]
    assert it.read(site, 5).hex() == "ffd00f1f00"


def test_a_thunk_page_that_holds_something_else_is_told() -> None:
    it, now = its_module(TEXT, ITS_PAGE + 32)
    page = its_page()[:64] + b"\x90" + its_page()[65:]
    branches.apply_retpolines(it, its_kernel(now, page))  # type: ignore[arg-type]
    assert len(it.problems) == 1 and f"{ITS_PAGE:#x}" in it.problems[0]


def test_a_call_into_the_middle_of_nowhere_is_not_believed() -> None:
    it, now = its_module(TEXT, ITS_PAGE + 0x123)
    branches.apply_retpolines(it, its_kernel(now, its_page()))  # type: ignore[arg-type]
    assert it.read(TEXT, 5) != now


@pytest.mark.parametrize(
    ("features", "thunk", "site", "expected"),
    [
        ((), RETURN_THUNK, TEXT, "ret"),
        ((RETHUNK,), OTHER_RETURN, TEXT, "jump"),
        ((RETHUNK,), ITS_RETURN, TEXT, "jump"),
        ((RETHUNK,), ITS_RETURN, TEXT + 0x20, "ret"),
    ],
    ids=["plain", "rethunk", "its-lower-half", "its-upper-half"],
)
@pytest.mark.parametrize("jump", [b"\xe9", b"\x2e\xe9"], ids=["gcc", "clang"])
def test_a_return_is_a_ret_or_leads_to_the_thunk_of_this_cpu(
    features: tuple[int, ...], thunk: int, site: int, expected: str, jump: bytes
) -> None:
    it = with_site(".return_sites", branch_to(jump, site, RETURN_THUNK), site)
    state = kernel(
        *features,
        memory={THUNK_POINTER: struct.pack("<Q", thunk)},
        symbols={
            "__x86_return_thunk": RETURN_THUNK,
            "its_return_thunk": ITS_RETURN,
            "x86_return_thunk": THUNK_POINTER,
        },
    )
    branches.apply_returns(it, state)
    wanted = b"\xc3" if expected == "ret" else branch_to(b"\xe9", site, thunk)
    size = len(jump) + 4
    assert it.read(site, size) == wanted.ljust(size, b"\xcc")


def test_a_paravirt_call_goes_straight_to_what_pv_ops_holds() -> None:
    pv_ops, function, nothing = KERNEL + 0x5000, KERNEL + 0x6000, KERNEL + 0x6100
    sites = struct.pack("<QBB6xQBB6x", TEXT, 2, 7, TEXT + 7, 3, 7)
    it = image({".text": (TEXT, b"\xff\x14\x25\0\0\0\0" * 2), ".parainstructions": (TABLES, sites)})
    state = kernel(
        memory={pv_ops: struct.pack("<4Q", 0, 0, function, nothing)},
        symbols={"pv_ops": pv_ops, "_paravirt_nop": nothing, "paravirt_BUG": KERNEL},
    )
    branches.apply_paravirt(it, state)
    assert it.read(TEXT, 7) == branch_to(b"\xe8", TEXT, function) + b"\x66\x90"
    assert it.read(TEXT + 7, 7).hex() == "0f1f8000000000"


@pytest.mark.parametrize(("alone", "expected"), [(b"\x01", "3e"), (b"\x00", "f0")])
def test_lock_prefixes_go_where_one_cpu_booted(alone: bytes, expected: str) -> None:
    flag = KERNEL + 0x7000
    it = with_site(".smp_locks", b"\xf0\x0f\xb1\x0f")
    branches.apply_smp_locks(it, kernel(memory={flag: alone}, symbols={"uniproc_patched": flag}))
    assert it.read(TEXT, 1).hex() == expected


def test_lock_prefixes_outside_of_text_stay() -> None:
    flag = KERNEL + 0x7000
    it = image(
        {
            ".text": (TEXT, b"\xc3"),
            ".exit.text": (TEXT + 16, b"\xf0\x0f\xb1\x0f"),
            ".smp_locks": (TABLES, relative(TABLES, TEXT + 16)),
        }
    )
    branches.apply_smp_locks(it, kernel(memory={flag: b"\1"}, symbols={"uniproc_patched": flag}))
    assert it.read(TEXT + 16, 1) == b"\xf0"


def test_a_sealed_endbr_is_a_nop_of_its_own_kind() -> None:
    it = with_site(".ibt_endbr_seal", b"\xf3\x0f\x1e\xfa")
    branches.apply_endbr_seal(it, kernel())
    assert it.read(TEXT, 4).hex(" ") == "66 0f 1f 00"


@pytest.mark.parametrize(
    ("now", "entry", "expected"),
    [
        ("nop", b"", Mechanism.FENTRY),
        ("entry", b"", Mechanism.TRACER),
        ("copy", b"\x48\x81\xec\xa8" * 8, Mechanism.TRACER),
        ("copy", b"\xcc" * 32, Mechanism.FENTRY),
    ],
    ids=["no-tracer", "ftrace's-entry", "a-trampoline", "something-else"],
)
def test_a_tracers_call_is_one_of_ftraces_or_of_a_copy_of_it(
    now: str, entry: bytes, expected: Mechanism
) -> None:
    caller, copy = KERNEL + 0x8000, 0xFFFFFFFFC0400000
    targets = {"entry": caller, "copy": copy}
    there = branch_to(b"\xe8", TEXT, targets[now]) if now in targets else b"\x0f\x1f\x44\0\0"
    it = image({".text": (TEXT, b"\xe8\0\0\0\0\xc3"), "__mcount_loc": (TABLES, struct.pack("<Q", TEXT))})
    memory = {TEXT: there, caller: b"\x48\x81\xec\xa8" * 8, copy: entry}
    branches.apply_fentry(it, kernel(memory=memory, symbols={"ftrace_caller": caller}))
    assert it.read(TEXT, 5) == (there if expected is Mechanism.TRACER else b"\x0f\x1f\x44\0\0")
