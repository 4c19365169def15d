"""What the pages say of one's own repository, typed in one, with a kmod-harness that pip has installed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from readme.blocks import Block
from readme.pages import GETTING_STARTED, PAGES, README
from readme.plan import IN_A_STRANGERS_REPOSITORY, ON_A_DEBUG_KERNEL, Typed
from readme.shell import Shell, try_command

#: Those of the README and of getting-started.md are parts of what is followed there.
_PYTHON = [
    block
    for page in PAGES
    if page not in (README, GETTING_STARTED)
    for block in page.blocks
    if block.language == "python"
]
_TESTS = [block for block in _PYTHON if not block.file]


@pytest.mark.parametrize("typed", IN_A_STRANGERS_REPOSITORY, ids=lambda typed: typed.command)
def test_a_command_in_ones_own_repository_does_what_a_page_says(stranger: Shell, typed: Typed) -> None:
    try_command(stranger, typed)


@pytest.fixture(scope="module")
def examples(stranger: Shell) -> str:
    """What pytest says of all examples that are tests, a file each, run at once."""
    directory = stranger.directory / "examples"
    directory.mkdir()
    for number, block in enumerate(_TESTS):
        (directory / f"test_example_{number}.py").write_text(block.text)
    return stranger.run("pytest -rA examples").stdout


@pytest.mark.parametrize("block", _TESTS, ids=lambda block: re.findall(r"def (test_\w+)", block.text)[0])
def test_python_of_a_page_is_tests_that_pass(examples: str, block: Block) -> None:
    file = f"examples/test_example_{_TESTS.index(block)}.py"
    named = {f"{file}::{name}" for name in re.findall(r"^def (test_\w+)", block.text, re.MULTILINE)}
    assert named == set(re.findall(rf"^PASSED ({file}::\w+)$", examples, re.MULTILINE)), examples
    assert not re.search(rf"^(?:FAILED|ERROR) {file}", examples, re.MULTILINE)


@pytest.mark.parametrize("block", [block for block in _PYTHON if block.file], ids=lambda block: block.file)
def test_a_program_of_a_page_runs(stranger: Shell, block: Block) -> None:
    (stranger.directory / block.file).write_text(block.text)
    assert "my " in stranger.must(f"python {block.file}")


def test_git_bisect_finds_the_commit_that_broke_the_module(stranger: Shell, tmp_path: Path) -> None:
    shell = Shell(tmp_path, f". {stranger.directory}/.venv/bin/activate; set -e")
    shell.must("git init -q && git config user.name me && git config user.email me@localhost")
    shell.must(f"cd {stranger.directory} && cp Makefile my.c check.sh kmod-harness.toml {tmp_path}")
    shell.must("git add . && git commit -qm good && git tag good")
    broken = "sed -i 's/last_size = taken/last_size = 0/' my.c && git commit -qam broken && git tag broken"
    no_module = "sed -i '1i #error' my.c && git commit -qam 'does not build'"
    shell.must(f"{no_module} && sed -i 1d my.c && git commit -qam builds && {broken}")
    shell.must("echo >>README && git add . && git commit -qm bad && git bisect start HEAD good")
    said = shell.must("git bisect run kmod-harness run --bisect -- ./check.sh")
    first_bad = shell.must("git rev-parse broken").strip()
    assert f"{first_bad} is the first bad commit" in said, said


def test_the_debug_kernels_block_does_what_a_page_says(stranger: Shell) -> None:
    if stranger.run("kmod-harness kernel dir minimal --kconfig debug").returncode != 0:
        pytest.skip("no kernel with the fragment debug is here: `make test-debug` builds it, in minutes")
    for typed in ON_A_DEBUG_KERNEL:
        try_command(stranger, typed)
