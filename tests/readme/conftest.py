"""Where the pages' commands are typed: a clean copy of this checkout, and a stranger's repository."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from readme.blocks import Block
from readme.pages import README
from readme.plan import OWN_REPOSITORY
from readme.shell import Shell
from shared.checkout import ROOT

#: What a checkout has at its top and a clone of it has not.
_MADE = ("build", "dist", ".git", ".venv", ".hypothesis")
#: Words of the pages -> what they stand for in the stranger's repository.
_REPLACED = {"reproduce.sh": "BUNDLE/reproduce.sh", "DIRECTORY": "."}


@pytest.fixture(scope="session")
def clean_copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This checkout as it stands, nothing made in it."""
    copy = tmp_path_factory.mktemp("copy") / "kmod-harness"
    shutil.copytree(ROOT, copy, ignore=_made)
    return copy


def _made(directory: str, names: list[str]) -> set[str]:
    top = _MADE if Path(directory) == ROOT else ()
    return {name for name in names if name in top or name.endswith(("_cache", "__pycache__"))}


@pytest.fixture(scope="session")
def demo(clean_copy: Path) -> str:
    """What `make demo` says, typed first."""
    return Shell(clean_copy).must("make demo")


@pytest.fixture(scope="session")
def copy(clean_copy: Path, demo: str, stranger: Shell) -> Shell:
    """A shell in the copy after `make demo`, with the README's test and somebody's module in it."""
    for block in README.blocks:
        if block.file:
            (clean_copy / block.file).write_text(block.text)
    for name in ("my.ko", "check.sh"):
        shutil.copy(stranger.directory / name, clean_copy)
    return Shell(clean_copy, replaced={"DIRECTORY": "modules/chardev"})


@pytest.fixture(scope="session")
def own_repository_block() -> Block:
    return next(block for block in README.blocks if OWN_REPOSITORY in block.commands)


@pytest.fixture(scope="session")
def stranger(
    tmp_path_factory: pytest.TempPathFactory, clean_copy: Path, own_repository_block: Block
) -> Shell:
    """A shell in somebody's own repository, after the README's block for it and a failure of their module."""
    directory = tmp_path_factory.mktemp("stranger") / "driver"
    shutil.copytree(Path(__file__).with_name("stranger"), directory)
    before = Shell(directory, "set -e", {"/path/to/kmod-harness": str(clean_copy)})
    said = before.must(own_repository_block.text)
    assert "kmod-harness: passed" in said
    shell = Shell(directory, ". .venv/bin/activate", _REPLACED)
    shell.must("kmod-harness run my.ko --dump --bundle BUNDLE -- sh -c 'echo oops > /dev/my'", status=3)
    shutil.copy(directory / "BUNDLE/kernel.log", directory / "console.log")
    shutil.copy(directory / "my.ko", directory / "MODULE.ko")
    (directory / "test_fails.py").write_text(
        'def test_fails(guest):\n    guest.load("my.ko")\n    assert guest.read_text("/dev/my") == "hello"\n'
    )
    return shell
