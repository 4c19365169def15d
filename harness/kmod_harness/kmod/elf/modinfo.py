"""The tags and values of a .modinfo section."""

from __future__ import annotations

from collections.abc import Iterator


def parse_modinfo(data: bytes) -> Iterator[tuple[str, str]]:
    """Yields tag and value of each record, in order."""
    for record in data.split(b"\0"):
        tag, equals, value = record.decode("utf-8", "replace").partition("=")
        if equals:
            yield tag, value


def named_values(modinfo: tuple[tuple[str, str], ...], tag: str) -> Iterator[tuple[str, str]]:
    """Yields name and text of `parm=name:text` and similar tags."""
    for found, value in modinfo:
        if found == tag:
            name, _, text = value.partition(":")
            yield name, text
