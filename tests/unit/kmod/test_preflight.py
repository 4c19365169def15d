"""Preflight: what the kernel would say of a module."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kmod_harness.kmod.elf.module import KernelModule, UndefinedSymbol
from kmod_harness.kmod.mismatches import MismatchKind
from kmod_harness.kmod.preflight import KernelFacts, preflight, unknown_parameters

VERMAGIC = "6.1.192 SMP mod_unload "
KERNEL = KernelFacts("6.1.192", VERMAGIC, exported={"_printk": False, "secret": True})
PLAIN = KernelModule(
    path=Path("m.ko"), name="m", vermagic=VERMAGIC, depends=(), parameters={"size": "int"},
    parameter_descriptions={}, license="GPL", description="", aliases=(), modinfo=(), sections=(),
    symbols=(), undefined=(UndefinedSymbol("_printk", weak=False),), exports={}, versions={},
    has_debug_info=False, build_id="", data=b"",
)  # fmt: skip


def kinds(module: KernelModule, kernel: KernelFacts = KERNEL) -> list[MismatchKind]:
    return [mismatch.kind for mismatch in preflight(module, kernel)]


def test_a_module_built_for_this_kernel_has_no_mismatches() -> None:
    assert preflight(PLAIN, KERNEL) == ()


def test_another_vermagic_is_shown_with_the_kernels() -> None:
    (mismatch,) = preflight(replace(PLAIN, vermagic="6.1.0 SMP "), KERNEL)
    assert mismatch.kind is MismatchKind.VERMAGIC
    assert mismatch.fatal
    assert (mismatch.found, mismatch.expected) == ("6.1.0 SMP ", VERMAGIC)


def test_with_symbol_crcs_the_release_is_not_compared_but_the_flags_are() -> None:
    versioned = replace(PLAIN, versions={"_printk": 1})
    assert kinds(replace(versioned, vermagic="6.1.0 SMP mod_unload ")) == []
    assert kinds(replace(versioned, vermagic="6.1.192 preempt ")) == [MismatchKind.VERMAGIC]


def test_where_only_the_release_is_known_it_alone_is_compared() -> None:
    facts = KernelFacts("6.1.192")
    assert kinds(replace(PLAIN, vermagic="6.1.192 preempt "), facts) == []
    assert kinds(replace(PLAIN, vermagic="6.1.0 SMP "), facts) == [MismatchKind.VERMAGIC]


def test_a_missing_vermagic_is_named_but_not_fatal() -> None:
    (mismatch,) = preflight(replace(PLAIN, vermagic=""), KERNEL)
    assert (mismatch.kind, mismatch.fatal) == (MismatchKind.VERMAGIC_MISSING, False)


def test_a_symbol_nobody_exports_is_named_unless_weak_or_nothing_is_known() -> None:
    wants = replace(PLAIN, undefined=(UndefinedSymbol("nope", weak=False),))
    (mismatch,) = preflight(wants, KERNEL)
    assert (mismatch.kind, mismatch.subject) == (MismatchKind.UNKNOWN_SYMBOL, "nope")
    assert kinds(replace(PLAIN, undefined=(UndefinedSymbol("nope", weak=True),))) == []
    assert kinds(wants, replace(KERNEL, exported=None)) == []


@pytest.mark.parametrize(
    ("license_", "refused"),
    [
        ("GPL", False),
        ("GPL v2", False),
        ("Dual MIT/GPL", False),
        ("Proprietary", True),
        ("", True),
        ("MIT", True),
    ],
)
def test_a_gpl_only_symbol_needs_a_compatible_licence(license_: str, refused: bool) -> None:
    module = replace(PLAIN, license=license_, undefined=(UndefinedSymbol("secret", weak=False),))
    assert kinds(module) == ([MismatchKind.GPL_ONLY_SYMBOL] if refused else [])


def test_what_a_module_loaded_before_exports_is_there() -> None:
    core = replace(PLAIN, name="core-x", exports={"core_call": False})
    user = replace(PLAIN, depends=("core_x",), undefined=(UndefinedSymbol("core_call", weak=False),))
    assert kinds(user) == [MismatchKind.UNKNOWN_SYMBOL, MismatchKind.MISSING_DEPENDENCY]
    assert kinds(user, KERNEL.with_module(core)) == []


def test_a_symbol_of_another_version_is_found_by_its_crc() -> None:
    versioned = replace(PLAIN, versions={"_printk": 1, "other": 5})
    assert kinds(versioned, replace(KERNEL, crcs={"_printk": 2})) == [MismatchKind.SYMBOL_VERSION]
    assert kinds(versioned, replace(KERNEL, crcs={"_printk": 1})) == []
    assert kinds(versioned, replace(KERNEL, crcs={"_printk": 0})) == []


def test_an_unknown_parameter_is_named_with_those_there_are() -> None:
    (mismatch,) = unknown_parameters(PLAIN, ["size", "sise", "dyndbg", "async_probe"])
    assert (mismatch.subject, mismatch.fatal) == ("sise", False)
    assert "size" in mismatch.text
