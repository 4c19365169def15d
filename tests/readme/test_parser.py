"""What counts as a block, a command and an option of a page."""

from __future__ import annotations

from readme.blocks import blocks, inline_commands, is_command, options, prose

TEXT = """\
# A title

Words before:

    make demo     # a comment
    make test ARGS="# no comment"

    kmod-harness run my.ko -- sh -c 'echo #1'

More words, with `make run
ARGS=x` and ``kmod-harness `a` ``, `--json` and `build/`:

    Output
      of something

```python
# test_it.py
import os

    indented = "make nothing"
```

- a list
    `make clean` in it
"""


def test_a_block_is_a_run_of_indented_lines_with_the_blank_ones_between() -> None:
    first, second, third = blocks(TEXT)
    assert (first.line, first.language, len(first.lines)) == (5, "", 4)
    assert second.lines == ("Output", "  of something")
    assert (third.line, third.language, third.file) == (17, "python", "test_it.py")


def test_the_commands_of_a_block_are_its_lines_without_comments() -> None:
    first, second, third = blocks(TEXT)
    assert first.commands == (
        "make demo",
        'make test ARGS="# no comment"',
        "kmod-harness run my.ko -- sh -c 'echo #1'",
    )
    assert second.commands == third.commands == ()


def test_a_source_of_any_language_names_its_file_in_its_first_line() -> None:
    named = {"// my.c": "my.c", "# Makefile": "Makefile", "# tests/test_my.py": "tests/test_my.py"}
    for line, file in named.items():
        assert blocks(f"```x\n{line}\ncode\n```\n")[0].file == file
    others = ("# Builds all modules.", "// a comment", "#include <a.h>", "my.c")
    assert [line for line in others if blocks(f"```x\n{line}\n```\n")[0].file] == []


def test_commands_in_the_text_may_go_over_a_lines_end() -> None:
    assert inline_commands(TEXT) == ("make run ARGS=x", "kmod-harness `a`", "make clean")


def test_text_is_what_is_no_block() -> None:
    assert "make demo" not in prose(TEXT)
    assert "indented" not in prose(TEXT)
    assert len(prose(TEXT).splitlines()) == len(TEXT.splitlines())


def test_options_are_found_in_commands_and_in_the_text() -> None:
    assert options(TEXT + "\n`--kh-cold`, a --- dash\n") == ("--json", "--kh-cold")


def test_a_command_is_known_by_its_first_word() -> None:
    typed = (
        "make",
        "make demo",
        ".venv/bin/pytest x",
        "harness/scripts/a-b.sh",
        "reproduce.sh",
        "git bisect run",
    )
    assert [text for text in typed if not is_command(text)] == []
    others = ("makefile", "Make demo", "kmod-harness-debug", "build/test", "pytest.mark", "run my.ko", "Boot")
    assert [text for text in others if is_command(text)] == []
