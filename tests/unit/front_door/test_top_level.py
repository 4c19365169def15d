"""The top level of the repository: what a stranger sees first stays short, and nothing lies about."""

from __future__ import annotations

import subprocess
from pathlib import PurePosixPath

import pytest

from shared.checkout import ROOT

FOLDERS = {"harness", "modules", "kernel-config", "tests", "buildroot"}
FILES = {"Makefile", "pyproject.toml"}
#: The texts that a visitor of any repository looks for.
TEXTS = {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE"}

pytestmark = pytest.mark.needs("git", "git checkout")


@pytest.fixture(scope="module")
def committed() -> tuple[PurePosixPath, ...]:
    """Every file of the repository; a developer's own beside them is nobody's business."""
    command = ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return tuple(PurePosixPath(name) for name in done.stdout.split("\0") if name)


def test_the_top_level_holds_what_the_design_says_and_dotfiles(
    committed: tuple[PurePosixPath, ...],
) -> None:
    names = {path.parts[0] for path in committed}
    assert {name for name in names if not name.startswith(".")} == FOLDERS | FILES | TEXTS


def test_no_folder_below_the_top_has_hidden_files(committed: tuple[PurePosixPath, ...]) -> None:
    # a tool's cache or an editor's leavings, such as checkpatch.pl's .checkpatch-camelcase.date.0
    hidden = [path for path in committed if any(part.startswith(".") for part in path.parts[1:])]
    assert hidden == []
