"""The user's own directories: the cache, evidence of failures, the working directory."""

from __future__ import annotations

import os
from pathlib import Path

from kmod_harness.errors import Misuse


def cache_root() -> Path:
    """Returns `$XDG_CACHE_HOME/kmod-harness`, else `~/.cache/kmod-harness`. Raises Misuse: no home."""
    return _base("XDG_CACHE_HOME", ".cache", "the cache") / "kmod-harness"


def bundle_root() -> Path:
    """Returns the directory for evidence of failures: `$XDG_STATE_HOME/kmod-harness`, or in ~/.local/state.

    It is not in the cache, which removes files that it did not make. Raises Misuse: no home.
    """
    return _base("XDG_STATE_HOME", ".local/state", "what failures leave") / "kmod-harness"


def working_directory() -> Path | None:
    """Returns the working directory, None when it was removed."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        return None


def _base(variable: str, below: str, what: str) -> Path:
    """Returns a base directory; a relative path in a variable is ignored (XDG Base Directory 0.8)."""
    base = os.environ.get(variable, "")
    if os.path.isabs(base):
        return Path(base)
    home = os.environ.get("HOME", "")
    if not os.path.isabs(home):
        home = _home_of_passwd()
    if not home:
        raise Misuse(
            f"there is no place for {what}: HOME is not set, and user {os.getuid()} is not in /etc/passwd",
            advice=f"set HOME, or {variable}, to a directory of yours",
        )
    return Path(home) / below


def _home_of_passwd() -> str:
    """Returns the home directory in the user database for this uid, "" without one."""
    import pwd  # lazy

    try:
        home = pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return ""
    return home if os.path.isabs(home) else ""
