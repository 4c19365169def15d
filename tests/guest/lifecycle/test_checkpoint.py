"""A checkpoint outside pytest: of a guest that `boot` gave."""

from __future__ import annotations

from pathlib import Path

import pytest

from kmod_harness import Prepared, Spec, boot, prepare
from kmod_harness.errors import Misuse, StateNotSaved


@pytest.fixture(scope="module")
def prepared(machine_spec: Spec) -> Prepared:
    return prepare(machine_spec)


def test_guests_branch_from_a_loaded_module(prepared: Prepared, chardev_ko: Path) -> None:
    with boot(prepared, cold=False) as guest:
        guest.load(chardev_ko)
        checkpoint = guest.checkpoint()
        guest.write_file("/after", b"x")

        # then: each branch has what was there, and nothing of another
        for _ in range(2):
            with checkpoint.guest() as branch:
                assert branch.module("chardev").is_loaded
                assert not branch.exists("/after")
                assert not branch.exists("/own")
                branch.write_file("/own", b"x")

        # and: a branch can be branched from, while the first guest goes on
        with checkpoint.guest() as branch:
            branch.write_file("/deeper", b"x")
            with branch.checkpoint().guest() as leaf:
                assert leaf.exists("/deeper")
        assert guest.exists("/after")
        assert not guest.exists("/deeper")


def test_a_name_is_for_the_fixture_alone(prepared: Prepared) -> None:
    with boot(prepared, cold=False) as guest, pytest.raises(Misuse, match="fixture `machine`"):
        guest.checkpoint("filled")


def test_none_is_taken_after_a_report(prepared: Prepared, faulty_ko: Path) -> None:
    with boot(prepared, cold=False) as guest:
        guest.load(faulty_ko, fault="warn")
        with pytest.raises(StateNotSaved, match="has reported WARNING: WARNING in faulty_warn"):
            guest.checkpoint()
