"""A value of kmod-harness.toml that is not what its key takes."""

from __future__ import annotations

import json


class WrongValue(ValueError):
    """A value is not what its key takes; the text says what was expected."""


def shown(value: object) -> str:
    """Return a value as TOML writes it, cut to what fits a line."""
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
