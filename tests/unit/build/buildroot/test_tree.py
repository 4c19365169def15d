"""Which Buildroot: the user's directory or repository, or the pinned release; anything else is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from kmod_harness.build.buildroot import tree as buildroot_tree
from kmod_harness.build.buildroot.tree import RELEASE, BuildrootTree
from kmod_harness.build.cache import Cache
from kmod_harness.errors import BuildFailed, Misuse
from unit.build.buildroot.fake_buildroot import git, make_buildroot, make_repository

pytestmark = pytest.mark.needs("git")


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def find(given: object, cache: Cache) -> tuple[BuildrootTree, list[str]]:
    said: list[str] = []
    return buildroot_tree.buildroot_tree(str(given), cache, said.append), said


def test_a_clean_tree_of_the_release_is_taken_without_a_word(tmp_path: Path, cache: Cache) -> None:
    directory = make_repository(tmp_path / "buildroot")

    tree, said = find(directory, cache)

    assert (tree.release, tree.changes, said) == (RELEASE, (), [])
    assert tree.identity == f"commit {git(directory, 'rev-parse', 'HEAD')}"


def test_another_release_is_told_of_and_taken(tmp_path: Path, cache: Cache) -> None:
    tree, said = find(make_buildroot(tmp_path / "buildroot", release="2025.02"), cache)

    assert tree.release == "2025.02"
    assert said == [
        f"warning: {tmp_path}/buildroot is Buildroot 2025.02; tested is {RELEASE}: going on with it"
    ]


def test_local_changes_make_another_tree(tmp_path: Path, cache: Cache) -> None:
    directory = make_repository(tmp_path / "buildroot")
    clean, _ = find(directory, cache)
    (directory / "package/new file.mk").write_text("one")

    changed, said = find(directory, cache)
    (directory / "package/new file.mk").write_text("two")
    changed_again, _ = find(directory, cache)

    assert len({clean.identity, changed.identity, changed_again.identity}) == 3
    assert "1 local changes" in said[0]


def test_the_provenance_of_a_tree_is_its_commit_and_what_was_changed_since(
    tmp_path: Path, cache: Cache
) -> None:
    directory = make_repository(tmp_path / "buildroot")
    (directory / "Config.in").write_text((directory / "Config.in").read_text() + "# mine\n")
    (directory / "package/new.mk").write_text("")

    provenance = find(directory, cache)[0].provenance()

    assert provenance["local_changes"] == [" M Config.in", "?? package/new.mk"]
    assert len(str(provenance["commit"])) == 40


def test_a_release_tarball_has_no_commit_and_is_known_by_its_content(tmp_path: Path, cache: Cache) -> None:
    directory = make_buildroot(tmp_path / "buildroot")
    tree, _ = find(directory, cache)
    (directory / "package/new.mk").write_text("")

    assert tree.commit == ""
    assert find(directory, cache)[0].identity != tree.identity


def test_a_directory_that_is_no_buildroot_is_refused(tmp_path: Path, cache: Cache) -> None:
    (tmp_path / "Makefile").write_text("all:\n")

    with pytest.raises(Misuse, match=r"is not a Buildroot tree: it has no Config\.in"):
        find(tmp_path, cache)


@pytest.mark.parametrize("given", ["/no/such/directory", "nowhere"])
def test_a_path_that_is_not_there_is_refused(cache: Cache, given: str) -> None:
    with pytest.raises(Misuse, match=f"there is no Buildroot {given}"):
        find(given, cache)


def pinned(monkeypatch: pytest.MonkeyPatch, tree: Path) -> Path:
    """Tags a tree as the release that is pinned; returns a bare repository of it."""
    git(tree, "tag", RELEASE)
    bare = tree.with_suffix(".git")
    git(tree, "clone", "-q", "--bare", str(tree), str(bare))
    monkeypatch.setattr(buildroot_tree, "COMMIT", git(tree, "rev-parse", "HEAD"))
    return bare


def test_a_repository_gives_the_pinned_release_once(
    tmp_path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = pinned(monkeypatch, make_repository(tmp_path / "buildroot"))

    tree, said = find(bare, cache)
    again, silence = find(f"file://{bare}", cache)

    assert (tree.directory / "utils/check-package").is_file()
    assert tree.identity == again.identity
    assert said == [f"cloning Buildroot {RELEASE} from {bare}"]
    assert silence == []


def test_a_tag_that_was_moved_is_not_the_release(
    tmp_path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = pinned(monkeypatch, make_repository(tmp_path / "buildroot"))
    monkeypatch.setattr(buildroot_tree, "COMMIT", "0" * 40)

    with pytest.raises(BuildFailed) as error:
        find(bare, cache)

    assert f"expected commit {'0' * 40}" in error.value.evidence
    with pytest.raises(BuildFailed):
        find(bare, cache)


def test_without_a_network_and_without_a_buildroot_one_message_says_what_to_do(
    tmp_path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buildroot_tree, "SITE", f"file://{tmp_path}/nowhere")

    with pytest.raises(Misuse) as error:
        find("", cache)

    assert "and no other Buildroot was named" in error.value.message
    assert "BUILDROOT=DIRECTORY" in error.value.advice
