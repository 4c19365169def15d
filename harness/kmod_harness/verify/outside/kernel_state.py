"""What the kernel's patching code looked at: symbols, CPU features and variables of the stopped guest."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from kmod_harness.errors import Misuse
from kmod_harness.machine.memory.page_tables import UnmappedAddress
from kmod_harness.machine.memory.physical import NotInRam

#: The releases whose self-patching code is replayed in this package.
REPLAYED_RELEASES = ((6, 1), (6, 12))
#: Bits of `boot_cpu_data.x86_capability` (arch/x86/include/asm/cpufeatures.h, 6.1.192 and 6.12.118): word *
#: 32 + bit. CALL_DEPTH is none of 6.1's.
FPU, LONG_MODE, ALWAYS = 0, 1 * 32 + 29, 3 * 32 + 21
RETPOLINE, RETPOLINE_LFENCE, RETHUNK = 11 * 32 + 12, 11 * 32 + 13, 11 * 32 + 14
CALL_DEPTH = 11 * 32 + 19
#: arch/x86/kernel/callthunks.c came with 6.2.
CALLS_COUNTED_SINCE = (6, 2)
#: X86_FEATURE_INDIRECT_THUNK_ITS by release (the same files).
INDIRECT_THUNK_ITS = {(6, 1): 21 * 32 + 5, (6, 12): 21 * 32 + 6}
#: NCAPINTS + NBUGINTS, the words of x86_capability (the same files).
CAPABILITY_WORDS = 22 + 2
#: `x86_capability` in `struct cpuinfo_x86` (arch/x86/include/asm/processor.h, 6.1.192 and 6.12.118): behind
#: family, vendor, model, stepping and TLB size, the VMX words where configured, and 12 more bytes.
_BEFORE_VMX, _VMX_BYTES, _AFTER_VMX = {(6, 1): 8, (6, 12): 12}, 5 * 4, 12


class SymbolHidden(Misuse):
    """A kernel symbol that the patching code depends on has no known address."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the address of {name} is not known")
        self.name = name


class FeaturesUnreadable(Misuse):
    """`boot_cpu_data` does not look like the features of a 64-bit CPU."""


class NotReplayed(Misuse):
    """What the kernel's patching code does on this release, or on this CPU, is not known here."""


@dataclass(frozen=True)
class KernelState:
    """The running kernel, its machine stopped.

    read(address, size) gives bytes of its virtual memory and raises what machine.memory
    raises. symbols: name -> address in the kernel image; per-CPU ones as offsets.
    release: as (6, 12). vmx_names: CONFIG_X86_VMX_FEATURE_NAMES.
    """

    read: Callable[[int, int], bytes] = field(repr=False)
    symbols: Mapping[str, int] = field(repr=False)
    release: tuple[int, int]
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
        """The 32-bit words of `boot_cpu_data.x86_capability`, on a release that is replayed.

        Raises SymbolHidden, FeaturesUnreadable.
        """
        offset = _BEFORE_VMX[self.release] + _AFTER_VMX + (_VMX_BYTES if self.vmx_names else 0)
        offset = (offset + 7) // 8 * 8  # aligned as unsigned long
        data = self.read(self.symbol("boot_cpu_data") + offset, 4 * CAPABILITY_WORDS)
        words = struct.unpack(f"<{CAPABILITY_WORDS}I", data)
        lacking = [bit for bit in (FPU, LONG_MODE, ALWAYS) if not words[bit // 32] >> bit % 32 & 1]
        if lacking:
            raise FeaturesUnreadable(
                "boot_cpu_data does not hold the features of a 64-bit CPU where "
                f"Linux {self.release[0]}.{self.release[1]} has them",
                evidence=f"x86_capability at +{offset}: " + " ".join(f"{word:08x}" for word in words),
                advice="alternatives cannot be replayed for this kernel",
            )
        return words

    def has(self, feature: int) -> bool:
        """`boot_cpu_has`: a feature or, from NCAPINTS * 32 on, a bug of the boot CPU."""
        return bool(self.capabilities[feature // 32] >> feature % 32 & 1)

    @property
    def needs_its_thunks(self) -> bool:
        """`cpu_feature_enabled(X86_FEATURE_INDIRECT_THUNK_ITS)`."""
        return self.has(INDIRECT_THUNK_ITS[self.release])

    def refuse_call_depth(self) -> None:
        """Raises NotReplayed on a CPU for which the kernel counts calls (retbleed=stuff)."""
        if self.release >= CALLS_COUNTED_SINCE and self.has(CALL_DEPTH):
            raise NotReplayed("the kernel counts calls here (call depth tracking), which is not replayed")
