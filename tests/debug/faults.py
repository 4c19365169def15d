"""The faults of modules/faulty, and the report that a kernel owes us for each: modules/faulty/faults.txt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kmod_harness.klog.kinds import HANG_KINDS, SplatKind
from kmod_harness.klog.outcome import Outcome
from kmod_harness.releases.release import release_pair
from shared.checkout import ROOT

TABLE = ROOT / "modules/faulty/faults.txt"
_COLUMNS = 5
_OPTIONS = frozenset(("outcome", "cpus", "timeout", "late", "settle", "impatient", "append", "since"))


@dataclass(frozen=True)
class Report:
    """What a kernel with these Kconfig symbols reports first.

    kind: None where the kernel can say nothing: it hangs.
    others: what may come first in its place, where several detectors race.
    function: the guilty one, "" where it is not the same everywhere.
    """

    kind: SplatKind | None
    needs: tuple[str, ...] = ()
    outcome: Outcome | None = None
    others: tuple[SplatKind, ...] = ()
    function: str = ""

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(kind.value for kind in (self.kind, *self.others) if kind)

    @property
    def verdict(self) -> Outcome:
        if self.outcome is not None:
            return self.outcome
        if self.kind is SplatKind.PANIC:
            return Outcome.PANIC
        return Outcome.HANG if self.kind is None or self.kind in HANG_KINDS else Outcome.SPLAT


@dataclass(frozen=True)
class Fault:
    """A fault and where it is provoked.

    reports: the first one whose symbols the kernel has is due; a kernel that has none of them does not see
    the fault.
    timeout: seconds the command may take.
    late, settle: seconds a report may come after the command, after the unload.
    append: what its command line needs from the release `append_since` on.
    since: the first release that can see it.
    """

    name: str
    reports: tuple[Report, ...]
    when: str = "write"
    timeout: float = 60.0
    late: float = 0.2
    settle: float = 0.0
    impatient: bool = False
    cpus: int = 1
    append: str = ""
    append_since: tuple[int, int] = (0, 0)
    since: tuple[int, int] = (0, 0)

    @property
    def id(self) -> str:
        return f"{self.name}-{self.when}" + (f"-{self.cpus}cpus" if self.cpus > 1 else "")

    def command_line(self, release: tuple[int, int]) -> tuple[str, ...]:
        """The words that a kernel of a release, such as (6, 12), needs on its command line to tell it."""
        return (self.append,) if self.append and release >= self.append_since else ()

    def report(self, config: Mapping[str, str], release: tuple[int, int]) -> Report | None:
        """The report due on a kernel of this configuration and release, None if it does not see the fault."""
        if release < self.since:
            return None
        return next(
            (r for r in self.reports if all(config.get(symbol) == "y" for symbol in r.needs)),
            None,
        )


def parse_faults(table: str) -> tuple[Fault, ...]:
    """Return the table's faults in its order; one that is no misbehaviour of the kernel's has when "-".

    Raises ValueError for a kind, an outcome or an option that there is not.
    """
    rows: dict[tuple[str, str], list[list[str]]] = {}
    for line in table.splitlines():
        words = line.partition("#")[0].split()
        if words:
            words += ["-"] * (_COLUMNS - len(words))
            rows.setdefault((words[0], words[1]), []).append(words)
    return tuple(_fault(found) for found in rows.values())


def _fault(rows: list[list[str]]) -> Fault:
    name, when = rows[0][:2]
    options = dict(word.partition("=")[::2] for row in rows for word in row[_COLUMNS:])
    if unknown := options.keys() - _OPTIONS:
        raise ValueError(f"{TABLE}: {name} has no option {', '.join(sorted(unknown))}")
    append, _, append_since = options.get("append", "").partition("@")
    return Fault(
        name,
        tuple(_report(row) for row in rows),
        when,
        timeout=float(options.get("timeout", Fault.timeout)),
        late=float(options.get("late", Fault.late)),
        settle=float(options.get("settle", Fault.settle)),
        impatient="impatient" in options,
        cpus=int(options.get("cpus", Fault.cpus)),
        append=append,
        append_since=release_pair(append_since or "0.0"),
        since=release_pair(options.get("since", "0.0")),
    )


def _report(row: list[str]) -> Report:
    _, _, kinds, function, needs, *options = row
    kind, *others = kinds.split("/")
    outcome = next((word.removeprefix("outcome=") for word in options if word.startswith("outcome=")), "")
    return Report(
        None if kind == "-" else SplatKind(kind),
        () if needs == "-" else tuple(needs.split("+")),
        Outcome(outcome) if outcome else None,
        tuple(map(SplatKind, others)),
        "" if function == "-" else function,
    )


_ALL = parse_faults(TABLE.read_text())
FAULTS = tuple(fault for fault in _ALL if fault.when != "-")
#: Faults that are no misbehaviour of the kernel's: the load fails, or something is left behind.
NO_SPLAT = tuple(fault.name for fault in _ALL if fault.when == "-")
