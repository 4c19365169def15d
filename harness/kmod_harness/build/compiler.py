"""The C compiler that kernels, modules and the agent are built with."""

from __future__ import annotations

import subprocess
from functools import cache

from ..errors import MissingTool

COMPILER = "gcc"


@cache
def compiler_version() -> str:
    """Returns e.g. `gcc 12.2.0`; raises MissingTool when there is no gcc."""
    try:
        answer = subprocess.run([COMPILER, "-dumpfullversion"], capture_output=True, text=True, check=True)
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        raise MissingTool(
            f"{COMPILER} is not installed or does not run",
            evidence=str(error),
            advice="install it: `apt-get install gcc`, or `make setup` in a checkout",
        ) from None
    return f"{COMPILER} {answer.stdout.strip()}"
