"""What the kernel's patching code looked at: symbols, CPU features and variables of the stopped guest."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from ..errors import Misuse
from ..machine.page_tables import UnmappedAddress
from ..machine.physical_memory import NotInRam

#: Bits of `boot_cpu_data.x86_capability` (arch/x86/include/asm/cpufeatures.h, 6.1.192): word * 32 + bit.
FPU, LONG_MODE, ALWAYS = 0, 1 * 32 + 29, 3 * 32 + 21
RETPOLINE, RETPOLINE_LFENCE, RETHUNK = 11 * 32 + 12, 11 * 32 + 13, 11 * 32 + 14
INDIRECT_THUNK_ITS = 21 * 32 + 5
#: NCAPINTS + NBUGINTS, the words of x86_capability (the same file).
CAPABILITY_WORDS = 22 + 2
#: `x86_capability` in `struct cpuinfo_x86` (arch/x86/include/asm/processor.h, 6.1): behind 8 bytes of
#: family, vendor, model, stepping and TLB size, the VMX words where configured, and 12 more bytes.
_BEFORE_VMX, _VMX_BYTES, _AFTER_VMX = 8, 5 * 4, 12


class SymbolHidden(Misuse):
    """A kernel symbol that the patching code depends on has no known address."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the address of {name} is not known")
        self.name = name


class FeaturesUnreadable(Misuse):
    """`boot_cpu_data` does not look like the features of a 64-bit CPU."""


@dataclass(frozen=True)
class KernelState:
    """The running kernel, its machine stopped.

    read(address, size) gives bytes of its virtual memory and raises what machine.memory
    raises. symbols: name -> address in the kernel image; per-CPU ones as offsets.
    vmx_names: CONFIG_X86_VMX_FEATURE_NAMES.
    """

    read: Callable[[int, int], bytes] = field(repr=False)
    symbols: Mapping[str, int] = field(repr=False)
    vmx_names: bool = True

    def symbol(self, name: str) -> int:
        """Raises SymbolHidden when its address is not known."""
        address = self.symbols.get(name)
        if not address:
            raise SymbolHidden(name)
        return address

    def peek(self, address: int, size: int) -> bytes:
        """Bytes of its memory, b"" where nothing is mapped."""
        try:
            return self.read(address, size)
        except (UnmappedAddress, NotInRam):
            return b""

    def word(self, address: int) -> int:
        """The 64-bit word at an address."""
        return int.from_bytes(self.read(address, 8), "little")

    @cached_property
    def capabilities(self) -> tuple[int, ...]:
        """The 32-bit words of `boot_cpu_data.x86_capability`. Raises SymbolHidden, FeaturesUnreadable."""
        offset = _BEFORE_VMX + _AFTER_VMX + (_VMX_BYTES if self.vmx_names else 0)
        offset = (offset + 7) // 8 * 8  # aligned as unsigned long
        data = self.read(self.symbol("boot_cpu_data") + offset, 4 * CAPABILITY_WORDS)
        words = struct.unpack(f"<{CAPABILITY_WORDS}I", data)
        lacking = [bit for bit in (FPU, LONG_MODE, ALWAYS) if not words[bit // 32] >> bit % 32 & 1]
        if lacking:
            raise FeaturesUnreadable(
                "boot_cpu_data does not hold the features of a 64-bit CPU where Linux 6.1 has them",
                evidence=f"x86_capability at +{offset}: " + " ".join(f"{word:08x}" for word in words),
                advice="alternatives cannot be replayed for this kernel",
            )
        return words

    def has(self, feature: int) -> bool:
        """`boot_cpu_has`: a feature or, from NCAPINTS * 32 on, a bug of the boot CPU."""
        return bool(self.capabilities[feature // 32] >> feature % 32 & 1)
