"""A failure's directory: all of it or nothing, and a script that runs the same again."""

from __future__ import annotations

import json
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmod_harness.report.bundle import Failure, Reproduction, bundle_name, reproduce_script, write_bundle


def failure(words: tuple[str, ...], directory: Path, copies: dict[str, Path] | None = None) -> Failure:
    return Failure(
        verdict={"outcome": "splat", "reason": "NULL pointer dereference\nin demo_write"},
        kernel_log=b"<6>[    1.000000] demo: loaded\n",
        reproduction=Reproduction(words, directory, copies or {}),
        transcripts={"shell": "# ls\n", "agent": ""},
        qemu_argv=("qemu-system-x86_64", "-m", "256M"),
        versions={"qemu": "7.2"},
    )


def test_a_bundle_holds_what_a_program_and_a_person_need(tmp_path: Path) -> None:
    made = write_bundle(tmp_path / "bundles" / "one", failure(("true",), tmp_path))

    assert json.loads((made / "verdict.json").read_text())["outcome"] == "splat"
    assert (made / "kernel.log").read_bytes().endswith(b"demo: loaded\n")
    assert "demo: loaded" in (made / "kernel.symbolized.log").read_text()
    assert json.loads((made / "machine.json").read_text())["qemu"]["argv"][0] == "qemu-system-x86_64"
    assert (made / "shell.txt").read_text() == "# ls\n" and not (made / "agent.txt").exists()
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    assert [path.name for path in made.parent.iterdir()] == ["one"], "nothing half made stays"


def test_the_script_runs_the_same_words_in_the_same_directory_with_the_kept_files(tmp_path: Path) -> None:
    # given: a command whose file changes after the failure, and a word that a shell would take apart
    script = tmp_path / "check.sh"
    script.write_text("then\n")
    words = ("sh", "-c", 'cat "$1"; pwd; exit 3', "it's $HOME", str(script))
    made = write_bundle(tmp_path / "bundle", failure(words, tmp_path, {str(script): script}))
    script.write_text("now\n")

    # when: in another directory, three times
    runs = [
        subprocess.run([made / "reproduce.sh"], cwd="/", capture_output=True, text=True, check=False)
        for _ in range(3)
    ]

    assert {(run.returncode, run.stdout) for run in runs} == {(3, f"then\n{tmp_path}\n")}


def test_a_later_failure_of_the_same_test_replaces_the_bundle(tmp_path: Path) -> None:
    write_bundle(tmp_path / "one", failure(("true",), tmp_path))
    (tmp_path / "one" / "old").touch()
    write_bundle(tmp_path / "one", failure(("false",), tmp_path))
    assert not (tmp_path / "one" / "old").exists()


def test_a_bundle_that_cannot_be_written_leaves_the_one_before(tmp_path: Path) -> None:
    made = write_bundle(tmp_path / "one", failure(("true",), tmp_path))
    with pytest.raises(OSError):
        write_bundle(made, failure(("true", "gone"), tmp_path, {"gone": tmp_path / "gone"}))
    assert (made / "verdict.json").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


@given(st.text(max_size=300), st.text(max_size=50))
def test_no_reason_and_no_word_escapes_its_line(reason: str, word: str) -> None:
    told = Failure(
        verdict={"outcome": "failed", "reason": reason},
        kernel_log=b"",
        reproduction=Reproduction(("echo", word.replace("\0", "")), Path("/")),
    )
    script = reproduce_script(told, {})
    assert script.splitlines()[1].startswith("# failed: ")
    assert script.count("\nexec ") == 1


@given(st.text(max_size=300))
def test_a_bundles_name_is_one_plain_directory(text: str) -> None:
    name = bundle_name(text)
    assert name and "/" not in name and not name.startswith((".", "-")) and len(name.encode()) <= 480


@given(st.text(max_size=300), st.text(max_size=300))
def test_two_texts_that_differ_by_more_than_punctuation_have_two_names(text: str, other: str) -> None:
    ids = [f"a.py::test_size[{part}]" for part in (text, f"-{text}", other)]
    assert len({bundle_name(one) for one in ids}) == len(set(ids))


def test_a_usual_tests_bundle_has_a_plain_name() -> None:
    assert bundle_name("tests/a.py::test_b[x-1.5]") == "tests-a.py-test_b-x-1.5"
    assert bundle_name("chardev-faulty-splat") == "chardev-faulty-splat"
