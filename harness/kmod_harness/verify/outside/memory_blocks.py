"""The memory blocks of a loaded module: their bytes, their pages, and the permissions these must have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kmod_harness.kmod.layout.predict import Region
from kmod_harness.machine.memory.kernel_place import MappedPage
from kmod_harness.verify.image import ModuleImage, SectionImage
from kmod_harness.verify.outside.stopped_guest import ModuleLocation, StoppedGuest
from kmod_harness.verify.report import Finding, FindingKind

_PAGE = 4096


class ModuleBlocks:
    """The blocks that stay in memory; init was freed. Raises UnmappedAddress for a page that is missing."""

    def __init__(self, place: ModuleLocation, stopped: StoppedGuest) -> None:
        self._place = place
        self._bytes: dict[str, bytes] = {}
        self._pages: dict[str, Sequence[MappedPage]] = {}
        for block, size in place.layout.blocks.items():
            start = place.anchors.get(block)
            if start is not None and size and not block.startswith("init"):
                self._bytes[block] = stopped.kernel.read(start, size)
                self._pages[block] = stopped.memory.pages(start, start + size)

    def region_of(self, part: SectionImage) -> Region | None:
        """Returns the region a section lies in, None when its block is no longer in memory."""
        if part.block not in self._bytes:
            return None
        offset = self._offset(part)
        for region in self._place.layout.regions:
            if region.block == part.block and region.start <= offset < region.end:
                return region
        return None

    def bytes_of(self, part: SectionImage) -> bytes:
        """Returns the bytes of a section in memory."""
        offset = self._offset(part)
        return self._bytes[part.block][offset : offset + len(part.linked)]

    def pages_of(self, part: SectionImage) -> Sequence[MappedPage]:
        """Returns the pages of a section."""
        offset = self._offset(part)
        return self._pages[part.block][offset // _PAGE : (offset + len(part.linked) - 1) // _PAGE + 1]

    def permission_findings(self) -> Iterator[Finding]:
        """Yields pages that lack their region's permissions, or are writable and executable in two views."""
        for region in self._place.layout.regions:
            if region.block not in self._pages:
                continue
            for mapped in self._pages[region.block][region.start // _PAGE : region.end // _PAGE]:
                text = _wrong_permission(region, mapped)
                if text:
                    at = mapped.page.virtual
                    yield Finding(FindingKind.PERMISSION, f"a page of {region.name}: {text}", at)

    def padding_findings(self, image: ModuleImage) -> Iterator[Finding]:
        """Yields bytes between sections of read-only regions that are not zero.

        The kernel zeroes a block before it fills it: move_module (kernel/module/main.c, 6.1).
        """
        for region in self._place.layout.regions:
            if region.block not in self._bytes or region.writable:
                continue
            base = self._place.anchors[region.block]
            kind = FindingKind.TEXT if region.executable else FindingKind.READ_ONLY
            at = base + region.start
            ends = [(part.address, part.end) for part in image.sections if part.block == region.block]
            for start, end in [*ends, (base + region.end, base + region.end)]:
                if not base + region.start <= start <= base + region.end:
                    continue
                gap = self._bytes[region.block][at - base : max(start, at) - base]
                dirty = gap.strip(b"\0")
                if dirty:
                    first = at + len(gap) - len(gap.lstrip(b"\0"))
                    yield Finding(
                        kind,
                        f"{len(dirty)} bytes between sections of {region.name} are not zero",
                        first,
                        symbol=f"padding of {region.name}",
                        expected=bytes(len(dirty)),
                        found=dirty,
                    )
                at = max(at, end)

    def _offset(self, part: SectionImage) -> int:
        return part.address - self._place.anchors[part.block]


def _wrong_permission(region: Region, mapped: MappedPage) -> str:
    """Returns the wrong permission of a page or of its view in the direct map, in words; "" for none."""
    page, alias = mapped.page, mapped.alias
    wanted = f"r{'w' if region.writable else '-'}{'x' if region.executable else '-'}"
    if page.permissions != wanted:
        return f"{page.permissions} instead of {wanted}"
    if alias is not None and alias.writable and not region.writable:
        return f"{wanted}, but {alias.permissions} through the direct map at {alias.virtual:#x}"
    if mapped.is_writable_and_executable:
        return "writable in one view and executable in another"
    return ""
