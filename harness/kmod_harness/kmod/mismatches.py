"""Mismatches between a module and a kernel, or between two symbol tables."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class MismatchKind(StrEnum):
    """The kind of a mismatch; the values appear in JSON output."""

    VERMAGIC = "vermagic"
    VERMAGIC_MISSING = "vermagic-missing"
    UNKNOWN_SYMBOL = "unknown-symbol"
    GPL_ONLY_SYMBOL = "gpl-only-symbol"
    SYMBOL_VERSION = "symbol-version"
    MISSING_DEPENDENCY = "missing-dependency"
    UNKNOWN_PARAMETER = "unknown-parameter"
    SYMBOL_MISSING = "symbol-missing"
    SYMBOL_ADDRESS = "symbol-address"
    SYMBOL_UNEXPECTED = "symbol-unexpected"
    SYMBOL_OUT_OF_RANGE = "symbol-out-of-range"


@dataclass(frozen=True)
class Mismatch:
    """One mismatch.

    kind: kind of the mismatch
    subject: name of the symbol, parameter or module
    text: what is wrong, in words
    expected: what was expected, "" where there is nothing to compare
    found: what was found, "" where there is nothing to compare
    fatal: True when the kernel refuses the module because of it; otherwise it is a warning
    """

    kind: MismatchKind
    subject: str
    text: str
    expected: str = ""
    found: str = ""
    fatal: bool = True

    def __str__(self) -> str:
        return self.text
