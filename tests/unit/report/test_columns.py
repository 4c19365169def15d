"""Text in 80 columns: prose is wrapped, what is to be copied stays whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmod_harness.errors import Misuse
from kmod_harness.report.columns import duration, error_lines, plural, table, wrapped

PROSE = "the kernel took the module and then reported a fault of its own in it, twice, on one CPU"
LONG_PATH = "/home/somebody/" + "directory/" * 8 + "module.ko"


def test_prose_is_wrapped_with_its_indentation() -> None:
    told = wrapped(PROSE, indent="  ", further="      ", width=40)
    assert [line[:6].count(" ") for line in told] == [3, *[6] * (len(told) - 1)]
    assert all(len(line) <= 40 for line in told)
    assert " ".join(" ".join(told).split()) == PROSE


def test_each_line_of_a_text_stays_a_line() -> None:
    assert wrapped("one\n\ntwo") == ["one", "", "two"]


@pytest.mark.parametrize(
    "whole",
    [
        LONG_PATH,
        "make -C $(kmod-harness kernel dir minimal) M=$PWD modules",
        "`kmod-harness rootfs buildroot --buildroot /somewhere/else/altogether`",
        "kmod-harness kernel build minimal",
    ],
)
def test_a_path_and_a_command_stay_whole(whole: str) -> None:
    for before in range(0, 60, 7):
        told = wrapped(f"{'x' * before}: {whole}; and so on with more words than fit")
        assert any(whole in line for line in told), told


def test_a_narrow_column_breaks_even_a_command() -> None:
    command = "`kmod-harness kernel build minimal`"
    assert wrapped(command, width=20) == [command]
    assert len(wrapped(command, width=20, breaks_commands=True)) == 2


@given(st.text(alphabet="abc :;`()$\n-", max_size=300))
def test_no_word_is_lost_or_changed(text: str) -> None:
    assert " ".join(wrapped(text)).split() == text.split()


def test_an_error_is_its_message_its_evidence_and_its_advice() -> None:
    evidence = f"[    1.000000] {PROSE}\nvermagic: {PROSE}"
    error = Misuse(PROSE, evidence=evidence, advice="build it again: make modules\n-> or not")
    told = error_lines(error, begin="kmod-harness: ")
    assert told[0].startswith("kmod-harness: the kernel took")
    assert f"  [    1.000000] {PROSE}" in told, "the kernel's lines are quoted"
    assert told[-2:] == ["-> build it again: make modules", "-> or not"]
    assert all(len(line) <= 80 for line in told if "1.000000" not in line)


def test_what_the_reader_is_told_elsewhere_is_left_out() -> None:
    assert error_lines(Misuse("one\ntwo", advice="three"), but="one") == ["two", "-> three"]
    assert error_lines(Misuse("one"), but="one") == []
    assert error_lines(Misuse("one"), but="another") == ["one"]


def test_an_exception_of_another_kind_has_its_name() -> None:
    assert error_lines(ValueError("no")) == ["ValueError: no"]


def test_the_last_column_of_a_table_wraps_in_its_place() -> None:
    told = list(table([("by", "bytes", "what"), ("a mechanism", "7", PROSE)], (1,), indent="  "))
    assert told[0] == "  by           bytes  what"
    assert told[1].startswith("  a mechanism      7  the kernel")
    assert told[2].startswith(" " * 22) and told[2][22] != " "
    assert all(len(line) <= 80 for line in told)


def test_counts_and_times_are_as_a_person_says_them() -> None:
    assert [plural(count, "boot") for count in (0, 1, 2)] == ["0 boots", "1 boot", "2 boots"]
    assert [duration(one) for one in (0.0, 0.0004, 0.02, 0.5, 5.304, 9.99, 71.6)] == [
        *("under 1 ms", "under 1 ms", "20 ms", "0.5 s", "5.3 s", "10.0 s", "72 s")
    ]
