"""The evidence of a run that failed: the guest is asked why, its memory kept, a bundle written."""

from __future__ import annotations

import contextlib
import platform
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kmod_harness.cli.run.record import RunRecord
from kmod_harness.errors import GuestHang, KernelPanic, KmodHarnessError
from kmod_harness.host.directories import bundle_root, working_directory

if TYPE_CHECKING:
    from kmod_harness.cli.run.request import RunRequest
    from kmod_harness.cli.run.run_verdict import RunVerdict
    from kmod_harness.machine.machine import Machine

#: Bundles that nobody gave a place to are kept, so many of them.
_KEPT_BUNDLES = 10


def question(machine: Machine, request: RunRequest, record: RunRecord) -> None:
    """Asks a guest that hangs what it does, keeps its memory and state, before it is ended: `record.kept`.

    They are kept of a panic and of a hang, of any other failure when the request says so; of an oops
    its state was kept when it came.
    """
    if any(isinstance(error, GuestHang) for error in record.errors):
        question_hung(machine, request, record)
    if record.kept.is_of_hang:
        return
    panicked = any(isinstance(error, KernelPanic) for error in record.errors)
    if panicked or (request.dump and record.kept.guest_directory is None):
        _keep(machine, request, record)


def question_hung(machine: Machine, request: RunRequest, record: RunRecord) -> None:
    """Asks a guest in which something took too long what it does, once, and keeps its memory and state.

    It is asked before anything is ended, and runs on.
    """
    if record.kept.is_of_hang:
        return
    record.kept.is_of_hang = True
    from kmod_harness.guest.programs.tasks import tell_tasks  # lazy
    from kmod_harness.machine.interrogation import interrogate  # lazy

    told = []
    if record.guest is not None:
        told.append(_with_lines(tell_tasks(machine, record.guest._channel), record))
    with contextlib.suppress(KmodHarnessError):
        told.append(_with_names(str(interrogate(machine)), record))
    record.kept.transcripts["interrogation"] = "\n".join(filter(None, told))
    _keep(machine, request, record)


def _with_names(text: str, record: RunRecord) -> str:
    from kmod_harness.report.address_names import with_address_names  # lazy

    if record.prepared is None or record.guest is None:
        return text
    names = record.guest.kernel_log.addresses.name_of
    return with_address_names(text, record.prepared.kernel, record.slide, names)


def _with_lines(text: str, record: RunRecord) -> str:
    """Returns the text with source lines behind its frames, where they can be told."""
    from kmod_harness.kmod.symbols.symbolizer import Symbolizer  # lazy
    from kmod_harness.report.symbolized import symbolized  # lazy

    if record.prepared is None or not text:
        return text
    try:
        return symbolized(
            text, Symbolizer(record.prepared.kernel.vmlinux, [row.file for row in record.modules])
        )
    except KmodHarnessError:
        return text


def _keep(machine: Machine, request: RunRequest, record: RunRecord) -> None:
    of_oops = record.kept.guest_directory
    if request.keeps_bundle:
        from kmod_harness.lifecycle.failing_state import discard, keep_guest  # lazy

        assert record.prepared is not None
        record.kept.guest_directory = keep_guest(machine, record.prepared.kernel)
        discard(of_oops)


def leave_bundle(
    request: RunRequest, record: RunRecord, verdict: RunVerdict, found: dict[str, Any]
) -> Path | None:
    """Writes the bundle of a run that did not pass; returns where, None when none is wanted.

    Raises Misuse, OSError: there is no place for it, or it cannot be written.
    """
    from kmod_harness.report.bundle import Failure, Reproduction, bundle_name, write_bundle  # lazy

    if record.prepared is None or not request.keeps_bundle:
        return None
    name = bundle_name(
        f"{'-'.join(row.file.name for row in record.modules) or 'run'}-{verdict.outcome.value}"
    )
    place = request.bundle or _next_place(bundle_root(), name)
    copies = {str(path): path for path in (Path(word) for word in request.given.paths)}
    if request.command and Path(request.command[0]).is_file() and "/" in request.command[0]:
        copies[request.command[0]] = Path(request.command[0])
    failure = Failure(
        verdict={key: value for key, value in found.items() if key != "kernel_log"},
        kernel_log=record.raw_log,
        # of a working directory that is gone nothing can have been taken
        reproduction=Reproduction(_again(request.words), working_directory() or Path("/"), copies),
        transcripts=_transcripts(record),
        qemu_argv=record.qemu_argv,
        versions={"python": platform.python_version(), "qemu": record.prepared.qemu},
        kernel=record.prepared.kernel,
        modules=record.files,
        kept_guest=record.kept.guest_directory,
    )
    made = write_bundle(place, failure)
    if request.bundle is None:
        # another run may do the same at once: what was written is there all the same
        with contextlib.suppress(OSError):
            _keep_newest(place.parent)
    return made


def _again(words: Sequence[str]) -> tuple[str, ...]:
    """Returns the words of a `run` with another place for what it leaves; of two, argparse takes the last."""
    from kmod_harness.report.bundle import AGAIN  # lazy

    command = words.index("--") if "--" in words else len(words)
    again = (*words[:command], "--bundle", AGAIN, *words[command:])
    return (sys.executable, "-m", "kmod_harness.cli.main", *again)


def _transcripts(record: RunRecord) -> dict[str, str]:
    told = dict(record.kept.transcripts)
    if record.guest is not None:
        told["shell"] = record.guest._shell_transcript()
        told["agent"] = record.guest._channel.transcript.text()
    return told


def _next_place(parent: Path, name: str) -> Path:
    number = 1
    while (parent / f"{name}-{number}").exists():
        number += 1
    return parent / f"{name}-{number}"


def _keep_newest(parent: Path) -> None:
    """Removes the oldest of the bundles that nobody gave a place to."""
    if not parent.is_dir():
        return
    bundles = sorted(
        (path for path in parent.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime
    )
    for old in bundles[:-_KEPT_BUNDLES]:
        shutil.rmtree(old, ignore_errors=True)
