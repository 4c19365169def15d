"""Given loaded modules, when they are verified from outside, then every byte is explained or found."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from kmod_harness import prepare
from kmod_harness.errors import ModuleNotExplained, QemuDied
from kmod_harness.kmod.elf.module import read_module
from kmod_harness.lifecycle.boot import boot
from kmod_harness.machine.memory.guest_memory import GuestMemory
from kmod_harness.verify.mechanism import Mechanism
from kmod_harness.verify.outside.running_symbols import KernelFilesMismatch
from kmod_harness.verify.report import FindingKind, totals
from kmod_harness.verify.verify_modules import verify_modules
from shared.cli_process import kmod_harness
from shared.schemas import require_schema

POISON = 0xFF


@pytest.fixture
def explained(request):
    """The plugin's fixture under another name than the function."""
    return request.getfixturevalue("verify_modules")


def change(guest, address: int, flip: int = POISON) -> None:
    """Changes one byte of the guest's memory from outside."""
    with GuestMemory(guest.machine) as memory:
        (old,) = memory.read_virtual(address, 1)
        memory.write_virtual(address, bytes((old ^ flip,)))


def test_a_module_is_explained_whole(guest, chardev_ko, explained):
    report = explained(guest.load(chardev_ko))
    (module,) = report.modules
    assert report.symbols in ("System.map", "kallsyms")
    names = {section.name for section in module.sections}
    assert {".text", ".rodata", ".data", ".bss", "__mcount_loc", ".orc_unwind"} <= names
    assert not any(name.startswith(".init") for name in names), "init was freed"
    total = totals(report.modules)
    assert total.equal + sum(total.explained.values()) == total.bytes
    assert total.relocations > 100
    assert total.explained[Mechanism.FENTRY] > 0
    assert total.explained[Mechanism.ORC] > 0


def test_each_section_has_pages_of_its_permission(guest, chardev_ko, explained):
    (module,) = explained(guest.load(chardev_ko)).modules
    permissions = {section.region: section.permissions for section in module.sections}
    assert permissions == {"text": "r-x", "rodata": "r--", "ro_after_init": "r--", "data": "rw-"}
    assert all(section.pages for section in module.sections)


def test_modules_that_depend_on_each_other_are_verified_together(
    guest, chardev_ko, chardev_stats_ko, explained
):
    base, user = guest.load(chardev_ko), guest.load(chardev_stats_ko)
    report = explained(base, user)
    assert [module.name for module in report.modules] == ["chardev", "chardev_stats"]


def test_a_changed_byte_of_text_is_found_with_symbol_line_and_code(guest, chardev_ko, explained):
    loaded = guest.load(chardev_ko)
    address = loaded.symbol("chardev_read") + 9
    change(guest, address)
    with pytest.raises(ModuleNotExplained) as error:
        explained(loaded)
    assert "chardev_read+0x9/" in error.value.evidence
    assert ("fops.c:" in error.value.evidence) is loaded.file.has_debug_info
    assert f"{address:#x}" in error.value.evidence


def test_a_patched_place_that_is_not_as_the_kernel_patches_it_is_found(guest, chardev_ko, explained):
    loaded = guest.load(chardev_ko)
    change(guest, loaded.symbol("chardev_read") + 1)  # in the NOP that stands for the call of __fentry__
    with pytest.raises(ModuleNotExplained, match="1 finding in chardev"):
        explained(loaded)


@pytest.mark.parametrize("section", [".rodata", "__mcount_loc", ".orc_unwind_ip", "__bug_table"])
def test_a_changed_byte_of_a_table_or_constant_is_found(guest, chardev_ko, explained, section):
    loaded = guest.load(chardev_ko)
    change(guest, loaded.sections[section])
    with pytest.raises(ModuleNotExplained):
        explained(loaded)


def test_code_hidden_behind_the_text_is_found(guest, chardev_ko, explained):
    loaded = guest.load(chardev_ko)
    last = max(
        loaded.sections[section.name] + section.size
        for section in loaded.file.sections
        if section.executable and not section.init
    )
    change(guest, last + 8)
    with pytest.raises(ModuleNotExplained, match="1 finding") as error:
        explained(loaded)
    assert "padding of text" in error.value.evidence


def test_written_data_is_no_finding(guest, chardev_ko, explained):
    loaded = guest.load(chardev_ko)
    change(guest, loaded.sections[".bss"])
    try:
        report = explained(loaded)
    finally:
        change(guest, loaded.sections[".bss"])
    assert totals(report.modules).explained[Mechanism.DATA] > 0


@pytest.mark.needs("function tracer")
def test_a_tracer_that_runs_is_named(guest, chardev_ko, explained):
    loaded = guest.load(chardev_ko)
    tracing = "/sys/kernel/tracing"
    guest.make_directories(tracing)
    if not guest.exists(f"{tracing}/available_tracers"):
        guest.run(["mount", "-t", "tracefs", "nodev", tracing]).check()
    guest.write_file(f"{tracing}/set_ftrace_filter", b"chardev_read\n")
    guest.write_file(f"{tracing}/current_tracer", b"function\n")
    report = explained(loaded)
    assert totals(report.modules).places[Mechanism.TRACER] == 1


