"""What the README says of one's own repository, typed in one, with a kmod-harness that pip has installed."""

from __future__ import annotations

import pytest

from readme.blocks import Block, blocks
from readme.pages import TEXT
from readme.plan import FRAGMENTS, IN_A_STRANGERS_REPOSITORY, ON_A_DEBUG_KERNEL, Typed
from readme.shell import Shell, try_command

_FRAGMENTS = [block for block in blocks(TEXT) if block.lines[0] in FRAGMENTS]


@pytest.mark.parametrize("typed", IN_A_STRANGERS_REPOSITORY, ids=lambda typed: typed.command)
def test_a_command_in_ones_own_repository_does_what_the_readme_says(stranger: Shell, typed: Typed) -> None:
    try_command(stranger, typed)


@pytest.mark.parametrize("fragment", _FRAGMENTS, ids=lambda block: block.lines[0])
def test_python_of_the_readme_is_a_test_that_passes(stranger: Shell, fragment: Block) -> None:
    rest = FRAGMENTS[fragment.lines[0]]
    text = fragment.text.rstrip().removesuffix(" ...")
    name = f"test_fragment_{_FRAGMENTS.index(fragment)}.py"
    (stranger.directory / name).write_text(f"import pytest\n\n\n{text}{rest}")
    said = stranger.must(f"pytest {name}")
    (stranger.directory / name).unlink()
    assert "1 passed" in said


def test_the_debug_kernels_block_does_what_the_readme_says(stranger: Shell) -> None:
    if stranger.run("kmod-harness kernel dir minimal --kconfig debug").returncode != 0:
        pytest.skip("no kernel with the fragment debug is here: `make test-debug` builds it, in minutes")
    for typed in ON_A_DEBUG_KERNEL:
        try_command(stranger, typed)
