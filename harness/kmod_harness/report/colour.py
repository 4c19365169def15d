"""Colour on terminals that have it: for the word of a verdict and for headings."""

from __future__ import annotations

import os

BOLD, GREEN, RED, YELLOW = "\x1b[1m", "\x1b[1;32m", "\x1b[1;31m", "\x1b[1;33m"
_PLAIN = "\x1b[0m"
_OF_OUTCOME = {"passed": GREEN, "nothing-tested": YELLOW, "setup-error": YELLOW}


def is_coloured(stream: object) -> bool:
    """Returns whether a stream is a terminal with colours; never with NO_COLOR set (no-color.org)."""
    isatty = getattr(stream, "isatty", None)
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return bool(isatty and isatty() and not plain)


def painted(text: str, colour: str, stream: object) -> str:
    """Returns the text in one of the colours above where the stream is coloured, else unchanged."""
    return f"{colour}{text}{_PLAIN}" if is_coloured(stream) else text


def outcome_word(outcome: str, stream: object) -> str:
    """Returns an outcome's word (klog/outcome.py) in its colour."""
    return painted(outcome, _OF_OUTCOME.get(outcome, RED), stream)
