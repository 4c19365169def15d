"""The logs of ../shared/data/kernel-logs: what they hold is told in its README.md."""

from __future__ import annotations

from pathlib import Path


def read_log(path: Path) -> tuple[dict[str, str], bytes]:
    """Header lines (the first of each name; ALT: all, one a line) and the log of one file."""
    head, _, log = (
        path.read_bytes().partition(b"\n\n")
        if path.read_bytes()[:1] != b"\n"
        else (
            b"",
            b"",
            path.read_bytes(),
        )
    )
    fields: dict[str, str] = {}
    for name, _, value in (line.partition(": ") for line in head.decode().splitlines()):
        fields[name] = (
            f"{fields[name]}\n{value}" if name == "ALT" and name in fields else fields.get(name, value)
        )
    return fields, log
