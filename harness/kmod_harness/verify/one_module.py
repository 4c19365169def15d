"""Verification of one module of a stopped guest: linked, replayed, compared with memory, pages and sysfs."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from kmod_harness.errors import KmodHarnessError, Misuse
from kmod_harness.kmod.elf.module import KernelModule
from kmod_harness.kmod.layout.predict import Region
from kmod_harness.kmod.link.relocation import BoundRelocation
from kmod_harness.kmod.symbols.symbolizer import Symbolizer
from kmod_harness.verify.comparison import Difference, compare
from kmod_harness.verify.image import SectionImage
from kmod_harness.verify.outside.link_in_place import link_in_place
from kmod_harness.verify.outside.memory_blocks import ModuleBlocks
from kmod_harness.verify.outside.stopped_guest import ModuleLocation, StoppedGuest
from kmod_harness.verify.outside.struct_module import compare_addresses
from kmod_harness.verify.patch.replay import replay
from kmod_harness.verify.patch.tables import allow_unknown
from kmod_harness.verify.report import Finding, FindingKind, ModuleReport, SectionReport
from kmod_harness.verify.source_location import disassembly, function_start, source_line, symbol_at

#: Findings that are shown with source line and instructions; a wrong file gives thousands.
_DETAILED = 50
_KINDS = {"text": FindingKind.TEXT, "data": FindingKind.WRITABLE}


class PatchingUnknown(Misuse):
    """The kernel's writes at some places cannot be predicted."""


def verify_module(
    stopped: StoppedGuest, name: str, shown: Mapping[str, int], hidden: KmodHarnessError | None
) -> ModuleReport:
    """Returns the report of a loaded module.

    stopped: the stopped guest
    name: name of the module
    shown: section -> address in sysfs, {} where it is hidden
    hidden: why sysfs shows no addresses, None where it does

    Raises UnmappedAddress when part of the module is not mapped, LinkError for a file that cannot be the one
    loaded.
    """
    started = time.monotonic()
    place = stopped.places[name].with_sysfs_anchors(shown)
    linked = link_in_place(place, stopped)
    image, unknown = replay(linked.module, stopped.kernel)
    allow_unknown(image, linked.unknown)
    blocks = ModuleBlocks(place, stopped)
    findings = [
        *_address_findings(place, shown),
        *(Finding(FindingKind.THUNK, text, place.struct) for text in image.problems),
        *blocks.permission_findings(),
        *blocks.padding_findings(image),
    ]
    bound: dict[int, list[BoundRelocation]] = defaultdict(list)
    for relocation in linked.module.relocations:
        bound[relocation.what.section.index].append(relocation)
    sections = []
    for part in image.sections:
        region = blocks.region_of(part)
        if region is None:
            continue
        report = _section_report(part, region, blocks, bound[part.section.index])
        sections.append(report)
        findings += _unexplained(place.module, part, report, _DETAILED - len(findings))
    return ModuleReport(
        file=place.module,
        address=next(iter(place.anchors.values())),
        sections=tuple(sections),
        findings=tuple(findings),
        limits=(*filter(None, (hidden, _not_replayed(name, unknown))), *linked.limits),
        seconds=time.monotonic() - started,
    )


def _not_replayed(name: str, unknown: tuple[str, ...]) -> KmodHarnessError | None:
    if not unknown:
        return None
    return PatchingUnknown(
        f"{name}: what the kernel wrote at these places cannot be verified", evidence="\n".join(unknown)
    )


def _address_findings(place: ModuleLocation, shown: Mapping[str, int]) -> Iterator[Finding]:
    for name, predicted, address in compare_addresses(place.addresses, place.module, shown):
        yield Finding(
            FindingKind.ADDRESS,
            f"{name} was predicted at {predicted:#x}, sysfs shows it at {address:#x}",
            predicted,
            section=name,
        )


def _section_report(
    part: SectionImage, region: Region, blocks: ModuleBlocks, bound: Sequence[BoundRelocation]
) -> SectionReport:
    memory = blocks.bytes_of(part)
    compared = compare(part, memory)
    pages = blocks.pages_of(part)
    return SectionReport(
        name=part.section.name,
        address=part.address,
        size=len(part.linked),
        region=region.name,
        pages=tuple(mapped.page.physical for mapped in pages),
        permissions=" ".join(dict.fromkeys(mapped.page.permissions for mapped in pages)),
        relocations=len(bound),
        bound={one.where: one.bound_to for one in bound if one.size},
        equal=compared.equal,
        explained=compared.explained,
        differences=compared.differences,
        section=part.section,
        linked=part.linked,
        memory=memory,
    )


def _unexplained(
    module: KernelModule, part: SectionImage, report: SectionReport, detailed: int
) -> Iterator[Finding]:
    """Yields the differences that nothing explains, the first ones with source line and instructions."""
    symbolizer = Symbolizer(None, [module]) if report.unexplained else None
    for number, difference in enumerate(report.unexplained):
        finding = _finding(module, part, report.region, difference)
        if symbolizer is not None and number < detailed:
            finding = _detailed(finding, symbolizer, module, part, report)
        yield finding


def _finding(module: KernelModule, part: SectionImage, region: str, difference: Difference) -> Finding:
    count = f"{difference.size} byte{'s differ' if difference.size > 1 else ' differs'}"
    return Finding(
        kind=_KINDS.get(region, FindingKind.READ_ONLY),
        text=f"{count} without an explanation",
        address=difference.address,
        section=part.section.name,
        symbol=symbol_at(module, part.section, difference.address - part.address),
        expected=difference.expected,
        found=difference.now,
    )


def _detailed(
    finding: Finding, symbolizer: Symbolizer, module: KernelModule, part: SectionImage, report: SectionReport
) -> Finding:
    """Returns the finding with its source line and, in code, with both disassemblies."""
    offset = finding.address - part.address
    finding = replace(finding, source=source_line(symbolizer, module, part.section, offset))
    if finding.kind is not FindingKind.TEXT:
        return finding
    start = function_start(module, part.section, offset)
    stop = offset + len(finding.found) + 16
    expected, found = (
        disassembly(code[start:stop], part.address + start, finding.address, len(finding.found))
        for code in (bytes(part.data), report.memory)
    )
    return replace(finding, expected_code=expected, found_code=found)
