"""The programs that a build runs, looked for before it begins."""

from __future__ import annotations

import shutil
from collections.abc import Mapping

from kmod_harness.errors import MissingTool


def require_tools(tools: Mapping[str, str]) -> None:
    """Raises MissingTool naming each missing program (key) with its Debian package (value)."""
    missing = {program: package for program, package in tools.items() if shutil.which(program) is None}
    if missing:
        packages = " ".join(dict.fromkeys(missing.values()))
        raise MissingTool(
            "programs needed for this build are missing: " + ", ".join(missing),
            advice=f"as root: apt-get install --no-install-recommends {packages}",
        )
