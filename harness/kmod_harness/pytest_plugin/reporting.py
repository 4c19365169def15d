"""What a person reads: the header, a failure's text, the summary."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from kmod_harness.errors import KmodHarnessError
from kmod_harness.pytest_plugin.options import SETTINGS
from kmod_harness.pytest_plugin.state import STATE

if TYPE_CHECKING:
    from _pytest._code.code import TracebackEntry

_FROM_WORKERS = pytest.StashKey[list[dict[str, Any]]]()
#: Whose frames say nothing about the test.
_INTERNAL = ("_pytest", "pluggy", "kmod_harness", "contextlib", "xdist")


def header(config: pytest.Config) -> str | None:
    """Returns the settings that were given, and the file that gave others; no line for neither."""
    settings = config.stash[SETTINGS]
    lines = [f"kmod-harness: {', '.join(settings.given)}"] if settings.given else []
    if settings.repository.file is not None:
        file = os.path.relpath(settings.repository.file, config.invocation_params.dir)
        taken = [*settings.taken, *(["modules"] if settings.repository.modules.are_said else [])]
        lines.append(f"kmod-harness: {', '.join(taken) or 'nothing'} (from {file})")
    return "\n".join(lines) or None


def summary(reporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Writes which machines ran, how many boots and restores it took, here and in xdist's workers."""
    ran = [*config.stash.get(_FROM_WORKERS, []), *_machines(config)]
    for line in dict.fromkeys(line for machines in ran for line in machines["about"]):
        reporter.write_line(f"kmod-harness: {line}")
    for what in ("boots", "restores"):
        times = [seconds for machines in ran for seconds in machines[what]]
        if times:
            mean = sum(times) / len(times)
            reporter.write_line(f"kmod-harness: {len(times)} {what}, {mean:.2f} s each")


def send_to_controller(config: pytest.Config) -> None:
    """Gives what ran in this xdist worker to the process that has the terminal."""
    output: dict[str, object] | None = getattr(config, "workeroutput", None)
    if output is not None:
        output["kmod_harness"] = _machines(config)


def take_from_worker(config: pytest.Config, output: dict[str, Any]) -> None:
    config.stash.setdefault(_FROM_WORKERS, []).extend(output.get("kmod_harness", []))


def _machines(config: pytest.Config) -> list[dict[str, Any]]:
    """Returns what ran in this process, in types that xdist can send; [] for nothing."""
    if STATE not in config.stash:
        return []
    state = config.stash[STATE]
    return [{"about": list(state.about), "boots": list(state.boots), "restores": list(state.restores)}]


def failure_text(item: pytest.Item, excinfo: pytest.ExceptionInfo[BaseException]) -> str:
    """Returns the text of a harness error: its kind first, its evidence, then where the test was.

    A string, not pytest's own representation: it is the same in the terminal, in
    JUnit XML and behind xdist, and holds no frame of the harness.
    """
    error = excinfo.value
    parts = [f"{type(error).__name__}: {error}"]
    told = _where(item, excinfo)
    if told:
        parts.append(f"\nraised in\n{told}")
    elif error.__cause__ is not None and error.__cause__.__traceback__ is not None:
        told = _where(item, pytest.ExceptionInfo.from_exception(error.__cause__))
        parts.append(f"\nthe test itself ended with\n{told}")
    return "\n".join(parts)


def _where(item: pytest.Item, excinfo: pytest.ExceptionInfo[BaseException]) -> str:
    """Returns the traceback within the test and its fixtures, "" when there is none."""
    frames = excinfo.traceback.filter(_is_the_users)
    if not frames:
        return ""
    if not isinstance(excinfo.value, KmodHarnessError):
        return str(item.repr_failure(excinfo))
    excinfo.traceback = frames
    lines = str(excinfo.getrepr(style="short", chain=False)).splitlines()
    told = [line for line in lines if line.startswith("E ")]
    return "\n".join([*(line for line in lines if not line.startswith("E ")), *told[:1]])


def _is_the_users(entry: TracebackEntry) -> bool:
    module = str(entry.frame.f_globals.get("__name__", ""))
    return module.partition(".")[0] not in _INTERNAL
