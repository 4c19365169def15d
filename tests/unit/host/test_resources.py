"""What comes with the project, and by which names it is called."""

from __future__ import annotations

from pathlib import Path

import pytest

from kmod_harness.cli.parser import build_parser
from kmod_harness.errors import Misuse
from kmod_harness.host.resources import data_directory, fragment_names, kconfig_fragment


def test_every_shipped_fragment_has_a_name_and_the_configuration_under_them_all_has_none() -> None:
    names = fragment_names()
    assert {
        "clang",
        "debug",
        "drivers",
        "ext4",
        "kasan",
        "kcsan",
        "kmemleak",
        "lockdep",
        "no-kaslr",
        "ubsan",
    } <= set(names)
    assert "minimal" not in names


@pytest.mark.parametrize("name", fragment_names())
def test_a_name_means_a_file_of_configuration_lines(name: str) -> None:
    assert "CONFIG_" in kconfig_fragment(name).read_text()


@pytest.mark.parametrize("words", [("run", "my.ko"), ("kernel", "build"), ("kernel", "dir"), ("modules",)])
def test_the_help_of_an_option_knows_every_name(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        build_parser().parse_args([*words, "--help"])
    told = "".join(capsys.readouterr().out.split())  # lines are broken at hyphens too
    assert [name for name in fragment_names() if name not in told] == []


def test_a_path_means_that_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.config").write_text("CONFIG_X=y\n")
    assert kconfig_fragment("mine.config") == tmp_path / "mine.config"


def test_a_name_is_not_hidden_by_a_file_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("debug").write_text("CONFIG_X=y\n")
    assert kconfig_fragment("debug") == data_directory("kernel-config") / "debug.config"
    assert kconfig_fragment("./debug") == tmp_path / "debug"


@pytest.mark.parametrize("name", ["", "dbug", "minimal", "kernel-config/nosuch.config", "/", "x" * 300])
def test_what_is_neither_is_refused_with_the_names_there_are(name: str) -> None:
    with pytest.raises(Misuse, match="there is no Kconfig fragment") as failure:
        kconfig_fragment(name)
    assert all(known in failure.value.advice for known in fragment_names())
