"""Every place in the kernel's source that the page names is there, in the release it says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from kmod_harness.build.kernel.kernel import Kernel
from kmod_harness.explain.claims.catalogue import CLAIMS
from kmod_harness.explain.claims.checked_release import CHECKED_RELEASE
from kmod_harness.explain.page import render
from kmod_harness.explain.probes.tracing import STEPS

#: A place and the word behind it, which is a name there; `, 414 the call` is another line of the file before.
_PLACE = re.compile(
    r"(?:(?P<path>[\w/-]+(?:\.[chS]|Makefile))(?::(?P<line>\d+))?|(?<=, )(?P<more>\d+)) ?(?P<word>[\w>-]*)"
)
#: Words that say what is there and are no name in the source.
_NOT_NAMES = {"the", "in", "e_type", "init", "permissions", "exit", "takes", "puts", "open", "", "f"}
#: A definition's name stands on its line, its braces and comments some lines around.
_NEAR = 3


def source_of(kernel: Kernel) -> Path:
    link = (kernel.build_dir or Path()) / "source"
    version = link / "Makefile"
    if not version.is_file():
        pytest.skip("this kernel's source is not here")
    numbers = re.findall(r"^(?:VERSION|PATCHLEVEL|SUBLEVEL) = (\d+)$", version.read_text(), re.MULTILINE)
    if ".".join(numbers) != CHECKED_RELEASE:
        pytest.skip(f"places are those of {CHECKED_RELEASE}, the source here is {'.'.join(numbers)}")
    return link


def places() -> Iterator[tuple[str, int, str]]:
    templates = Path(render.__file__).with_name("templates")
    in_templates = re.findall(r'"([^"]+)"\|places', "".join(p.read_text() for p in templates.glob("*.j2")))
    for text in (*(claim.source for claim in CLAIMS), *in_templates):
        path = ""
        for match in _PLACE.finditer(text):
            path = match["path"] or path
            yield path, int(match["line"] or match["more"] or 0), match["word"]
    for name, (_, place) in STEPS.items():
        path, line = place.split(":")
        yield path, int(line), name.removeprefix("__x64_sys_")


def test_each_named_place_holds_its_name(run_kernel: Kernel) -> None:
    source = source_of(run_kernel)
    wrong = []
    for path, line, word in places():
        lines = (source / path).read_text(errors="replace").splitlines()
        near = lines[max(0, line - 1 - _NEAR) : line + _NEAR] if line else lines
        if len(lines) < line or (word not in _NOT_NAMES and not any(word in text for text in near)):
            wrong.append(f"{path}:{line} {word}")
    assert wrong == []
    assert len(list(places())) > 40
