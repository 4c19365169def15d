"""The content of a .ko file as data: modinfo, sections, symbols."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kmod_harness.errors import ModuleFileError
from kmod_harness.kmod.elf.build_id import parse_build_id
from kmod_harness.kmod.elf.ko_file import damaged, module_bytes, refuse_other_kinds
from kmod_harness.kmod.elf.modinfo import named_values, parse_modinfo
from kmod_harness.kmod.elf.modversions import parse_versions
from kmod_harness.kmod.elf.symbol_table import SHN_UNDEF, TableSymbol, parse_symbol_table

SHF_WRITE, SHF_ALLOC, SHF_EXECINSTR = 1, 2, 4

_MODINFO = ".modinfo"
_THIS_MODULE = ".gnu.linkonce.this_module"
#: `Elf64_Shdr` (System V ABI, 4): name, type, flags, address, offset, size, link, info, alignment, entry.
_SECTION_HEADER = struct.Struct("<IIQQQQIIQQ")
#: Section types of the System V ABI, of GNU and of the x86-64 psABI.
_SECTION_TYPES = {
    0: "SHT_NULL",
    1: "SHT_PROGBITS",
    2: "SHT_SYMTAB",
    3: "SHT_STRTAB",
    4: "SHT_RELA",
    5: "SHT_HASH",
    6: "SHT_DYNAMIC",
    7: "SHT_NOTE",
    8: "SHT_NOBITS",
    9: "SHT_REL",
    14: "SHT_INIT_ARRAY",
    15: "SHT_FINI_ARRAY",
    16: "SHT_PREINIT_ARRAY",
    17: "SHT_GROUP",
    18: "SHT_SYMTAB_SHNDX",
    0x70000001: "SHT_X86_64_UNWIND",
}


@dataclass(frozen=True)
class Section:
    """A section header.

    name: name of the section
    index: number of the section
    type: such as `SHT_PROGBITS`
    flags: SHF_* bits
    address: always 0, but see for_gdb.py
    size: bytes in memory
    alignment: bytes
    offset: bytes from the start of the file
    link: index of another section; for SHT_RELA the symbol table
    info: index of another section; for SHT_RELA the section that is relocated
    """

    name: str
    index: int
    type: str
    flags: int
    address: int
    size: int
    alignment: int
    offset: int
    link: int = 0
    info: int = 0

    @property
    def allocated(self) -> bool:
        """Whether the section takes memory in the kernel."""
        return bool(self.flags & SHF_ALLOC)

    @property
    def executable(self) -> bool:
        return bool(self.flags & SHF_EXECINSTR)

    @property
    def init(self) -> bool:
        """Whether the kernel frees it after init (`module_init_section`, kernel/module/main.c)."""
        return self.name.startswith(".init")


@dataclass(frozen=True)
class Symbol:
    """A defined symbol.

    name: its name
    value: offset in its section
    size: bytes
    kind: `FUNC`, `OBJECT` and others of the ELF standard, without prefix
    binding: `LOCAL`, `GLOBAL` or `WEAK`
    section: name of its section, None for absolute symbols
    """

    name: str
    value: int
    size: int
    kind: str
    binding: str
    section: str | None


@dataclass(frozen=True)
class UndefinedSymbol:
    """A symbol that the module needs from outside; a weak one may stay unresolved."""

    name: str
    weak: bool


@dataclass(frozen=True)
class KernelModule:
    """The content of a .ko file.

    path: path of the file
    name: the modinfo tag, else the file's stem with `-` read as `_`
    vermagic: version magic, "" without one
    depends: modules it depends on
    parameters: name -> type (`int`, `charp`; "" when the module does not say)
    parameter_descriptions: name -> description
    license: licence, "" without one
    description: description, "" without one
    aliases: aliases
    modinfo: all tags and values, in order
    sections: section headers
    symbols: defined symbols that have a name
    undefined: undefined symbols
    exports: symbol -> True when GPL-only, None when the file does not tell
    versions: symbol -> CRC that the module was built against (MODVERSIONS)
    has_debug_info: whether it has DWARF
    build_id: hexadecimal digits, "" without one
    data: bytes of the file, decompressed
    symbol_table: every entry of the symbol table
    """

    path: Path
    name: str
    vermagic: str
    depends: tuple[str, ...]
    parameters: Mapping[str, str]
    parameter_descriptions: Mapping[str, str]
    license: str
    description: str
    aliases: tuple[str, ...]
    modinfo: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]
    symbols: tuple[Symbol, ...]
    undefined: tuple[UndefinedSymbol, ...]
    exports: Mapping[str, bool | None]
    versions: Mapping[str, int]
    has_debug_info: bool
    build_id: str
    data: bytes = field(repr=False, compare=False)
    symbol_table: tuple[TableSymbol, ...] = field(default=(), repr=False, compare=False)

    @property
    def release(self) -> str:
        """The kernel release it was built for, "" without a vermagic."""
        return self.vermagic.split(" ", 1)[0]

    @property
    def signed(self) -> bool:
        """Whether a signature is appended (include/linux/module_signature.h)."""
        return self.data.endswith(b"~Module signature appended~\n")

    def section(self, name: str) -> Section | None:
        """Returns the first section of that name, None when there is none."""
        return next((section for section in self.sections if section.name == name), None)

    def content(self, section: Section) -> bytes:
        """Returns the section's bytes in the file; b"" for a section without any (SHT_NOBITS)."""
        if section.type in ("SHT_NULL", "SHT_NOBITS"):
            return b""
        return self.data[section.offset : section.offset + section.size]


