"""What verifying found: per section, per module, and over all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise

from kmod_harness.errors import KmodHarnessError
from kmod_harness.kmod.elf.module import KernelModule, Section
from kmod_harness.verify.comparison import Difference
from kmod_harness.verify.mechanism import Mechanism


class FindingKind(StrEnum):
    """What is wrong; the values appear in JSON."""

    TEXT = "text"
    READ_ONLY = "read-only data"
    WRITABLE = "table in writable data"
    ADDRESS = "address"
    PERMISSION = "permission"
    THUNK = "thunk page"


@dataclass(frozen=True)
class Finding:
    """Something that nothing explains: where, in words, and for bytes what they should be and what they are.

    symbol: `name+offset/size`. source: `file:line`, "" when unknown. expected_code, found_code:
    instructions.
    """

    kind: FindingKind
    text: str
    address: int
    section: str = ""
    symbol: str = ""
    source: str = ""
    expected: bytes = b""
    found: bytes = b""
    expected_code: tuple[str, ...] = ()
    found_code: tuple[str, ...] = ()


@dataclass(frozen=True)
class SectionReport:
    """One kept section: address, size in bytes, its pages' physical addresses and permissions.

    region: text, rodata, ro_after_init or data. relocations: applied in it. equal: bytes as these
    left them. explained: mechanism -> bytes that differ by it. bound: address of each relocated
    field -> the symbol. differences: all of them, the unexplained ones (mechanism None) too.
    linked, memory: the bytes compared.
    """

    name: str
    address: int
    size: int
    region: str
    pages: tuple[int, ...]
    permissions: str
    relocations: int
    equal: int
    explained: Mapping[Mechanism, int]
    bound: Mapping[int, str] = field(repr=False)
    differences: tuple[Difference, ...] = field(repr=False)
    section: Section = field(repr=False)
    linked: bytes = field(repr=False)
    memory: bytes = field(repr=False)

    @property
    def unexplained(self) -> tuple[Difference, ...]:
        return tuple(difference for difference in self.differences if difference.mechanism is None)

    @property
    def unexplained_bytes(self) -> int:
        return sum(difference.size for difference in self.unexplained)

    @property
    def is_contiguous(self) -> bool:
        """Whether its physical pages follow one another."""
        return all(after - before == 4096 for before, after in pairwise(self.pages))


@dataclass(frozen=True)
class ModuleReport:
    """One module: its file, the address it is anchored at, its sections, and what is wrong.

    limits: typed errors, each saying what cannot be verified and why. seconds: this module's share.
    """

    file: KernelModule
    address: int
    sections: tuple[SectionReport, ...]
    findings: tuple[Finding, ...]
    limits: tuple[KmodHarnessError, ...]
    seconds: float

    @property
    def name(self) -> str:
        return self.file.name

    @property
    def is_explained(self) -> bool:
        """True when every byte, address and permission has an explanation."""
        return not self.findings


@dataclass(frozen=True)
class Totals:
    """Sums over sections: bytes compared, relocations, bytes by mechanism, places by mechanism."""

    modules: int
    bytes: int
    relocations: int
    equal: int
    explained: Mapping[Mechanism, int]
    places: Mapping[Mechanism, int]
    unexplained: int
    unexplained_text: int


@dataclass(frozen=True)
class Report:
    """A whole run. slide: KASLR's, in bytes; symbols: where the kernel's symbols came from."""

    modules: tuple[ModuleReport, ...]
    slide: int
    symbols: str
    limits: tuple[KmodHarnessError, ...]
    seconds: float

    @property
    def is_explained(self) -> bool:
        return all(module.is_explained for module in self.modules)

    @property
    def all_limits(self) -> tuple[KmodHarnessError, ...]:
        """What could not be verified, of the kernel and of each module."""
        return (*self.limits, *(limit for module in self.modules for limit in module.limits))


def totals(modules: Sequence[ModuleReport]) -> Totals:
    """Returns the sums over these modules' sections."""
    explained: Counter[Mechanism] = Counter()
    places: Counter[Mechanism] = Counter()
    sections = [section for module in modules for section in module.sections]
    for section in sections:
        explained.update(section.explained)
        places.update(d.mechanism for d in section.differences if d.mechanism is not None)
    return Totals(
        modules=len(modules),
        bytes=sum(section.size for section in sections),
        relocations=sum(section.relocations for section in sections),
        equal=sum(section.equal for section in sections),
        explained=explained,
        places=places,
        unexplained=sum(section.unexplained_bytes for section in sections),
        unexplained_text=sum(s.unexplained_bytes for s in sections if s.region == "text"),
    )
