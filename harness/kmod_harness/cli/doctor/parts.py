"""The parts of a machine (QEMU, kernels, the cache), and those that have to be made once: a row for each."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from kmod_harness.errors import KmodHarnessError


@dataclass(frozen=True)
class CheckResult:
    """One row: what was looked for, and where it is or why it is not."""

    subject: str
    text: str
    there: bool = True


def look(part: str) -> tuple[CheckResult, ...]:
    """Returns the rows of a part that a task names; none for a part that cannot be had."""
    try:
        return tuple(_PARTS[part]())
    except (KmodHarnessError, OSError) as error:
        message = getattr(error, "message", str(error))
        advice = getattr(error, "advice", "")
        return (CheckResult(part, f"{message}; {advice}" if advice else message, there=False),)


def qemu() -> Iterator[CheckResult]:
    """Yields QEMU's version and what would run the guests' instructions; nothing without a QEMU that runs."""
    from kmod_harness.build.cache import default_cache  # lazy
    from kmod_harness.machine.accelerator import choose_accelerator  # lazy
    from kmod_harness.machine.machine import find_qemu  # lazy

    try:
        path = find_qemu()
        said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
        version = said.partition("\n")[0].removeprefix("QEMU emulator version ")
        yield CheckResult("QEMU", version or f"{path} does not tell its version")
        accelerator = choose_accelerator(path, "auto", default_cache().root)
        yield CheckResult("accelerator", f"{accelerator.name}: {accelerator.reason}")
    except (KmodHarnessError, OSError):
        return


def cache() -> CheckResult:
    """Returns how full the cache is."""
    from kmod_harness.build.cache import default_cache  # lazy
    from kmod_harness.cli.commands.cache import format_bytes  # lazy

    kept = default_cache()
    total = sum(entry.size() for entry in kept.entries())
    return CheckResult(
        "cache", f"{format_bytes(total)} of {format_bytes(kept.max_bytes)} in {_short(kept.root)}"
    )


def does_without_pahole() -> bool:
    """True for Debian's kernel without a vmlinux in its headers (Debian 12): no BTF is made of it then."""
    from kmod_harness.build.cache import default_cache  # lazy
    from kmod_harness.build.kernel.debian_kernel import downloaded_debian_kernel  # lazy

    kernel = downloaded_debian_kernel(default_cache())
    headers = kernel.build_dir if kernel is not None else None
    return headers is not None and not (headers / "vmlinux").exists()


def _kernels() -> Iterator[CheckResult]:
    from kmod_harness.build.kernel.known import known_kernels  # lazy
    from kmod_harness.releases.proven import note_of_newer  # lazy

    kernels = known_kernels()
    for kernel in kernels:
        name = kernel.name if "/" not in kernel.name else "another"
        headers = "" if kernel.build_dir else " (no headers: builds no modules)"
        yield CheckResult("kernel", f"{name}: {kernel.release}{headers}")
    for note in note_of_newer(*(kernel.release for kernel in kernels)):
        yield CheckResult("kernel", note)
    if not kernels:
        advice = "kmod-harness kernel build minimal (minutes), or kernel build debian (seconds)"
        yield CheckResult("kernel", f"none yet: {advice}", there=False)


def _headers() -> Iterator[CheckResult]:
    from kmod_harness.build.kernel.known import known_kernels  # lazy

    if not any(kernel.build_dir for kernel in known_kernels()):
        yield CheckResult("headers", "no kernel here has a build directory", there=False)


def _agent() -> Iterator[CheckResult]:
    from kmod_harness.build.cache import default_cache  # lazy
    from kmod_harness.build.image.agent import compile_agent  # lazy

    compile_agent(default_cache())
    yield CheckResult("guest agent", "compiled, in the cache")


def _rootfs() -> Iterator[CheckResult]:
    from kmod_harness.build.cache import default_cache  # lazy
    from kmod_harness.build.image.embedded import embedded_rootfs  # lazy

    embedded_rootfs(default_cache())
    yield CheckResult("root file system", "embedded, in the cache")


def _source() -> Iterator[CheckResult]:
    from kmod_harness.build.cache import default_cache  # lazy
    from kmod_harness.build.debian_packages import candidate_version  # lazy
    from kmod_harness.build.kernel.source import debian_source_package  # lazy

    if default_cache().entries("source"):
        yield CheckResult("source", "of a kernel, in the cache")
        return
    package = debian_source_package(default_cache())
    yield CheckResult("source", f"{package} {candidate_version(package)}, to be downloaded")


def _debian_kernel() -> Iterator[CheckResult]:
    from kmod_harness.build.cache import default_cache  # lazy
    from kmod_harness.build.debian_packages import candidate_version  # lazy
    from kmod_harness.build.kernel.debian_kernel import METAPACKAGE, downloaded_debian_kernel  # lazy

    kernel = downloaded_debian_kernel(default_cache())
    if kernel is None:
        yield CheckResult("Debian's kernel", f"{candidate_version(METAPACKAGE)}, to be downloaded")
    else:
        yield CheckResult("Debian's kernel", f"{kernel.release}, in the cache")


def _short(path: Path) -> str:
    try:
        return f"~/{path.relative_to(Path.home())}"
    except (ValueError, RuntimeError):  # elsewhere; nobody's home is known
        return str(path)


_PARTS: dict[str, Callable[[], Iterator[CheckResult]]] = {
    "kernel": _kernels,
    "headers": _headers,
    "guest agent": _agent,
    "root file system": _rootfs,
    "source": _source,
    "Debian's kernel": _debian_kernel,
}
