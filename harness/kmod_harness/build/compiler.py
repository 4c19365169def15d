"""The C compiler for kernels, modules and the agent."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache

from kmod_harness.build.cache import default_cache, digest_of
from kmod_harness.errors import MissingTool

COMPILER = "gcc"


@cache
def compiler_version() -> str:
    """Returns a version such as `gcc 12.2.0`. Raises MissingTool when there is no gcc."""
    pointer = _pointer()
    known = default_cache().pointer(pointer) if pointer else ""
    if known:
        return known
    try:
        answer = subprocess.run([COMPILER, "-dumpfullversion"], capture_output=True, text=True, check=True)
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        raise MissingTool(
            f"{COMPILER} is not installed or does not run",
            evidence=str(error),
            advice="as root: apt-get install --no-install-recommends gcc",
        ) from None
    version = f"{COMPILER} {answer.stdout.strip()}"
    if pointer:
        default_cache().note(pointer, version)
    return version


def _pointer() -> str:
    """Returns the cache's name for the version of the compiler that runs now; "" when it cannot have one.

    A wrapper such as ccache can have none: it stays the same file when the compiler behind it changes.
    """
    path = os.path.realpath(shutil.which(COMPILER) or "")
    if "gcc" not in os.path.basename(path):
        return ""
    status = os.stat(path)
    parts = (path, str(status.st_ino), str(status.st_size), str(status.st_mtime_ns))
    return f"compiler-{digest_of(*parts)}"
