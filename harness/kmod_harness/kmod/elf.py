"""A .ko file as data: modinfo, sections, symbols (pyelftools)."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ModuleFileError
from .files import damaged, module_bytes

if TYPE_CHECKING:
    from elftools.elf.elffile import ELFFile

SHF_WRITE, SHF_ALLOC, SHF_EXECINSTR = 1, 2, 4

_MODINFO = ".modinfo"
_THIS_MODULE = ".gnu.linkonce.this_module"
#: `struct modversion_info` of a 64-bit kernel (include/linux/module.h, 6.1): CRC, then the name.
_MODVERSION = struct.Struct("<Q56s")


@dataclass(frozen=True)
class Section:
    """A section header; address, size, alignment and offset in bytes, `type` as `SHT_PROGBITS`."""

    name: str
    index: int
    type: str
    flags: int
    address: int
    size: int
    alignment: int
    offset: int

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
    """A defined symbol: value is its offset in `section`, None for absolute ones; size in bytes.

    kind and binding as in the ELF standard without prefix: `FUNC`, `OBJECT`; `LOCAL`, `GLOBAL`, `WEAK`.
    """

    name: str
    value: int
    size: int
    kind: str
    binding: str
    section: str | None


@dataclass(frozen=True)
class UndefinedSymbol:
    """A symbol the module wants from the kernel; a weak one may stay unresolved."""

    name: str
    weak: bool


@dataclass(frozen=True)
class KernelModule:
    """What a .ko says about itself.

    name: modinfo's, else the file's stem with `-` read as `_`. release: first
    word of vermagic. parameters: name -> type (`int`, `charp`; "" when the
    module does not say). exports: symbol -> True when GPL-only, None when the
    file does not tell. versions: symbol -> CRC the module was built against
    (MODVERSIONS). build_id: hex digits, "" when there is none.
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

    @property
    def release(self) -> str:
        """The kernel release it was built for, "" when it carries no vermagic."""
        return self.vermagic.split(" ", 1)[0]

    @property
    def signed(self) -> bool:
        """Whether a signature is appended (include/linux/module_signature.h)."""
        return self.data.endswith(b"~Module signature appended~\n")

    def section(self, name: str) -> Section | None:
        """The first section of that name, None when there is none."""
        return next((section for section in self.sections if section.name == name), None)


def read_module(path: str | Path) -> KernelModule:
    """Reads a .ko, also when compressed with xz or gzip.

    Raises ModuleFileError: no such file, not readable, not a kernel module for
    x86-64, damaged.
    """
    path = Path(path)
    return parse_module(module_bytes(path), path)


def parse_module(data: bytes, path: Path) -> KernelModule:
    """The module in `data`; `path` is used for messages and, without modinfo, for the name.

    Raises ModuleFileError whatever is wrong with the bytes.
    """
    _refuse_other_kinds(data, path)
    try:
        return _parse(data, path)
    except ModuleFileError:
        raise
    # pyelftools meets damage with whatever its next step happens to raise (ELFError, construct's
    # errors, KeyError, AttributeError, UnicodeDecodeError, ...): this is the one place that knows.
    except (Exception, RecursionError) as error:
        raise damaged(path, f"{type(error).__name__}: {error}") from error


def _refuse_other_kinds(data: bytes, path: Path) -> None:
    """Names the common mistakes from the ELF header alone (System V ABI, chapter 4)."""
    expected = "expected a kernel module (.ko): an ELF relocatable object for x86-64"
    if not data:
        raise ModuleFileError(f"{path} is empty; {expected}")
    if not data.startswith(b"\x7fELF"):
        raise ModuleFileError(
            f"{path} is not an ELF file; {expected}", evidence=f"it starts with {data[:16]!r}"
        )
    if len(data) < 64:
        raise damaged(path, f"an ELF header has 64 bytes, the file has {len(data)}")
    if data[4] != 2 or data[5] != 1:
        raise ModuleFileError(
            f"{path} is an ELF file of another class (32-bit or big-endian); {expected}",
            evidence=f"EI_CLASS {data[4]}, EI_DATA {data[5]}",
        )
    kind, machine = struct.unpack_from("<HH", data, 16)
    if machine != 62:  # EM_X86_64
        raise ModuleFileError(f"{path} is for another machine; {expected}", evidence=f"e_machine {machine}")
    names = {2: "an executable", 3: "a shared object or position-independent executable", 4: "a core dump"}
    if kind != 1:  # ET_REL
        raise ModuleFileError(f"{path} is {names.get(kind, 'an ELF file of another type')}; {expected}")
    offset, entry_size, count = struct.unpack_from("<Q10xHH", data, 40)
    if count and offset + entry_size * count > len(data):
        raise damaged(
            path, f"section headers end at byte {offset + entry_size * count}, the file has {len(data)} bytes"
        )


