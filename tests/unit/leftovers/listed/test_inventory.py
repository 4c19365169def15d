"""What a load made and what of it stayed, by listings before and after."""

from __future__ import annotations

import pytest

from kmod_harness.leftovers.listed.inventory import (
    TABLES,
    Inventory,
    Name,
    Root,
    entries_of,
    left_of,
    made_by_load,
    names_below,
    new_slabs,
    pids_in,
    references_in,
)
from kmod_harness.leftovers.listed.look import kernel_thread

PROC, CLASS, KERNEL = Root("/proc", 1), Root("/sys/class", 2), Root("/sys/kernel", 2)


def listed(*names: Name, **more: dict[str, int]) -> Inventory:
    return Inventory(frozenset(names), aliases=more.get("aliases", {}), references=more.get("references", {}))


def left(before: Inventory, after: Inventory, now: Inventory) -> list[str]:
    return [what for what, _ in left_of(made_by_load(before, after), before, now)]


def test_processes_are_no_names_of_proc() -> None:
    listing = b"d1\nd302\n-uptime\nlmounts\n"
    assert names_below(PROC, listing) == {("/proc", "uptime"), ("/proc", "mounts")}
    assert pids_in(listing) == {1, 302}


def test_numbers_elsewhere_are_names() -> None:
    assert names_below(CLASS, b"d7\n") == {("/sys/class", "7")}


@pytest.mark.parametrize(
    ("path", "text", "names"),
    [
        ("/proc/devices", "Character devices:\n  1 mem\n\nBlock devices:\n253 zram\n", {"1 mem", "253 zram"}),
        ("/proc/misc", "122 my\n 10 rng\n", {"my", "rng"}),
        ("/proc/filesystems", "nodev\tsysfs\n\text4\n", {"sysfs", "ext4"}),
        (
            "/proc/interrupts",
            "           CPU0\n 10:     0   IO-APIC  10-fasteoi   a, my dev\nNMI:    0   Non-maskable\n",
            {"10: dev"},
        ),
        ("/proc/ioports", "0000-0cf7 : PCI\n  0060-0060 : kbd\n", {"0000-0cf7 : PCI", "0060-0060 : kbd"}),
        ("/proc/net/protocols", "protocol  size\nTCP 1\n", {"protocol", "TCP"}),
    ],
)  # fmt: skip
def test_tables_are_read_as_the_kernel_writes_them(path: str, text: str, names: set[str]) -> None:
    table = next(table for table in TABLES if table.path == path)
    assert entries_of(table, text.encode()) == {(path, name) for name in names}


def test_what_a_load_made_and_the_unload_took_is_nothing() -> None:
    before = listed(("/proc", "uptime"))
    assert left(before, listed(("/proc", "uptime"), ("/proc", "my")), before) == []


def test_what_a_load_made_and_is_there_still_was_left() -> None:
    after = listed(("/proc", "my"), ("/proc/devices", "252 my"))
    assert left(listed(), after, after) == [
        "/proc/my exists",
        "/proc/devices lists the device number 252 my",
    ]


def test_what_came_after_the_load_is_not_the_modules() -> None:
    assert left(listed(), listed(), listed(("/sys/class", "net/made_by_a_command"))) == []


def test_what_was_there_before_is_not_the_modules() -> None:
    there = listed(("/proc", "my"))
    assert left(there, there, there) == []


def test_what_lies_below_something_left_is_not_told_again() -> None:
    after = listed(("/sys/class", "my"), ("/sys/class", "my/my0"))
    assert left(listed(), after, after) == ["/sys/class/my exists"]


def test_a_slab_cache_that_shared_memory_and_was_destroyed_leaves_a_link() -> None:
    name = ("/sys/kernel", "slab/my")
    assert new_slabs(frozenset({name}), listed()) == ["my"]
    after = listed(name, aliases={"my": 3})
    assert left(listed(), after, listed(name, aliases={"my": 2})) == []
    assert left(listed(), after, listed(name, aliases={})) == []
    assert left(listed(), after, listed(name, aliases={"my": 3})) == ["/sys/kernel/slab/my exists"]


def test_a_thread_that_the_load_made_and_that_runs_still_was_left() -> None:
    before, after = Inventory(threads={2: ""}), Inventory(threads={2: "", 40: "my_thread"})
    assert left(before, after, after) == ["the kernel thread my_thread (pid 40) runs still"]
    assert left(before, after, before) == []
    assert left(before, after, Inventory(threads={2: "", 40: "another"})) == []


def test_references_on_other_modules_that_were_not_given_back_were_left() -> None:
    before = listed(references={"core": 1})
    after = listed(references={"core": 3, "my": 0})
    assert left(before, after, listed(references={"core": 2})) == ["1 references on the module core"]
    assert left(before, after, listed(references={"core": 1})) == []


def test_references_are_the_third_word_of_proc_modules() -> None:
    assert references_in(b"core 4096 2 my,other Live 0x0\nmy 4096 - - Live 0x0\n") == {"core": 2}


@pytest.mark.parametrize(
    ("stat", "name"),
    [
        (b"40 (my thread) S 2 0 0 0 -1 2129984 0 0", "my thread"),
        (b"40 (odd) name) S 2 0 0 0 -1 2129984 0 0", "odd) name"),
        (b"41 (sh) S 1 41 41 0 -1 4194560 0 0", ""),
        (b"", ""),
    ],
)
def test_a_kernel_thread_is_known_by_its_flag(stat: bytes, name: str) -> None:
    assert kernel_thread(stat) == name
