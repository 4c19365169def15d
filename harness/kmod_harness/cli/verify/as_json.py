"""The JSON object of a `verify`: addresses as hex strings, sizes in bytes, times in seconds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kmod_harness.errors import KmodHarnessError

if TYPE_CHECKING:
    from kmod_harness.cli.verify.record import VerifyRecord
    from kmod_harness.klog.outcome import Outcome
    from kmod_harness.verify.report import Finding, ModuleReport, Report, SectionReport

#: Changes when a key changes its meaning or goes; new keys may come.
VERSION = 1


def as_json(record: VerifyRecord, outcome: Outcome, *, differences: bool) -> dict[str, Any]:
    """Returns the whole run; `differences` adds each explained change of code."""
    report = record.report
    return {
        "version": VERSION,
        "outcome": outcome.value,
        "exit_status": int(outcome.exit_status),
        "seconds": round(record.seconds, 4),
        "kernel": _kernel(record),
        "modules": [_module(module, differences) for module in report.modules] if report else [],
        "loaded_too": [module.name for module in record.plan.known] if record.plan else [],
        "totals": _totals(report) if report else None,
        "not_verified": [_error(limit) for limit in report.all_limits] if report else [],
        "splats": [
            {"kind": splat.kind.value, "title": splat.title, "text": splat.text} for splat in record.splats
        ],
        "errors": [_error(error) for error in record.errors],
    }


def _kernel(record: VerifyRecord) -> dict[str, Any] | None:
    if record.prepared is None:
        return None
    report = record.report
    return {
        "name": record.prepared.kernel.name,
        "release": record.prepared.kernel.release,
        "slide": hex(report.slide) if report else None,
        "symbols": report.symbols if report else None,
        "accelerator": record.prepared.accelerator.name,
    }


def _module(module: ModuleReport, differences: bool) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": module.name,
        "path": str(module.file.path),
        "build_id": module.file.build_id,
        "address": hex(module.address),
        "explained": module.is_explained,
        "sections": [_section(section) for section in module.sections],
        "findings": [_finding(finding) for finding in module.findings],
        "not_verified": [_error(limit) for limit in module.limits],
        "seconds": round(module.seconds, 4),
    }
    if differences:
        from kmod_harness.verify.changes import code_changes  # lazy

        found["code_changes"] = [
            {
                "address": hex(change.address),
                "section": change.section,
                "symbol": change.symbol,
                "mechanism": change.mechanism.value,
                "bound_to": change.bound_to,
                "old": change.old.hex(),
                "new": change.new.hex(),
                "old_code": list(change.old_code),
                "new_code": list(change.new_code),
            }
            for change in code_changes(module)
        ]
    return found


def _section(section: SectionReport) -> dict[str, Any]:
    return {
        "name": section.name,
        "address": hex(section.address),
        "size": section.size,
        "region": section.region,
        "permissions": section.permissions,
        "physical_pages": [hex(page) for page in section.pages],
        "contiguous": section.is_contiguous,
        "relocations": section.relocations,
        "equal": section.equal,
        "explained": _by_name(section.explained),
        "unexplained": section.unexplained_bytes,
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "kind": finding.kind.value,
        "text": finding.text,
        "address": hex(finding.address),
        "section": finding.section,
        "symbol": finding.symbol,
        "source": finding.source,
        "expected": finding.expected.hex(),
        "found": finding.found.hex(),
        "expected_code": list(finding.expected_code),
        "found_code": list(finding.found_code),
    }


def _totals(report: Report) -> dict[str, Any]:
    from kmod_harness.verify.mechanism import NOT_DETERMINED  # lazy
    from kmod_harness.verify.report import totals  # lazy

    total = totals(report.modules)
    return {
        "modules": total.modules,
        "bytes": total.bytes,
        "relocations": total.relocations,
        "equal": total.equal,
        "explained": _by_name(total.explained),
        "places": _by_name(total.places),
        "not_reproduced": {
            mechanism.value: text
            for mechanism, text in NOT_DETERMINED.items()
            if mechanism in total.explained
        },
        "unexplained": total.unexplained,
        "unexplained_text": total.unexplained_text,
    }


def _by_name(counts: Mapping[Any, int]) -> dict[str, int]:
    return {mechanism.value: count for mechanism, count in counts.items()}


def _error(error: Exception) -> dict[str, str]:
    known = error if isinstance(error, KmodHarnessError) else None
    return {
        "type": type(error).__name__,
        "message": known.message if known else str(error),
        "evidence": known.evidence if known else "",
        "advice": known.advice if known else "",
    }
