"""Nothing of the pages is left out in silence: each command is typed here, or by something that is named."""

from __future__ import annotations

import re
import subprocess
import sys

from readme.blocks import Block, inline_commands, options
from readme.pages import GETTING_STARTED, PAGES, README, TEXT
from readme.plan import (
    IN_A_STRANGERS_REPOSITORY,
    IN_THE_COPY,
    NOT_TYPED,
    ON_A_DEBUG_KERNEL,
    OTHER_LANGUAGES,
    OUTPUT,
    OWN_REPOSITORY,
)

#: Of pytest, of gdb and of git, as the pages name them: none of ours.
OTHERS_OPTIONS = {"--help"}


def own_repository() -> Block:
    return next(block for block in README.blocks if OWN_REPOSITORY in block.commands)


def test_every_command_of_the_pages_is_typed_or_listed_with_a_reason() -> None:
    written = {command for page in PAGES for block in page.blocks for command in block.commands}
    written |= {command for page in PAGES for command in inline_commands(page.text)}
    planned = [*IN_THE_COPY, *IN_A_STRANGERS_REPOSITORY, *ON_A_DEBUG_KERNEL, *NOT_TYPED]
    known = {one.command for one in planned} | set(own_repository().commands) | {"make demo"}
    followed = {command for block in GETTING_STARTED.blocks for command in block.commands}
    assert sorted(written - known - followed) == [], "on a page, and nobody types it"
    assert sorted(known - written) == [], "no longer on a page"
    assert all(one.why for one in NOT_TYPED)


def test_every_other_block_is_known_for_what_it_is() -> None:
    every = [block for page in PAGES for block in page.blocks]
    assert {block.language for block in every} - {"", "python"} == set(OTHER_LANGUAGES)
    rest = [block.lines[0] for block in every if not block.language and not block.is_typed]
    assert sorted(rest) == sorted(OUTPUT)


def test_every_option_that_a_page_names_exists() -> None:
    from kmod_harness.cli.parser import COMMANDS

    program = (sys.executable, "-m", "kmod_harness.cli.main")
    actions = [[command] for command in COMMANDS]
    actions += [["kernel", "build"], ["kernel", "dir"], ["cache", "prune"]]
    helps = [[*program, *action, "--help"] for action in actions]
    helps.append([sys.executable, "-m", "pytest", "--help"])
    known = " ".join(
        subprocess.run(words, capture_output=True, text=True, check=True).stdout for words in helps
    )
    missing = [name for name in options(TEXT) if not re.search(rf"(?<![\w-]){name}\b(?!-)", known)]
    assert missing == []
