"""Each claim's verdict on the usual kernel, and another one under another condition: it can fail."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import replace

import pytest

from kmod_harness.explain.claims.catalogue import CLAIMS, judge_claims
from kmod_harness.explain.claims.claim import Verdict
from kmod_harness.explain.observed.observations import Observations, PageTableView, Region
from unit.explain.sample_claims import (
    ADMISSION,
    BASE,
    IMAGE,
    LINKING,
    LOADING,
    OPENER,
    OPENING,
    PAGES,
    PRIVILEGE,
    SEEN,
    SHARING,
    SPACE,
    UNLOADING,
    USER_STACK,
    attempt,
    block,
    bound,
    ran,
    stop,
)

TRUE, IMPRECISE, OUTDATED, FALSE = Verdict.TRUE, Verdict.IMPRECISE, Verdict.OUTDATED, Verdict.FALSE
UNDECIDED = Verdict.UNDECIDED

#: The usual machine: Linux 6.1, KASLR, a plain character device.
USUAL: Mapping[str, Verdict] = {
    "relocatable-executable": IMPRECISE,
    "top-2-gib": TRUE,
    "around-80000000": IMPRECISE,
    "anywhere-physical": TRUE,
    "part-of-the-kernel": TRUE,
    "one-block": IMPRECISE,
    "insmod-calls-init": IMPRECISE,
    "as-root": IMPRECISE,
    "nothing-runs-until-open": IMPRECISE,  # init runs before
    "open-is-a-syscall": TRUE,
    "dynamically-linked": IMPRECISE,
    "system-map": FALSE,
    "documented-range": OUTDATED,
    "another-address": TRUE,
    "callers-stack": FALSE,
    "rmmod-removes": IMPRECISE,
    "swappable": FALSE,
    "own-copy": FALSE,
    "private-names": FALSE,
    "built-for-this-kernel": IMPRECISE,
    "taints-the-kernel": TRUE,
}


def moved_to(base: int) -> Observations:
    """The module's pages at another address; what is physical stays."""
    pages = tuple(replace(page, virtual=page.virtual - BASE + base) for page in PAGES)
    modules = (Region("chardev", base, base + 0x5000),)
    return replace(SEEN, pages=pages, space=replace(SPACE, modules=modules, lowest_in_module_range=base))


NOKASLR = replace(
    moved_to(0xFFFFFFFFC0000000),
    machine=replace(SEEN.machine, command_line="console=ttyS0 nokaslr"),
    space=replace(
        SPACE,
        slide=0,
        modules=(Region("chardev", 0xFFFFFFFFC0000000, 0xFFFFFFFFC0005000),),
        lowest_in_module_range=0xFFFFFFFFC0000000,
    ),
)
NO_RANDOMIZE_BASE = replace(
    moved_to(0xFFFFFFFFA0000000),
    machine=replace(SEEN.machine, randomize_base=False),
    space=replace(
        SPACE,
        slide=0,
        kernel_window=Region("window", 0xFFFFFFFF80000000, 0xFFFFFFFFA0000000),
        module_range=Region("module range", 0xFFFFFFFFA0000000, 0xFFFFFFFFFF000000),
        modules=(Region("chardev", 0xFFFFFFFFA0000000, 0xFFFFFFFFA0005000),),
        lowest_in_module_range=0xFFFFFFFFA0000000,
    ),
)
WITH_A_THREAD = replace(
    SEEN,
    loading=replace(LOADING, tasks_after={**LOADING.tasks_after, 44: "faulty_kthread"}),
    opening=replace(OPENING, quiet=ran("left alone", block(0x40, "faulty_thread+0x12"))),
)
EXPORTING_NOTHING = replace(
    SEEN, linking=replace(LINKING, exports=(), dependent_with=None, dependent_bound=())
)
WITHOUT_VMLINUX = replace(
    SEEN,
    loading=replace(LOADING, init_stop=None, resolve_stop=None),
    opening=replace(OPENING, stop=None, probed_stack_pointer=0),
    sharing=replace(SHARING, views=()),
)
#: init ran elsewhere, at CPL 3, ...: conditions that no kernel has met, and which the claims must tell.
_IN_USER = stop("chardev_init", "main", pid=LOADING.caller_pid, cpl=3)
_OTHER = stop("chardev_init", "worker_thread", pid=2)
_ON_USER_STACK = replace(
    OPENING, stop=replace(stop("chardev_open"), rsp=USER_STACK), probed_stack_pointer=USER_STACK
)
IN_LINE = tuple(replace(page, physical=page.virtual - IMAGE + SPACE.kernel_physical) for page in PAGES)
NOTHING_RAN = replace(LOADING, executed=ran("load"))
LOADED = attempt("loaded")

