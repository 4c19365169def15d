"""Where the user's directories lie, whatever HOME is, and what is said when there is no place for them."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable
from pathlib import Path

import pytest

from kmod_harness.errors import Misuse
from kmod_harness.host.directories import bundle_root, cache_root

PLACES = [
    (cache_root, "XDG_CACHE_HOME", ".cache/kmod-harness"),
    (bundle_root, "XDG_STATE_HOME", ".local/state/kmod-harness"),
]


@pytest.fixture(autouse=True)
def of_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user whom the system does not know, with nothing set."""

    def nobody(uid: int) -> pwd.struct_passwd:
        raise KeyError(uid)

    for variable in ("HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)


@pytest.mark.parametrize(("place", "variable", "below"), PLACES)
def test_it_is_below_the_variable_of_the_xdg_specification(
    place: Callable[[], Path], variable: str, below: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "/some/where")
    assert place() == Path("/some/where/kmod-harness")


@pytest.mark.parametrize("ignored", ["", "relative/path"])
@pytest.mark.parametrize(("place", "variable", "below"), PLACES)
def test_a_relative_path_there_is_ignored_and_home_counts(
    place: Callable[[], Path], variable: str, below: str, ignored: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, ignored)
    monkeypatch.setenv("HOME", "/home/me")
    assert place() == Path("/home/me") / below


@pytest.mark.parametrize("home", [None, "", "relative"])
@pytest.mark.parametrize(("place", "variable", "below"), PLACES)
def test_without_a_usable_home_the_user_data_base_counts(
    place: Callable[[], Path],
    variable: str,
    below: str,
    home: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entry = pwd.struct_passwd(("me", "x", 1, 1, "", "/known/home", "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: entry)
    if home is not None:
        monkeypatch.setenv("HOME", home)
    assert place() == Path("/known/home") / below


@pytest.mark.parametrize(("place", "variable", "below"), PLACES)
def test_a_user_without_any_home_is_told_the_variables_to_set(
    place: Callable[[], Path], variable: str, below: str
) -> None:
    with pytest.raises(Misuse) as told:
        place()
    assert str(os.getuid()) in told.value.message
    assert "HOME" in told.value.advice
    assert variable in told.value.advice
