"""What `make lint` counts beside ruff and the import contracts: harness/scripts/check_rooms.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from shared.checkout import ROOT

PACKAGE = "harness/kmod_harness"
pytestmark = pytest.mark.needs("git")
SCRIPT = ROOT / "harness/scripts/check_rooms.py"


def checked(directory: Path) -> tuple[int, str]:
    """Returns the script's exit status in a repository of the directory's files, and what it says."""
    for words in (["init", "-q"], ["add", "-A"]):
        subprocess.run(["git", *words], cwd=directory, check=True)
    done = subprocess.run(
        [sys.executable, SCRIPT], cwd=directory, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"tests/test_long.py": "x = 1\n" * 351}, "tests/test_long.py: 351 lines"),
        ({f"tests/test_{number}.py": "" for number in range(16)}, "tests: 16 Python files"),
        (
            {"harness/kmod_harness/a.py": "def f():\n    import json\n"},
            "harness/kmod_harness/a.py:2: an import",
        ),
    ],
)
def test_what_cannot_be_overlooked_is_named(tmp_path: Path, files: dict[str, str], told: str) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    status, said = checked(tmp_path)
    assert status == 1
    assert said.startswith(told)


def test_what_keeps_the_limits_passes(tmp_path: Path) -> None:
    (tmp_path / "harness/kmod_harness").mkdir(parents=True)
    (tmp_path / "harness/kmod_harness/a.py").write_text(
        "def f():\n    import json  # lazy\n" + "x = 1\n" * 348
    )
    assert checked(tmp_path) == (0, "rooms: 1 files, none too long, no folder too full\n")


def test_this_checkout_keeps_them() -> None:
    done = subprocess.run([sys.executable, SCRIPT], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
