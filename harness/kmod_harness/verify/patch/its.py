"""Thunks against Indirect Target Selection: where the kernel puts them for a module, and their code.

arch/x86/kernel/alternative.c, 6.1.192 and 6.12.118: its_allocate_thunk, its_init_thunk,
cpu_wants_indirect_its_thunk_at.
"""

from __future__ import annotations

from kmod_harness.verify.outside.kernel_state import KernelState

_PAGE = 4096
_INT3 = 0xCC
_FIRST = 32


def wants_its_thunk(kernel: KernelState, address: int, register: int) -> bool:
    """Returns whether the CPU needs a thunk for an indirect branch at `address`.

    It does where the branch would end in the lower half of a cache line.
    """
    return kernel.needs_its_thunks and not (address + 1 + register // 8) & 0x20


class ItsThunks:
    """The module's thunks, allocated one after another in pages of their own.

    The address of a page is read from the first site that branches into it, since the kernel chooses it.
    Everything else is predicted, and `altered_pages` compares whole pages.
    """

    def __init__(self, kernel: KernelState) -> None:
        self._kernel = kernel
        self._pages: list[tuple[int, bytearray]] = []
        self._offset = 0
        #: the last site that got a thunk
        self.last_site = 0

    def allocate(self, site: int, code: bytes, register: int) -> int:
        """Returns the address of the thunk for the branch `code` at `site`."""
        self.last_site = site
        size = 3 + register // 8
        if not self._pages or self._offset + size - 1 >= _PAGE:
            self._offset = _FIRST
            start = self._aligned(size)
            self._pages.append((self._page_of(site, code, start), bytearray((_INT3,)) * _PAGE))
        self._offset = self._aligned(size)
        page, content = self._pages[-1]
        jump = (b"\x41" if register >= 8 else b"") + bytes((0xFF, 0xE0 + (register & 7), _INT3))
        content[self._offset : self._offset + size] = jump
        thunk = page + self._offset
        self._offset += size
        return thunk

    def _aligned(self, size: int) -> int:
        if (self._offset + size - 1) % 64 < 32:
            return ((self._offset - 1) | 0x3F) + 33
        return self._offset

    def _page_of(self, site: int, code: bytes, offset: int) -> int:
        """Returns the page that the branch at the site leads into now; 0 where it leads into no page."""
        now = self._kernel.read(site, len(code))
        target = site + len(now) + int.from_bytes(now[-4:], "little", signed=True)
        page = target - offset
        return page if page % _PAGE == 0 and page >> 63 else 0

    def altered_pages(self) -> list[int]:
        """Returns the addresses of pages that hold anything but these thunks."""
        return [
            page for page, content in self._pages if page and self._kernel.read(page, _PAGE) != bytes(content)
        ]
