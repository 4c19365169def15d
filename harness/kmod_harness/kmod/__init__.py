"""What a .ko is and becomes: ELF, modinfo, symbols, kallsyms, layout. Pure.

Names are looked up on first use, so that importing this package costs nothing
and pyelftools is loaded only when a file is read. The function `preflight` is
not among them: here that name is its file (`from .preflight import preflight`).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .addresses import in_kernel_image as in_kernel_image
    from .addresses import in_module_range as in_module_range
    from .blocks import Placed as Placed
    from .blocks import Region as Region
    from .compare import KernelComparison as KernelComparison
    from .compare import SymbolDifference as SymbolDifference
    from .compare import compare_kernel_symbols as compare_kernel_symbols
    from .compare import compare_module_symbols as compare_module_symbols
    from .compare import kallsyms_slide as kallsyms_slide
    from .elf import KernelModule as KernelModule
    from .elf import Section as Section
    from .elf import Symbol as Symbol
    from .elf import UndefinedSymbol as UndefinedSymbol
    from .elf import parse_module as parse_module
    from .elf import read_module as read_module
    from .exports import kernel_exports as kernel_exports
    from .exports import loaded_exports as loaded_exports
    from .exports import module_exports as module_exports
    from .exports import percpu_address as percpu_address
    from .exports import resolver as resolver
    from .findings import Finding as Finding
    from .findings import FindingKind as FindingKind
    from .layout import Layout as Layout
    from .layout import SymbolTables as SymbolTables
    from .layout import UnsupportedRelease as UnsupportedRelease
    from .layout import predict_layout as predict_layout
    from .layout import release_of as release_of
    from .module_area import BusyRange as BusyRange
    from .module_area import lowest_gap as lowest_gap
    from .module_area import parse_vmallocinfo as parse_vmallocinfo
    from .module_area import predict_anchors as predict_anchors
    from .preflight import KernelFacts as KernelFacts
    from .preflight import load_order as load_order
    from .preflight import unknown_parameters as unknown_parameters
    from .programs import ProgramFileError as ProgramFileError
    from .programs import ProgramNeeds as ProgramNeeds
    from .programs import missing_in as missing_in
    from .programs import program_needs as program_needs
    from .relocation import BoundRelocation as BoundRelocation
    from .relocation import LinkedModule as LinkedModule
    from .relocation import LinkedSection as LinkedSection
    from .relocation import LinkError as LinkError
    from .relocation import Relocation as Relocation
    from .relocation import link as link
    from .relocation import relocations_of as relocations_of
    from .symbols import AddressesHidden as AddressesHidden
    from .symbols import Kallsyms as Kallsyms
    from .symbols import KallsymsEntry as KallsymsEntry
    from .symbols import SymbolTableError as SymbolTableError
    from .symbols import SymversEntry as SymversEntry
    from .symbols import SystemMap as SystemMap
    from .symbols import exported_by_kallsyms as exported_by_kallsyms
    from .symbols import exported_by_symvers as exported_by_symvers
    from .symbols import parse_kallsyms as parse_kallsyms
    from .symbols import parse_module_symvers as parse_module_symvers
    from .symbols import parse_system_map as parse_system_map

_NAMES_BY_FILE = {
    "addresses": ("in_kernel_image", "in_module_range"),
    "blocks": ("Placed", "Region"),
    "compare": (
        "KernelComparison",
        "SymbolDifference",
        "compare_kernel_symbols",
        "compare_module_symbols",
        "kallsyms_slide",
    ),
    "elf": ("KernelModule", "Section", "Symbol", "UndefinedSymbol", "parse_module", "read_module"),
    "exports": ("kernel_exports", "loaded_exports", "module_exports", "percpu_address", "resolver"),
    "findings": ("Finding", "FindingKind"),
    "layout": ("Layout", "SymbolTables", "UnsupportedRelease", "predict_layout", "release_of"),
    "module_area": ("BusyRange", "lowest_gap", "parse_vmallocinfo", "predict_anchors"),
    "preflight": ("KernelFacts", "load_order", "unknown_parameters"),
    "programs": ("ProgramFileError", "ProgramNeeds", "missing_in", "program_needs"),
    "relocation": (
        "BoundRelocation",
        "LinkError",
        "LinkedModule",
        "LinkedSection",
        "Relocation",
        "link",
        "relocations_of",
    ),
    "symbols": (
        "AddressesHidden",
        "Kallsyms",
        "KallsymsEntry",
        "SymbolTableError",
        "SymversEntry",
        "SystemMap",
        "exported_by_kallsyms",
        "exported_by_symvers",
        "parse_kallsyms",
        "parse_module_symvers",
        "parse_system_map",
    ),
}
_FILE_OF = {name: file for file, names in _NAMES_BY_FILE.items() for name in names}


def __getattr__(name: str) -> object:
    """Returns the public name from its file (PEP 562)."""
    if name not in _FILE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_FILE_OF[name]}"), name)
