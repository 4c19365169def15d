"""What tests need: skipped by hand, failed under make, told at the end, and never silent."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from needs.catalogue import NEEDS, ROOT
from needs.need import LIST, Debian
from needs.programs import Undeclared, undeclared
from needs.table import WIDTH, table

#: Where pytest is left to one machine's mercy: what a test says there is checked by itself.
FREE_TO_SKIP = {
    "needs/hooks.py": "the one door",
    "debug/test_faults.py": "a fault that no detector of this kernel can see: its table says which",
    "guest/explain/test_explain.py": "a page that says itself why it shows no stacks",
    "guest/explain/test_sources.py": "a kernel whose source is not here, or of another release",
    "readme/test_stranger.py": "a kernel that nothing but `make test-debug` builds",
    "plugin/outcomes_suite.py": "the text of a suite that skips on purpose",
}
SUITE = """
import pytest

@pytest.mark.needs("gdb")
def test_one(): pass

@pytest.mark.needs("root", "gdb")
def test_two(): pass

@pytest.mark.parametrize("again", range(3))
@pytest.mark.needs("a Buildroot tree")
def test_three(again): pass

def test_without(): pass
"""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.Pytester]:
    """A suite on a machine that has not one program; make has installed nothing."""
    pytester.makeconftest(
        f"import sys\nsys.path.insert(0, {str(ROOT / 'tests')!r})\npytest_plugins = ['needs.hooks']"
    )
    for name in ("KH_INSTALLED", "BUILDROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(pytester.path))
    return pytester


def ran(pytester: pytest.Pytester, suite: str = SUITE) -> pytest.RunResult:
    pytester.makepyfile(test_suite=suite)
    return pytester.runpytest_subprocess("-p", "no:cacheprovider")


def test_by_hand_a_test_without_its_need_is_skipped_for_that_reason(run: pytest.Pytester) -> None:
    done = ran(run)
    done.assert_outcomes(passed=1, skipped=5)
    *_, one, two, three, four, last = filter(None, done.stdout.lines)
    assert [one, two, three, four] == [
        "    3  needs a Buildroot tree (BUILDROOT=DIRECTORY)",
        "       test_suite.py::test_three[0]",
        "    2  needs gdb (Debian: gdb)",
        "       test_suite.py::test_one",
    ]
    assert "1 passed, 5 skipped" in last, "before pytest's own closing line"


def test_what_make_has_installed_and_is_not_there_fails_and_is_named_at_the_end(
    run: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KH_INSTALLED", "run fetch test")
    done = ran(run)
    done.assert_outcomes(passed=1, skipped=3, errors=2)
    named = f"gdb is missing: {LIST}, group test, should bring gdb"
    assert done.stdout.lines[-2] == named
    assert done.stdout.lines.count(f"E   {named}") + done.stdout.lines.count(named) == 3


def test_a_group_that_make_has_not_installed_promises_nothing(
    run: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KH_INSTALLED", "run fetch")
    ran(run).assert_outcomes(passed=1, skipped=5)


def test_under_make_it_is_said_that_nothing_was_skipped(
    run: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KH_INSTALLED", "run fetch test")
    ran(run, "def test_without(): pass\n").stdout.fnmatch_lines(["*nothing was skipped*", "*1 passed*"])


def test_a_need_that_nobody_knows_is_a_usage_error(run: pytest.Pytester) -> None:
    done = ran(run, "import pytest\n@pytest.mark.needs('gbd')\ndef test_one(): pass\n")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines(["*test_suite.py::test_one: tests/needs/catalogue.py has no need gbd"])


def test_a_program_that_is_started_without_a_word_is_an_error_of_the_test() -> None:
    with pytest.raises(Undeclared, match=r"perl is started, so the test needs @pytest.mark.needs\('perl'\)"):
        subprocess.run(["perl", "-e", "1"], check=False)
    subprocess.run([sys.executable, "-c", ""], check=True)


def test_what_is_not_the_machines_or_is_declared_may_be_started(tmp_path: Path) -> None:
    (tmp_path / "perl").write_text("#!/bin/sh\n")
    (tmp_path / "perl").chmod(0o755)
    assert undeclared("perl", str(tmp_path), frozenset()) == ""
    assert undeclared(str(tmp_path / "perl"), None, frozenset()) == ""
    assert undeclared("no-such-program", None, frozenset()) == ""
    assert undeclared("perl", None, frozenset({"perl"})) == ""
    assert undeclared("/usr/bin/perl", None, frozenset()) == "perl"


def test_the_table_has_two_lines_of_80_columns_for_each_reason() -> None:
    long = "needs something with a name that is longer than a line has columns, and that goes on"
    skipped = [(long, f"tests/unit/test_a.py::test_{'x' * 80}")] + [
        ("needs b\n (c)", f"t.py::{n}") for n in range(12)
    ]
    lines = table(skipped)
    assert lines[:2] == ["   12  needs b (c)", "       t.py::0"]
    assert lines[2].startswith("    1  needs something with a name that is longer than a line has columns")
    assert lines[3].startswith("       tests/unit/test_a.py::test_xxx")
    assert all(len(line) <= WIDTH for line in lines)
    assert table([]) == []


@pytest.mark.parametrize(
    "need", [need for need in NEEDS.values() if isinstance(need.source, Debian)], ids=lambda n: n.name
)
def test_what_a_need_says_of_debians_packages_is_what_the_list_says(need) -> None:
    rows = [line.split()[:2] for line in (ROOT / LIST).read_text().splitlines()]
    for group in need.source.groups:
        assert [group, need.source.package] in rows, f"{LIST} lacks {need.source.package} in group {group}"


def test_nothing_is_skipped_but_through_a_need_or_for_a_reason_of_its_own() -> None:
    ways = re.compile(r"pytest\.skip\(|importorskip|mark\.skip\b|mark\.skipif|unittest\.skip")
    tests = ROOT / "tests"
    found = {str(path.relative_to(tests)) for path in tests.rglob("*.py") if ways.search(path.read_text())}
    assert found - {"unit/front_door/test_needs.py"} == set(FREE_TO_SKIP)
