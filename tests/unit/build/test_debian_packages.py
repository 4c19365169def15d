"""Debian's packages: what apt-get says is understood; the root file system made of them."""

from __future__ import annotations

import gzip
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from kmod_harness.build import debian_packages as debian
from kmod_harness.build.cache import Cache
from kmod_harness.build.image.agent import compile_agent
from kmod_harness.build.image.cpio import read_cpio
from kmod_harness.build.image.embedded import embedded_rootfs
from kmod_harness.build.kernel import source
from kmod_harness.build.kernel.source import debian_source_package
from kmod_harness.errors import BuildFailed, MissingTool

Program = Callable[[str, str], None]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Puts a program (a shell script) on the path in front of the system's."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", f"{directory}:/usr/bin:/bin")

    def put(name: str, script: str) -> None:
        (directory / name).write_text(f"#!/bin/sh\n{script}\n")
        (directory / name).chmod(0o755)

    return put


@pytest.mark.parametrize(
    "words",
    [
        "E: Unable to locate package busybox-static",
        "E: Failed to fetch http://deb.debian.org/x.deb  404  Not Found",
        "E: Can't find a source to download version '1.0' of 'busybox-static:amd64'",
    ],
)
def test_missing_or_old_package_lists_are_named_with_the_cure(
    tmp_path: Path, program: Program, words: str
) -> None:
    program("apt-get", f'echo "{words}" >&2; exit 100')
    with pytest.raises(MissingTool) as failure:
        debian.unpack_packages(["busybox-static"], tmp_path / "tree")
    assert "busybox-static" in failure.value.message
    assert "apt-get update" in failure.value.advice
    assert words in failure.value.evidence


def test_another_failure_of_apt_keeps_its_words(tmp_path: Path, program: Program) -> None:
    program("apt-get", "echo 'Temporary failure resolving host' >&2; exit 100")
    with pytest.raises(BuildFailed) as failure:
        debian.unpack_packages(["busybox-static"], tmp_path / "tree")
    assert failure.value.evidence == "Temporary failure resolving host\n"


def test_a_broken_archive_is_named(tmp_path: Path, program: Program) -> None:
    program("apt-get", "echo no archive >busybox-static_1%3a1.0-1_amd64.deb")
    with pytest.raises(BuildFailed, match=r"busybox-static_1%3a1.0-1_amd64.deb cannot be unpacked"):
        debian.unpack_packages(["busybox-static"], tmp_path / "tree")


def test_a_download_of_less_than_asked_is_an_error(tmp_path: Path, program: Program) -> None:
    program("apt-get", "exit 0")
    with pytest.raises(BuildFailed, match="0 of 1 packages"):
        debian.unpack_packages(["busybox-static"], tmp_path / "tree")


def test_on_another_distribution_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert debian.installed_version("busybox-static") == ""
    with pytest.raises(MissingTool, match="apt-get is not installed"):
        debian.unpack_packages(["busybox-static"], tmp_path / "tree")


def test_dependencies_are_the_packages_not_the_alternatives_text(program: Program) -> None:
    program(
        "apt-cache", "printf 'x\\n  Depends: linux-a-1.0\\n |Depends: bb\\n  Depends: <virtual>\\n    c\\n'"
    )
    assert debian.dependencies("x") == ("linux-a-1.0", "bb")


def test_no_candidate_is_an_unknown_package(program: Program) -> None:
    program("apt-cache", "printf 'x:\\n  Installed: (none)\\n  Candidate: (none)\\n'")
    with pytest.raises(MissingTool, match="apt does not know"):
        debian.candidate_version("x")


def test_a_candidate_is_this_packages_own_whatever_else_its_name_matches(program: Program) -> None:
    # `.` matches the 2 of 6.12, for apt takes unknown names for regular expressions
    program("apt-cache", "printf 'linux-source-6.12:\n  Installed: (none)\n  Candidate: 6.12.117-1\n'")
    with pytest.raises(MissingTool, match=r"get linux-source-6\.1\n"):
        debian.candidate_version("linux-source-6.1")


