"""Each file of cases/ is a kernel log and its reading; `--update` writes the readings anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from kmod_harness.klog.kinds import SplatKind
from unit.klog.recorded_case import CASES, read_case, reading_of, write_case

#: Kinds of which nobody has a log, each with the reason.
WITHOUT_A_LOG = {
    SplatKind.HARD_LOCKUP: "found by a performance counter's NMI, which QEMU without KVM has not",
}
FILES = sorted(CASES.glob("*.txt"))


def parameter(path: Path) -> object:
    elsewhere = read_case(path).elsewhere
    marks = [pytest.mark.needs("recorded logs")] if elsewhere else []
    return pytest.param(path, id=path.stem, marks=marks)


@pytest.mark.parametrize("path", [parameter(path) for path in FILES])
def test_a_log_is_read_as_its_case_says(path: Path, pytestconfig: pytest.Config) -> None:
    case = read_case(path)
    reading = reading_of(case.log)
    if pytestconfig.getoption("update"):
        write_case(case, reading)
        case = read_case(path)
    assert case.reading == reading, "right now? pytest tests/unit/klog --update writes it down"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_case_says_where_its_log_is_from(path: Path) -> None:
    assert read_case(path).origin, "a log that nobody recorded proves nothing"


def test_each_kind_of_report_has_a_case() -> None:
    shown = frozenset[str]().union(*(read_case(path).kinds for path in FILES))
    assert {kind.value for kind in SplatKind} - shown == {kind.value for kind in WITHOUT_A_LOG}


def test_an_update_changes_the_reading_and_leaves_the_log(tmp_path: Path) -> None:
    path = tmp_path / "case.txt"
    log = b"[    1.000000] BUG: \xff\r\n\n[    2.000000] log:\nlog:\n\n"
    path.write_bytes(b"from: here\nnote: odd\noutcome: wrong\n\nlog:\n" + log)

    write_case(read_case(path), "outcome: right")

    assert path.read_bytes() == b"from: here\nnote: odd\noutcome: right\n\nlog:\n" + log


def test_a_bare_log_becomes_a_case_that_asks_where_it_is_from(tmp_path: Path) -> None:
    path = tmp_path / "bare.txt"
    path.write_bytes(b"[    1.000000] all is well\n")

    write_case(read_case(path), reading_of(read_case(path).log))

    assert path.read_bytes() == b"from: \noutcome: passed\n\nlog:\n[    1.000000] all is well\n"
    assert (read_case(path).origin, read_case(path).log) == ("", b"[    1.000000] all is well\n")
