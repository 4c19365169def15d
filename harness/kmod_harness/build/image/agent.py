"""The guest's agent: a static binary without libraries, compiled once for its sources and compiler."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from kmod_harness.build.cache import Cache, default_cache, digest_of
from kmod_harness.build.compiler import COMPILER, compiler_version
from kmod_harness.errors import BuildFailed
from kmod_harness.host.resources import agent_sources

_KIND = "agent"
_NAME = "agent"

FLAGS = (
    "-static",
    "-nostdlib",
    "-ffreestanding",
    "-Os",
    "-Wall",
    "-Wextra",
    "-Werror",
    # defaults of a distribution's gcc that need a C library or only add bytes
    "-fno-stack-protector",
    "-fno-pie",
    "-no-pie",
    "-fcf-protection=none",
)


def compile_agent(
    cache: Cache | None = None, *, sources: Sequence[Path] = (), flags: Sequence[str] = FLAGS
) -> Path:
    """Returns the agent's static x86-64 binary; `sources` defaults to the package's own.

    Raises BuildFailed with the compiler's messages, MissingTool when there is no compiler.
    """
    cache = cache or default_cache()
    sources = tuple(sources) or agent_sources()
    contents = [part for path in sources for part in (path.name, path.read_bytes())]
    key = digest_of(compiler_version(), *flags, *contents)

    def build(entry: Path) -> dict[str, object]:
        c_files = [str(path) for path in sources if path.suffix == ".c"]
        command = [COMPILER, *flags, "-o", str(entry / _NAME), *c_files]
        compiled = subprocess.run(command, capture_output=True, text=True, check=False)
        if compiled.returncode != 0:
            raise BuildFailed(
                "the guest's agent does not compile",
                evidence=compiled.stderr,
                advice=f"the command was: {' '.join(command)}",
            )
        return {"compiler": compiler_version(), "flags": list(flags)}

    return cache.entry(_KIND, key, build) / _NAME
