"""Lines at level emerg, alert or crit: the kernel's own that say what is wrong are reports, no others."""

from __future__ import annotations

import pytest

from kmod_harness.klog.kinds import SplatKind
from kmod_harness.klog.records import parse_console
from kmod_harness.klog.splats import Splat, find_splats
from kmod_harness.klog.unnamed.printed_formats import FILE, URGENT, read_formats

AROUND = "<6>[    1.000000] demo: fine\n" * 15


def found(*lines: str, level: int = 2) -> tuple[Splat, ...]:
    said = "".join(f"<{level}>[    2.000000] {line}\n" for line in lines)
    log = parse_console(f"{AROUND}{said}{AROUND}")
    return find_splats(log, survived=len(log))


SWAP = "unrecognized swap entry 0x1234"


@pytest.mark.parametrize("level", [0, 1, 2])
def test_what_the_kernel_says_is_wrong_is_a_report(level: int) -> None:
    (splat,) = found(SWAP, level=level)
    assert (splat.kind, splat.title, splat.is_unnamed) == (
        SplatKind.OTHER,
        "unrecognized swap entry ADDR",
        True,
    )
    assert splat.text.endswith(SWAP)


@pytest.mark.parametrize("level", [3, 4, 6])
def test_the_same_words_at_another_level_are_no_report(level: int) -> None:
    assert found(SWAP, level=level) == ()


@pytest.mark.parametrize("line", [f"<10>[    2.0] {SWAP}", SWAP, f"[    2.000000] {SWAP}"])
def test_a_programs_line_and_one_without_a_level_are_no_report(line: str) -> None:
    assert find_splats(parse_console(f"{AROUND}{line}\n{AROUND}")) == ()


@pytest.mark.parametrize(
    "prose",
    [
        "demo: ring index went backwards",
        "demo: unrecognized swap entry 0x1234",
        f"{SWAP} is what the kernel would say",
        "temperature above threshold, shutting down",
        "abc",
        "",
    ],
)
def test_what_a_driver_says_at_that_level_is_its_authors_choice(prose: str) -> None:
    assert found(prose) == ()


@pytest.mark.parametrize(
    "row",
    [row for row in read_formats(FILE.read_text()) if row.verdict.startswith(("quiet", "part"))],
    ids=lambda row: f"{row.path}-{row.text[:30]}",
)
def test_what_is_known_to_be_quiet_is_no_report(row: object) -> None:
    line, level = row.line, row.level  # type: ignore[attr-defined]
    assert found(line, level=URGENT if level is None else level) == ()


def test_a_line_within_a_report_is_no_second_one() -> None:
    (splat,) = found(
        "BUG: sleeping function called from invalid context at x.c:3",
        "CPU: 0 PID: 41 Comm: sh Tainted: G           O       6.1.192 #1",
        SWAP,
        "Call Trace:",
        " dump_stack_lvl+0x33/0x46",
    )
    assert splat.kind is SplatKind.ATOMIC_SLEEP
