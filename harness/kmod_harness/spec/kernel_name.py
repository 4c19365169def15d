"""The names of kernels: `minimal`, `minimal@6.12`, `debian`, `debian@trixie`, `host`. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

MINIMAL, DEBIAN, HOST = "minimal", "debian", "host"
KERNEL_NAMES = (MINIMAL, DEBIAN, HOST)
#: A release as Debian names its source packages, or the code name of a suite.
_OF = re.compile(r"\d+\.\d+|[a-z][a-z-]*")


@dataclass(frozen=True)
class KernelName:
    """A kernel by name.

    base: minimal, debian or host
    of: release or suite behind the `@`, "" without one
    """

    base: str
    of: str = ""

    def __str__(self) -> str:
        return f"{self.base}@{self.of}" if self.of else self.base


def parse_kernel_name(text: str) -> KernelName | None:
    """Returns the kernel that a text names, None for what can only be a path.

    Raises ValueError for a name with a wrong part behind the `@`.

    >>> parse_kernel_name("minimal@6.12")
    KernelName(base='minimal', of='6.12')
    >>> parse_kernel_name("./vmlinuz") is None
    True
    """
    base, at, of = text.partition("@")
    if base not in KERNEL_NAMES:
        return None
    if not at:
        return KernelName(base)
    if base == HOST or not _OF.fullmatch(of) or (base == DEBIAN and of[0].isdigit()):
        raise ValueError(
            f"there is no kernel {text!r}: minimal@ takes a release or a suite (minimal@6.12, minimal@sid), "
            "debian@ takes a suite (debian@trixie)"
        )
    return KernelName(base, of)
