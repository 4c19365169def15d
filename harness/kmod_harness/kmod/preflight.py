"""The kernel's objections to a module, found before it is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from kmod_harness.kmod.elf.module import KernelModule
from kmod_harness.kmod.loading.names import plain
from kmod_harness.kmod.mismatches import Mismatch, MismatchKind

#: `license_is_gpl_compatible` (include/linux/license.h, 6.1).
GPL_COMPATIBLE = frozenset(
    ("GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL")
)
#: Undefined names that are not looked up: some tools leave this one of the linker behind. The kernel ignores
#: such names on other architectures only (`ignore_undef_symbol`, kernel/module/main.c).
_IGNORED = frozenset(("_GLOBAL_OFFSET_TABLE_",))
#: Parameters that the kernel takes for any module (`unknown_module_param_cb`, kernel/module/main.c).
_OF_ANY_MODULE = frozenset(("dyndbg", "async_probe"))


@dataclass(frozen=True)
class KernelFacts:
    """Facts about the kernel that a module is to be loaded into.

    release: its release
    vermagic: its version magic, None when only the release is known
    exported: symbol -> True when GPL-only, None when that is unknown; None when nothing is known about
        exports
    provided: module that is loaded before -> its exports, as in `exported`
    present: modules that are built in or loaded, known by name only
    crcs: symbol -> CRC, where the kernel has MODVERSIONS
    """

    release: str
    vermagic: str | None = None
    exported: Mapping[str, bool | None] | None = None
    provided: Mapping[str, Mapping[str, bool | None]] = field(default_factory=dict)
    present: frozenset[str] = frozenset()
    crcs: Mapping[str, int] = field(default_factory=dict)

    def with_module(self, module: KernelModule) -> KernelFacts:
        """Returns these facts with that module loaded too."""
        return KernelFacts(
            release=self.release,
            vermagic=self.vermagic,
            exported=self.exported,
            provided={**self.provided, plain(module.name): module.exports},
            present=self.present,
            crcs=self.crcs,
        )


def preflight(module: KernelModule, kernel: KernelFacts) -> tuple[Mismatch, ...]:
    """Returns the reasons for which the kernel would refuse the module (fatal) or warn about it."""
    return (
        *_vermagic_mismatches(module, kernel),
        *_symbol_mismatches(module, kernel),
        *_version_mismatches(module, kernel),
        *_dependency_mismatches(module, kernel),
    )


def advice_for(fatal: Sequence[Mismatch], module: KernelModule, kernel: str) -> str:
    """Returns the advice for a module's fatal mismatches with the kernel of that name."""
    if all(mismatch.kind is MismatchKind.UNKNOWN_SYMBOL for mismatch in fatal):
        beside = [module.path.parent / f"{name}.ko" for name in module.depends]
        if there := [str(path) for path in beside if path.is_file()]:
            return f"load what lies beside it first: {', '.join(there)}"
        return "give the module that exports it too: it is loaded first"
    return f"build it for this kernel: make -C $(kmod-harness kernel dir {kernel}) M=$PWD modules"


def unknown_parameters(module: KernelModule, given: Iterable[str]) -> tuple[Mismatch, ...]:
    """Returns the parameters that the module lacks; the kernel only warns (`unknown_module_param_cb`)."""
    known = ", ".join(sorted(module.parameters)) or "none"
    return tuple(
        Mismatch(
            MismatchKind.UNKNOWN_PARAMETER,
            name,
            f"{module.name} has no parameter {name}; it has: {known}",
            expected=known,
            found=name,
            fatal=False,
        )
        for name in given
        if plain(name) not in {plain(parameter) for parameter in module.parameters}
        and plain(name) not in _OF_ANY_MODULE
    )


def _vermagic_mismatches(module: KernelModule, kernel: KernelFacts) -> Iterator[Mismatch]:
    """Compares versions as `check_modinfo` and `same_magic` do (kernel/module/main.c, version.c, 6.1)."""
    expected = kernel.vermagic if kernel.vermagic is not None else kernel.release
    if not module.vermagic:
        yield Mismatch(
            MismatchKind.VERMAGIC_MISSING,
            module.name,
            f"{module.name} has no vermagic, which tells the kernel a module was built for",
            expected=expected,
            fatal=False,
        )
        return
    if kernel.vermagic is None:
        same = module.release == kernel.release
    elif module.versions:  # with symbol CRCs the release itself is not compared
        same = _flags(module.vermagic) == _flags(kernel.vermagic)
    else:
        same = module.vermagic == kernel.vermagic
    if not same:
        found = module.vermagic if kernel.vermagic is not None else module.release
        yield Mismatch(
            MismatchKind.VERMAGIC,
            module.name,
            f"{module.name} was built for another kernel: its vermagic is '{found}', "
            f"the kernel's '{expected}'",
            expected=expected,
            found=found,
        )


def _flags(vermagic: str) -> str:
    return vermagic.partition(" ")[2]


def _symbol_mismatches(module: KernelModule, kernel: KernelFacts) -> Iterator[Mismatch]:
    """Looks symbols up as `resolve_symbol` and `simplify_symbols` do (kernel/module/main.c, 6.1)."""
    if kernel.exported is None:
        return
    exported = dict(kernel.exported)
    for exports in kernel.provided.values():
        exported.update(exports)
    compatible = module.license in GPL_COMPATIBLE
    for symbol in module.undefined:
        if symbol.name in _IGNORED or symbol.name in module.exports:
            continue
        if symbol.name not in exported:
            if not symbol.weak:
                yield Mismatch(
                    MismatchKind.UNKNOWN_SYMBOL,
                    symbol.name,
                    f"{module.name} needs {symbol.name}, "
                    "which neither the kernel nor a module given here exports",
                )
        elif exported[symbol.name] and not compatible:
            yield Mismatch(
                MismatchKind.GPL_ONLY_SYMBOL,
                symbol.name,
                f"{module.name} needs {symbol.name}, exported to GPL-compatible modules only; "
                f"its licence is '{module.license or 'unspecified'}'",
                expected="GPL",
                found=module.license,
                fatal=not symbol.weak,
            )


def _version_mismatches(module: KernelModule, kernel: KernelFacts) -> Iterator[Mismatch]:
    """Compares CRCs as `check_version` does (kernel/module/version.c, 6.1); 0 stands for no CRC."""
    for name, crc in module.versions.items():
        wanted = kernel.crcs.get(name, 0)
        if crc and wanted and crc != wanted:
            yield Mismatch(
                MismatchKind.SYMBOL_VERSION,
                name,
                f"{module.name} was built against another version of {name}: CRC {crc:#010x}, "
                f"the kernel's is {wanted:#010x}",
                expected=f"{wanted:#010x}",
                found=f"{crc:#010x}",
            )


def _dependency_mismatches(module: KernelModule, kernel: KernelFacts) -> Iterator[Mismatch]:
    """Yields modules in `depends` that are not loaded; fatal only through the symbols they export."""
    there = {plain(name) for name in (*kernel.provided, *kernel.present)}
    for name in module.depends:
        if plain(name) not in there:
            yield Mismatch(
                MismatchKind.MISSING_DEPENDENCY,
                name,
                f"{module.name} depends on the module {name}, neither given nor one of the kernel's own",
                expected=name,
                fatal=False,
            )