def read_module(path: str | Path) -> KernelModule:
    """Returns the content of a .ko, also of one compressed with xz, gzip or zstd.

    Raises ModuleFileError: no such file, not readable, not a kernel module for x86-64, damaged.
    """
    path = Path(path)
    return parse_module(module_bytes(path), path)


def read_modinfo(path: Path) -> tuple[tuple[str, str], ...]:
    """Returns the tags and values of a .ko's .modinfo, in a hundredth of `read_module`'s time."""
    return tuple(parse_modinfo(read_section(path, _MODINFO)))


def read_section(path: Path, name: str) -> bytes:
    """Returns one section of an object file, b"" without it. Raises ModuleFileError: it cannot be read."""
    data = module_bytes(path)
    try:
        found = next((section for section in _sections(data, path) if section.name == name), None)
    except (ValueError, struct.error):
        return b""
    return data[found.offset : found.offset + found.size] if found is not None else b""


def parse_module(data: bytes, path: Path, *, is_split_debug: bool = False) -> KernelModule:
    """Returns the module in `data`; `path` serves for messages and, without modinfo, for the name.

    is_split_debug: the file may also hold a module's symbols and debug information alone.

    Raises ModuleFileError whatever is wrong with the bytes.
    """
    refuse_other_kinds(data, path)
    try:
        return _parse(data, path, is_split_debug=is_split_debug)
    except ModuleFileError:
        raise
    # on damaged bytes any step may raise anything
    except Exception as error:
        raise damaged(path, f"{type(error).__name__}: {error}") from error


def _parse(data: bytes, path: Path, *, is_split_debug: bool) -> KernelModule:
    sections = tuple(_sections(data, path))
    contents = {
        section.name: data[section.offset : section.offset + section.size]
        for section in sections
        if section.type not in ("SHT_NULL", "SHT_NOBITS")
    }
    if not (is_split_debug and _is_split_debug(sections)):
        _refuse_other_objects(sections, path)
    modinfo = tuple(parse_modinfo(contents.get(_MODINFO, b"")))
    first = dict(reversed(modinfo))  # the kernel takes the first of a tag (get_modinfo)
    table = _symbol_table(data, sections)
    symbols, undefined = _symbols(table, sections)
    return KernelModule(
        path=path,
        name=first.get("name") or path.name.split(".", 1)[0].replace("-", "_"),
        vermagic=first.get("vermagic", ""),
        depends=tuple(name for name in first.get("depends", "").split(",") if name),
        parameters={name: "" for name, _ in named_values(modinfo, "parm")}
        | dict(named_values(modinfo, "parmtype")),
        parameter_descriptions=dict(named_values(modinfo, "parm")),
        license=first.get("license", ""),
        description=first.get("description", ""),
        aliases=tuple(value for tag, value in modinfo if tag == "alias"),
        modinfo=modinfo,
        sections=sections,
        symbols=symbols,
        undefined=undefined,
        exports=_exports(symbols),
        versions=parse_versions(contents.get("__versions", b"")),
        has_debug_info=any(s.name == ".debug_info" and s.size > 0 for s in sections),
        build_id=parse_build_id(contents.get(".note.gnu.build-id", b"")),
        data=data,
        symbol_table=table,
    )


