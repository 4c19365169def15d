"""The kernel's checks on admission of a module, apart from privileges, and the marks it leaves."""

from __future__ import annotations

from dataclasses import dataclass

from kmod_harness.explain.observed.measures import Attempt


@dataclass(frozen=True)
class Admission:
    """Checks and marks of one module on this boot.

    other_release: attempt with another release in the file's vermagic, None for a file without vermagic
    kernel_vermagic: the kernel's own version magic, from its memory, "" where no symbol gives its address
    taint_before: the kernel's taint flags before the first attempt
    taint_loaded: taint flags after its first load
    taint_after: taint flags after the unload
    module_taint: taint letters that sysfs shows for the module
    checks_signatures: whether MODULE_SIG is set, None when unknown
    enforces_signatures: sysfs's sig_enforce, "" without
    modprobe: program that the kernel itself would run
    modaliases: path and alias of some of this machine's devices
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


#: The value for a module that was not observed in this way.
NOT_ASKED = Admission()
