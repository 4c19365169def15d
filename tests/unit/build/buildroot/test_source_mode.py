"""Where sources come from, what Debian's archive is asked for, and what a failed run said."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmod_harness.build.buildroot.debian import wanted_tarballs
from kmod_harness.build.buildroot.failure import failure_in, step_of
from kmod_harness.build.buildroot.source_mode import choose_sources
from kmod_harness.build.debian_sources import source_files
from kmod_harness.build.debian_suites import debian_mirrors
from kmod_harness.build.image.agent import FLAGS
from kmod_harness.build.kernel.kconfig import BUILDROOT, parse_fragment
from kmod_harness.errors import MissingTool, Misuse
from kmod_harness.host.resources import data_directory
from unit.build.buildroot.fake_buildroot import make_buildroot

DEBIAN_12 = 'ID=debian\nVERSION_ID="12"\n'
SHOWSRC = """\
Package: dropbear
Binary: dropbear
Version: 2025.89-1~deb13u1
Files:
 00000000000000000000000000000000 2599 dropbear_2025.89-1~deb13u1.dsc
Checksums-Sha256:
 {one} 2599 dropbear_2025.89-1~deb13u1.dsc
 {two} 2374006 dropbear_2025.89.orig.tar.bz2
Directory: pool/main/d/dropbear

Package: evil
Version: 1
Checksums-Sha256:
 {two} 1 ../../etc/passwd
Directory: pool/main/e/evil
""".format(one="1" * 64, two="2" * 64)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_buildroot(tmp_path / "buildroot")


def test_with_a_network_sources_are_downloaded(tree: Path) -> None:
    asked: list[str] = []

    def answers(address: str) -> str:
        asked.append(address)
        return ""

    sources = choose_sources("auto", tree, probe=answers, os_release=DEBIAN_12)

    assert sources.mode == "online"
    assert asked == ["http://sources.invalid"]


def test_without_one_they_come_from_debian_and_the_reason_is_told(tree: Path) -> None:
    sources = choose_sources("auto", tree, probe=lambda address: "timed out", os_release=DEBIAN_12)

    assert (sources.mode, sources.reason) == ("debian", "http://sources.invalid does not answer: timed out")


@pytest.mark.parametrize("system", ['ID=debian\nVERSION_ID="13"\n', "ID=fedora\nVERSION_ID=41\n"])
def test_without_either_it_says_why_each_is_missing(tree: Path, system: str) -> None:
    with pytest.raises(MissingTool) as error:
        choose_sources("auto", tree, probe=lambda address: "timed out", os_release=system)

    assert "timed out" in error.value.evidence
    assert "put together for Debian 12" in error.value.evidence
    with pytest.raises(MissingTool):
        choose_sources("debian", tree, os_release=system)


def test_what_was_asked_for_is_not_probed(tree: Path) -> None:
    def never(address: str) -> str:
        raise AssertionError(address)

    assert choose_sources("online", tree, probe=never).mode == "online"
    assert choose_sources("debian", tree, probe=never, os_release=DEBIAN_12).mode == "debian"


def test_the_tarballs_are_those_that_buildroot_itself_has_hashes_of(tree: Path) -> None:
    assert [tarball.name for tarball in wanted_tarballs(tree)] == [
        "acl-2.3.2.tar.xz",
        "attr-2.5.2.tar.xz",
        "busybox-1.37.0.tar.bz2",
        "dropbear-2025.89.tar.bz2",
    ]
    (tree / "package/attr/attr.hash").unlink()
    with pytest.raises(Misuse, match="no SHA-256 for the source of attr"):
        wanted_tarballs(tree)


def test_a_list_of_sources_gives_addresses_and_no_path_of_its_own() -> None:
    files = source_files(SHOWSRC, "http://mirror.invalid/debian/")

    assert [(file.name, file.package, file.version) for file in files] == [
        ("dropbear_2025.89-1~deb13u1.dsc", "dropbear", "2025.89-1~deb13u1"),
        ("dropbear_2025.89.orig.tar.bz2", "dropbear", "2025.89-1~deb13u1"),
    ]
    assert (
        files[1].address == "http://mirror.invalid/debian/pool/main/d/dropbear/dropbear_2025.89.orig.tar.bz2"
    )


def test_the_mirror_is_the_one_of_debian_itself() -> None:
    targets = """\
Debian-Security|Packages|main|bookworm-security|http://security.invalid/
Debian|Packages|main|bookworm-updates|http://updates.invalid/debian/
Debian|Packages|main|bookworm|http://mirror.invalid/debian/
Other|Packages|main|stable|http://other.invalid/
Debian|Translations|main|bookworm|http://translations.invalid/
"""
    assert debian_mirrors(targets) == ("http://mirror.invalid/debian/", "http://updates.invalid/debian/")


@given(st.text())
def test_no_list_breaks_the_parser(text: str) -> None:
    source_files(text, "http://mirror.invalid")
    debian_mirrors(text)
    failure_in(text)


def test_with_jobs_in_parallel_the_stamp_tells_which_package_failed() -> None:
    output = """\
\x1b[7m>>> busybox 1.37.0 Building\x1b[27m
\x1b[7m>>> dropbear 2025.89 Extracting\x1b[27m
error: in busybox
make[1]: *** [package/pkg-generic.mk:273: /o/build/busybox-1.37.0/.stamp_built] Error 2
make: *** [Makefile:23: _all] Error 2
"""
    failure = failure_in(output)

    assert (failure.package, failure.step) == ("busybox-1.37.0", "built")
    assert failure.lines[-2] == "error: in busybox"
    assert step_of(output.splitlines()[0]) == "busybox 1.37.0 Building"
    assert step_of(">>>   Finalizing target directory") == ""
    assert str(failure_in("make: *** No rule")) == "Buildroot failed"


def test_the_image_s_agent_is_compiled_as_the_harness_compiles_it() -> None:
    recipe = data_directory("buildroot") / "package/kmod-harness-agent/kmod-harness-agent.mk"
    words = recipe.read_text().replace("\\\n", " ").split()

    # warnings are the harness's to find: another compiler's must not break somebody's image
    assert set(FLAGS) - {"-Wall", "-Wextra", "-Werror"} <= set(words)


def test_every_fragment_of_ours_is_one() -> None:
    configs = sorted((data_directory("buildroot") / "configs").iterdir())

    assert configs
    for path in configs:
        assert parse_fragment(path.read_text(), path.name, BUILDROOT)
