"""What lets a module in besides its caller's rights, who asks for it, and what the kernel notes about it."""

from __future__ import annotations

from dataclasses import dataclass

from kmod_harness.explain.observed.measures import Attempt


@dataclass(frozen=True)
class Admission:
    """Checks and marks of one module on this boot.

    other_release: the same file, built for another release by its own words; None for a file without
    vermagic. kernel_vermagic: the kernel's own line, from its memory, "" where no symbol tells where.
    taint_before, taint_loaded, taint_after: the kernel's flags before the module was first offered, while it
    was loaded, and once it was gone. module_taint: letters that sysfs shows for the module.
    checks_signatures: as the kernel was configured, None unknown. enforces_signatures: as sysfs says, "".
    modprobe: the program that the kernel itself would run. modaliases: of this machine's devices, some
    (path, alias).
    """

    other_release: Attempt | None = None
    kernel_vermagic: str = ""
    taint_before: int = 0
    taint_loaded: int = 0
    taint_after: int = 0
    module_taint: str = ""
    checks_signatures: bool | None = None
    enforces_signatures: str = ""
    modprobe: str = ""
    modaliases: tuple[tuple[str, str], ...] = ()


#: Of a module that was not looked at in this way.
NOT_ASKED = Admission()
