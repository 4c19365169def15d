"""The header and the summary of the whole run."""

from __future__ import annotations

import os
from typing import Any

import pytest

from kmod_harness.pytest_plugin.allowed import allowed_splats
from kmod_harness.pytest_plugin.failure.text import as_failure
from kmod_harness.pytest_plugin.options import SETTINGS
from kmod_harness.pytest_plugin.state import STATE
from kmod_harness.report.columns import duration, plural, wrapped

_FROM_WORKERS = pytest.StashKey[list[dict[str, Any]]]()


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
        for part in wrapped(f"kmod-harness: {line}", further="    "):
            reporter.write_line(part)
    for line in allowed_splats.told(machines["allowed"] for machines in ran):
        for part in wrapped(f"kmod-harness: {line}", further="    "):
            reporter.write_line(part)
    for what in ("boots", "restores"):
        times = [seconds for machines in ran for seconds in machines[what]]
        if times:
            each = " each" if len(times) > 1 else ""
            mean = duration(sum(times) / len(times))
            reporter.write_line(f"kmod-harness: {plural(len(times), what.removesuffix('s'))}, {mean}{each}")


def show_in_one_line(report: pytest.TestReport) -> None:
    """Has a failure that came from an xdist worker as bare text take one line of the summary, as here."""
    if hasattr(report, "node") and report.failed and isinstance(report.longrepr, str):
        report.longrepr = as_failure(report.longrepr)  # type: ignore[assignment]


def node_to_type(item: pytest.Item) -> str:
    """Return the test's node id with its path from the directory in which pytest was called."""
    _, mark, name = item.nodeid.partition("::")
    return f"{os.path.relpath(item.path, item.config.invocation_params.dir)}{mark}{name}"


def send_to_controller(config: pytest.Config) -> None:
    """Gives what ran in this xdist worker to the process that has the terminal."""
    output: dict[str, object] | None = getattr(config, "workeroutput", None)
    if output is not None:
        output["kmod_harness"] = _machines(config)


def take_from_worker(config: pytest.Config, output: dict[str, Any]) -> None:
    config.stash.setdefault(_FROM_WORKERS, []).extend(output.get("kmod_harness", []))


def _machines(config: pytest.Config) -> list[dict[str, Any]]:
    """Returns the machines of this process, in types that xdist can send; [] for none."""
    if STATE not in config.stash:
        return []
    state = config.stash[STATE]
    return [
        {
            "about": list(state.about),
            "boots": list(state.boots),
            "restores": list(state.restores),
            "allowed": allowed_splats.sent(config),
        }
    ]