def test_a_download_of_another_package_than_asked_is_an_error(tmp_path: Path, program: Program) -> None:
    control = "Package: a2\\nVersion: 1\\nArchitecture: all\\nMaintainer: x <x@localhost>\\nDescription: x\\n"
    program(
        "apt-get",
        f"mkdir -p t/DEBIAN; printf '{control}' >t/DEBIAN/control; "
        "dpkg-deb -b t a2_1_all.deb >/dev/null; rm -r t",
    )
    with pytest.raises(MissingTool) as failure:
        debian.unpack_packages(["a."], tmp_path / "tree")
    assert "apt-get downloaded a2" in failure.value.evidence


def test_the_kernels_source_is_the_running_suites_and_apt_is_asked_once(
    tmp_path: Path, program: Program
) -> None:
    program("apt-cache", f"echo x >>{tmp_path}/calls; printf 'linux-source\n  Depends: linux-source-6.12\n'")
    cache = Cache(tmp_path / "cache")
    assert [debian_source_package(cache) for _ in range(2)] == ["linux-source-6.12"] * 2
    assert (tmp_path / "calls").read_text() == "x\n"


def test_a_source_that_apt_named_once_is_known_when_its_lists_are_gone(
    tmp_path: Path, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(tmp_path / "cache")
    program("apt-cache", "printf 'linux-source\n  Depends: linux-source-6.12\n'")
    assert debian_source_package(cache) == "linux-source-6.12"
    # an image of a container without lists
    monkeypatch.setattr(source, "APT_LISTS", tmp_path / "nowhere")
    program("apt-cache", "echo 'E: No packages found' >&2; exit 100")
    assert debian_source_package(cache) == "linux-source-6.12"
    with pytest.raises(MissingTool, match="apt does not know"):
        debian_source_package(Cache(tmp_path / "another"))


def test_the_root_file_system_is_small_and_the_same_when_built_twice(tmp_path: Path) -> None:
    first = embedded_rootfs(Cache(tmp_path / "one"))
    second = embedded_rootfs(Cache(tmp_path / "two"))
    content = first.read_bytes()
    assert content == second.read_bytes()
    assert len(content) < 4_000_000
    entries = {entry.path: entry for entry in read_cpio(gzip.decompress(content))}
    assert entries["dev/console"].device == (5, 1)
    assert stat.S_IMODE(entries["root"].mode) == 0o700
    assert stat.S_IMODE(entries["init"].mode) == 0o755
    assert entries["bin/sh"].data == b"busybox"
    assert entries["sbin/init"].data == b"../bin/busybox"
    assert entries["usr/bin/test"].data == b"../../bin/busybox"
    # every library that dropbear is linked with, and the program that loads them
    for path in ("lib64/ld-linux-x86-64.so.2", "lib/x86_64-linux-gnu/libc.so.6", "usr/sbin/dropbear"):
        assert entries[path].data.startswith(b"\x7fELF")


def test_an_agent_that_does_not_compile_keeps_the_compilers_words(tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text("int main(void) { return nosuch; }\n")
    with pytest.raises(BuildFailed, match="agent does not compile") as failure:
        compile_agent(Cache(tmp_path / "cache"), sources=[tmp_path / "a.c"])
    assert "nosuch" in failure.value.evidence


def test_the_agent_is_compiled_again_when_a_header_changes(tmp_path: Path) -> None:
    (tmp_path / "a.h").write_text("#define STATUS 1\n")
    (tmp_path / "a.c").write_text(
        '#include "a.h"\nint status = STATUS;\nvoid _start(void);\nvoid _start(void) {}\n'
    )
    sources = [tmp_path / "a.c", tmp_path / "a.h"]
    cache = Cache(tmp_path / "cache")
    first = compile_agent(cache, sources=sources)
    assert compile_agent(cache, sources=sources) == first
    assert first.read_bytes().startswith(b"\x7fELF")
    (tmp_path / "a.h").write_text("#define STATUS 2\n")
    assert compile_agent(cache, sources=sources) != first
