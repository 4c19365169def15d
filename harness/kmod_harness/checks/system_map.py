"""Checks that the kernel's symbols are those of its System.map, all moved by one KASLR slide."""

from __future__ import annotations

import re
from dataclasses import dataclass

from kmod_harness.build.kernel.kernel import Kernel
from kmod_harness.checks.require import require
from kmod_harness.guest.guest import Guest
from kmod_harness.kmod.symbols.compare import compare_kernel_symbols
from kmod_harness.kmod.symbols.symbol_files import Kallsyms, parse_kallsyms, parse_system_map

#: Debian installs a System.map that only names the package with the real one.
_STUB_BYTES = 4096
#: CONFIG_PHYSICAL_ALIGN of x86-64 is 2 MiB at least: KASLR moves by multiples of it (arch/x86/Kconfig, 6.1).
SLIDE_ALIGNMENT = 2 << 20
_TEXT = re.compile(r"^([0-9a-f]+) [tT] _text$", re.MULTILINE)


@dataclass(frozen=True)
class KernelSymbolMatch:
    """The result of comparing System.map with /proc/kallsyms.

    slide: KASLR's slide in bytes, None where nothing was compared
    equal: how many symbols agree
    absent: symbols of System.map that kallsyms leaves out (scripts/kallsyms.c)
    not_compared: why nothing was compared, "" where it was
    """

    slide: int | None
    equal: int = 0
    absent: int = 0
    not_compared: str = ""


def check_kernel_symbols(
    guest: Guest, kernel: Kernel, *, kallsyms: Kallsyms | None = None
) -> KernelSymbolMatch:
    """Checks that each kernel symbol is at its System.map address plus one slide, 0 under `nokaslr`.

    For a kernel without System.map the result has `not_compared`: that is no failure. `kallsyms` is a copy
    that was read earlier. Raises CheckFailed with the first differences.
    """
    if not has_system_map(kernel):
        return KernelSymbolMatch(None, not_compared=f"the kernel {kernel.name} comes without a System.map")
    assert kernel.system_map is not None
    system_map = parse_system_map(kernel.system_map.read_text())
    compared = compare_kernel_symbols(system_map, kallsyms or guest.kallsyms())
    differences = [
        f"{d.name}: expected {d.expected:#x}, found {', '.join(f'{a:#x}' for a in d.found)}"
        for d in compared.first_different
    ]
    require(
        compared.different == 0 and compared.equal > 0,
        f"{compared.different} kernel symbols are not at System.map plus the slide {compared.slide:#x}",
        "\n".join(differences),
    )
    require(
        compared.slide >= 0 and compared.slide % SLIDE_ALIGNMENT == 0,
        f"the slide {compared.slide:#x} is no multiple of {SLIDE_ALIGNMENT:#x}",
    )
    require(
        compared.slide == 0 or "nokaslr" not in guest.spec.append,
        f"booted with nokaslr, yet the slide is {compared.slide:#x}",
    )
    return KernelSymbolMatch(compared.slide, compared.equal, compared.absent)


def has_system_map(kernel: Kernel) -> bool:
    """Returns whether the kernel comes with a System.map that holds symbols."""
    return kernel.system_map is not None and kernel.system_map.stat().st_size > _STUB_BYTES


def read_slide(guest: Guest, kernel: Kernel) -> int | None:
    """Returns the KASLR slide in bytes, None without a System.map, kallsyms or visible addresses.

    Takes milliseconds: it reads only the beginning of /proc/kallsyms, where `_text` is.
    """
    if not has_system_map(kernel):
        return None
    assert kernel.system_map is not None
    linked = _TEXT.search(kernel.system_map.read_text())
    try:
        running = _running_text(guest)
    except FileNotFoundError:
        return None
    return running - int(linked[1], 16) if linked is not None and running else None


def _running_text(guest: Guest) -> int:
    """Returns the address of `_text` in /proc/kallsyms, 0 when it is hidden or not in its first MiB."""
    text = ""
    with guest.open("/proc/kallsyms") as file:
        while len(text) < 1 << 20 and (part := file.read(32768)):
            text += part.decode(errors="replace")
            whole = text[: text.rfind("\n") + 1]
            if " _text\n" in whole:
                return next(e.address for e in parse_kallsyms(whole).entries if e.name == "_text")
    return 0
