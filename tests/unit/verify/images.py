"""Modules made of a few bytes, and the kernel they are in, for the tests of kmod_harness.verify."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kmod_harness.kmod.elf.module import SHF_ALLOC, SHF_EXECINSTR, SHF_WRITE, KernelModule, Section, Symbol
from kmod_harness.kmod.layout.predict import Layout
from kmod_harness.kmod.link.relocation import LinkedModule, LinkedSection
from kmod_harness.verify.image import ModuleImage
from kmod_harness.verify.outside.kernel_state import ALWAYS, CAPABILITY_WORDS, FPU, LONG_MODE, KernelState

TEXT = 0xFFFFFFFFC0100000
TABLES = 0xFFFFFFFFC0200000
KERNEL = 0xFFFFFFFF81000000
BOOT_CPU_DATA = KERNEL + 0x10000
#: x86_capability in boot_cpu_data, of a kernel with the VMX words (arch/x86/include/asm/processor.h).
CAPABILITIES = {(6, 1): BOOT_CPU_DATA + 40, (6, 12): BOOT_CPU_DATA + 48}


_WRITABLE = ("__jump_table", "__bug_table", ".static_call_sites", ".data", ".data..ro_after_init")


def section(name: str, index: int, size: int) -> Section:
    flags = SHF_ALLOC
    if "text" in name:
        flags |= SHF_EXECINSTR
    if name in (*_WRITABLE, ".gnu.linkonce.this_module"):
        flags |= SHF_WRITE
    return Section(name, index, "SHT_PROGBITS", flags, 0, size, 1, 0)


def linked(parts: Mapping[str, tuple[int, bytes]], symbols: tuple[Symbol, ...] = ()) -> LinkedModule:
    """A linked module: section name -> address and bytes."""
    sections = tuple(section(name, index, len(data)) for index, (name, (_, data)) in enumerate(parts.items()))
    module = KernelModule(
        path=Path("m.ko"), name="m", vermagic="6.1.0-test SMP", depends=(), parameters={},
        parameter_descriptions={}, license="GPL", description="", aliases=(), modinfo=(), sections=sections,
        symbols=symbols, undefined=(), exports={}, versions={}, has_debug_info=False, build_id="", data=b"",
    )  # fmt: skip
    return LinkedModule(
        module=module,
        layout=Layout((6, 1), {}, (), (), None, None, None),
        addresses={part.index: parts[part.name][0] for part in sections},
        sections=tuple(
            LinkedSection(part, "init" if part.init else "core", *parts[part.name]) for part in sections
        ),
        relocations=(),
        unbound=(),
        symbol_values=(),
    )


def image(parts: Mapping[str, tuple[int, bytes]], symbols: tuple[Symbol, ...] = ()) -> ModuleImage:
    return ModuleImage(linked(parts, symbols))


def kernel(
    *features: int,
    memory: Mapping[int, bytes] | None = None,
    symbols: Mapping[str, int] | None = None,
    release: tuple[int, int] = (6, 1),
    at: tuple[int, int] | None = None,
) -> KernelState:
    """A kernel whose boot CPU has these features, with some memory and some symbols.

    at: the release whose place of the features it has, if another.
    """
    words = [0] * CAPABILITY_WORDS
    for bit in (FPU, LONG_MODE, ALWAYS, *features):
        words[bit // 32] |= 1 << bit % 32
    content = {
        CAPABILITIES[at or release]: b"".join(word.to_bytes(4, "little") for word in words),
        **(memory or {}),
    }

    def read(address: int, size: int) -> bytes:
        for start, data in content.items():
            if start <= address and address + size <= start + len(data):
                return data[address - start :][:size]
        from kmod_harness.machine.memory.page_tables import UnmappedAddress

        raise UnmappedAddress(address)

    return KernelState(read, {"boot_cpu_data": BOOT_CPU_DATA, **(symbols or {})}, release)


def relative(address: int, target: int, size: int = 4) -> bytes:
    """An offset relative to its own place."""
    return ((target - address) & ((1 << 8 * size) - 1)).to_bytes(size, "little")
