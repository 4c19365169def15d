"""A kernel's headers that ask for the compiler which built it, where this machine has another one."""

from __future__ import annotations

import re

from kmod_harness.errors import BuildFailed

#: What dash and bash say of a command that is not there.
_NOT_FOUND = re.compile(
    r"^\S*sh: (?:line )?\d+: (\S*(?:gcc|clang)[\w.-]*): (?:command )?not found$", re.MULTILINE
)


def missing_compiler(output: str, base: str) -> BuildFailed | None:
    """Returns the failure of a build, with this output, that lacks its compiler; None for another failure.

    base: name of the minimal kernel of the release that was built for
    """
    found = _NOT_FOUND.search(output)
    if found is None:
        return None
    return BuildFailed(
        f"this kernel's headers ask for the compiler {found[1]}, which is not installed here",
        evidence=found[0],
        advice=f"this machine's compiler makes a kernel of that release: kmod-harness kernel build {base}\n"
        "or install that compiler, if this release of Debian has it",
    )