def test_hidden_addresses_are_a_limit_and_the_bytes_are_verified_still(guest, chardev_ko, machine):
    loaded = guest.load(chardev_ko)
    guest.write_file("/proc/sys/kernel/kptr_restrict", b"2\n")
    report = verify_modules(guest, machine.prepared.kernel, [loaded.file])
    assert report.is_explained
    hidden = [limit for limit in report.all_limits if type(limit).__name__ == "SectionsHidden"]
    assert len(hidden) == 1 and "kptr_restrict" in hidden[0].advice
    change(guest, loaded.symbol("chardev_read") + 9)
    (module,) = verify_modules(guest, machine.prepared.kernel, [loaded.file]).modules
    assert [finding.kind for finding in module.findings] == [FindingKind.TEXT]


@pytest.mark.needs("call depth tracking")
def test_counted_calls_are_a_limit_and_the_other_bytes_are_verified_still(chardev_ko, machine):
    # given: an Intel CPU whose returns the kernel guards by counting calls
    spec = machine.prepared.spec
    counting = replace(
        spec,
        append=(*spec.append, "retbleed=stuff"),
        qemu_args=(*spec.qemu_args, "-cpu", "Skylake-Client"),
    )
    with boot(prepare(counting)) as guest:
        loaded = guest.load(chardev_ko)
        report = verify_modules(guest, machine.prepared.kernel, [loaded.file])
        assert report.is_explained
        assert any("call depth tracking" in limit.evidence for limit in report.all_limits)
        change(guest, loaded.symbol("chardev_read") + 9)
        (module,) = verify_modules(guest, machine.prepared.kernel, [loaded.file]).modules
        assert [finding.kind for finding in module.findings] == [FindingKind.TEXT]


def test_the_command_prints_a_table_and_says_passed(chardev_ko):
    done = kmod_harness("verify", chardev_ko)
    assert done.returncode == 0, done.stderr
    assert ".orc_unwind_ip" in done.stdout and "fentry NOP" in done.stdout
    assert done.stderr.splitlines()[-1].startswith("kmod-harness: passed: 1 module: every byte")


def test_the_command_gives_json(chardev_ko, chardev_stats_ko):
    done = kmod_harness("verify", "--json", "--differences", chardev_stats_ko, chardev_ko)
    found = json.loads(done.stdout)
    require_schema(found, "verify")
    assert (found["outcome"], found["exit_status"], done.returncode) == ("passed", 0, 0)
    assert [module["name"] for module in found["modules"]] == ["chardev_stats", "chardev"]
    assert found["totals"]["unexplained"] == 0
    assert any(change["mechanism"] == "fentry NOP" for change in found["modules"][1]["code_changes"])


def test_a_file_that_is_not_what_was_loaded_is_found_out(guest, chardev_ko, tmp_path: Path, explained):
    loaded = guest.load(chardev_ko)
    # 7.2 links all strings into .rodata
    strings = loaded.file.section(".rodata.str1.1") or loaded.file.section(".rodata")
    data = bytearray(loaded.file.data)
    data[strings.offset] ^= POISON
    forged = tmp_path / "chardev.ko"
    forged.write_bytes(data)
    loaded.file = read_module(forged)
    with pytest.raises(ModuleNotExplained, match="1 finding"):
        explained(loaded)


@pytest.mark.needs("System.map")
def test_a_system_map_of_another_kernel_is_told_and_not_used(guest, chardev_ko, machine, tmp_path: Path):
    kernel = machine.prepared.kernel
    lines = kernel.system_map.read_text().splitlines()
    other = tmp_path / "System.map"
    shifted = (
        f"{int(line[:16], 16) + 64:x}{line[16:]}" if " linux_banner" in line else line for line in lines
    )
    other.write_text("\n".join(shifted))
    report = verify_modules(guest, replace(kernel, system_map=other), [guest.load(chardev_ko).file])
    (limit,) = report.all_limits
    assert isinstance(limit, KernelFilesMismatch) and "linux_banner" in limit.evidence
    assert report.symbols == "kallsyms" and report.is_explained


def test_a_guest_that_dies_ends_the_verifying_with_its_own_error(machine, chardev_ko):
    with boot(machine.prepared, cold=False) as guest:
        loaded = guest.load(chardev_ko)
        os.kill(guest.machine.pid, signal.SIGKILL)
        with pytest.raises(QemuDied):
            verify_modules(guest, machine.prepared.kernel, [loaded.file])


def test_a_module_that_is_not_there_is_a_usage_error():
    done = kmod_harness("verify", "no_such_module")
    assert done.returncode == 2
    assert "no_such_module" in done.stderr
