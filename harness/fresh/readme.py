"""The commands that a new user types: the first block of the README, so that the two cannot drift. Pure."""

from __future__ import annotations

import re

_COMMENT = re.compile(r"\s+#\s.*$")


def first_commands(readme: str) -> tuple[str, ...]:
    """Returns the commands of the first indented block of a README, in order, their comments cut off.

    Raises ValueError when there is no such block.
    """
    block: list[str] = []
    for line in readme.splitlines():
        if line.startswith("    "):
            block.append(line.strip())
        elif block:
            break
    if not block:
        raise ValueError("the README has no indented block of commands")
    return tuple(_COMMENT.sub("", line) for line in block if not line.startswith("#"))


def setup_of(commands: tuple[str, ...]) -> tuple[str, ...]:
    """Returns those that prepare the machine, before the first `make`."""
    return tuple(command for command in commands if not command.startswith("make"))


def chosen(commands: str) -> tuple[str, ...]:
    """Returns the commands of a text that separates them by `;`."""
    return tuple(part.strip() for part in commands.split(";") if part.strip())


def as_user(command: str, user: str) -> str:
    """Returns a command as this user types it: apt-get wants root, so anyone else has sudo in front."""
    if user == "root":
        return command
    return re.sub(r"(^|&& *)apt-get\b", r"\1sudo apt-get", command)
