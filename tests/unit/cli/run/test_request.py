"""From arguments to a request: whose parameter it is, which kind of splat."""

from __future__ import annotations

from pathlib import Path

import pytest

from kmod_harness.cli.parameters import assign_parameters
from kmod_harness.cli.run.request import _load_error, _skip_statuses, read_expectation
from kmod_harness.errors import Misuse
from kmod_harness.klog.expected.expectation import Expectation
from kmod_harness.klog.kinds import SplatKind
from kmod_harness.kmod.elf.module import KernelModule


def _module(name: str) -> KernelModule:
    return KernelModule(
        path=Path(f"{name}.ko"),
        name=name,
        vermagic="6.1.0 SMP ",
        depends=(),
        parameters={},
        parameter_descriptions={},
        license="GPL",
        description="",
        aliases=(),
        modinfo=(),
        sections=(),
        symbols=(),
        undefined=(),
        exports={},
        versions={},
        has_debug_info=False,
        build_id="",
        data=b"",
    )


def test_a_parameter_goes_to_the_last_module_or_to_the_one_named() -> None:
    modules = [_module("core"), _module("my_driver")]
    assigned = assign_parameters(["rate=9", "core.slots=2", "my-driver.name=a=b.c"], modules)
    assert assigned == {"my_driver": {"rate": "9", "name": "a=b.c"}, "core": {"slots": "2"}}


def test_a_parameter_may_have_no_value_and_quotation_marks() -> None:
    assigned = assign_parameters(["quiet", 'core.title=a "b" c'], [_module("core")])
    assert assigned == {"core": {"quiet": None, "title": 'a "b" c'}}


@pytest.mark.parametrize("text", ["=9", "core.=9", "other.rate=9", "ra te=9", 'name=a "b c', "name=a\0b"])
def test_a_parameter_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(Misuse, match="--param"):
        assign_parameters([text], [_module("core")])


def test_a_parameter_without_a_module_is_refused() -> None:
    with pytest.raises(Misuse, match="no module is given"):
        assign_parameters(["rate=9"], [])


@pytest.mark.parametrize(
    ("text", "statuses"), [("4", {4}), ("4,77,32", {4, 77, 32}), ("77", {77}), ("", set())]
)
def test_the_statuses_of_a_skip_are_a_list(text: str, statuses: set[int]) -> None:
    assert _skip_statuses(text) == statuses


@pytest.mark.parametrize("text", ["0", "256", "-1", "4;5", "4,", "SKIP"])
def test_what_is_no_status_is_refused(text: str) -> None:
    with pytest.raises(Misuse, match="--skip-status"):
        _skip_statuses(text)


@pytest.mark.parametrize("text", ["ATOMIC_SLEEP", "atomic_sleep", "Atomic-Sleep"])
def test_kinds_are_found_in_any_case(text: str) -> None:
    assert read_expectation(text) == Expectation(SplatKind.ATOMIC_SLEEP)


def test_an_unknown_kind_is_answered_with_the_known_ones() -> None:
    with pytest.raises(Misuse) as error:
        read_expectation("segfault")
    assert "OOPS, BUG, WARNING" in error.value.evidence


@pytest.mark.parametrize(
    ("text", "number"), [("", None), ("ENODEV", 19), ("enodev", 19), ("19", 19), ("517", 517)]
)
def test_an_expected_load_error_is_a_name_or_a_number(text: str, number: int | None) -> None:
    assert _load_error(text) == number


@pytest.mark.parametrize("text", ["ENOSUCH", "0", "-19", "4096"])
def test_what_is_no_errno_is_refused(text: str) -> None:
    with pytest.raises(Misuse, match="--expect-load-error"):
        _load_error(text)
