"""What the page says in words: numbers, sentences, the way of an open, the timeline, the account of bytes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmod_harness.cli.explain.command import summary
from kmod_harness.cli.explain.request import read_request
from kmod_harness.cli.parser import parse
from kmod_harness.errors import Misuse
from kmod_harness.explain.observed.observations import Frame, Step
from kmod_harness.explain.page.account import Account, summed
from kmod_harness.explain.page.journey import shown_frames, stack_use
from kmod_harness.explain.page.render import render
from kmod_harness.explain.page.timeline import MAX_STEPS, timeline
from kmod_harness.explain.page.wording import (
    address_markup,
    bounded,
    count_text,
    number_word,
    plural,
    prose_markup,
    size_text,
    time_text,
)
from kmod_harness.verify.mechanism import Mechanism
from kmod_harness.verify.report import Totals
from unit.explain.page import sample


@pytest.mark.parametrize(
    ("size", "text"),
    [(7, "7 B"), (1244, "1.2 KiB"), (20480, "20 KiB"), (1008 << 20, "1008 MiB"), (1 << 47, "128 TiB")],
)
def test_sizes_are_in_the_unit_a_person_would_take(size: int, text: str) -> None:
    assert size_text(size) == text


@pytest.mark.parametrize(
    ("microseconds", "text"), [(0.42, "0.4 µs"), (37.25, "37 µs"), (1830.0, "1.8 ms"), (2_400_000, "2.4 s")]
)
def test_times_have_few_digits(microseconds: float, text: str) -> None:
    assert time_text(microseconds) == text


def test_counts_read_well() -> None:
    assert count_text(1234567) == "1\N{NARROW NO-BREAK SPACE}234\N{NARROW NO-BREAK SPACE}567"
    assert (plural(1, "page"), plural(0, "page"), plural(2, "class", "classes")) == (
        "1 page",
        "0 pages",
        "2 classes",
    )
    assert (number_word(12), number_word(20), number_word(21)) == ("twelve", "twenty", "21")


def test_the_half_of_an_address_that_all_share_is_set_back() -> None:
    assert address_markup(sample.BASE) == '<span class="a"><i>0xffffffff</i>c00b7000</span>'


def test_addresses_paths_and_names_in_a_sentence_are_set_as_code() -> None:
    said = prose_markup("chrdev_open() at 0xffffffff82343f21 <b> is in /proc/kallsyms.")
    assert said == (
        "<code>chrdev_open()</code> at <code>0xffffffff82343f21</code> &lt;b&gt; is in"
        " <code>/proc/kallsyms</code>."
    )


@given(st.text())
def test_setting_code_changes_no_word(text: str) -> None:
    assert prose_markup(text).replace("<code>", "").replace("</code>", "").unescape() == text


def test_a_text_without_end_is_cut_and_says_so() -> None:
    assert bounded("short") == "short"
    cut = bounded("x" * 50_000)
    assert len(cut) < 13_000
    assert cut.endswith("more characters are not shown")


def test_the_way_goes_outside_in_and_crosses_into_the_kernel_once() -> None:
    way = shown_frames(sample.stop(), "chardev")
    assert [shown.ring for shown in way] == ["user", *["kernel"] * 10, "module"]
    assert [number for number, shown in enumerate(way) if shown.crossing] == [1]
    assert "table of system calls" in way[2].meaning
    assert way[-1].file == "chardev/fops.c"
    assert way[-2].file == "fs/char_dev.c"


def test_a_function_that_the_page_does_not_know_has_no_meaning_made_up() -> None:
    stop = replace(sample.stop(), frames=(Frame("somebody_elses_open", 1, "", 0, "vmlinux"),))
    assert shown_frames(stop, "chardev")[0].meaning == ""


def test_the_stack_is_used_from_its_end_downwards() -> None:
    use = stack_use(sample.stop())
    assert (use.size, use.used, use.inside) == (16384, 640, True)
    assert use.used_percent == pytest.approx(100 * 640 / 16384)
    elsewhere = replace(sample.stop(), rsp=0x7FFD0000)
    assert not stack_use(elsewhere).inside


def test_the_timelines_bars_are_to_scale() -> None:
    drawn = timeline(sample.steps(), "chardev_init")
    assert drawn.total == 2210
    load = next(row for row in drawn.rows if row.step.function == "load_module")
    assert (load.left, load.width) == (pytest.approx(100 * 640 / 2210), pytest.approx(100 * 1560 / 2210))
    assert drawn.init is not None and drawn.init.step.function == "do_one_initcall"


def test_of_very_many_steps_the_outer_and_long_ones_are_drawn() -> None:
    steps = (
        Step(0, 1000, 0, "outer", "", ""),
        *(Step(n, n / 100, 1, f"f{n}", "", "") for n in range(500)),
    )
    drawn = timeline(steps, "")
    assert len(drawn.rows) == MAX_STEPS
    assert drawn.left_out == 501 - MAX_STEPS
    assert drawn.rows[0].step.function == "outer"
    assert drawn.rows[-1].step.function == "f499"


def test_without_a_trace_there_is_no_timeline() -> None:
    assert timeline((), "chardev_init").rows == ()


def test_the_account_counts_bytes_by_what_changed_them() -> None:
    explained = {Mechanism.FENTRY: 5, Mechanism.RETURN_SITE: 15}
    sums = Totals(
        modules=1,
        bytes=100,
        relocations=3,
        equal=80,
        explained=explained,
        places={},
        unexplained=0,
        unexplained_text=0,
    )
    account = summed(sums, (), ("no configuration of this kernel is known",))
    assert (account.compared, account.equal, account.findings) == (100, 80, ())
    assert [count for _, count in account.mechanisms] == [15, 5]
    assert account.mechanisms[0][0].startswith("returns")
    assert account.limits == ("no configuration of this kernel is known",)


def test_the_summary_is_one_paragraph_with_the_verdicts() -> None:
    said = summary(sample.observations(), sample.judged(), sample.ACCOUNT)
    assert "4 claims about how chardev gets into Linux 6.1.192-kmod-harness" in said
    assert "1 true, 1 imprecise, 1 outdated, 1 false" in said
    assert "9184 bytes" in said and "each for a known reason" in said
    assert "\n" not in said
    unclear = Account(9184, 9021, (), findings=("a byte",))
    assert "not all of them explained" in summary(sample.observations(), sample.judged(), unclear)


def test_what_could_not_be_compared_is_told_and_not_called_explained() -> None:
    limited = Account(9184, 9021, (), limits=("call depth tracking is not replayed",), not_compared=40)
    said = summary(sample.observations(), sample.judged(), limited)
    assert "each for a known reason but 40 that could not be judged" in said
    page = render(sample.observations(), sample.judged(), sample.provenance(), limited)
    assert "40 could not be judged" in page and "call depth tracking is not replayed" in page
    assert "None is left unexplained" not in page


def test_places_that_were_not_replayed_are_no_reason() -> None:
    explained = {Mechanism.FENTRY: 5, Mechanism.NOT_REPLAYED: 15, Mechanism.HIDDEN_SYMBOL: 4}
    sums = Totals(1, 100, 3, 76, explained, {}, 0, 0)
    account = summed(sums, (), ("a limit",))
    assert [count for _, count in account.mechanisms] == [5]
    assert account.not_compared == 19


def test_kvm_is_refused_before_anything_is_built() -> None:
    with pytest.raises(Misuse, match="software emulation"):
        read_request(parse(["explain", "--accel", "kvm"]))