FLIPS: tuple[tuple[str, str, Observations, Verdict], ...] = (
    ("relocatable-executable", "a kernel that takes executables",
     replace(SEEN, linking=replace(LINKING, executable_type=LOADED)), TRUE),
    ("relocatable-executable", "a file that is a shared object",
     replace(SEEN, linking=replace(LINKING, elf_header=(3, 0x40, 4))), FALSE),
    ("top-2-gib", "a module in the vmalloc range", moved_to(0xFFFFB1EEC0300000), FALSE),
    ("around-80000000", "a module beside the kernel image", moved_to(0xFFFFFFFF90000000), TRUE),
    ("around-80000000", "a module in the vmalloc range", moved_to(0xFFFFB1EEC0300000), FALSE),
    ("around-80000000", "nokaslr", NOKASLR, IMPRECISE),
    ("anywhere-physical", "pages mapped by the kernel image's constant",
     replace(SEEN, pages=IN_LINE), FALSE),
    ("part-of-the-kernel", "a module with a thread", WITH_A_THREAD, IMPRECISE),
    ("part-of-the-kernel", "module code at level 3",
     replace(SEEN, loading=replace(LOADING, executed=ran("load", block(0, "f", cpl=3)))), FALSE),
    ("part-of-the-kernel", "a process that maps it",
     replace(SEEN, loading=replace(LOADING, maps_naming_it=("1: c0208000-c020d000",))), FALSE),
    ("part-of-the-kernel", "nothing of it was seen to run",
     replace(SEEN, loading=NOTHING_RAN, opening=replace(OPENING, opened=None)), UNDECIDED),
    ("one-block", "memory types of 6.4", replace(SEEN, blocks=(
        Region("text", BASE, BASE + 4096), Region("data", BASE + 8192, BASE + 12288))), OUTDATED),
    ("one-block", "one block, one permission, no init",
     replace(SEEN, blocks=SEEN.blocks[:1], pages=PAGES[:1]), TRUE),
    ("insmod-calls-init", "init in another process",
     replace(SEEN, loading=replace(LOADING, init_stop=_OTHER)), FALSE),
    ("insmod-calls-init", "init at level 3",
     replace(SEEN, loading=replace(LOADING, init_stop=_IN_USER)), TRUE),
    ("insmod-calls-init", "a silent module, no vmlinux",
     replace(SEEN, loading=replace(LOADING, init_stop=None, log="")), UNDECIDED),
    ("as-root", "a kernel that asks for uid 0", replace(SEEN, privilege=replace(
        PRIVILEGE, user_with=attempt("user", errno.EPERM), root_without=LOADED)), TRUE),
    ("as-root", "a kernel that takes modules from anyone",
     replace(SEEN, privilege=replace(PRIVILEGE, root_without=LOADED)), FALSE),
    ("as-root", "a kernel that takes none (modules_disabled)",
     replace(SEEN, privilege=replace(PRIVILEGE, user_with=attempt("user", errno.EPERM))), UNDECIDED),
    ("nothing-runs-until-open", "a module with a thread", WITH_A_THREAD, FALSE),
    ("nothing-runs-until-open", "a module without init",
     replace(SEEN, loading=NOTHING_RAN), TRUE),
    ("nothing-runs-until-open", "ftrace alone saw a function",
     replace(SEEN, opening=replace(OPENING, traced_quiet=("tick",))), FALSE),
    ("nothing-runs-until-open", "a log that sees nothing at all",
     replace(SEEN, loading=NOTHING_RAN, opening=replace(OPENING, opened=ran("open"))), UNDECIDED),
    ("open-is-a-syscall", "a stack without chrdev_open",
     replace(SEEN, opening=replace(OPENING, stop=stop("chardev_open", "kthread"))), FALSE),
    ("open-is-a-syscall", "a module without a device",
     replace(SEEN, opening=replace(OPENING, device="")), UNDECIDED),
    ("open-is-a-syscall", "no vmlinux, but ftrace", WITHOUT_VMLINUX, TRUE),
    ("dynamically-linked", "a PLT", replace(SEEN, linking=replace(LINKING, got_or_plt=(".plt",))), TRUE),
    ("dynamically-linked", "memory differs from the linker's",
     replace(SEEN, linking=replace(LINKING, differing=LINKING.relocations[:1])), UNDECIDED),
    ("dynamically-linked", "memory differs at the moment of the link",
     replace(SEEN, code=replace(SEEN.code, compared=3, differing=1)), UNDECIDED),
    ("dynamically-linked", "nothing is imported",
     replace(SEEN, linking=replace(LINKING, relocations=(bound("chardev"),))), UNDECIDED),
    ("system-map", "an unexported symbol is bound",
     replace(SEEN, linking=replace(LINKING, unexported_attempt=LOADED)), TRUE),
    ("system-map", "a guest with a System.map",
     replace(SEEN, linking=replace(LINKING, system_map_files=("/boot/System.map-6.1",))), IMPRECISE),
    ("system-map", "refused for another reason",
     replace(SEEN, linking=replace(LINKING, unexported_attempt=attempt("x", errno.EPERM))), UNDECIDED),
    ("documented-range", "nokaslr", NOKASLR, OUTDATED),
    ("documented-range", "a kernel without RANDOMIZE_BASE", NO_RANDOMIZE_BASE, TRUE),
    ("another-address", "nokaslr", NOKASLR, FALSE),
    ("another-address", "a kernel without RANDOMIZE_BASE", NO_RANDOMIZE_BASE, FALSE),
    ("callers-stack", "the stack pointer in user space", replace(
        SEEN, opening=_ON_USER_STACK, loading=replace(LOADING, init_stop=None)), TRUE),
    ("callers-stack", "neither vmlinux nor kprobes", WITHOUT_VMLINUX, UNDECIDED),
    ("rmmod-removes", "a device that does not hold it",
     replace(SEEN, unloading=replace(UNLOADING, while_open=LOADED)), TRUE),
    ("rmmod-removes", "pages that stay",
     replace(SEEN, unloading=replace(UNLOADING, mapped_after=((BASE, 0x9E4000),))), FALSE),
    ("rmmod-removes", "a module without exit",
     replace(SEEN, unloading=replace(UNLOADING, done=attempt("rmmod", errno.EBUSY))), FALSE),
    ("swappable", "a page on an LRU list", replace(SEEN, sharing=replace(
        SHARING, page_flags={0x9E4000: ("LRU", "ANON")})), TRUE),
    ("swappable", "a page that moved", replace(SEEN, sharing=replace(
        SHARING, pages_after=((BASE, 0x123000),))), TRUE),
    ("own-copy", "two copies", replace(SEEN, sharing=replace(SHARING, views=(
        *SHARING.views, PageTableView(OPENER + 9, "other", 0xB00000, 0x777000)))), TRUE),
    ("own-copy", "one page table was seen",
     replace(SEEN, sharing=replace(SHARING, views=SHARING.views[:1])), UNDECIDED),
    ("private-names", "a module that exports nothing", EXPORTING_NOTHING, TRUE),
    ("private-names", "nobody wants what it exports",
     replace(SEEN, linking=replace(LINKING, dependent_with=None)), IMPRECISE),
    ("built-for-this-kernel", "symbol versions: the release is not compared",
     replace(SEEN, admission=replace(ADMISSION, other_release=LOADED)), FALSE),
    ("built-for-this-kernel", "refused by a signature check",
     replace(SEEN, admission=replace(ADMISSION, other_release=attempt("x", errno.EKEYREJECTED))), UNDECIDED),
    ("built-for-this-kernel", "a file without version magic",
     replace(SEEN, admission=replace(ADMISSION, other_release=None)), UNDECIDED),
    ("taints-the-kernel", "a module of the kernel's own",
     replace(SEEN, admission=replace(ADMISSION, module_taint="", taint_loaded=0, taint_after=0)), FALSE),
    ("taints-the-kernel", "a kernel that was tainted before",
     replace(SEEN, admission=replace(ADMISSION, taint_before=1 << 12)), UNDECIDED),
    ("taints-the-kernel", "flags that go with the module",
     replace(SEEN, admission=replace(ADMISSION, taint_after=0)), IMPRECISE),
)  # fmt: skip


