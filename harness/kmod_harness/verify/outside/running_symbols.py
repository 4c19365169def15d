"""The running kernel's symbols from the best source: its System.map plus the slide, or kallsyms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from kmod_harness.build.kernel.kernel import Kernel
from kmod_harness.errors import KmodHarnessError, Misuse
from kmod_harness.kmod.addresses import KERNEL_IMAGE_BASE
from kmod_harness.kmod.link.exports import kernel_exports
from kmod_harness.kmod.symbols.symbol_files import (
    AddressesHidden,
    Kallsyms,
    SymbolTableError,
    SystemMap,
    parse_system_map,
)
from kmod_harness.machine.memory.kernel_identity import VmlinuxMismatch, check_vmlinux
from kmod_harness.machine.memory.page_tables import UnmappedAddress

Read = Callable[[int, int], bytes]

#: Debian installs a System.map that only names the package with the real one.
_STUB_BYTES = 4096
_BANNER = b"Linux version "


class KernelSymbolsHidden(Misuse):
    """No source gives the addresses of the kernel's symbols."""


class KernelFilesMismatch(Misuse):
    """The vmlinux or System.map of the kernel does not belong to the running kernel."""


@dataclass(frozen=True)
class KernelSymbols:
    """The symbols of the running kernel.

    addresses: name -> address of every symbol
    exports: name -> address of the symbols that modules may be bound to
    source: `System.map`, `kallsyms` or ""
    limits: errors, each with what cannot be verified and why
    """

    addresses: Mapping[str, int] = field(repr=False)
    exports: Mapping[str, int] = field(repr=False)
    source: str
    limits: tuple[KmodHarnessError, ...] = ()


def kernel_symbols(system_map: SystemMap | None, kallsyms: Kallsyms | None, slide: int) -> KernelSymbols:
    """Returns the kernel's symbols by a System.map that was checked to be this kernel's, else by kallsyms.

    system_map: this kernel's System.map, None without
    kallsyms: the guest's, None when it has none
    slide: KASLR's slide in bytes, by the page tables
    """
    if system_map is not None:
        return _from_system_map(system_map, slide)
    try:
        if kallsyms is None:
            raise SymbolTableError("the kernel has no /proc/kallsyms", advice="it needs CONFIG_KALLSYMS=y")
        kallsyms.require_addresses()
    except (AddressesHidden, SymbolTableError) as hidden:
        limit = KernelSymbolsHidden(
            f"relocations against the kernel cannot be verified: {hidden.message}, and there is no "
            "System.map of this kernel",
            evidence=hidden.evidence,
            advice="a kernel build directory with its System.map needs nothing of the guest; what does not "
            "depend on the kernel's addresses is verified",
        )
        return KernelSymbols({}, {}, "", (limit,))
    addresses = kallsyms.kernel_address_of
    return KernelSymbols(addresses, kernel_exports(kallsyms), "kallsyms")


def read_system_map(kernel: Kernel) -> SystemMap | None:
    """Returns the System.map that the kernel comes with, None without one that holds symbols."""
    path = kernel.system_map
    if path is None or path.stat().st_size <= _STUB_BYTES:
        return None
    return parse_system_map(path.read_text())


def _from_system_map(system_map: SystemMap, slide: int) -> KernelSymbols:
    addresses = {
        entry.name: entry.address + (slide if entry.address >= KERNEL_IMAGE_BASE else 0)
        for entry in reversed(system_map.entries)
    }
    return KernelSymbols(addresses, kernel_exports(system_map, slide), "System.map")


def require_same_kernel(kernel: Kernel, system_map: SystemMap, slide: int, read: Read) -> None:
    """Raises KernelFilesMismatch unless memory holds the release's banner and vmlinux's build-id."""
    banner = system_map.address_of.get("linux_banner", 0)
    wanted = _BANNER + kernel.release.encode() + b" "
    try:
        found = read(banner + slide, len(wanted)) if banner else b""
        if found != wanted:
            raise mismatch_of(kernel, f"linux_banner should begin with {wanted!r}", repr(found))
        if kernel.vmlinux is not None:
            check_vmlinux(read, kernel.vmlinux, slide)
    except VmlinuxMismatch as error:
        raise mismatch_of(kernel, error.message, error.evidence) from None
    except UnmappedAddress as error:
        raise mismatch_of(kernel, "its symbols should lie in mapped memory", error.message) from None


def mismatch_of(kernel: Kernel, expected: str, found: str) -> KernelFilesMismatch:
    """Returns the error for a System.map or vmlinux of another kernel."""
    return KernelFilesMismatch(
        f"the System.map or vmlinux beside {kernel.bzimage} is not the running kernel's",
        evidence=f"{expected}\nfound: {found}",
        advice="build the kernel and its System.map together; /proc/kallsyms is used instead",
    )
