"""What is loaded for the modules that were asked for, in which order and why."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmod_harness.errors import Misuse
from kmod_harness.kmod.elf.module import KernelModule
from kmod_harness.kmod.loading.depmod_files import Softdeps
from kmod_harness.kmod.loading.names import Alias
from kmod_harness.kmod.loading.plan import LoadPlan, plan_loading
from unit.kmod.loading.sample import OwnKernel, module


def planned(*given: KernelModule, kernel: OwnKernel | None = None, present: tuple[str, ...] = ()) -> LoadPlan:
    kernel = kernel or OwnKernel()
    return plan_loading(given, kernel.own, read=kernel.read, present=present)


def names(plan: LoadPlan) -> list[str]:
    return [load.module.name for load in plan.loads]


def reasons(plan: LoadPlan) -> dict[str, str]:
    return {load.module.name: load.reason for load in plan.loads}


VIDEO = OwnKernel(module("mc"), module("videodev", "mc"), module("v4l2-common", "videodev"))


def test_what_a_module_needs_comes_first_and_says_for_which() -> None:
    plan = planned(module("v4l2loopback", "videodev", where="mine"), kernel=VIDEO)
    assert reasons(plan) == {
        "mc": "needed by videodev",
        "videodev": "needed by v4l2loopback",
        "v4l2loopback": "",
    }
    assert names(plan) == ["mc", "videodev", "v4l2loopback"]
    assert [load.module.name for load in plan.besides] == ["mc", "videodev"]


def test_dashes_and_underscores_are_the_same() -> None:
    assert names(planned(module("a", "v4l2_common"), kernel=VIDEO))[-2:] == ["v4l2-common", "a"]


def test_a_given_file_wins_over_the_kernels_own() -> None:
    mine = module("mc", where="mine")
    plan = planned(module("videodev", "mc", where="mine"), mine, kernel=VIDEO)
    assert plan.modules[0] is mine and plan.besides == ()


def test_what_is_present_or_built_in_is_not_loaded_again() -> None:
    kernel = OwnKernel(module("virtio"), built_in=("crc16",))
    assert names(planned(module("a", "virtio", "crc16"), kernel=kernel, present=("virtio",))) == ["a"]


def test_what_is_nowhere_is_left_to_the_kernels_own_word() -> None:
    assert names(planned(module("a", "nonesuch"), kernel=VIDEO)) == ["a"]


def test_given_modules_keep_their_order_where_nothing_demands_another() -> None:
    assert names(planned(module("z"), module("b", "a_x"), module("a_x"))) == ["z", "a_x", "b"]


def test_symbols_tell_what_an_empty_depends_does_not() -> None:
    core = module("core", exports=("core_call",))
    assert names(planned(module("user", uses=("core_call",)), core)) == ["core", "user"]
    kernel = OwnKernel(module("libcrc32c", exports=("crc32c",)))
    plan = planned(module("user", uses=("crc32c",)), kernel=kernel)
    assert reasons(plan) == {"libcrc32c": "needed by user", "user": ""}


def test_softdeps_come_before_and_after_and_may_fail() -> None:
    kernel = OwnKernel(module("early"), module("late", "helper"), module("helper"))
    plan = planned(module("a", softdep="pre: early post: late"), kernel=kernel)
    assert reasons(plan) == {
        "early": "softdep pre of a", "a": "", "helper": "needed by late", "late": "softdep post of a"
    }  # fmt: skip
    assert names(plan) == ["early", "a", "helper", "late"]
    assert [load.is_required for load in plan.loads] == [False, True, False, False]


def test_a_softdep_by_an_alias_means_every_module_that_has_it() -> None:
    kernel = OwnKernel(
        module("crc32c_intel"), module("crc32c_generic"),
        aliases=(Alias("crc32c", "crc32c_intel"), Alias("crc32c", "crc32c_generic"), Alias("x", "built")),
    )  # fmt: skip
    plan = planned(module("libcrc32c", softdep="pre: crc32c nonesuch x"), kernel=kernel)
    assert names(plan) == ["crc32c_generic", "crc32c_intel", "libcrc32c"]


def test_what_is_wanted_by_one_and_needed_by_another_is_required() -> None:
    kernel = OwnKernel(module("early"))
    plan = planned(module("a", softdep="pre: early"), module("b", "early"), kernel=kernel)
    assert (plan.loads[0].reason, plan.loads[0].is_required) == ("needed by b", True)


def test_depmods_files_say_more_of_the_kernels_own_modules() -> None:
    kernel = OwnKernel(module("a"), module("b"), module("c"))
    own = replace(kernel.own, depends={"a": ("b",)}, softdeps={"a": Softdeps(post=("c",))})
    plan = plan_loading([kernel.read(own.files["a"])], own, read=kernel.read)
    assert names(plan) == ["b", "a", "c"]
    assert names(plan_loading([module("a", where="mine")], own, read=kernel.read)) == ["a"]


def test_a_circle_is_refused_by_name_but_not_one_with_a_softdep_in_it() -> None:
    with pytest.raises(Misuse, match="circle") as circle:
        planned(module("a", "b"), module("b", "a"), module("c"))
    assert "a depends on b" in str(circle.value) and "c depends" not in str(circle.value)
    assert names(planned(module("a", softdep="pre: b"), module("b", "a"))) == ["b", "a"]


def test_two_of_one_name_and_one_given_twice_are_told_apart() -> None:
    with pytest.raises(Misuse, match="two modules are named a_x") as twins:
        planned(module("a-x", where="one"), module("a_x", where="two"))
    assert "one/a-x.ko" in str(twins.value) and "two/a_x.ko" in str(twins.value)
    with pytest.raises(Misuse, match="a is given twice"):
        planned(module("a"), module("a"))


@given(st.permutations(range(8)), st.sets(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=20))
def test_any_graph_without_a_circle_is_ordered(order: list[int], edges: set[tuple[int, int]]) -> None:
    modules = [
        module(f"m{i}", *(f"m{low}" for low, high in edges if high == i and low < high)) for i in order
    ]
    given, others = modules[:4], OwnKernel(*modules[4:])
    seen: set[str] = set()
    for load in planned(*given, kernel=others).loads:
        assert set(load.module.depends) <= seen
        seen.add(load.module.name)
    assert {one.name for one in given} <= seen
