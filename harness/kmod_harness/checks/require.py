"""A claim that holds, or CheckFailed with the evidence."""

from __future__ import annotations

from kmod_harness.errors import CheckFailed


def require(holds: bool, message: str, evidence: str = "", advice: str = "") -> None:
    """Returns when the claim holds. Raises CheckFailed with `message` when it does not."""
    if not holds:
        raise CheckFailed(message, evidence=evidence, advice=advice)
