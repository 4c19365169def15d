"""Why a report's frames have no source lines: their module has no debug information."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kmod_harness.klog.splats import Splat
from kmod_harness.kmod.elf.module import KernelModule
from kmod_harness.kmod.elf.split_debug import has_lines


def notes_on_missing_lines(splats: Iterable[Splat], modules: Sequence[KernelModule]) -> list[str]:
    """Returns a sentence for each module that the reports have frames of and whose lines nobody can tell."""
    named = {name for splat in splats for name in splat.modules}
    return [
        f"{module.path.name} has no debug information, so that its functions have no source lines: give the"
        f" file that was not stripped, or put {module.name}.ko.debug beside it"
        for module in modules
        if module.name in named and not has_lines(module)
    ]
