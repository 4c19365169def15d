"""The exception that a test raises when a module in memory is not fully explained."""

from __future__ import annotations

from kmod_harness.errors import ModuleNotExplained
from kmod_harness.verify.report import Finding, Report

#: The most findings shown in a message.
_SHOWN = 20


def require_explained(report: Report) -> None:
    """Raises ModuleNotExplained for findings, else the first error among the limits."""
    lines = [f"{module.name}: {_line(finding)}" for module in report.modules for finding in module.findings]
    if lines:
        more = [f"... {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
        names = ", ".join(module.name for module in report.modules if module.findings)
        raise ModuleNotExplained(
            f"{len(lines)} finding{'s' if len(lines) > 1 else ''} in {names}",
            evidence="\n".join(lines[:_SHOWN] + more),
            advice="something changed it after it was loaded, or the file is not what was loaded",
        )
    for limit in report.all_limits:
        raise limit


def _line(finding: Finding) -> str:
    place = f"{finding.symbol} at {finding.address:#x}" if finding.symbol else f"{finding.address:#x}"
    change = f" ({finding.expected[:8].hex(' ')} -> {finding.found[:8].hex(' ')})" if finding.found else ""
    source = f", {finding.source}" if finding.source else ""
    return f"{place}: {finding.text}{change}{source}"
