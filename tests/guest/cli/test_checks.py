"""The checks of the main job: each holds for a good module, and each fails for the right reason."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kmod_harness import Guest, Prepared, Spec, boot, prepare
from kmod_harness.checks.callers import check_init_caller, check_open_caller
from kmod_harness.checks.device import check_device_node
from kmod_harness.checks.loading import check_loaded
from kmod_harness.checks.messages import ExpectedMessage, check_messages, check_no_splat
from kmod_harness.checks.module_symbols import check_module_symbols
from kmod_harness.checks.round_trip import check_round_trip
from kmod_harness.checks.system_map import check_kernel_symbols, has_system_map, read_slide
from kmod_harness.checks.unloading import check_unloaded
from kmod_harness.errors import CheckFailed


@pytest.fixture(scope="module")
def prepared(machine_spec: Spec) -> Prepared:
    return prepare(replace(machine_spec, append=("nokaslr",), ssh=False))


@pytest.fixture(scope="module")
def booted(prepared: Prepared) -> Iterator[Guest]:
    with boot(prepared) as guest:
        yield guest


def test_every_check_holds_for_the_sample_module(booted: Guest, prepared: Prepared, chardev_ko: Path) -> None:
    mark = booted.kernel_log.mark()
    insmod = booted.process()
    module = booted.load(chardev_ko, trace_opens=True, process=insmod)
    assert check_loaded(booted, module).size == module.size
    node = check_device_node(booted, "/dev/chardev0", device_class="chardev", driver="chardev")
    assert (node.minor, node.driver) == (0, "chardev")
    assert check_round_trip(booted, "/dev/chardev0", bytes(range(256))).behind == b""
    kallsyms = booted.kallsyms()
    symbols = check_module_symbols(booted, module, prepared.kernel, kallsyms=kallsyms)
    assert symbols.count > 20
    kernel = check_kernel_symbols(booted, prepared.kernel, kallsyms=kallsyms)
    if has_system_map(prepared.kernel):
        assert (kernel.slide, read_slide(booted, prepared.kernel), kernel.not_compared) == (0, 0, "")
        assert kernel.equal > 10_000
    else:
        assert "without a System.map" in kernel.not_compared
    records = check_messages(
        booted, mark, [ExpectedMessage(6, "^chardev: loaded: "), ExpectedMessage(6, "chardev: open")]
    )
    assert check_init_caller(records, "chardev", insmod.pid).pid == insmod.pid
    assert check_open_caller(records, "chardev", booted.syscaller.pid).function == "open"

    with pytest.raises(CheckFailed, match="init ran in another process"):
        check_init_caller(records, "chardev", booted.syscaller.pid)
    with pytest.raises(CheckFailed, match="left something behind") as left:
        check_unloaded(booted, "chardev", ["/dev/chardev0"])
    for trace in ("/dev/chardev0 exists", "/sys/module/chardev exists", "/proc/kallsyms", "/proc/modules"):
        assert trace in left.value.evidence
    module.sections[".text"] += 16
    with pytest.raises(CheckFailed, match="disagree about"):
        check_module_symbols(booted, module, prepared.kernel, kallsyms=kallsyms)
    module.unload()
    assert check_unloaded(booted, "chardev", ["/dev/chardev0"]).module == "chardev"
    assert check_no_splat(booted, mark) >= 3


def test_a_missing_node_and_one_of_another_device_are_told_apart(booted: Guest) -> None:
    with pytest.raises(CheckFailed, match="there is no device node /dev/chardev0"):
        check_device_node(booted, "/dev/chardev0", device_class="chardev")
    with pytest.raises(CheckFailed, match="no device behind /dev/null"):
        check_device_node(booted, "/dev/null", device_class="chardev")
    assert check_device_node(booted, "/dev/null", device_class="mem").driver == "mem"
    with pytest.raises(CheckFailed, match="belongs to another driver"):
        check_device_node(booted, "/dev/null", device_class="mem", driver="chardev")


def test_a_message_at_another_level_or_none_is_a_failure(booted: Guest) -> None:
    mark = booted.kernel_log.mark()
    booted.write_file("/dev/kmsg", b"<4>a word of warning\n")
    check_messages(booted, mark, [ExpectedMessage(4, "word of warning")])
    with pytest.raises(CheckFailed, match="at another level than err"):
        check_messages(booted, mark, [ExpectedMessage(3, "word of warning")])
    with pytest.raises(CheckFailed, match="holds no 'silence'"):
        check_messages(booted, mark, [ExpectedMessage(4, "silence")])


def test_a_warning_is_a_splat(booted: Guest, faulty_ko: Path) -> None:
    mark = booted.kernel_log.mark()
    booted.load(faulty_ko, fault="warn").unload()
    with pytest.raises(CheckFailed, match="WARNING in faulty_warn"):
        check_no_splat(booted, mark)


def test_a_device_that_loses_bytes_is_found(booted: Guest) -> None:
    with pytest.raises(CheckFailed, match="/dev/null"):
        check_round_trip(booted, "/dev/null", b"hello")


def test_a_kernel_without_system_map_is_not_compared(booted: Guest, prepared: Prepared) -> None:
    bare = replace(prepared.kernel, system_map=None)
    found = check_kernel_symbols(booted, bare)
    assert (found.slide, found.equal) == (None, 0)
    assert "without a System.map" in found.not_compared
    assert read_slide(booted, bare) is None
