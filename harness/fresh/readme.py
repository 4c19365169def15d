"""The commands that a new user types: the first block of the README, so that both stay equal. Pure."""

from __future__ import annotations

import re

_COMMENT = re.compile(r"\s+#\s.*$")


def first_commands(readme: str) -> tuple[str, ...]:
    """Returns the commands of a README's first indented block, in order, without their comments.

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
    """Returns the commands that prepare the machine, before the first `make`."""
    return tuple(command for command in commands if not command.startswith("make"))


def chosen(commands: str) -> tuple[str, ...]:
    """Returns the commands in a text that separates them by `;`."""
    return tuple(part.strip() for part in commands.split(";") if part.strip())


def as_user(command: str, user: str) -> str:
    """Returns a command as this user types it: with sudo before apt-get, unless the user is root."""
    if user == "root":
        return command
    return re.sub(r"(^|&& *)apt-get\b", r"\1sudo apt-get", command)
