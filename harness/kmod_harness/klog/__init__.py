"""What a kernel said: log records, splats, and the outcome they mean. Pure."""

from __future__ import annotations

from .kinds import SplatKind
from .outcome import Outcome, error_for, outcome_of, outcome_of_error, worst
from .records import ConsoleParser, KernelRecord, parse_console, parse_kmsg
from .splats import Splat, find_splats

__all__ = [
    "ConsoleParser",
    "KernelRecord",
    "Outcome",
    "Splat",
    "SplatKind",
    "error_for",
    "find_splats",
    "outcome_of",
    "outcome_of_error",
    "parse_console",
    "parse_kmsg",
    "worst",
]
