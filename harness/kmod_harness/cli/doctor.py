"""`kmod-harness doctor`: what is there, what is missing, and whether `run` could work."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "doctor",
        help="show what is there and what is missing",
        epilog="exit status: 0 when `run` could work now, else 2",
    )
    parser.set_defaults(execute=execute, parser=parser)


@dataclass(frozen=True)
class Finding:
    """One line: `state` is ok, -- (missing, not needed by `run`) or MISSING."""

    state: str
    subject: str
    text: str


#: Program -> Debian package and what it is for. Only QEMU and, for a first run, gcc are needed by `run`.
_PROGRAMS = (
    ("make", "make", "builds kernels and modules"),
    ("ld", "binutils", "builds kernels and modules"),
    ("flex", "flex", "builds kernels"),
    ("bison", "bison", "builds kernels"),
    ("bc", "bc", "builds kernels"),
    ("gdb", "gdb", "debugs a guest's kernel"),
    ("apt-get", "apt", "downloads Debian's kernels and packages"),
    ("dpkg-deb", "dpkg", "unpacks Debian's packages"),
)


def execute(args: argparse.Namespace) -> int:
    """Prints the findings; returns 0 when a guest could be booted now, else 2."""
    from ..errors import ExitStatus

    findings = [*_qemu(), *_builder(), *_programs(), *_kernels(), _cache()]
    width = max(len(finding.subject) for finding in findings)
    for finding in findings:
        print(f"{finding.state:<8}{finding.subject:<{width}}  {finding.text}")
    missing = [finding.subject for finding in findings if finding.state == "MISSING"]
    if missing:
        print(f"doctor: `run` cannot work yet: {', '.join(missing)}")
        return int(ExitStatus.USAGE)
    print("doctor: `run` can work")
    return 0


def _qemu() -> list[Finding]:
    import subprocess

    from ..build.cache import default_cache
    from ..errors import MissingTool
    from ..machine import choose_accelerator, find_qemu

    try:
        qemu = find_qemu()
    except MissingTool as error:
        return [Finding("MISSING", "qemu-system-x86_64", f"{error.advice}")]
    said = subprocess.run([qemu, "--version"], capture_output=True, text=True, check=False).stdout
    version = said.splitlines()[0] if said else "does not tell its version"
    accelerator = choose_accelerator(qemu, "auto", default_cache().root)
    return [
        Finding("ok", "qemu-system-x86_64", f"{qemu}: {version}"),
        Finding("ok", "accelerator", f"{accelerator.name}: {accelerator.reason}"),
    ]


def _builder() -> list[Finding]:
    """What every boot needs built once: the agent and the root file system."""
    from ..build.agent import compile_agent
    from ..build.cache import default_cache
    from ..build.rootfs import embedded_rootfs
    from ..errors import KmodHarnessError

    found = []
    for subject, build in (("guest agent", compile_agent), ("root file system", embedded_rootfs)):
        try:
            found.append(Finding("ok", subject, str(build(default_cache()))))
        except KmodHarnessError as error:
            found.append(Finding("MISSING", subject, str(error).replace("\n", " ")))
    return found


def _programs() -> list[Finding]:
    import shutil

    found = []
    for program, package, purpose in _PROGRAMS:
        path = shutil.which(program)
        if path:
            found.append(Finding("ok", program, path))
        else:
            found.append(Finding("--", program, f"{purpose}: apt-get install {package}"))
    return found


def _kernels() -> list[Finding]:
    from ..build.kernels import known_kernels

    kernels = known_kernels()
    if not kernels:
        advice = "kmod-harness kernel build minimal (minutes), or kernel build debian (seconds)"
        return [Finding("MISSING", "a kernel", advice)]
    return [
        Finding(
            "ok",
            f"kernel {kernel.name}",
            f"{kernel.release}" + ("" if kernel.build_dir else " (no headers: builds no modules)"),
        )
        for kernel in kernels
    ]


def _cache() -> Finding:
    from ..build.cache import default_cache
    from .cache import format_bytes

    cache = default_cache()
    total = sum(entry.size() for entry in cache.entries())
    return Finding("ok", "cache", f"{format_bytes(total)} of {format_bytes(cache.max_bytes)} in {cache.root}")
