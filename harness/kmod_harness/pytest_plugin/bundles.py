"""A failed test's evidence in one directory (report/bundle.py), while its guests are still there."""

from __future__ import annotations

import contextlib
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kmod_harness.errors import GuestHang, KernelPanic, KmodHarnessError
from kmod_harness.pytest_plugin.options import SETTINGS

if TYPE_CHECKING:
    from kmod_harness.pytest_plugin.state import Case, State
    from kmod_harness.pytest_plugin.watched import WatchedGuest
    from kmod_harness.report.bundle import Reproduction

#: Of verdict.json (schemas/test-verdict.json): changes when a key changes its meaning or goes.
VERSION = 1
#: Options whose output must not be overwritten by a reproduction, or that choose other tests.
_NOT_AGAIN = ("--lf", "--last-failed", "--ff", "--failed-first", "--sw", "--stepwise", "-n")


def leave_bundle(item: pytest.Item, state: State, case: Case, failure: BaseException) -> None:
    """Writes the bundle of a test that fails, and names it in the test's report.

    Nothing for a test whose guest is gone already, or where pytest's cache and --kh-bundles are off.
    """
    parent = _parent(item.config)
    if parent is None or case.has_bundle or not state.in_use:
        return
    case.has_bundle = True
    watched = next((one for one in state.in_use if one.broken), state.in_use[0])
    from kmod_harness.lifecycle.failing_state import discard  # lazy

    kept_guest = _kept_guest(item.config, state, watched, failure)
    # whatever goes wrong in here must not hide what the test fails with
    with contextlib.suppress(KmodHarnessError, OSError), contextlib.ExitStack() as undo:
        undo.callback(discard, kept_guest)
        made = _write(item, parent, watched, failure, kept_guest)
        case.sections.append(("evidence", f"{made}\n{made / 'reproduce.sh'} runs the test again"))


def keeps_bundles(config: pytest.Config) -> bool:
    """Whether failures leave anything at all."""
    return bool(config.stash[SETTINGS].bundles) or getattr(config, "cache", None) is not None


def _parent(config: pytest.Config) -> Path | None:
    given = config.stash[SETTINGS].bundles
    if given:
        return Path(given).absolute()
    cache = getattr(config, "cache", None)
    return Path(cache.mkdir("kmod-harness-bundles")) if cache is not None else None


def _write(
    item: pytest.Item, parent: Path, watched: WatchedGuest, failure: BaseException, kept_guest: Path | None
) -> Path:
    from kmod_harness.klog.outcome import outcome_of_error  # lazy
    from kmod_harness.report.bundle import Failure, bundle_name, write_bundle  # lazy

    machine, guest = watched.guest.machine, watched.guest
    outcome = outcome_of_error(failure)
    return write_bundle(
        parent / bundle_name(item.nodeid),
        Failure(
            verdict={
                "version": VERSION,
                "outcome": outcome.value,
                "reason": str(failure).partition("\n")[0],
                "type": type(failure).__name__,
                "test": item.nodeid,
                "splats": [
                    {"kind": splat.kind.value, "title": splat.title, "pid": splat.pid}
                    for splat in guest.kernel_log.splats_since(0)
                ],
            },
            kernel_log=guest.kernel_log.raw,
            reproduction=_reproduction(item),
            transcripts={
                "shell": guest._shell_transcript(),
                "agent": guest._channel.transcript.text(),
                "interrogation": watched.interrogation,
            },
            qemu_argv=machine.argv,
            versions={"python": platform.python_version(), "pytest": pytest.__version__},
            kernel=watched.kernel,
            modules=watched.modules,
            kept_guest=kept_guest,
        ),
    )


def _kept_guest(
    config: pytest.Config, state: State, watched: WatchedGuest, failure: BaseException
) -> Path | None:
    """Returns the kept parts of the guest: as it is after a panic or a hang, as it was when it oopsed."""
    from kmod_harness.lifecycle.failing_state import discard, keep_guest  # lazy

    kept_guest = watched.take_kept_guest()
    if isinstance(failure, (GuestHang, KernelPanic)) or (config.stash[SETTINGS].dump and kept_guest is None):
        discard(kept_guest)
        kept_guest = None
        if state.guests_to_keep > 0:
            kept_guest = keep_guest(watched.guest.machine, watched.kernel)
    state.guests_to_keep -= kept_guest is not None
    return kept_guest


def _reproduction(item: pytest.Item) -> Reproduction:
    from kmod_harness.report.bundle import AGAIN, Reproduction  # lazy

    config = item.config
    worker = getattr(config, "workerinput", None)
    given: Sequence[str] = worker["mainargv"][1:] if worker else config.invocation_params.args
    paths = set(config.getoption("file_or_dir", default=None) or ())
    words = [str(word) for word in given if str(word) not in paths]
    again = (*options_again(words), "--kh-bundles", AGAIN, item.nodeid)
    return Reproduction((sys.executable, "-m", "pytest", *again), config.rootpath)


def options_again(words: Sequence[str]) -> list[str]:
    """Returns the options for one test alone: without reports, workers and choices of tests."""
    kept: list[str] = []
    skip = False
    for word in words:
        if skip:
            skip = False
            continue
        name = word.partition("=")[0]
        if name in ("-n", "-k", "-m", "--junitxml", "--junit-xml", "--dist"):
            skip = "=" not in word
        elif not name.startswith(_NOT_AGAIN):
            kept.append(word)
    return kept
