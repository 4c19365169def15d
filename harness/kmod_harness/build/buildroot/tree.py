"""The Buildroot that builds images: the user's directory or repository, or the pinned release."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from kmod_harness.build.cache import Cache, digest_of
from kmod_harness.errors import BuildFailed, MissingTool, Misuse

#: The release that is tested: 2026.02 is a long-term branch. Tag and commit are both checked.
RELEASE = "2026.02.2"
COMMIT = "71d1dddae12e7cbf322d96864d7757f459801f47"
SITE = "https://gitlab.com/buildroot.org/buildroot.git"

_KIND = "buildroot-tree"
_VERSION = re.compile(r"^export BR2_VERSION := (\S+)$", re.MULTILINE)
#: Paths that only a Buildroot tree has together.
_LANDMARKS = ("Makefile", "Config.in", "package/Makefile.in", "support/kconfig", "utils/check-package")
_MAX_CHANGES = 100


@dataclass(frozen=True)
class BuildrootTree:
    """A Buildroot source tree, which is never written to.

    directory: top of the tree
    release: release in its Makefile
    commit: commit, "" without git
    changes: files that differ from the commit, in git's short form
    identity: name of its content
    entry: its cache entry, "" when not ours
    """

    directory: Path
    release: str
    commit: str
    changes: tuple[str, ...]
    identity: str
    entry: str = ""

    def provenance(self) -> dict[str, object]:
        """Returns the description of the tree for an image's manifest."""
        return {
            "directory": str(self.directory),
            "release": self.release,
            "commit": self.commit,
            "local_changes": list(self.changes),
            "content": self.identity,
        }


def buildroot_tree(given: str, cache: Cache, say: Callable[[str], None]) -> BuildrootTree:
    """Returns the tree to build with: `given` is a directory, a git repository or its address, or "".

    From a repository the pinned release is taken. Another release in a directory, and local changes, are
    reported. Raises Misuse for something else than a Buildroot, or when there is neither one nor a network.
    """
    if given == "":
        return _pinned(SITE, cache, say)
    path = Path(given)
    if path.is_dir():
        missing = [name for name in _LANDMARKS if not (path / name).exists()]
        if not missing:
            return _directory(path.absolute(), say)
        if _git(path, "rev-parse", "--is-bare-repository") == "true":
            return _pinned(str(path.absolute()), cache, say)
        raise Misuse(
            f"{path} is not a Buildroot tree: it has no {missing[0]}",
            advice=f"BUILDROOT= takes the top of a Buildroot tree, or a git repository that holds {RELEASE}",
        )
    if path.exists() or not ("://" in given or re.match(r"[\w.-]+@[\w.-]+:", given)):
        raise Misuse(
            f"there is no Buildroot {given}",
            advice="BUILDROOT= takes a directory, a git repository or its address",
        )
    return _pinned(given, cache, say)


def _directory(path: Path, say: Callable[[str], None]) -> BuildrootTree:
    found = _VERSION.search((path / "Makefile").read_text(errors="replace"))
    release = found[1] if found else "unknown"
    if release != RELEASE:
        say(f"warning: {path} is Buildroot {release}; tested is {RELEASE}: going on with it")
    top = _git(path, "rev-parse", "--show-toplevel")
    commit = _git(path, "rev-parse", "HEAD") if top and Path(top).samefile(path) else ""
    if not commit:
        return BuildrootTree(path, release, "", (), f"directory {_content(path, _files(path))}")
    # git may read other users' repositories: only Buildroot itself is run from them
    changes = tuple(_git(path, "status", "--porcelain", "--untracked-files=all").splitlines())
    identity = f"commit {commit}"
    if changes:
        changed = [path / line[3:].split(" -> ")[-1].strip('"') for line in changes]
        identity += f" with changes {_content(path, iter(sorted(changed)))}"
        say(f"{path} has {len(changes)} local changes: they are built in, and recorded with the image")
    return BuildrootTree(path, release, commit, changes[:_MAX_CHANGES], identity)


def _pinned(repository: str, cache: Cache, say: Callable[[str], None]) -> BuildrootTree:
    def build(entry: Path) -> dict[str, object]:
        say(f"cloning Buildroot {RELEASE} from {repository}")
        _clone(repository, entry / "buildroot")
        return {"release": RELEASE, "commit": COMMIT, "from": repository}

    key = digest_of(RELEASE, COMMIT)
    directory = cache.entry(_KIND, key, build) / "buildroot"
    return BuildrootTree(directory, RELEASE, COMMIT, (), f"commit {COMMIT}", f"{_KIND}/{key}")


def _clone(repository: str, destination: Path) -> None:
    if shutil.which("git") is None:
        raise MissingTool(
            "git is not installed, and Buildroot is cloned with it",
            advice="as root: apt-get install git; or BUILDROOT= names a Buildroot directory",
        )
    command = ["git", "-c", "advice.detachedHead=false", "clone", "-q", "--depth=1", "--branch", RELEASE]
    done = subprocess.run(
        [*command, repository, str(destination)],
        env={**os.environ, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise Misuse(
            f"Buildroot {RELEASE} cannot be cloned from {repository}, and no other Buildroot was named",
            evidence=done.stderr[-1000:],
            advice="name one: make rootfs ROOTFS=buildroot BUILDROOT=DIRECTORY (or a git repository)",
        )
    commit = _git(destination, "rev-parse", "HEAD")
    if commit != COMMIT:
        raise BuildFailed(
            f"the tag {RELEASE} in {repository} is not the release: it was moved, or it is another project's",
            evidence=f"expected commit {COMMIT}\nfound    commit {commit}",
            advice="clone Buildroot yourself, look at it, and name it with BUILDROOT=",
        )


def _git(directory: Path, *arguments: str) -> str:
    """Returns git's output, "" when it is missing or fails."""
    try:
        done = subprocess.run(
            # also a repository of another user, such as in a container
            ["git", "-c", "safe.directory=*", "-C", str(directory), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return ""
    return done.stdout.rstrip("\n") if done.returncode == 0 else ""


def content_digest(root: Path) -> str:
    """Returns a digest of every file's name, mode and content below a directory (3 s for a Buildroot).

    Its README.md is left out, since nothing is built from it.
    """
    return _content(root, (path for path in _files(root) if path != root / "README.md"))


def _files(root: Path) -> Iterator[Path]:
    for directory, directories, names in os.walk(root):
        # without the products of a build in the tree
        directories[:] = sorted(name for name in directories if name not in (".git", "output", "dl"))
        yield from (Path(directory, name) for name in sorted(names))


def _content(root: Path, files: Iterator[Path]) -> str:
    parts: list[str | bytes] = []
    for path in files:
        parts.append(str(path.relative_to(root)))
        if path.is_symlink():
            parts.append(os.readlink(path))
        elif path.is_file():
            parts += [str(path.stat().st_mode & 0o111), path.read_bytes()]
        else:
            parts.append("gone")
    return digest_of(*parts)
