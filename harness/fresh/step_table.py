"""The table of commands that were tried, and their results."""

from __future__ import annotations

from collections.abc import Sequence

from .trial import Step


def table(steps: Sequence[Step]) -> str:
    """Returns one line for each command: suite, user, command, result, seconds, tests."""
    rows = [("suite", "user", "command", "result", "seconds", "tests")]
    rows += [
        (step.suite, step.user, step.command, _result(step), f"{step.seconds:.0f}", step.tests)
        for step in steps
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def failures(steps: Sequence[Step]) -> str:
    """Returns a line for each command that failed, with its log."""
    return "\n".join(
        f"failed: {step.command} ({step.suite}, {step.user}): {step.log}" for step in steps if step.status
    )


def _result(step: Step) -> str:
    return "passed" if step.status == 0 else f"status {step.status}"
