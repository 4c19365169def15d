"""Which source tells the kernel's addresses, and what is said when none does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kmod_harness.build.kernel.kernel import Kernel
from kmod_harness.kmod.symbols.symbol_files import parse_kallsyms, parse_system_map
from kmod_harness.machine.memory.page_tables import UnmappedAddress
from kmod_harness.verify.outside.running_symbols import (
    KernelFilesMismatch,
    KernelSymbolsHidden,
    kernel_symbols,
    read_system_map,
    require_same_kernel,
)

SLIDE = 0x200000
SYSTEM_MAP = parse_system_map(
    "000000000001ac00 D current_task\n"
    "ffffffff81000000 T _text\n"
    "ffffffff81000100 T printk\n"
    "ffffffff81000200 t helper\n"
    "ffffffff81800000 D linux_banner\n"
    "ffffffff81900000 r __ksymtab_printk\n"
    "ffffffff81900010 r __ksymtab_current_task\n"
)
KALLSYMS = parse_kallsyms("ffffffff81200000 T _text\nffffffff81200100 T printk\n")
HIDDEN = parse_kallsyms("0000000000000000 T _text\n0000000000000000 T printk\n")
KERNEL = Kernel("minimal", "6.1.0-test", Path("bzImage"))
BANNER = b"Linux version 6.1.0-test (builder) #1"


def test_a_system_map_is_moved_by_the_slide_but_for_per_cpu_symbols() -> None:
    symbols = kernel_symbols(SYSTEM_MAP, None, SLIDE)
    assert symbols.source == "System.map" and not symbols.limits
    assert symbols.addresses["helper"] == 0xFFFFFFFF81200200
    assert symbols.exports == {"printk": 0xFFFFFFFF81200100, "current_task": 0x1AC00}


def test_without_one_kallsyms_tells() -> None:
    symbols = kernel_symbols(None, KALLSYMS, SLIDE)
    assert symbols.source == "kallsyms" and symbols.addresses["printk"] == 0xFFFFFFFF81200100


@pytest.mark.parametrize(("kallsyms", "why"), [(None, "no /proc/kallsyms"), (HIDDEN, "only zeros")])
def test_with_neither_it_says_what_cannot_be_verified_and_why(kallsyms: object, why: str) -> None:
    symbols = kernel_symbols(None, kallsyms, SLIDE)  # type: ignore[arg-type]
    (limit,) = symbols.limits
    assert isinstance(limit, KernelSymbolsHidden)
    assert why in limit.message and "relocations against the kernel" in limit.message
    assert not symbols.addresses and not symbols.source


def test_the_running_kernel_is_known_by_its_banner() -> None:
    def read(address: int, size: int) -> bytes:
        assert address == 0xFFFFFFFF81800000 + SLIDE
        return BANNER[:size]

    require_same_kernel(KERNEL, SYSTEM_MAP, SLIDE, read)
    with pytest.raises(KernelFilesMismatch, match="not the running kernel's"):
        require_same_kernel(replace(KERNEL, release="6.1.0-other"), SYSTEM_MAP, SLIDE, read)


def test_symbols_in_unmapped_memory_are_another_kernels() -> None:
    def read(address: int, size: int) -> bytes:
        raise UnmappedAddress(address)

    with pytest.raises(KernelFilesMismatch):
        require_same_kernel(KERNEL, SYSTEM_MAP, SLIDE, read)


def test_a_stub_is_no_system_map(tmp_path: Path) -> None:
    stub = tmp_path / "System.map"
    stub.write_text("ffffffffffffffff B The real System.map is in the linux-image-...-dbg package\n")
    assert read_system_map(replace(KERNEL, system_map=stub)) is None
    assert read_system_map(KERNEL) is None
