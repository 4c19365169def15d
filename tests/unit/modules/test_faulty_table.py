"""modules/faulty/faults.txt holds every fault of the module, and its README shows what the table says."""

from __future__ import annotations

import pytest

from debug.faults import FAULTS, NO_SPLAT, Fault, Report, parse_faults
from kmod_harness.klog.kinds import SplatKind
from kmod_harness.klog.outcome import Outcome
from kmod_harness.releases.release import in_words
from shared.checkout import ROOT

MODULE = ROOT / "modules/faulty"
README = MODULE / "README.md"
BEGIN = "<!-- from faults.txt, by `pytest tests/unit/modules --update` -->\n"
END = "<!-- end -->\n"


def test_every_fault_of_the_module_is_in_the_table() -> None:
    named = {
        line.split('"')[1]
        for source in MODULE.glob("*.c")
        for line in source.read_text().splitlines()
        if line.startswith('\t{ "')
    }
    assert named == {fault.name for fault in FAULTS} | set(NO_SPLAT)


def test_the_readme_shows_the_table(pytestconfig: pytest.Config) -> None:
    before, _, rest = README.read_text().partition(BEGIN)
    shown, _, after = rest.partition(END)
    table = markdown(FAULTS)
    if pytestconfig.getoption("update"):
        README.write_text(f"{before}{BEGIN}{table}{END}{after}")
        shown = table
    assert shown == table, "the table is right? pytest tests/unit/modules --update"


def test_a_row_gives_a_fault_with_the_report_due_for_it() -> None:
    (fault,) = parse_faults(
        "hang  write  SOFT_LOCKUP/RCU_STALL  -  SMP+WATCHDOG  timeout=10 append=quiet@6.3\n"
    )

    assert (fault.name, fault.when, fault.timeout) == ("hang", "write", 10)
    assert (fault.append, fault.append_since) == ("quiet", (6, 3))
    assert fault.reports == (
        Report(SplatKind.SOFT_LOCKUP, ("SMP", "WATCHDOG"), others=(SplatKind.RCU_STALL,)),
    )


def test_a_word_of_the_command_line_is_needed_from_its_release_on() -> None:
    (fault,) = parse_faults("bad_page  write  BAD_PAGE  -  -  append=init_on_free=1@6.3\n")

    assert [fault.command_line(release) for release in ((6, 1), (6, 2), (6, 3), (6, 12))] == [
        (),
        (),
        ("init_on_free=1",),
        ("init_on_free=1",),
    ]


def test_a_release_before_the_first_that_sees_a_fault_owes_no_report() -> None:
    (fault,) = parse_faults("percpu_leak  write  KMEMLEAK  -  -  since=6.12\n")

    assert fault.report({}, (6, 1)) is None
    assert fault.report({}, (6, 12)) == fault.report({}, (7, 2)) == Report(SplatKind.KMEMLEAK)


def test_the_first_row_whose_needs_the_kernel_has_is_due() -> None:
    (fault,) = parse_faults(
        "divide  write  UBSAN  -             UBSAN_DIV_ZERO\n"
        "divide  write  OOPS   faulty_divide -               outcome=panic\n"
    )

    checked, unchecked = fault.report({"UBSAN_DIV_ZERO": "y"}, (6, 1)), fault.report({}, (6, 1))

    assert checked == Report(SplatKind.UBSAN, ("UBSAN_DIV_ZERO",))
    assert unchecked == Report(SplatKind.OOPS, outcome=Outcome.PANIC, function="faulty_divide")


@pytest.mark.parametrize(
    "row", ["oops write NOSUCH", "oops write OOPS - - outcome=nosuch", "oops write OOPS - - cpu=2"]
)
def test_a_row_that_says_what_there_is_not_is_refused(row: str) -> None:
    with pytest.raises(ValueError, match=r"(?i)nosuch|cpu"):
        parse_faults(row)


def markdown(faults: tuple[Fault, ...]) -> str:
    """The faults and their reports; places where the same is due share a row."""
    places: dict[tuple[str, Report, str], list[str]] = {}
    for fault in faults:
        for report in fault.reports:
            places.setdefault((fault.name, report, _condition(fault)), []).append(f"`{fault.when}`")
    lines = ["| `fault=` | `when=` | report | guilty function | kernels with |", "|---|---|---|---|---|"]
    for (name, report, condition), whens in places.items():
        kinds = " or ".join(report.kinds) or "(none: it hangs)"
        function = f"`{report.function}`" if report.function else ""
        needs = ", ".join(report.needs) or "any"
        lines.append(f"| `{name}` | {', '.join(whens)} | {kinds} | {function} | {needs}{condition} |")
    return "\n{}\n\n".format("\n".join(lines))


def _condition(fault: Fault) -> str:
    seen = f"; from {in_words(fault.since)} on" if fault.since > (0, 0) else ""
    needed = f"; from {in_words(fault.append_since)} on `--append {fault.append}` too" if fault.append else ""
    return seen + needed
