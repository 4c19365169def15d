"""Calls that the kernel counts (retbleed=stuff): each leads to code that is written before its function.

arch/x86/kernel/callthunks.c, 6.12.118: callthunks_patch_module_calls, patch_dest. The code is not replayed;
only the places it may write to are known.
"""

from __future__ import annotations

from collections.abc import Iterator

from kmod_harness.releases import facts
from kmod_harness.verify.image import ModuleImage
from kmod_harness.verify.outside.kernel_state import KernelState
from kmod_harness.verify.patch.alternatives import sites as alternative_sites
from kmod_harness.verify.patch.branches import relative_sites

_NOP = b"\x90"
#: Bytes of the shortest and of the longest counting code: INCREMENT_CALL_DEPTH with a relative address, and
#: with absolute ones under CALL_THUNKS_DEBUG (arch/x86/include/asm/nospec-branch.h, 6.12.118).
_LEAST, _MOST = 9, 19


def apply_call_thunks(image: ModuleImage, kernel: KernelState) -> None:
    """Raises NotReplayed where calls are counted and the module has a place that may have been rewritten."""
    if counted_call_places(image, kernel.release):
        kernel.refuse_call_depth()


def counted_call_places(image: ModuleImage, release: tuple[int, int]) -> list[tuple[int, int]]:
    """Returns address and size of each call that may be rewritten, and of the padding before each function.

    A call may stand in each alternative; 7.2 looks at none of those. The padding is also written to for
    calls from other modules.
    """
    if not facts.CALLS_COUNTED.holds(release):
        return []
    calls = [(site, 5) for site in relative_sites(image, ".call_sites")]
    within = facts.CALLS_COUNTED_IN_ALTERNATIVES.holds(release)
    in_alternatives = alternative_sites(image, release) if within else []
    return [*calls, *in_alternatives, *_paddings(image)]


def _paddings(image: ModuleImage) -> Iterator[tuple[int, int]]:
    """Yields the NOPs that end where a function starts; patch_dest writes over nothing else."""
    for symbol in image.module.symbols:
        part = image.section(symbol.section or "") if symbol.kind == "FUNC" else None
        if part is None or part.section.init:
            continue
        before = bytes(part.data[max(symbol.value - _MOST, 0) : symbol.value])
        size = len(before) - len(before.rstrip(_NOP))
        if size >= _LEAST:
            yield part.address + symbol.value - size, size
