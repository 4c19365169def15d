"""Where the kernel's source says what the page says: in one release, and the reader is told which. Pure."""

from __future__ import annotations

import re

#: Every file:line of claims and of the traced steps was looked up in this release's source.
#: That is Debian's, whose patches move lines in a few files: kernel/fork.c and kernel/module/signing.c are
#: named without a line, for the links lead to the kernel's own tree.
CHECKED_RELEASE = "6.1.192"


def checked_in(running: str) -> str:
    """Returns the release that places were checked in, and the running one where that is another.

    The running one is told whole: Debian's `6.1.0-56-cloud-amd64` is no Linux 6.1.0.

    >>> checked_in("6.1.192-kmod-harness"), checked_in("6.12.118")
    ('Linux 6.1.192', 'checked in Linux 6.1.192; this is 6.12.118')
    """
    match = re.match(r"\d+(?:\.\d+)*", running)
    if match and match[0] == CHECKED_RELEASE:
        return f"Linux {CHECKED_RELEASE}"
    return f"checked in Linux {CHECKED_RELEASE}; this is {running}"
