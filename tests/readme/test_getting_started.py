"""getting-started.md, followed from top to bottom in an empty directory."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from pathlib import Path

from readme.blocks import Block
from readme.pages import GETTING_STARTED
from readme.shell import Shell

#: Exit statuses of a command that is typed several times and does not always end with 0.
STATUSES = {"pytest tests/test_memory.py": (1, 0)}
#: What differs from run to run.
_VARYING = re.compile(r"0x[0-9a-f]+|\d+\.\d+(?= s\b)")


class Follower:
    """Somebody who does what the page says, in `directory`."""

    def __init__(self, directory: Path, project: Path) -> None:
        self._directory = directory
        in_venv = "if [ -e .venv ]; then . .venv/bin/activate; fi"
        self._shell = Shell(directory, in_venv, {"/path/to/kmod-harness": str(project)})
        self._typed: Counter[str] = Counter()
        #: what the last block of commands said
        self.said = ""

    def follow(self, block: Block) -> None:
        if block.is_typed:
            self.said = ""
            for command in block.commands:
                self._type(command)
        elif block.file:
            self._write(block)
        elif block.language == "diff":
            self._change(block)
        elif not block.language:
            self._compare(block)

    def _type(self, command: str) -> None:
        times = self._typed[command]
        self._typed[command] += 1
        status = STATUSES[command][times] if command in STATUSES else 0
        done = self._shell.run(command)
        assert done.returncode == status, f"{command}\n{done.stdout}"
        assert "Traceback (most recent" not in done.stdout
        self.said += done.stdout

    def _write(self, block: Block) -> None:
        path = self._directory / block.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text)

    def _change(self, block: Block) -> None:
        before, after = (line[1:] for line in block.lines)
        source = self._directory / "my.c"
        assert source.read_text().count(before) == 1
        source.write_text(source.read_text().replace(before, after))

    def _compare(self, block: Block) -> None:
        said = _VARYING.sub("N", self.said)
        assert [line for line in block.lines if _VARYING.sub("N", line.strip()) not in said] == [], self.said


def test_the_page_does_what_it_says_from_top_to_bottom(clean_copy: Path, demo: str, tmp_path: Path) -> None:
    # the script of the reader's own, which the page's last commands run
    shutil.copy(Path(__file__).parent / "stranger/check.sh", tmp_path)
    follower = Follower(tmp_path, clean_copy)
    for block in GETTING_STARTED.blocks:
        follower.follow(block)
    assert "kmod-harness: passed" in follower.said
