"""A report of the kernel as the exception that a test fails with."""

from __future__ import annotations

from collections.abc import Sequence

from kmod_harness.build.kernel.kernel import Kernel
from kmod_harness.errors import MachineFailure, MissingTool
from kmod_harness.klog.outcome import error_for
from kmod_harness.klog.splats import Splat
from kmod_harness.kmod.elf.module import KernelModule
from kmod_harness.report.symbolized import FrameLines

#: Titles of other reports that are named.
_MOST_OTHERS = 5


def explained(splat: Splat, splats: Sequence[Splat], lines: FrameLines | None) -> MachineFailure:
    """Return the splat's exception, as a person reads it, with what else was reported named."""
    from kmod_harness.report.readable import headline, readable  # lazy

    error = error_for(splat)
    error.headline = headline(splat, lines)
    error.evidence = "\n".join(readable(splat, lines))
    others = [other.title for other in splats if other is not splat]
    if others:
        error.advice = f"the kernel reported more: {'; '.join(others[:_MOST_OTHERS])}"
    return error


def frame_lines(kernel: Kernel, modules: Sequence[KernelModule]) -> FrameLines | None:
    """Return the reader of source lines, None where drgn is missing."""
    from kmod_harness.kmod.symbols.symbolizer import Symbolizer  # lazy

    try:
        return FrameLines(Symbolizer(kernel.vmlinux, modules))
    except MissingTool:
        return None
