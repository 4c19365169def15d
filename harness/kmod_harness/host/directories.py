"""Where the user's own directories lie: the cache, what failures leave, the working directory."""

from __future__ import annotations

import os
from pathlib import Path

from kmod_harness.errors import Misuse


def cache_root() -> Path:
    """Returns `$XDG_CACHE_HOME/kmod-harness`, else `~/.cache/kmod-harness`. Raises Misuse: no home."""
    return _base("XDG_CACHE_HOME", ".cache", "the cache") / "kmod-harness"


def bundle_root() -> Path:
    """Returns where failures leave their evidence: `$XDG_STATE_HOME/kmod-harness`, or in ~/.local/state.

    Not the cache, which drops what it did not make. Raises Misuse: no home.
    """
    return _base("XDG_STATE_HOME", ".local/state", "what failures leave") / "kmod-harness"


def working_directory() -> Path | None:
    """Returns the working directory, None for one that was removed."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        return None


def _base(variable: str, below: str, what: str) -> Path:
    """XDG Base Directory Specification 0.8: a relative path in its variables is to be ignored."""
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
    """Returns the home directory that the user data base has for this uid, "" without one."""
    import pwd

    try:
        home = pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return ""
    return home if os.path.isabs(home) else ""
