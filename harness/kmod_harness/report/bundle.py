"""Everything of one failure in one directory, and a script that makes it happen again.

verdict.json            outcome, reason, what was run: for programs
kernel.log              ttyS0 from the boot on, as it came
kernel.symbolized.log   the same to be read: with source lines, without priorities
NAME.txt                transcripts: shell, agent, interrogation
machine.json            QEMU's argument list, versions, hashes of what was booted
kernel.config           the kernel's configuration, where it is known
modules/*.ko            the modules, with their debug information
memory.elf.zst          its memory, for `kmod-harness crash`, with vmcoreinfo
state.zst, state.json   its state, for `kmod-harness debug --from`, with what it wrote to its disks
reproduce.sh            the same again; its exit status is the verdict's, its evidence in `again`
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kmod_harness.build.cache import file_digest
from kmod_harness.build.kernel.known import Kernel
from kmod_harness.errors import KmodHarnessError
from kmod_harness.klog.reading import for_reading
from kmod_harness.kmod.elf.module import KernelModule
from kmod_harness.kmod.symbols.symbolizer import Symbolizer
from kmod_harness.report.symbolized import symbolized

#: A longer transcript is cut at its beginning: bytes.
_MOST_BYTES = 1 << 22


#: A word of a reproduction; no word that is given can hold a NUL.
AGAIN = "\0again"


@dataclass(frozen=True)
class Reproduction:
    """The command that was given: its words, the directory it was given in, files it needs kept copies of.

    copies: word -> the file to be copied and used in the word's place. The word AGAIN stands for the place of
    its own evidence: what was kept of the failure stays.
    """

    words: tuple[str, ...]
    directory: Path
    copies: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Failure:
    """What is known of a failure; `verdict` must be JSON's types.

    kept_guest: a directory of what was kept of the guest, whose files the bundle takes.
    """

    verdict: Mapping[str, Any]
    kernel_log: bytes
    reproduction: Reproduction
    transcripts: Mapping[str, str] = field(default_factory=dict)
    qemu_argv: Sequence[str] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    kernel: Kernel | None = None
    modules: Sequence[KernelModule] = ()
    kept_guest: Path | None = None


def write_bundle(directory: Path, failure: Failure) -> Path:
    """Writes the bundle, 0700, all of it or nothing; returns `directory`. One of before is replaced.

    Raises OSError: a full disk, a place that may not be written.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{directory.name[:40]}-", dir=directory.parent))
    try:
        _fill(made, failure)
        if directory.exists():
            shutil.rmtree(directory)
        made.rename(directory)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    return directory


def bundle_name(text: str) -> str:
    """Returns a directory name that says which test it was: `a.py::test_b[x]` gives `a.py-test_b-x`."""
    return re.sub(r"[^\w.]+", "-", text).strip("-.")[:120] or "failure"


def _fill(made: Path, failure: Failure) -> None:
    (made / "verdict.json").write_text(json.dumps(failure.verdict, indent=2) + "\n")
    (made / "kernel.log").write_bytes(failure.kernel_log)
    (made / "kernel.symbolized.log").write_text(_symbolized(failure), errors="replace")
    for name, text in failure.transcripts.items():
        if text:
            (made / f"{bundle_name(name)}.txt").write_text(text[-_MOST_BYTES:], errors="replace")
    (made / "machine.json").write_text(json.dumps(_machine(failure), indent=2) + "\n")
    kernel = failure.kernel
    if kernel is not None and kernel.config is not None and kernel.config.is_file():
        shutil.copyfile(kernel.config, made / "kernel.config")
    (made / "modules").mkdir()
    for module in failure.modules:
        (made / "modules" / f"{module.name}.ko").write_bytes(module.data)
    if failure.kept_guest is not None:
        for kept in sorted(failure.kept_guest.iterdir()):
            shutil.move(kept, made / kept.name)
        failure.kept_guest.rmdir()
    script = made / "reproduce.sh"
    # a path in it may hold bytes that are no text
    script.write_bytes(os.fsencode(reproduce_script(failure, _copy_files(made, failure.reproduction))))
    script.chmod(0o700)


def reproduce_script(failure: Failure, kept: Mapping[str, str]) -> str:
    """Returns the script; `kept`: word -> path in the bundle, which stands for it."""
    wanted = failure.reproduction
    places = {**kept, AGAIN: "again"}
    words = " ".join(
        f'"$bundle"/{shlex.quote(places[word])}' if word in places else shlex.quote(word)
        for word in wanted.words
    )
    outcome = failure.verdict.get("outcome", "failed")
    reason = " ".join(str(failure.verdict.get("reason", "")).split())
    return (
        "#!/bin/sh\n"
        f"# {_comment(outcome)}: {_comment(reason)}\n"
        "# Runs it again with the files of this bundle; the exit status is the verdict's.\n"
        'bundle=$(cd "$(dirname "$0")" && pwd) || exit 2\n'
        f"cd {shlex.quote(str(wanted.directory))} || exit 2\n"
        f"exec {words}\n"
    )


def _comment(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:200]


def _copy_files(made: Path, wanted: Reproduction) -> dict[str, str]:
    kept: dict[str, str] = {}
    for number, (word, source) in enumerate(wanted.copies.items()):
        place = Path("files") / str(number) / source.name
        (made / place).parent.mkdir(parents=True)
        if source.is_dir():
            shutil.copytree(source, made / place, symlinks=True)
        else:
            shutil.copy2(source, made / place)
        kept[word] = str(place)
    return kept


def _symbolized(failure: Failure) -> str:
    vmlinux = failure.kernel.vmlinux if failure.kernel else None
    try:
        told = symbolized(failure.kernel_log, Symbolizer(vmlinux, failure.modules))
        return "\n".join((*for_reading(told.splitlines()), ""))
    except KmodHarnessError as error:
        return f"(not symbolised: {error})\n"


def _machine(failure: Failure) -> dict[str, Any]:
    kernel = failure.kernel
    files = {"bzImage": kernel.bzimage, "config": kernel.config} if kernel else {}
    return {
        "qemu": {"argv": list(failure.qemu_argv)},
        "kernel": {"name": kernel.name, "release": kernel.release} if kernel else None,
        "versions": dict(failure.versions),
        "files": {
            name: {"path": str(path), "sha256": file_digest(path), "bytes": os.path.getsize(path)}
            for name, path in files.items()
            if path is not None and path.is_file()
        },
        "modules": [
            {
                "name": module.name,
                "path": str(module.path),
                "build_id": module.build_id,
                "vermagic": module.vermagic,
            }
            for module in failure.modules
        ],
        "vmlinux": str(kernel.vmlinux) if kernel and kernel.vmlinux else None,
    }
