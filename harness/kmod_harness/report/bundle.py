"""A bundle: everything about one failure in one directory, with a script that reproduces it.

verdict.json            outcome, reason, what was run: for programs
kernel.log              output of ttyS0 since the boot, unchanged
kernel.symbolized.log   the same to read: with source lines, without priorities
NAME.txt                transcripts: shell, agent, interrogation
machine.json            QEMU's argument list, versions, hashes of the files booted
kernel.config           configuration of the kernel, where it is known
modules/*.ko            the modules, with their debug information
memory.elf.zst          memory of the guest, for `kmod-harness crash`, with vmcoreinfo
state.zst, state.json   failing state, for `kmod-harness debug --from`, with its disks
reproduce.sh            runs it again; exits with the verdict's status, leaves evidence in `again`
"""

from __future__ import annotations

import hashlib
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
from kmod_harness.build.kernel.kernel import Kernel
from kmod_harness.errors import KmodHarnessError
from kmod_harness.klog.reading import for_reading
from kmod_harness.kmod.elf.module import KernelModule
from kmod_harness.kmod.elf.split_debug import debug_file_of
from kmod_harness.kmod.symbols.symbolizer import Symbolizer
from kmod_harness.report.symbolized import symbolized

#: Characters of a bundle's name, and texts whose names tell them apart.
_MOST_NAME = 120
_PLAIN = re.compile(r"[\w./-]+(?:::\w+)*(?:\[\w+(?:[.-]\w+)*\])?")
#: Bytes of a transcript; the beginning of a longer one is cut off.
_MOST_BYTES = 1 << 22


#: A word of a Reproduction; it cannot be a word of a real command, which holds no NUL.
AGAIN = "\0again"


@dataclass(frozen=True)
class Reproduction:
    """The command that failed.

    words: its words. The word AGAIN stands for the place of its own evidence, so that the evidence of the
        first failure stays
    directory: directory it was given in
    copies: word -> file that is copied into the bundle and used in place of the word
    """

    words: tuple[str, ...]
    directory: Path
    copies: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Failure:
    """A failure and everything known about it.

    verdict: outcome and reason, of JSON's types
    kernel_log: output of ttyS0
    reproduction: the command that failed
    transcripts: name -> text
    qemu_argv: QEMU's argument list
    versions: program -> version
    kernel: the kernel that was booted, None where it is not known
    modules: modules of the run
    kept_guest: directory of the guest's memory and state, whose files move into the bundle; None without
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
    """Writes the whole bundle with mode 0700, or nothing; replaces an older one. Returns `directory`.

    Raises OSError: a full disk, a directory that may not be written.
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
    """Returns a directory name for a test: `a.py::test_b[x]` gives `a.py-test_b-x`.

    A text that is longer, or has other characters, ends with a digest of it: no other one has its name.
    """
    name = re.sub(r"[^\w.]+", "-", text).strip("-.")[:_MOST_NAME] or "failure"
    if _PLAIN.fullmatch(text) and len(text) <= _MOST_NAME:
        return name
    return f"{name[:110]}-{hashlib.sha256(text.encode(errors='surrogateescape')).hexdigest()[:8]}"


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
        split = debug_file_of(module)
        if split is not None:
            shutil.copyfile(split, made / "modules" / f"{module.name}.ko.debug")
    if failure.kept_guest is not None:
        for kept in sorted(failure.kept_guest.iterdir()):
            shutil.move(kept, made / kept.name)
        failure.kept_guest.rmdir()
    script = made / "reproduce.sh"
    # a path in it may hold bytes that are no text
    script.write_bytes(os.fsencode(reproduce_script(failure, _copy_files(made, failure.reproduction))))
    script.chmod(0o700)


def reproduce_script(failure: Failure, kept: Mapping[str, str]) -> str:
    """Returns the text of the script; `kept`: word -> path in the bundle that replaces it."""
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
