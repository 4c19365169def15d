"""QEMU's command line: every field of a Spec reaches it, and what must always hold of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmod_harness.machine.accelerator import Accelerator
from kmod_harness.machine.argv import AGENT_PORT, Endpoints, RamFile, kernel_command_line, qemu_argv
from kmod_harness.spec.spec import Spec, SpecError

TCG = Accelerator("tcg", "max,la57=off", "asked for")
ENDS = Endpoints(qmp_fd=11, agent_fd=12, shell_fd=13, directory=Path("/run/kmod-harness-x"))

words = st.text("abcdefXYZ0123456789.=-_", min_size=1, max_size=12)
specs = st.builds(
    Spec,
    append=st.lists(words, max_size=4).map(tuple),
    cpus=st.integers(1, 64),
    memory_mib=st.integers(64, 1 << 20),
    devices=st.lists(words, max_size=3).map(tuple),
    qemu_args=st.lists(words, max_size=3).map(tuple),
    firmware=st.one_of(st.just(""), words),
    ssh=st.booleans(),
    network=st.booleans(),
)


def argv_of(
    spec: Spec,
    *,
    accelerator: Accelerator = TCG,
    ends: Endpoints = ENDS,
    stopped: bool = False,
    ram: RamFile | None = None,
    incoming: bool = False,
) -> list[str]:
    return qemu_argv(
        "/bin/qemu",
        spec,
        accelerator,
        Path("/k/bzImage"),
        Path("/i/initrd"),
        ends,
        stopped=stopped,
        ram=ram,
        incoming=incoming,
    )


def values(argv: list[str], option: str) -> list[str]:
    return [argv[at + 1] for at, word in enumerate(argv) if word == option]


@given(specs)
def test_every_field_of_a_spec_reaches_the_command_line(spec: Spec) -> None:
    argv = argv_of(spec)

    assert values(argv, "-smp") == [str(spec.cpus)]
    assert values(argv, "-m") == [f"{spec.memory_mib}M"]
    assert values(argv, "-kernel") == ["/k/bzImage"]
    assert values(argv, "-initrd") == ["/i/initrd"]
    assert values(argv, "-append") == [kernel_command_line(spec)]
    assert values(argv, "-bios") == ([spec.firmware] if spec.firmware else [])
    assert set(spec.devices) <= set(values(argv, "-device"))
    assert len(values(argv, "-netdev")) == int(spec.ssh or spec.network)


@given(specs)
def test_a_users_arguments_come_last_so_that_they_win(spec: Spec) -> None:
    argv = argv_of(spec, stopped=True, incoming=True)

    assert tuple(argv[len(argv) - len(spec.qemu_args) :]) == spec.qemu_args
    command_line = kernel_command_line(spec).split(" ")
    assert tuple(command_line[len(command_line) - len(spec.append) :]) == spec.append


@given(specs)
def test_nothing_listens_beyond_loopback_or_opens_a_window(spec: Spec) -> None:
    argv = argv_of(spec)

    assert values(argv, "-display") == ["none"]
    assert "-nodefaults" in argv and "-no-user-config" in argv
    for netdev in values(argv, "-netdev"):
        assert "hostfwd=tcp:127.0.0.1:0-" in netdev
        assert ("restrict=on" in netdev) == (not spec.network)
    for chardev in values(argv, "-chardev"):
        assert ",fd=" in chardev or ",path=/run/kmod-harness-x/" in chardev


@given(specs)
def test_a_panicked_guest_stays_with_its_memory(spec: Spec) -> None:
    argv = argv_of(spec)

    assert values(argv, "-action") == ["reboot=shutdown,shutdown=pause,panic=none"]
    assert "panic=-1" in kernel_command_line(spec).split(" ")
    assert "pvpanic-pci" in values(argv, "-device")


def test_the_channels_end_where_the_endpoints_say() -> None:
    chardevs = {value.split(",")[1]: value for value in values(argv_of(Spec()), "-chardev")}

    assert chardevs["id=qmp"].endswith("fd=11")
    assert chardevs["id=agent"].endswith("fd=12")
    assert chardevs["id=shell"].endswith("fd=13")
    assert f"logfile={ENDS.console_log}" in chardevs["id=console"]
    assert any(f"name={AGENT_PORT}" in value for value in values(argv_of(Spec()), "-device"))


def test_the_kernels_console_is_the_first_serial_port_and_the_shell_the_second() -> None:
    assert values(argv_of(Spec()), "-serial") == ["chardev:console", "chardev:shell"]
    assert "console=ttyS0,115200" in kernel_command_line(Spec()).split(" ")


@pytest.mark.parametrize(
    "words", [("console=tty0",), ("console=",), ("quiet", "console=ttyS1", "loglevel=3")]
)
def test_the_logs_console_is_the_last_whatever_others_are_asked_for(words: tuple[str, ...]) -> None:
    *_, last = (w for w in kernel_command_line(Spec(append=words)).split(" ") if w.startswith("console="))
    assert last == "console=ttyS0,115200"
    assert set(words) <= set(kernel_command_line(Spec(append=words)).split(" "))


@pytest.mark.parametrize("word", ["earlycon", "earlyprintk=serial,ttyS0,115200", "keep_bootcon"])
def test_one_early_console_is_enough(word: str) -> None:
    command_line = kernel_command_line(Spec(append=(word,))).split(" ")
    assert [w for w in command_line if w.startswith("earlycon=uart8250")] == []


def test_a_comma_in_a_path_is_not_the_end_of_an_option() -> None:
    ends = dataclasses.replace(ENDS, directory=Path("/tmp/a,b"))
    argv = argv_of(Spec(), ends=ends, ram=RamFile(Path("/tmp/r,am"), shared=False))

    (console,) = (value for value in values(argv, "-chardev") if ",id=console," in value)
    assert ",path=/tmp/a,,b/console.sock," in console
    assert console.endswith(",logfile=/tmp/a,,b/console.log")
    assert any("mem-path=/tmp/r,,am," in value for value in values(argv, "-object"))


@pytest.mark.parametrize(("stopped", "incoming"), [(False, False), (True, False), (False, True)])
def test_a_stopped_and_an_incoming_machine_say_so(stopped: bool, incoming: bool) -> None:
    argv = argv_of(Spec(), stopped=stopped, incoming=incoming)

    assert ("-S" in argv) == stopped
    assert values(argv, "-incoming") == (["defer"] if incoming else [])


def test_the_accelerator_brings_its_cpu_model() -> None:
    argv = argv_of(Spec(), accelerator=Accelerator("kvm", "host", "ran"))

    assert values(argv, "-cpu") == ["host"]
    assert ",accel=kvm," in values(argv, "-machine")[0]


@pytest.mark.parametrize(
    "fields",
    [
        {"cpus": 0},
        {"cpus": 65},
        {"memory_mib": 63},
        {"accelerator": "xen"},
        {"append": "one string"},
        {"append": ("two\nlines",)},
        {"devices": "edu"},
    ],
)
def test_a_field_out_of_range_is_named(fields: dict[str, object]) -> None:
    with pytest.raises(SpecError, match=next(iter(fields))):
        Spec(**fields)  # type: ignore[arg-type]
