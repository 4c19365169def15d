"""Given keys in a state, when jump labels and static calls follow them, then the code is what 6.1 writes."""

from __future__ import annotations

import struct

import pytest

from kmod_harness.kmod.elf.module import Symbol
from kmod_harness.verify.image import ModuleImage
from kmod_harness.verify.patch import labels
from unit.verify.images import KERNEL, TABLES, TEXT, image, kernel, relative

KEY, OTHER_KEY = KERNEL + 0x9000, KERNEL + 0x9100
FUNCTION = KERNEL + 0xA000
RETURN_0, RETURN = KERNEL + 0xA100, KERNEL + 0xA200
NOP2, NOP5 = "66 90", "0f 1f 44 00 00"


def entry(place: int, code: int, target: int, key: int) -> bytes:
    return struct.pack("<iiq", code - place, target - place - 4, key - place - 8)


def label(code: bytes, target: int, key: int) -> ModuleImage:
    return image(
        {".text": (TEXT, code + b"\xc3"), "__jump_table": (TABLES, entry(TABLES, TEXT, target, key))}
    )


def state(enabled: int) -> object:
    return kernel(memory={KEY: struct.pack("<i", enabled), OTHER_KEY: struct.pack("<i", enabled)})


@pytest.mark.parametrize("code", ["6690", "eb10"])
@pytest.mark.parametrize(
    ("enabled", "branch", "expected"),
    [(0, 0, NOP2), (1, 0, "eb 0e"), (-1, 0, "eb 0e"), (0, 1, "eb 0e"), (3, 1, NOP2)],
)
def test_a_short_label_jumps_when_key_and_branch_differ(
    code: str, enabled: int, branch: int, expected: str
) -> None:
    it = label(bytes.fromhex(code), TEXT + 16, KEY | branch)
    labels.apply_jump_labels(it, state(enabled))  # type: ignore[arg-type]
    assert it.read(TEXT, 2).hex(" ") == expected


@pytest.mark.parametrize(("enabled", "expected"), [(0, NOP5), (1, "e9 fb 01 00 00")])
def test_a_long_label_too(enabled: int, expected: str) -> None:
    it = label(bytes.fromhex("0f1f440000"), TEXT + 0x200, KEY)
    labels.apply_jump_labels(it, state(enabled))  # type: ignore[arg-type]
    assert it.read(TEXT, 5).hex(" ") == expected


def test_a_key_that_was_freed_allows_both() -> None:
    it = label(bytes.fromhex("6690"), TEXT + 16, KEY)
    labels.apply_jump_labels(it, kernel())
    (change,) = it.section(".text").allowed  # type: ignore[union-attr]
    assert [change.accepts(bytes.fromhex(now)) for now in ("6690", "eb0e", "eb0f")] == [True, True, False]


def test_the_table_is_sorted_by_key_then_code_and_marks_init() -> None:
    places = [TABLES, TABLES + 16, TABLES + 32]
    wanted = [(TEXT + 8, OTHER_KEY), (TEXT + 2, KEY), (TEXT, KEY)]
    table = b"".join(entry(at, code, TEXT, key) for at, (code, key) in zip(places, wanted, strict=True))
    it = image({".text": (TEXT, b"\x66\x90" * 2), "__jump_table": (TABLES, table)})
    labels.apply_jump_labels(it, state(0))  # type: ignore[arg-type]
    found = [(one.code, one.key) for one in labels.jump_entries(it)]
    assert found == sorted(wanted, key=lambda item: (item[1], item[0]))
    # the last one's code lies in no section that is kept: an init section
    assert struct.unpack_from("<q", it.read(TABLES + 32, 16), 8)[0] + TABLES + 40 == OTHER_KEY | 2


def calls(code: bytes, key: int, function: int, flags: int = 0) -> str:
    """What the site of a static call holds when its key holds `function`."""
    table = relative(TABLES, TEXT) + relative(TABLES + 4, key | flags)
    it = image({".text": (TEXT, code + b"\x90" * 3), ".static_call_sites": (TABLES, table)})
    trampolines = KERNEL + 0xB000
    symbols = {
        "__start_static_call_tramp_key": trampolines,
        "__stop_static_call_tramp_key": trampolines + 8,
        "__static_call_return0": RETURN_0,
        "__static_call_return": RETURN,
        "x86_return_thunk": RETURN,
    }
    tramp_key = relative(trampolines, KERNEL + 0xC000) + relative(trampolines + 4, KEY)
    memory = {KEY: struct.pack("<Q", function), trampolines: tramp_key}
    labels.apply_static_calls(it, kernel(memory=memory, symbols=symbols))
    return it.read(TEXT, len(code)).hex(" ")


def at(opcode: str, target: int, length: int = 5) -> str:
    return (bytes.fromhex(opcode) + struct.pack("<i", target - TEXT - length)).hex(" ")


@pytest.mark.parametrize(
    ("code", "function", "flags", "expected"),
    [
        ("e800000000", FUNCTION, 0, at("e8", FUNCTION)),
        ("e800000000", 0, 0, NOP5),
        ("e800000000", RETURN_0, 0, "2e 2e 2e 31 c0"),
        ("e900000000", FUNCTION, 1, at("e9", FUNCTION)),
        ("e900000000", 0, 1, "c3 cc cc cc cc"),
        ("0f8400000000", FUNCTION, 1, at("0f84", FUNCTION, 6)),
        ("0f8400000000", 0, 1, at("0f84", RETURN, 6)),
    ],
    ids=["call", "null-call", "return-0", "tail", "null-tail", "jcc", "null-jcc"],
)
def test_a_static_call_is_what_its_key_holds(code: str, function: int, flags: int, expected: str) -> None:
    assert calls(bytes.fromhex(code), KEY, function, flags) == expected


def test_a_trampoline_stands_for_a_key_that_is_not_exported() -> None:
    assert calls(bytes.fromhex("e800000000"), KERNEL + 0xC000, FUNCTION) == at("e8", FUNCTION)


def test_the_modules_own_trampoline_follows_its_key() -> None:
    data = TABLES + 0x1000
    it = image(
        {".static_call.text": (TEXT, b"\xe9\0\0\0\0\x0f\xb9\xcc"), ".data": (data, bytes(16))},
        symbols=(
            Symbol("__SCT__mine", 0, 8, "FUNC", "GLOBAL", ".static_call.text"),
            Symbol("__SCK__mine", 0, 16, "OBJECT", "GLOBAL", ".data"),
        ),
    )
    labels.apply_static_calls(it, kernel(memory={data: struct.pack("<Q", FUNCTION)}))
    assert it.read(TEXT, 5).hex(" ") == at("e9", FUNCTION)
