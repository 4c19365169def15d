"""clang's kernels: the words for make follow from the configuration, whoever made it."""

from __future__ import annotations

from pathlib import Path

import pytest

from kmod_harness.build.kernel.kconfig import parse_fragment
from kmod_harness.build.llvm import clang_version, llvm_words
from kmod_harness.errors import MissingTool
from kmod_harness.host.resources import minimal_config
from unit.build.fake_programs import make_programs

CLANG = {"CC_IS_CLANG": "y", "LD_IS_LLD": "y", "CLANG_VERSION": "160006"}
LLVM = ("clang", "ld.lld", "llvm-ar")


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", str(make_programs(tmp_path / "bin")))
    return tmp_path / "bin"


def test_gcc_is_kbuilds_own_choice(programs: Path) -> None:
    assert llvm_words({"CC_IS_GCC": "y", "CLANG_VERSION": "0"}) == []
    assert clang_version([]) == ""


@pytest.mark.parametrize(
    ("config", "installed", "words"),
    [
        (CLANG, LLVM, ["LLVM=1"]),
        (CLANG, [*LLVM, *(f"{name}-16" for name in LLVM)], ["LLVM=-16"]),
        (CLANG, [*LLVM, *(f"{name}-19" for name in LLVM)], ["LLVM=1"]),
        ({"CC_IS_CLANG": "y", "LD_IS_LLD": "y"}, LLVM, ["LLVM=1"]),
        ({"CC_IS_CLANG": "y", "CLANG_VERSION": "140006"}, ["clang"], ["CC=clang"]),
        ({"CC_IS_CLANG": "y", "CLANG_VERSION": "140006"}, ["clang", "clang-14"], ["CC=clang-14"]),
    ],
)
def test_the_compiler_of_the_configuration_is_taken(
    programs: Path, config: dict[str, str], installed: list[str], words: list[str]
) -> None:
    make_programs(programs, *installed, does='echo "$0 version 1"')
    assert llvm_words(config) == words
    name = "clang" + "".join(words[0].partition("-")[1:])
    assert clang_version(words) == f"{programs}/{name} version 1"


def test_what_is_missing_is_named_with_its_package(programs: Path) -> None:
    make_programs(programs, "clang")
    with pytest.raises(MissingTool, match=r"missing: ld\.lld, llvm-ar") as failure:
        llvm_words(CLANG)
    assert failure.value.advice.endswith(" lld llvm")


def test_the_shipped_fragment_asks_for_it(programs: Path) -> None:
    make_programs(programs, *LLVM)
    text = (minimal_config().parent / "clang.config").read_text()
    assert llvm_words({item.symbol: item.value for item in parse_fragment(text, "clang")}) == ["LLVM=1"]
