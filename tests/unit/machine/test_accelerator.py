"""The choice between KVM and emulation: by what a guest's code does, a fake QEMU playing the host."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from kmod_harness.errors import Misuse
from kmod_harness.machine import accelerator
from kmod_harness.machine.accelerator import choose_accelerator, probe_rom


def fake_qemu(directory: Path, script: str) -> str:
    """A QEMU that notes that it ran, then does what the script says."""
    path = directory / "qemu"
    path.write_text(f'#!/bin/sh\necho "$@" >> {directory}/runs\n{script}\n')
    path.chmod(0o755)
    return str(path)


def runs(directory: Path) -> list[str]:
    return (directory / "runs").read_text().splitlines() if (directory / "runs").exists() else []


@pytest.fixture
def kvm_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host whose /dev/kvm can be opened, whether this one has it or not."""
    exists, access = os.path.exists, os.access
    monkeypatch.setattr(os.path, "exists", lambda path: path == "/dev/kvm" or exists(path))
    monkeypatch.setattr(os, "access", lambda path, mode: path == "/dev/kvm" or access(path, mode))


@pytest.mark.needs("binutils")
def test_the_probes_bytes_are_its_source_assembled(tmp_path: Path) -> None:
    source = Path(accelerator.__file__).with_name("probe.S")
    subprocess.run(["as", "--64", source, "-o", tmp_path / "p.o"], check=True)
    link = ["ld", "-Ttext=0", "--oformat", "binary", "-o", tmp_path / "p.rom", tmp_path / "p.o"]
    subprocess.run(link, check=True)

    assert (tmp_path / "p.rom").read_bytes() == probe_rom()


@pytest.mark.needs("QEMU")
def test_the_probe_ends_with_its_status_under_emulation(tmp_path: Path) -> None:
    rom = tmp_path / "probe.rom"
    rom.write_bytes(probe_rom())
    argv = ["qemu-system-x86_64", "-M", "pc,accel=tcg", "-cpu", "max", "-m", "16", "-nodefaults"]
    argv += ["-display", "none", "-no-reboot", "-bios", str(rom)]
    argv += ["-device", "isa-debug-exit,iobase=0xf4,iosize=4"]

    assert subprocess.run(argv, timeout=30, check=False).returncode == 33


def test_emulation_that_was_asked_for_needs_no_probe(tmp_path: Path) -> None:
    chosen = choose_accelerator(fake_qemu(tmp_path, "exit 33"), "tcg")

    assert (chosen.name, runs(tmp_path)) == ("tcg", [])


def test_without_the_device_the_reason_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "exists", lambda path: False)

    chosen = choose_accelerator(fake_qemu(tmp_path, "exit 33"))

    assert chosen.name == "tcg"
    assert "/dev/kvm does not exist" in chosen.reason
    with pytest.raises(Misuse, match="/dev/kvm does not exist"):
        choose_accelerator(fake_qemu(tmp_path, "exit 33"), "kvm")


@pytest.mark.usefixtures("kvm_device")
class TestWithTheDevice:
    def test_a_guest_whose_code_ran_makes_it_kvm(self, tmp_path: Path) -> None:
        chosen = choose_accelerator(fake_qemu(tmp_path, "exit 33"))

        assert (chosen.name, chosen.cpu, chosen.deadline_factor) == ("kvm", "host", 1.0)
        assert len(runs(tmp_path)) == 1
        assert "accel=kvm" in runs(tmp_path)[0]

    def test_a_cpu_model_that_dies_is_followed_by_the_next(self, tmp_path: Path) -> None:
        script = 'case "$*" in *arch-capabilities=off*) exit 33;; esac; echo "failed to set MSR" >&2; exit 1'

        chosen = choose_accelerator(fake_qemu(tmp_path, script))

        assert (chosen.name, chosen.cpu) == ("kvm", "host,arch-capabilities=off")

    def test_a_qemu_that_fails_is_quoted(self, tmp_path: Path) -> None:
        chosen = choose_accelerator(fake_qemu(tmp_path, 'echo "failed to set MSR 0x10a" >&2; exit 1'))

        assert chosen.name == "tcg"
        assert "failed to set MSR 0x10a" in chosen.reason
        assert chosen.deadline_factor > 1

    def test_a_guest_that_runs_nothing_is_given_up(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(accelerator, "PROBE_SECONDS", 0.2)

        chosen = choose_accelerator(fake_qemu(tmp_path, "exec sleep 100"))

        assert chosen.name == "tcg"
        assert "ran no instruction within 0.2 s" in chosen.reason

    def test_another_exit_status_than_the_roms_is_no_kvm(self, tmp_path: Path) -> None:
        assert choose_accelerator(fake_qemu(tmp_path, "exit 0")).name == "tcg"

    def test_kvm_that_was_asked_for_and_does_not_run_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(Misuse, match="exit status 1"):
            choose_accelerator(fake_qemu(tmp_path, "exit 1"), "kvm")

    def test_the_answer_is_kept_and_belongs_to_that_qemu(self, tmp_path: Path) -> None:
        cache = tmp_path / "cache"
        qemu = fake_qemu(tmp_path, "exit 33")
        first = choose_accelerator(qemu, cache_directory=cache)

        assert choose_accelerator(qemu, cache_directory=cache) == first
        assert len(runs(tmp_path)) == 1
        os.utime(qemu, ns=(1, 1))
        choose_accelerator(qemu, cache_directory=cache)
        assert len(runs(tmp_path)) == 2

    @pytest.mark.parametrize("kept", ["", "{}", "[]", "null", '{"key": 1, "accelerator": 3}', "\0"])
    def test_a_damaged_record_is_made_anew(self, tmp_path: Path, kept: str) -> None:
        (tmp_path / "accelerator.json").write_text(kept)

        chosen = choose_accelerator(fake_qemu(tmp_path, "exit 33"), cache_directory=tmp_path)

        assert chosen.name == "kvm"


@pytest.mark.usefixtures("kvm_device")
def test_a_probe_that_could_not_be_run_is_not_remembered(tmp_path: Path) -> None:
    chosen = choose_accelerator(str(tmp_path / "nonexistent"), "auto", tmp_path)

    assert chosen.name == "tcg"
    assert "could not be run" in chosen.reason
    assert not (tmp_path / "accelerator.json").exists()


@pytest.mark.usefixtures("kvm_device")
def test_an_answer_that_cannot_be_kept_is_an_answer(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    chosen = choose_accelerator(fake_qemu(tmp_path, "exit 33"), "auto", tmp_path / "file/cache")

    assert chosen.name == "kvm"
