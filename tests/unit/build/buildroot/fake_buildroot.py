"""A directory that looks like Buildroot: its Makefile resolves a configuration and makes images at once."""

from __future__ import annotations

import subprocess
from pathlib import Path

from kmod_harness.build.buildroot.tree import RELEASE
from unit.build.fake_programs import make_programs

MAKEFILE = """\
export BR2_VERSION := {release}
.DEFAULT_GOAL := all

defconfig:
	@grep -v '{dropped}' "$(BR2_DEFCONFIG)" >$(O)/.config

all:
	@printf '\\033[7m>>> busybox 1.37.0 Building\\033[27m\\n'
	@echo built from $(BR2_EXTERNAL) with $(BR2_DL_DIR) >&2
	@{recipe}
"""
IMAGES = "mkdir -p $(O)/images; echo cpio >$(O)/images/rootfs.cpio.gz; echo ext4 >$(O)/images/rootfs.ext4"
#: What Buildroot 2026.02 prints when a package's step fails.
FAILS = (
    "echo 'libbb.c:1:1: error: no'; echo \"make[1]: *** [package/pkg-generic.mk:273: "
    '/o/build/busybox-1.37.0/.stamp_built] Error 2"; exit 2'
)
#: What Buildroot asks for and this one does not run.
NEVER_RUN = ("bc", "bzip2", "cpio", "file", "patch", "perl", "rsync", "unzip", "wget", "which")
HASHES = {
    "busybox": "busybox-1.37.0.tar.bz2",
    "dropbear": "dropbear-2025.89.tar.bz2",
    "acl": "acl-2.3.2.tar.xz",
    "attr": "attr-2.5.2.tar.xz",
}


def make_buildroot(
    directory: Path, *, release: str = RELEASE, recipe: str = IMAGES, dropped: str = "NOTHING"
) -> Path:
    """Returns a tree as a release's tarball holds it; `dropped` is a text whose lines its Kconfig loses."""
    for name in ("package", "support/kconfig", "utils", "configs", "boot"):
        (directory / name).mkdir(parents=True)
    (directory / "Config.in").write_text(
        'config BR2_BACKUP_SITE\n\tstring "x"\n\tdefault "http://sources.invalid"\n'
    )
    (directory / "package/Makefile.in").write_text("")
    (directory / "utils/check-package").write_text("")
    (directory / "Makefile").write_text(MAKEFILE.format(release=release, recipe=recipe, dropped=dropped))
    for package, name in HASHES.items():
        (directory / "package" / package).mkdir()
        (directory / f"package/{package}/{package}.hash").write_text(
            f"# by hand\nsha256  {'a' * 64}  {name}\n"
        )
    return directory


def make_repository(directory: Path) -> Path:
    """Returns the same tree as a repository of its own, which has one commit."""
    make_buildroot(directory)
    git(directory, "init", "-q")
    git(directory, "add", ".")
    git(directory, "commit", "-qm", "a release")
    return directory


def make_machine(directory: Path) -> Path:
    """Returns a piece of PATH: NEVER_RUN, and a git that finds no repository."""
    make_programs(
        directory, *["bc", "bzip2", "cpio", "file", "patch", "perl", "rsync", "unzip", "wget", "which"]
    )
    return make_programs(directory, "git", does="exit 128")


def git(directory: Path, *arguments: str) -> str:
    """Runs git with a name of our own, whatever the user's configuration is; returns its output."""
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.invalid", "-c", "commit.gpgsign=false"]
    command = ["git", *identity, "-C", str(directory), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