def _parse(data: bytes, path: Path) -> KernelModule:
    from elftools.elf.elffile import ELFFile

    elf = ELFFile(io.BytesIO(data))
    sections = tuple(_sections(elf, data, path))
    contents = {
        section.name: data[section.offset : section.offset + section.size]
        for section in sections
        if section.type not in ("SHT_NULL", "SHT_NOBITS")
    }
    _refuse_other_objects(sections, path)
    modinfo = tuple(_modinfo(contents[_MODINFO]))
    first = dict(reversed(modinfo))  # the kernel takes the first of a tag (get_modinfo)
    symbols, undefined = _symbols(elf, sections)
    return KernelModule(
        path=path,
        name=first.get("name") or path.name.split(".", 1)[0].replace("-", "_"),
        vermagic=first.get("vermagic", ""),
        depends=tuple(name for name in first.get("depends", "").split(",") if name),
        parameters={name: "" for name, _ in _pairs(modinfo, "parm")} | dict(_pairs(modinfo, "parmtype")),
        parameter_descriptions=dict(_pairs(modinfo, "parm")),
        license=first.get("license", ""),
        description=first.get("description", ""),
        aliases=tuple(value for tag, value in modinfo if tag == "alias"),
        modinfo=modinfo,
        sections=sections,
        symbols=symbols,
        undefined=undefined,
        exports=_exports(symbols),
        versions=_versions(contents.get("__versions", b"")),
        has_debug_info=any(s.name == ".debug_info" and s.size > 0 for s in sections),
        build_id=_build_id(contents.get(".note.gnu.build-id", b"")),
        data=data,
    )


def _sections(elf: ELFFile, data: bytes, path: Path) -> Iterator[Section]:
    for index, section in enumerate(elf.iter_sections()):
        header = section.header
        kind = str(header["sh_type"])
        end = header["sh_offset"] + header["sh_size"]
        if kind not in ("SHT_NULL", "SHT_NOBITS") and end > len(data):
            raise damaged(path, f"section {section.name} ends at byte {end}, the file has {len(data)} bytes")
        yield Section(
            name=section.name,
            index=index,
            type=kind,
            flags=header["sh_flags"],
            address=header["sh_addr"],
            size=header["sh_size"],
            alignment=header["sh_addralign"],
            offset=header["sh_offset"],
        )


def _refuse_other_objects(sections: tuple[Section, ...], path: Path) -> None:
    """An object file without what modpost adds is not a module (kernel/module/main.c, setup_load_info)."""
    names = {section.name for section in sections if section.type not in ("SHT_NULL", "SHT_NOBITS")}
    lacking = [name for name in (_MODINFO, _THIS_MODULE) if name not in names]
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


def _modinfo(data: bytes) -> Iterator[tuple[str, str]]:
    for record in data.split(b"\0"):
        tag, equals, value = record.decode("utf-8", "replace").partition("=")
        if equals:
            yield tag, value


def _pairs(modinfo: tuple[tuple[str, str], ...], tag: str) -> Iterator[tuple[str, str]]:
    """`parm=name:text` and its like, split at the colon."""
    for found, value in modinfo:
        if found == tag:
            name, _, text = value.partition(":")
            yield name, text


def _symbols(
    elf: ELFFile, sections: tuple[Section, ...]
) -> tuple[tuple[Symbol, ...], tuple[UndefinedSymbol, ...]]:
    """Defined and undefined symbols; file and section symbols, which name nothing, are left out."""
    defined: list[Symbol] = []
    undefined: list[UndefinedSymbol] = []
    table: Any = next(s for s in elf.iter_sections() if s.header["sh_type"] == "SHT_SYMTAB")
    for entry in table.iter_symbols():
        binding = str(entry["st_info"]["bind"]).removeprefix("STB_")
        kind = str(entry["st_info"]["type"]).removeprefix("STT_")
        index = entry["st_shndx"]
        if not entry.name or kind in ("FILE", "SECTION"):
            continue
        if index == "SHN_UNDEF":
            undefined.append(UndefinedSymbol(entry.name, weak=binding == "WEAK"))
            continue
        section = sections[index].name if isinstance(index, int) and index < len(sections) else None
        defined.append(Symbol(entry.name, entry["st_value"], entry["st_size"], kind, binding, section))
    return tuple(defined), tuple(undefined)


def _exports(symbols: tuple[Symbol, ...]) -> dict[str, bool | None]:
    """`__ksymtab_NAME` in `__ksymtab` or `__ksymtab_gpl` (include/linux/export.h, 6.1)."""
    gpl_only = {"__ksymtab": False, "__ksymtab_gpl": True}
    return {
        symbol.name.removeprefix("__ksymtab_"): gpl_only.get(symbol.section)
        for symbol in symbols
        if symbol.name.startswith("__ksymtab_") and symbol.section is not None
    }


def _versions(data: bytes) -> dict[str, int]:
    whole = data[: len(data) // _MODVERSION.size * _MODVERSION.size]
    return {
        name.split(b"\0", 1)[0].decode("utf-8", "replace"): crc & 0xFFFFFFFF
        for crc, name in _MODVERSION.iter_unpack(whole)
    }


def _build_id(data: bytes) -> str:
    """The descriptor of the GNU build-id note (note header: name size, descriptor size, type)."""
    if len(data) < 12:
        return ""
    name_size, size, kind = struct.unpack_from("<III", data)
    start = 12 + (name_size + 3) // 4 * 4
    if kind != 3:  # NT_GNU_BUILD_ID
        return ""
    return data[start : start + size].hex()
