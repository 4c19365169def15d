"""What the modules of a run left behind: looked for, told, and a failure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from kmod_harness.checks.unloading import check_nothing_left, what_is_left
from kmod_harness.report.columns import wrapped

if TYPE_CHECKING:
    from kmod_harness.cli.run.record import RunRecord
    from kmod_harness.cli.run.request import RunRequest
    from kmod_harness.guest.guest import Guest
    from kmod_harness.leftovers.watch import LeftoverWatch


def watch_leftovers(guest: Guest, request: RunRequest, record: RunRecord) -> LeftoverWatch | None:
    """Sets a watch over the guest's modules; None where that is not wanted, or there is none."""
    if not request.leftovers or record.prepared is None or not record.modules:
        return None
    from kmod_harness.leftovers.watch import LeftoverWatch  # lazy

    watch = guest._watch = LeftoverWatch(guest, record.prepared.kernel)
    return watch


def judge_leftovers(
    watch: LeftoverWatch | None,
    guest: Guest,
    record: RunRecord,
    names: Sequence[str],
    nodes: Sequence[str],
    say: Callable[[str], None],
) -> None:
    """Raises LeftBehind where a module left something, CheckFailed where there is no watch.

    names: modules that must be gone
    nodes: device nodes that must be gone
    """
    if watch is None:
        check_nothing_left(guest, names, nodes)
        return
    from kmod_harness.leftovers.findings import Finding  # lazy
    from kmod_harness.leftovers.watch import LeftBehind  # lazy

    found = watch.take_findings()
    of = ", ".join(names)
    found += [Finding(of, line, "", line.split()[0]) for line in what_is_left(guest, names, nodes)]
    record.leftovers = found
    for limit in watch.limits:
        say("\n".join(wrapped(f"note: {limit}", further="      ")))
    if found:
        raise LeftBehind(found)
