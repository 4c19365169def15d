"""The names of kernels, and what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmod_harness.spec.kernel_name import KernelName, parse_kernel_name
from kmod_harness.spec.spec import Spec, SpecError


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("minimal", KernelName("minimal")),
        ("minimal@6.12", KernelName("minimal", "6.12")),
        ("minimal@sid", KernelName("minimal", "sid")),
        ("debian@trixie", KernelName("debian", "trixie")),
        ("debian@bookworm-backports", KernelName("debian", "bookworm-backports")),
        ("host", KernelName("host")),
        ("", None),
        ("./vmlinuz", None),
        ("linux@home/vmlinuz", None),
    ],
)
def test_a_name_is_told_from_a_path(text: str, name: KernelName | None) -> None:
    assert parse_kernel_name(text) == name
    if name is not None:
        assert str(name) == text


@pytest.mark.parametrize("text", ["minimal@", "minimal@6", "minimal@../x", "debian@6.12", "host@trixie"])
def test_a_wrong_part_behind_the_at_is_told_with_what_is_right(text: str) -> None:
    with pytest.raises(SpecError, match=r"minimal@6\.12"):
        Spec(kernel=text)


@given(st.text())
def test_any_text_is_a_name_a_path_or_refused(text: str) -> None:
    try:
        name = parse_kernel_name(text)
    except ValueError:
        return
    assert name is None or str(name) == text
