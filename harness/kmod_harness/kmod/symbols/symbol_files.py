"""Symbol tables written by the kernel and its build: System.map, /proc/kallsyms, Module.symvers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from kmod_harness.errors import Misuse


class SymbolTableError(Misuse):
    """The text is not a symbol table of this form; the message names the first wrong line."""


class AddressesHidden(SymbolTableError):
    """/proc/kallsyms shows zeros instead of addresses (`kallsyms_show_value`, kernel/ksyms_common.c)."""


class KallsymsEntry(NamedTuple):
    """One symbol.

    address: its address
    type: nm's letter
    name: its name
    module: module it belongs to, "" for the kernel
    """

    address: int
    type: str
    name: str
    module: str


class SymversEntry(NamedTuple):
    """One line of Module.symvers.

    crc: CRC of the symbol
    name: its name
    provider: `vmlinux` or a module's path without suffix
    gpl_only: whether it is exported to GPL-compatible modules only
    namespace: symbol namespace, "" for none
    """

    crc: int
    name: str
    provider: str
    gpl_only: bool
    namespace: str


@dataclass(frozen=True)
class SystemMap:
    """The kernel's symbols at their linked addresses, in the file's order."""

    entries: tuple[KallsymsEntry, ...]

    @cached_property
    def address_of(self) -> Mapping[str, int]:
        """Name -> address; the first where a name occurs more than once."""
        return {entry.name: entry.address for entry in reversed(self.entries)}


@dataclass(frozen=True)
class Kallsyms:
    """/proc/kallsyms at one moment, in the kernel's order."""

    entries: tuple[KallsymsEntry, ...] = field(repr=False)

    @cached_property
    def kernel(self) -> tuple[KallsymsEntry, ...]:
        """The entries of the kernel image."""
        return tuple(entry for entry in self.entries if not entry.module)

    @cached_property
    def kernel_address_of(self) -> Mapping[str, int]:
        """Name -> address in the kernel image; the first where a name occurs more than once."""
        return {entry.name: entry.address for entry in reversed(self.kernel)}

    @property
    def modules(self) -> tuple[str, ...]:
        """Names in brackets, in order of first appearance (also `bpf`, `__builtin__ftrace`)."""
        return tuple(dict.fromkeys(entry.module for entry in self.entries if entry.module))

    @property
    def shows_data(self) -> bool:
        """Whether data symbols are listed, which takes KALLSYMS_ALL."""
        return any(entry.type in "dDbBrR" for entry in self.kernel)

    def of_module(self, name: str) -> tuple[KallsymsEntry, ...]:
        """Returns the entries of that module; `-` in the name is read as `_`."""
        name = name.replace("-", "_")
        return tuple(entry for entry in self.entries if entry.module == name)

    def require_addresses(self) -> None:
        """Raises AddressesHidden when every address is zero, SymbolTableError when there is no entry."""
        if not self.entries:
            raise SymbolTableError("/proc/kallsyms is empty", advice="the kernel needs CONFIG_KALLSYMS=y")
        if not any(entry.address for entry in self.entries):
            raise AddressesHidden(
                "/proc/kallsyms shows only zeros",
                evidence=f"{len(self.entries)} symbols, each at address 0",
                advice="read it as root with kernel.kptr_restrict at 0 or 1",
            )


def parse_kallsyms(text: str) -> Kallsyms:
    """Returns the content of /proc/kallsyms: `address type name`, and `[module]` behind a tab.

    Raises SymbolTableError at the first line of another form.
    """
    return Kallsyms(_entries(text, "/proc/kallsyms"))


def parse_system_map(text: str) -> SystemMap:
    """Returns the content of a System.map (the sorted output of nm).

    Raises SymbolTableError at the first line of another form, or when there is no line.
    """
    entries = _entries(text, "System.map")
    if not entries:
        raise SymbolTableError("System.map is empty", advice="build the kernel again")
    return SystemMap(entries)


def _entries(text: str, source: str) -> tuple[KallsymsEntry, ...]:
    make = KallsymsEntry._make
    entries = []
    # split("\n"), not splitlines(): a symbol name may hold any byte but space, tab and newline.
    for number, line in enumerate(text.split("\n"), 1):
        words = line.split()
        try:
            if len(words) == 3:
                entries.append(make((int(words[0], 16), words[1], words[2], "")))
            elif words:
                address, kind, name, module = words
                if module[0] != "[" or module[-1] != "]":
                    raise ValueError(module)
                entries.append(make((int(address, 16), kind, name, module[1:-1])))
        except (ValueError, IndexError):
            raise SymbolTableError(
                f"{source}, line {number}: expected `address type name`", evidence=line[:200]
            ) from None
    return tuple(entries)


def parse_module_symvers(text: str) -> tuple[SymversEntry, ...]:
    """Returns the entries of Module.symvers, whose fields are separated by tabs.

    They are CRC, symbol, provider, EXPORT_SYMBOL or EXPORT_SYMBOL_GPL, namespace (scripts/mod/modpost.c,
    read_dump, 6.1). Raises SymbolTableError at the first line of another form.
    """
    entries = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        fields = line.rstrip("\r").split("\t")
        try:
            crc, name, provider, export = fields[:4]
            namespace = fields[4] if len(fields) > 4 else ""
            if not name or not export.startswith("EXPORT_SYMBOL"):
                raise ValueError(line)
            entries.append(SymversEntry(int(crc, 16), name, provider, "GPL" in export, namespace))
        except ValueError:
            raise SymbolTableError(
                f"Module.symvers, line {number}: expected CRC, symbol, provider, EXPORT_SYMBOL...",
                evidence=line[:200],
            ) from None
    return tuple(entries)


def exported_by_symvers(entries: Iterable[SymversEntry], provider: str = "vmlinux") -> dict[str, bool | None]:
    """Returns name -> whether GPL-only, for the exports of that provider."""
    return {entry.name: entry.gpl_only for entry in entries if entry.provider == provider}


def exported_by_kallsyms(kallsyms: Kallsyms) -> dict[str, bool | None] | None:
    """Returns name -> whether GPL-only, for the running kernel's exports, by its `__ksymtab_NAME` entries.

    An entry between `__start___ksymtab_gpl` and `__stop___ksymtab_gpl` is GPL-only
    (include/asm-generic/vmlinux.lds.h); the value is None where those are not listed. Returns None when the
    kernel lists no such entry: KALLSYMS_ALL is off, or the release leaves them out.
    """
    names = kallsyms.kernel_address_of
    start, stop = names.get("__start___ksymtab_gpl"), names.get("__stop___ksymtab_gpl")
    known = bool(start and stop)
    prefix = "__ksymtab_"
    exported = {
        entry.name.removeprefix(prefix): (start or 0) <= entry.address < (stop or 0) if known else None
        for entry in kallsyms.kernel
        if entry.name.startswith(prefix)
    }
    return exported or None
