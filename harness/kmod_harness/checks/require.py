"""Raising CheckFailed, with its evidence, where a condition does not hold."""

from __future__ import annotations

from kmod_harness.errors import CheckFailed


def require(holds: bool, message: str, evidence: str = "", advice: str = "") -> None:
    """Raises CheckFailed with `message`, unless the condition holds."""
    if not holds:
        raise CheckFailed(message, evidence=evidence, advice=advice)
