"""`make fresh`: what is typed, what comes from this machine, and what is told of it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fresh import __main__ as fresh
from fresh import inside, readme
from fresh.host import CannotRun, Host, network_part, pip_settings, sources_from
from fresh.step_table import failures, table
from fresh.trial import Step, Trial, closing_line
from shared.checkout import ROOT

README = """\
# name

A sentence:

    apt-get update && apt-get install make   # as root
    make demo     # five minutes
    make test  # all

`make demo KERNEL=debian`

    not this
"""


def test_the_commands_are_the_readmes_first_block_without_its_comments() -> None:
    assert readme.first_commands(README) == (
        "apt-get update && apt-get install make",
        "make demo",
        "make test",
    )


def test_this_readme_begins_with_what_a_newcomer_types() -> None:
    commands = readme.first_commands((ROOT / "README.md").read_text())
    assert commands[-2:] == ("make demo", "make test")
    assert all("apt-get" in command for command in readme.setup_of(commands))


def test_a_readme_without_commands_is_no_silent_success() -> None:
    with pytest.raises(ValueError, match="no indented block"):
        readme.first_commands("# name\n\nwords\n")


def test_a_user_has_sudo_where_root_is_needed_and_nowhere_else() -> None:
    assert readme.as_user("apt-get update && apt-get install make", "dev") == (
        "sudo apt-get update && sudo apt-get install make"
    )
    assert readme.as_user("make demo", "dev") == "make demo"
    assert readme.as_user("apt-get update", "root") == "apt-get update"


TARGETS = "Other\tmain\thttp://x/other/\nDebian\tmain\thttp://m/debian/\nDebian\tcontrib\thttp://m/debian/\n"


def test_packages_come_from_the_mirror_that_this_machine_uses() -> None:
    sources = sources_from(TARGETS + "Debian-Security\tmain\thttp://m/security/\n")
    assert Host(sources, (), {}, None, {}).sources_of("trixie") == (
        "deb http://m/debian trixie main",
        "deb http://m/debian trixie-updates main",
        "deb http://m/security trixie-security main",
    )


def test_sid_has_neither_updates_nor_security() -> None:
    sources = sources_from(TARGETS + "Debian-Security\tmain\thttp://m/security/\n")
    assert Host(sources, (), {}, None, {}).sources_of("sid") == ("deb http://m/debian sid main",)


def test_a_machine_without_debians_mirror_is_told_so() -> None:
    with pytest.raises(CannotRun, match="apt-get update"):
        sources_from("Other\tmain\thttp://x/\n")


def test_of_pip_only_the_network_comes_along(tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_text(
        "[global]\nindex-url = https://mirror/simple\nfind-links = /opt/wheels\n"
        "constraint = /etc/c.txt\nextra-index-url = file:///opt/x https://second/simple\n"
    )
    settings = pip_settings(
        [tmp_path / "pip.conf", tmp_path / "none"], {"PIP_DEFAULT_TIMEOUT": "9", "HOME": "/"}
    )
    assert network_part(settings) == {
        "index-url": "https://mirror/simple",
        "extra-index-url": "https://second/simple",
        "default-timeout": "9",
    }


def test_pips_configuration_in_the_root_names_the_certificates_there() -> None:
    host = Host((), (), {"timeout": "9"}, Path("/here/ca.crt"), {})
    assert host.pip_configuration("/there/ca.crt") == "[global]\ntimeout = 9\ncert = /there/ca.crt\n"
    assert host.pip_configuration("") == "[global]\ntimeout = 9\n"


def test_the_last_closing_line_of_pytest_is_what_is_told() -> None:
    output = (
        "=== 3 passed in 1.20s ===\nmore\n"
        "===== 1 failed, 20 passed, 2 skipped in 63.20s (0:01:03) =====\nmake: ***\n"
    )
    assert closing_line(output) == "1 failed, 20 passed, 2 skipped"
    assert closing_line("demo: passed\n") == ""


def test_the_table_has_a_line_for_each_command_and_failures_name_their_logs() -> None:
    steps = [
        Step("trixie", "root", "make demo", 0, 12.4, "", Path("a.log")),
        Step("trixie", "sudo", "make test", 2, 300.0, "1 failed, 9 passed", Path("b.log")),
    ]
    assert table(steps).splitlines() == [
        "suite   user  command    result    seconds  tests",
        "trixie  root  make demo  passed    12",
        "trixie  sudo  make test  status 2  300      1 failed, 9 passed",
    ]
    assert failures(steps) == "failed: make test (trixie, sudo): b.log"


@pytest.mark.parametrize(
    ("words", "said"), [("--suite woody", "no suite 'woody'"), ("--user me", "no user 'me'")]
)
def test_an_unknown_suite_or_user_is_named_in_one_line(
    words: str, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fresh, "obstacle", lambda: "")
    assert fresh.main(words.split()) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_a_machine_that_can_make_no_root_says_so_in_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fresh, "obstacle", lambda: "mmdebstrap is not installed")
    assert fresh.main([]) == 2
    assert fresh.main(["--can"]) == 2
    told = capsys.readouterr()
    assert (told.err, told.out) == ("fresh: mmdebstrap is not installed\n", "mmdebstrap is not installed\n")


@pytest.mark.needs("git")
def test_what_was_tried_is_told_when_a_later_root_cannot_be_made(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_trial(trial: Trial, *_: object) -> Iterator[Step]:
        if trial.suite == "trixie":
            raise CannotRun("the mirror is away")
        yield Step(trial.suite, trial.user, "make demo", 0, 1.0, "", Path("a.log"))

    monkeypatch.setattr(fresh, "obstacle", lambda: "")
    monkeypatch.setattr(fresh, "look_at_host", lambda: None)
    monkeypatch.setattr(fresh, "run_trial", run_trial)
    assert fresh.main(["--user", "root"]) == 1
    *_, passed, failed = capsys.readouterr().out.splitlines()
    assert passed.split() == ["bookworm", "root", "make", "demo", "passed", "1"]
    assert failed == "failed: trixie, root: the mirror is away"


@pytest.mark.parametrize(("ends", "status"), [("exit 7", 7), ("kill -TERM $$", 143)])
def test_a_commands_status_is_a_shells(ends: str, status: int) -> None:
    assert inside.status_of(subprocess.Popen(["sh", "-c", ends]).pid) == status
