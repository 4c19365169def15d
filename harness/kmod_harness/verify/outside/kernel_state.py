"""The state of the stopped kernel that its patching code depends on: symbols, CPU features, variables."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from kmod_harness.errors import Misuse
from kmod_harness.machine.memory.page_tables import UnmappedAddress
from kmod_harness.machine.memory.physical import NotInRam
from kmod_harness.releases import facts
from kmod_harness.releases.release import Release, in_words

#: Bits of `boot_cpu_data.x86_capability` (arch/x86/include/asm/cpufeatures.h, 6.1.192, 6.12.118, 7.2.13):
#: word * 32 + bit. CALL_DEPTH is none of 6.1's.
FPU, LONG_MODE, ALWAYS = 0, 1 * 32 + 29, 3 * 32 + 21
RETPOLINE, RETPOLINE_LFENCE, RETHUNK = 11 * 32 + 12, 11 * 32 + 13, 11 * 32 + 14
CALL_DEPTH = 11 * 32 + 19
#: NCAPINTS + NBUGINTS, the words of x86_capability (the same files).
CAPABILITY_WORDS = 22 + 2
#: The VMX words in `struct cpuinfo_x86`, where configured, and the bytes between them and `x86_capability`
#: (arch/x86/include/asm/processor.h, 6.1.192, 6.12.118 and 7.2.13).
_VMX_BYTES, _AFTER_VMX = 5 * 4, 12


class SymbolHidden(Misuse):
    """A kernel symbol that the patching code depends on has no known address."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the address of {name} is not known")
        self.name = name


class FeaturesUnreadable(Misuse):
    """`boot_cpu_data` does not hold the features of a 64-bit CPU where they are expected."""


class NotReplayed(Misuse):
    """The kernel's patching code for this release, or for this CPU, is not replayed by the harness."""


@dataclass(frozen=True)
class KernelState:
    """The kernel of the stopped guest.

    read: function that returns the bytes at (address, size) of the kernel's virtual memory; raises what
        machine.memory raises
    symbols: name -> address in the kernel image; for per-CPU symbols the offset
    release: such as (6, 12)
    vmx_names: whether CONFIG_X86_VMX_FEATURE_NAMES is set
    """

    read: Callable[[int, int], bytes] = field(repr=False)
    symbols: Mapping[str, int] = field(repr=False)
    release: Release
    vmx_names: bool = True

    def symbol(self, name: str) -> int:
        """Returns the address of a symbol. Raises SymbolHidden when it is not known."""
        address = self.symbols.get(name)
        if not address:
            raise SymbolHidden(name)
        return address

    def peek(self, address: int, size: int) -> bytes:
        """Returns bytes of the kernel's memory, b"" where nothing is mapped."""
        try:
            return self.read(address, size)
        except (UnmappedAddress, NotInRam):
            return b""

    def word(self, address: int) -> int:
        """Returns the 64-bit word at an address."""
        return int.from_bytes(self.read(address, 8), "little")

    @cached_property
    def capabilities(self) -> tuple[int, ...]:
        """The 32-bit words of `boot_cpu_data.x86_capability`, on a release that is replayed.

        Raises SymbolHidden, FeaturesUnreadable.
        """
        before = facts.CPUINFO_BEFORE_VMX.of(self.release) + (_VMX_BYTES if self.vmx_names else 0)
        offset = before + _AFTER_VMX
        offset = (offset + 7) // 8 * 8  # aligned as unsigned long
        data = self.read(self.symbol("boot_cpu_data") + offset, 4 * CAPABILITY_WORDS)
        words = struct.unpack(f"<{CAPABILITY_WORDS}I", data)
        lacking = [bit for bit in (FPU, LONG_MODE, ALWAYS) if not words[bit // 32] >> bit % 32 & 1]
        if lacking:
            raise FeaturesUnreadable(
                "boot_cpu_data does not hold the features of a 64-bit CPU where "
                f"Linux {in_words(self.release)} has them",
                evidence=f"x86_capability at +{offset}: " + " ".join(f"{word:08x}" for word in words),
                advice="alternatives cannot be replayed for this kernel",
            )
        return words

    def has(self, feature: int) -> bool:
        """Returns `boot_cpu_has`: whether the boot CPU has a feature or, from NCAPINTS * 32 on, a bug."""
        return bool(self.capabilities[feature // 32] >> feature % 32 & 1)

    @property
    def needs_its_thunks(self) -> bool:
        """The value of `cpu_feature_enabled(X86_FEATURE_INDIRECT_THUNK_ITS)`."""
        return self.has(facts.ITS_FEATURE.of(self.release))

    def refuse_call_depth(self) -> None:
        """Raises NotReplayed on a CPU for which the kernel counts calls (retbleed=stuff)."""
        if facts.CALLS_COUNTED.holds(self.release) and self.has(CALL_DEPTH):
            raise NotReplayed("the kernel counts calls here (call depth tracking), which is not replayed")
