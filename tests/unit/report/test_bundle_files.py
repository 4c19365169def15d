"""What is read from a bundle: whole, or named as damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from kmod_harness.errors import Misuse
from kmod_harness.lifecycle.failing_state import failing_state_in
from kmod_harness.report.bundle_files import bundle_object, damage_told


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'"text"', b'{"a": "\xff"}'])
def test_a_file_without_an_object_is_damaged(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "verdict.json").write_bytes(content)
    with pytest.raises(Misuse, match=r"verdict\.json is damaged") as failure:
        bundle_object(tmp_path / "verdict.json")
    assert "reproduce.sh" in failure.value.advice


def test_an_object_is_returned(tmp_path: Path) -> None:
    (tmp_path / "verdict.json").write_text('{"outcome": "splat"}')
    assert bundle_object(tmp_path / "verdict.json") == {"outcome": "splat"}


@pytest.mark.parametrize("fields", [{}, {"a": None}, {"a": 7}, {"a": {"b": 7}}])
def test_what_is_missing_in_an_object_or_of_another_type_is_damage(tmp_path: Path, fields: object) -> None:
    with pytest.raises(Misuse, match="is damaged"), damage_told(tmp_path):
        fields["a"]["b"].strip()  # type: ignore[index]


def test_a_state_whose_description_is_damaged_is_not_loaded(tmp_path: Path) -> None:
    for name, content in (
        ("verdict.json", "{}"),
        ("state.zst", ""),
        ("state.json", '{"spec": {}, "kernel": []}'),
    ):
        (tmp_path / name).write_text(content)
    with pytest.raises(Misuse, match=r"state\.json is damaged"):
        failing_state_in(tmp_path)
