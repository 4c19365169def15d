"""What a look at a module or a symbol table found to be wrong."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class MismatchKind(StrEnum):
    """What is wrong; the values appear in JSON output."""

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
    """One thing that is wrong: of which kind, about what, in words.

    subject: the symbol, parameter or module name. expected and found: the two
    things compared, as text, empty where there is nothing to compare. fatal:
    the kernel refuses the module because of it (a warning only otherwise).
    """

    kind: MismatchKind
    subject: str
    text: str
    expected: str = ""
    found: str = ""
    fatal: bool = True

    def __str__(self) -> str:
        return self.text