def verdicts(seen: Observations) -> dict[str, Verdict]:
    return {claim.key: claim.verdict for claim in judge_claims(seen)}


def test_the_usual_machine_gets_the_verdicts_of_the_facts_file() -> None:
    assert verdicts(SEEN) == USUAL


@pytest.mark.parametrize(
    ("key", "condition", "seen", "verdict"),
    FLIPS,
    ids=[f"{key}: {condition}" for key, condition, _, _ in FLIPS],
)
def test_another_condition_gets_another_verdict(
    key: str, condition: str, seen: Observations, verdict: Verdict
) -> None:
    assert verdicts(seen)[key] is verdict


def test_every_claim_can_lose_its_usual_verdict() -> None:
    flipped = {key for key, _, _, verdict in FLIPS if verdict is not USUAL[key]}
    assert flipped == {claim.key for claim in CLAIMS}


def test_the_claims_are_numbered_and_have_keys_of_their_own() -> None:
    assert [claim.number for claim in CLAIMS] == list(range(1, len(CLAIMS) + 1))
    assert len({claim.key for claim in CLAIMS}) == len(CLAIMS)


@pytest.mark.parametrize(
    ("release", "told"),
    [
        ("6.1.192-kmod-harness", "(Linux 6.1.192)"),
        ("6.1.176", "(checked in Linux 6.1.192; this is 6.1.176)"),
        ("6.12.118+deb13-cloud-amd64", "(checked in Linux 6.1.192; this is 6.12.118+deb13-cloud-amd64)"),
        # Debian 12's 6.1.0 is the name of an ABI; its version is another
        ("6.1.0-56-cloud-amd64", "(checked in Linux 6.1.192; this is 6.1.0-56-cloud-amd64)"),
    ],
)
def test_a_place_in_the_source_names_the_release_it_was_looked_up_in(release: str, told: str) -> None:
    seen = replace(SEEN, machine=replace(SEEN.machine, release=release))
    assert all(claim.source.endswith(told) for claim in judge_claims(seen))


@pytest.mark.parametrize("seen", [SEEN, *(seen for _, _, seen, _ in FLIPS)])
def test_each_side_shows_something_or_says_why_it_cannot(seen: Observations) -> None:
    for claim in judge_claims(seen):
        assert (claim.inside.side, claim.outside.side) == ("inside", "outside")
        for evidence in (claim.inside, claim.outside):
            assert bool(evidence.summary) != bool(evidence.impossible), claim.key
            assert evidence.detail or evidence.impossible, claim.key
        assert claim.explanation
