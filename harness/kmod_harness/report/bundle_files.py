"""What programs read from a bundle, which may have been damaged on its way."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kmod_harness.errors import Misuse


def bundle_object(path: Path) -> dict[str, Any]:
    """Returns the JSON object in a bundle's file. Raises Misuse where there is none."""
    with damage_told(path):
        found = json.loads(path.read_bytes())
        if not isinstance(found, dict):
            raise ValueError("it holds no object")
        return found


@contextlib.contextmanager
def damage_told(path: Path) -> Iterator[None]:
    """Raises Misuse where what is taken from a bundle's file is missing or of another type."""
    try:
        yield
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise Misuse(
            f"{path} is damaged",
            evidence=f"{type(error).__name__}: {error}",
            advice="copy the bundle again, or reproduce the failure: its reproduce.sh",
        ) from error
