"""Kernels and modules compiled by clang: what kbuild is told, and which programs it then runs."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence

from kmod_harness.build.required_tools import require_tools


def llvm_words(config: Mapping[str, str]) -> list[str]:
    """Returns the words by which make takes the compiler and linker of a configuration, [] for gcc and ld.

    config: symbol -> value; CC_IS_CLANG, LD_IS_LLD and CLANG_VERSION count (init/Kconfig, 6.1). Debian's
    clang-16 is taken where a kernel's headers were made by it, else the `clang` of the machine
    (Documentation/kbuild/llvm.rst). Raises MissingTool.
    """
    if config.get("CC_IS_CLANG") != "y":
        return []
    suffix = _suffix(config.get("CLANG_VERSION", ""))
    if config.get("LD_IS_LLD") != "y":
        require_tools({f"clang{suffix}": f"clang{suffix}"})
        return [f"CC=clang{suffix}"]
    require_tools(
        {
            f"clang{suffix}": f"clang{suffix}",
            f"ld.lld{suffix}": f"lld{suffix}",
            f"llvm-ar{suffix}": f"llvm{suffix}",
        }
    )
    return [f"LLVM={suffix or 1}"]


def clang_version(words: Sequence[str]) -> str:
    """Returns the first line of `clang --version` for such words, "" for none: a part of a cache's key."""
    if not words:
        return ""
    suffix = "".join(words[0].partition("-")[1:])
    answer = subprocess.run([f"clang{suffix}", "--version"], capture_output=True, text=True, check=False)
    return (answer.stdout or answer.stderr).partition("\n")[0]


def _suffix(version: str) -> str:
    """Returns `-16` for CONFIG_CLANG_VERSION=160006 where this machine has clang-16, else ""."""
    major = version[:-4]
    return f"-{major}" if major and shutil.which(f"clang-{major}") else ""