def _sections(data: bytes, path: Path) -> Iterator[Section]:
    """Yields the section headers; pyelftools would take longer, 20 ms to import alone, than loading a module.

    Raises ValueError for headers of another size or without a table of names.
    """
    offset, entry_size, count, names_index = struct.unpack_from("<Q10xHHH", data, 40)
    if count and entry_size != _SECTION_HEADER.size:
        raise ValueError(f"section headers of {entry_size} bytes; expected {_SECTION_HEADER.size}")
    headers = list(_SECTION_HEADER.iter_unpack(data[offset : offset + count * _SECTION_HEADER.size]))
    if names_index >= len(headers):
        raise ValueError(f"the names of its sections are in section {names_index} of {len(headers)}")
    names_start, names_size = headers[names_index][4:6]
    names = data[names_start : names_start + names_size]
    for index, header in enumerate(headers):
        name_at, kind, flags, address, start, size, link, info, alignment, _ = header
        name_end = names.find(b"\0", name_at)
        if name_end < 0:
            raise ValueError(f"the name of section {index}, at byte {name_at} of the names, has no end")
        name = names[name_at:name_end].decode("utf-8", "replace")
        type_name = _SECTION_TYPES.get(kind, f"SHT_{kind:#x}")
        if type_name not in ("SHT_NULL", "SHT_NOBITS") and start + size > len(data):
            raise damaged(path, f"section {name} ends at byte {start + size}, the file has {len(data)} bytes")
        yield Section(name, index, type_name, flags, address, size, alignment, start, link, info)


def _refuse_other_objects(sections: tuple[Section, ...], path: Path) -> None:
    """Refuses an object file without modpost's sections (kernel/module/main.c, setup_load_info)."""
    names = {section.name for section in sections if section.type not in ("SHT_NULL", "SHT_NOBITS")}
    lacking = [name for name in (_MODINFO, _THIS_MODULE) if name not in names]
    if _is_split_debug(sections):
        raise ModuleFileError(
            f"{path} holds the debug information of a kernel module, not the module itself",
            advice="give the .ko: this file is found beside it, or by build-id in /usr/lib/debug",
        )
    if lacking:
        raise ModuleFileError(
            f"{path} is an object file but not a kernel module: it has no {' and no '.join(lacking)} section",
            advice="build it with kbuild: make -C KERNEL_DIR M=$PWD modules, and give the .ko, not the .o",
        )
    if not any(section.type == "SHT_SYMTAB" for section in sections):
        raise ModuleFileError(
            f"{path} has no symbol table; the kernel refuses a module without one",
            advice="strip modules with --strip-debug, never with --strip-all",
        )


def _is_split_debug(sections: tuple[Section, ...]) -> bool:
    """Whether these are the sections of a module whose bytes lie elsewhere (objcopy --only-keep-debug)."""
    kinds = {section.name: section.type for section in sections}
    return kinds.get(_MODINFO) == "SHT_NOBITS" and {".debug_info", ".symtab"} <= kinds.keys()


def _symbol_table(data: bytes, sections: tuple[Section, ...]) -> tuple[TableSymbol, ...]:
    """Returns the first symbol table, with its names (kernel/module/main.c, setup_load_info, 6.1)."""
    symbols = next(section for section in sections if section.type == "SHT_SYMTAB")
    strings = sections[symbols.link]
    return parse_symbol_table(
        data[symbols.offset : symbols.offset + symbols.size],
        data[strings.offset : strings.offset + strings.size],
    )


def _symbols(
    table: tuple[TableSymbol, ...], sections: tuple[Section, ...]
) -> tuple[tuple[Symbol, ...], tuple[UndefinedSymbol, ...]]:
    """Returns the defined and the undefined symbols, without those of files and sections."""
    defined: list[Symbol] = []
    undefined: list[UndefinedSymbol] = []
    for entry in table:
        if not entry.name or entry.kind in ("FILE", "SECTION"):
            continue
        if entry.section_index == SHN_UNDEF:
            undefined.append(UndefinedSymbol(entry.name, weak=entry.binding == "WEAK"))
            continue
        section = sections[entry.section_index].name if entry.section_index < len(sections) else None
        defined.append(Symbol(entry.name, entry.value, entry.size, entry.kind, entry.binding, section))
    return tuple(defined), tuple(undefined)


def _exports(symbols: tuple[Symbol, ...]) -> dict[str, bool | None]:
    """Returns symbol -> whether GPL-only, by the sections `__ksymtab` and `__ksymtab_gpl` (export.h, 6.1)."""
    gpl_only = {"__ksymtab": False, "__ksymtab_gpl": True}
    return {
        symbol.name.removeprefix("__ksymtab_"): gpl_only.get(symbol.section)
        for symbol in symbols
        if symbol.name.startswith("__ksymtab_") and symbol.section is not None
    }
