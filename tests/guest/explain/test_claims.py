"""The claims about loading, tried on this run's kernel with the sample module."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kmod_harness.explain.claims.catalogue import CLAIMS, judge_claims
from kmod_harness.explain.claims.claim import JudgedClaim
from kmod_harness.explain.observe.experiment import read_subject
from kmod_harness.explain.observed.code_history import Moment
from kmod_harness.explain.observed.observations import SYMBOL_TABLE, Observations
from kmod_harness.explain.page.followed_function import followed_function
from kmod_harness.pytest_plugin.testbed import Testbed
from kmod_harness.releases import facts
from kmod_harness.releases.release import release_pair
from shared.claim_observations import VERDICTS, expected_verdict, observed

pytestmark = pytest.mark.needs("gdb")


@pytest.fixture(scope="module")
def seen(
    machine: Testbed, chardev_ko: Path, chardev_stats_ko: Path, tmp_path_factory: pytest.TempPathFactory
) -> Observations:
    one = read_subject(chardev_ko, dependent=chardev_stats_ko)
    return observed(machine.prepared, one, tmp_path_factory.mktemp("claims"))


@pytest.fixture(scope="module")
def judged(seen: Observations) -> dict[str, JudgedClaim]:
    return {claim.key: claim for claim in judge_claims(seen)}


@pytest.mark.parametrize("key", VERDICTS)
def test_the_claim_has_its_verdict(seen: Observations, judged: dict[str, JudgedClaim], key: str) -> None:
    assert judged[key].verdict.value == expected_verdict(key, seen), judged[key]


def test_no_claim_is_left_out_and_each_has_evidence_of_both_sides(judged: dict[str, JudgedClaim]) -> None:
    assert set(VERDICTS) == {claim.key for claim in CLAIMS}
    for claim in judged.values():
        assert claim.inside.detail and claim.outside.detail, claim.key


def test_init_is_stopped_at_its_predicted_address(seen: Observations) -> None:
    stop = seen.loading.init_stop
    assert stop is not None and stop.rip == seen.loading.init_address
    assert (stop.function, stop.cpl) == ("chardev_init", 0)
    functions = [frame.function for frame in stop.frames]
    assert functions.index("do_one_initcall") < functions.index("do_syscall_64")
    assert seen.loading.init_mapped_during > 0
    # a cache of large pages stays mapped, with the place of init's code in it
    if not facts.TEXT_CACHE.holds(release_pair(seen.machine.release)):
        assert seen.loading.init_mapped_after == 0


def test_the_way_of_an_open_is_one_chain_on_the_tasks_kernel_stack(seen: Observations) -> None:
    stop = seen.opening.stop
    assert stop is not None and stop.rsp in stop.task_stack
    assert stop.user_stack_pointer in seen.space.user
    functions = [frame.function for frame in stop.frames]
    assert functions[:2] == ["chardev_open", "chrdev_open"]
    assert functions[-2].startswith("entry_SYSCALL_64")
    if seen.machine.has_vmlinux:
        assert [(frame.file, frame.line > 0) for frame in stop.frames if frame.function == "chrdev_open"] == [
            ("fs/char_dev.c", True)
        ]
        assert stop.task_pid != seen.loading.caller_pid


def test_what_ran_is_named_and_nothing_ran_unasked(seen: Observations) -> None:
    ran = {block.symbol.split("+")[0] for block in seen.loading.executed.blocks}
    assert ran == {"chardev_init"}
    assert seen.opening.quiet.blocks == () and seen.opening.traced_quiet == ()
    assert seen.opening.traced_open == ("chardev_open", "chardev_release")
    assert {block.symbol.split("+")[0] for block in seen.unloading.executed.blocks} >= {"chardev_exit"}


def test_the_timeline_leads_from_finit_module_to_init(seen: Observations) -> None:
    steps = [step.function for step in seen.loading.timeline]
    assert steps[0] == "__x64_sys_finit_module"
    order = ("kernel_read_file", "load_module", "resolve_symbol", "apply_relocate_add", "do_one_initcall")
    assert [step for step in steps if step in order] == list(order)
    whole = seen.loading.timeline[0]
    assert all(step.at + step.took <= whole.took + 1 for step in seen.loading.timeline)


def test_every_page_is_either_writable_or_executable(seen: Observations) -> None:
    assert {page.permissions for page in seen.pages} == {"r-x", "r--", "rw-"}
    assert all("w" not in page.alias_permissions for page in seen.pages if "x" in page.permissions)
    assert seen.linking.compared > 100 and seen.linking.differing == ()


def test_the_code_was_read_before_between_and_after_link_and_lock(seen: Observations) -> None:
    by_moment = {one.moment: one for one in seen.code.moments}
    assert list(by_moment) == list(Moment)
    section = seen.module.section(".text")
    assert section is not None
    assert by_moment[Moment.COPIED].code == seen.module.content(section)
    assert by_moment[Moment.LINKED].code != by_moment[Moment.COPIED].code
    assert by_moment[Moment.RUNNING].code == by_moment[Moment.SEALED].code
    permissions = [by_moment[moment].permissions for moment in Moment]
    assert permissions == ["rw-", "rw-", "r-x", "r-x"]


def test_every_relocation_was_right_at_the_moment_of_the_link(seen: Observations) -> None:
    # init's are among them, which is freed when the rest is compared
    assert seen.code.compared == len(seen.linking.relocations) > seen.linking.compared
    assert seen.code.differing == 0


def test_what_the_page_shows_of_the_linked_code_is_what_a_linker_makes_of_it(seen: Observations) -> None:
    without_debugger = replace(seen, code=replace(seen.code, moments=seen.code.moments[-1:]))
    measured, computed = followed_function(seen), followed_function(without_debugger)
    assert measured is not None and computed is not None
    assert measured.measured and not computed.measured
    assert measured.rows == computed.rows


def test_every_page_of_the_module_holds_something_with_a_name(seen: Observations) -> None:
    assert all(page.sections for page in seen.pages)
    table = next(section for section in seen.sections if section.name == SYMBOL_TABLE)
    on = [page.virtual for page in seen.pages if SYMBOL_TABLE in page.sections]
    assert on == list(range(table.address & -4096, table.address + table.size, 4096))
