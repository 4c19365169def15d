"""Where the cache lies."""

from __future__ import annotations

import os
from pathlib import Path


def cache_root() -> Path:
    """Returns `$XDG_CACHE_HOME/kmod-harness`, else `~/.cache/kmod-harness`.

    XDG Base Directory Specification 0.8: a relative XDG_CACHE_HOME is to be ignored.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "kmod-harness"


def bundle_root() -> Path:
    """Returns where failures leave their evidence: `$XDG_STATE_HOME/kmod-harness`, or in ~/.local/state.

    Not the cache, which drops what it did not make.
    """
    base = os.environ.get("XDG_STATE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".local/state") / "kmod-harness"
