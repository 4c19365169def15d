"""The outcome of one cell's pytest run, by its JUnit XML and exit status."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from kmod_harness.klog.outcome import Outcome, worst

#: The testcase properties that the pytest plugin writes: the outcome, and of a failed test its node id.
OUTCOME_PROPERTY, NODE_PROPERTY = "kh_outcome", "kh_node"

#: Exit statuses of pytest (pytest.ExitCode; documentation, "Exit codes") after a complete run. 2 is an
#: interruption or an error while collecting; a negative status is the signal that ended pytest.
_EXIT_MEANS = {0: Outcome.PASSED, 1: Outcome.FAILED, 5: Outcome.NOTHING_TESTED}
_OUTCOME_VALUES = frozenset(outcome.value for outcome in Outcome)


@dataclass(frozen=True)
class CaseOutcome:
    """One test of a JUnit report.

    name: node id, as pytest takes it; where the report has none, its class and name
    outcome: None for a skipped test
    reason: first line of the failure, "" for a test that passed
    is_node: whether the name is a node id
    """

    name: str
    outcome: Outcome | None
    reason: str = ""
    is_node: bool = False


@dataclass(frozen=True)
class CellVerdict:
    """The verdict of a cell.

    outcome: outcome of the cell
    cases: its tests
    trouble: why there is no complete report, "" where there is one
    """

    outcome: Outcome
    cases: tuple[CaseOutcome, ...] = ()
    trouble: str = ""

    @property
    def passed(self) -> int:
        return sum(case.outcome is Outcome.PASSED for case in self.cases)

    @property
    def skipped(self) -> int:
        return sum(case.outcome is None for case in self.cases)

    @property
    def not_passed(self) -> tuple[CaseOutcome, ...]:
        return tuple(case for case in self.cases if case.outcome not in (Outcome.PASSED, None))


def judge_cell(report: Path, exit_status: int) -> CellVerdict:
    """Returns the verdict of a finished pytest process, by its JUnit XML at `report` and its exit status."""
    try:
        cases = read_cases(report.read_bytes())
    except (OSError, ElementTree.ParseError) as error:
        said = f"pytest ended with status {exit_status} and no readable report: {error}"
        return CellVerdict(Outcome.SETUP_ERROR, trouble=said)
    seen = [case.outcome for case in cases if case.outcome is not None]
    if exit_status not in _EXIT_MEANS:
        said = f"pytest ended with status {exit_status}"
        return CellVerdict(worst((Outcome.SETUP_ERROR, *seen)), cases, said)
    means = Outcome.NOTHING_TESTED if not seen and exit_status == 0 else _EXIT_MEANS[exit_status]
    return CellVerdict(worst((means, *seen)), cases)


def read_cases(xml: bytes) -> tuple[CaseOutcome, ...]:
    """Returns the tests of a JUnit report. Raises ElementTree.ParseError for other text.

    A test has one outcome, the worst: pytest writes a second testcase element for a test that fails both in
    its call and in its teardown.
    """
    found: dict[str, list[ElementTree.Element]] = {}
    for element in ElementTree.fromstring(xml).iter("testcase"):
        name = f"{element.get('classname', '')}::{element.get('name', '')}"
        found.setdefault(name, []).append(element)
    return tuple(_case(name, elements) for name, elements in found.items())


def _case(name: str, elements: list[ElementTree.Element]) -> CaseOutcome:
    outcome = _combined([_outcome(element) for element in elements])
    node = next((_property(element, NODE_PROPERTY) for element in elements), "")
    reason = next(filter(None, map(_reason, elements)), "")
    return CaseOutcome(node or name, outcome, reason, bool(node))


def _reason(element: ElementTree.Element) -> str:
    failure = element.find("failure") if element.find("failure") is not None else element.find("error")
    lines = "" if failure is None else failure.get("message", "").strip()
    return lines.partition("\n")[0]


def _property(element: ElementTree.Element, name: str) -> str:
    values = (
        one.get("value", "") for one in element.iterfind("properties/property") if one.get("name") == name
    )
    return next(values, "")


def _combined(outcomes: list[Outcome | None]) -> Outcome | None:
    real = [outcome for outcome in outcomes if outcome is not None]
    return worst(real) if real else None


def _outcome(element: ElementTree.Element) -> Outcome | None:
    plain = _plain_outcome(element)
    if plain in (None, Outcome.PASSED):
        # an expected splat, or an expected failure, is no outcome of the cell
        return plain
    told = [outcome for outcome in _told(element) if outcome is not Outcome.PASSED]
    return worst(told) if told else plain


def _plain_outcome(element: ElementTree.Element) -> Outcome | None:
    if element.find("failure") is not None:
        return Outcome.FAILED
    if element.find("error") is not None:
        return Outcome.SETUP_ERROR
    return None if element.find("skipped") is not None else Outcome.PASSED


def _told(element: ElementTree.Element) -> Iterator[Outcome]:
    for item in element.iterfind("properties/property"):
        value = item.get("value", "")
        if item.get("name") == OUTCOME_PROPERTY and value in _OUTCOME_VALUES:
            yield Outcome(value)
