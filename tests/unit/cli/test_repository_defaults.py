"""What the repository's file says where a command line leaves it open; a command line without the file."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from kmod_harness.cli.machine_options import spec_from
from kmod_harness.cli.main import main
from kmod_harness.cli.parser import parse
from kmod_harness.cli.repository_defaults import with_repository
from shared.cli_process import unwrapped

TEXT = """\
kernel = "debian"
append = ["quiet", "loglevel=3"]
cpus = 2
memory = "1G"
rootfs = "root.cpio"
boot-timeout = 90
timeout = 5

[modules]
kbuild = ["."]
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "kmod-harness.toml").write_text(TEXT)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def completed(*words: str) -> argparse.Namespace:
    return with_repository(parse(words))


@pytest.mark.parametrize("command", ["run", "verify", "debug", "boot", "explain"])
def test_what_is_not_given_is_the_files(here: Path, command: str) -> None:
    args = completed(command)
    spec = spec_from(args)
    assert (spec.kernel, spec.cpus, spec.memory_mib) == ("debian", 2, 1024)
    assert spec.append == ("quiet", "loglevel=3")
    assert spec.rootfs == str(here / "root.cpio")
    assert args.boot_timeout == 90
    assert args.repository.modules.kbuild == (here,)


@pytest.mark.parametrize("command", ["run", "verify"])
def test_a_step_may_take_as_long_as_the_file_says(here: Path, command: str) -> None:
    assert completed(command).timeout == 5
    assert completed(command, "--timeout", "7").timeout == 7


def test_what_is_given_wins_and_a_repeated_option_replaces_them_all(here: Path) -> None:
    spec = spec_from(completed("run", "--append=debug", "--cpus=1", "--rootfs=embedded"))
    assert (spec.append, spec.cpus, spec.rootfs) == (("debug",), 1, "embedded")
    assert spec.memory_mib == 1024


def test_another_fragment_is_not_laid_over_the_files_kernel(here: Path) -> None:
    spec = spec_from(completed("run", "--kconfig=debug"))
    assert (spec.kernel, spec.kconfig) == ("", ("debug",))


@pytest.mark.parametrize("command", ["run", "verify", "debug", "boot", "explain", "modules"])
def test_no_toml_leaves_the_file_unread(here: Path, command: str) -> None:
    (here / "kmod-harness.toml").write_text("broken")
    args = completed(command, "--no-toml")
    assert args.repository is None
    assert args.kernel == ""


def test_the_words_become_a_command_line_that_means_the_same_without_the_file(here: Path) -> None:
    args = completed("run", "my.ko", "--cpus=1", "--", "sh", "--", "x")
    assert args.words[-4:] == ["--", "sh", "--", "x"]
    (here / "kmod-harness.toml").unlink()
    again = completed(*args.words)
    assert spec_from(again) == spec_from(args)
    assert (again.boot_timeout, again.timeout, again.modules) == (90, 5, ["my.ko"])


def test_without_a_file_the_words_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert completed("run", "my.ko", "--json").words == ["run", "my.ko", "--json"]


@pytest.mark.parametrize("words", [["run"], ["verify"], ["boot"], ["kernel", "dir"], ["modules"]])
def test_a_mistake_in_the_file_ends_a_command_with_2_and_names_the_line(
    here: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "kmod-harness.toml").write_text('\nkernal = "debian"\n')
    assert main(words) == 2
    captured = capsys.readouterr()
    told = unwrapped(captured.err)
    assert f"{here}/kmod-harness.toml:2: `kernal` is no key of kmod-harness; did you mean `kernel`?" in told
    assert "Traceback" not in told
    assert captured.out == ""


def test_kernel_without_a_name_is_the_files(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "kmod-harness.toml").write_text('kernel = "nowhere/bzImage"\n')
    for action in ("dir", "build"):
        assert main(["kernel", action]) == 2
        assert f"there is no kernel {here}/nowhere/bzImage" in unwrapped(capsys.readouterr().err)


def test_out_takes_a_directory_where_the_file_names_modules(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["modules", "--out", "x"]) == 2
    assert "give that DIR too" in unwrapped(capsys.readouterr().err)


def test_where_there_is_no_file_nothing_is_imported_to_read_one(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from kmod_harness.cli.main import main\n"
        "main(sys.argv[1:])\n"
        "print([name for name in ('tomllib', 'kmod_harness.repository.parse') if name in sys.modules])\n"
    )
    for words in (["run", "--help"], ["run", "/nonexistent.ko"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *words], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        assert done.stdout.splitlines()[-1] == "[]"
