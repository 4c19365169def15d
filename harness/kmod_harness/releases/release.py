"""A release of the kernel as a pair of numbers."""

from __future__ import annotations

import re

from kmod_harness.errors import Misuse

#: Such as (6, 12).
Release = tuple[int, int]


class UnsupportedRelease(Misuse):
    """A kernel release whose facts the harness does not know."""


def release_pair(release: str) -> Release:
    """Returns (6, 12) for `6.12.118-cloud`. Raises UnsupportedRelease for a text that starts otherwise."""
    match = re.match(r"(\d+)\.(\d+)", release)
    if match is None:
        raise UnsupportedRelease(f"{release!r} is no release of a kernel")
    return int(match[1]), int(match[2])


def in_words(*releases: Release) -> str:
    """Returns the releases as they are written.

    >>> in_words((6, 1), (6, 12), (7, 2))
    '6.1, 6.12 and 7.2'
    """
    *others, last = (f"{major}.{minor}" for major, minor in releases)
    return f"{', '.join(others)} and {last}" if others else last
