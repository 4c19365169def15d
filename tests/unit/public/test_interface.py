"""What users' tests and scripts may rely on: each name listed, typed, and there."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

import kmod_harness
from kmod_harness import Guest, GuestFile, LoadedModule, Process
from kmod_harness.errors import ExitStatus
from shared.schemas import schema

#: The methods and properties of what a test is given. A change here is a change for users: it belongs
#: in CHANGELOG.md, and in harness/docs/writing-tests.md.
MEMBERS = {
    Guest: """boot_seconds check_before_loading checkpoint device_number exists judge kallsyms kernel_log
        load machine make_directories module modules open process push read_file read_text run scan_kmemleak
        shell spec ssh syscaller was_restored write_file""",
    GuestFile: """close fd getdents ioctl lseek mmap munmap path poll process read read_async read_at
        write write_all write_async write_at""",
    Process: """allocate batch begin call can_be_called device_number exists is_alive is_busy kill
        list_directory make_directories memory mkdir number open peek pid poke read_file read_proc read_text
        stat syscall unlink write_file""",
    LoadedModule: """address file is_loaded is_permanent load_seconds name refcnt sections size state symbol
        taint unload""",
}


def members(kind: type) -> set[str]:
    """Returns the public names of a class: its methods, its properties, and what it sets on itself."""
    tree = ast.parse(inspect.getsource(kind))
    on_self = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    }
    return {name for name in {*vars(kind), *on_self} if not name.startswith("_")}


@pytest.mark.parametrize("kind", MEMBERS, ids=lambda kind: kind.__name__)
def test_what_a_test_is_given_has_these_members_and_no_others(kind: type) -> None:
    assert members(kind) == set(MEMBERS[kind].split())


@pytest.mark.parametrize("name", kmod_harness.__all__)
def test_every_public_name_is_there_and_says_what_it_is(name: str) -> None:
    assert inspect.getdoc(getattr(kmod_harness, name))


def test_the_public_names_cost_nothing_until_they_are_used() -> None:
    code = (
        "import sys, kmod_harness; print([name for name in sys.modules if name.startswith('kmod_harness.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_users_type_checker_sees_our_types(tmp_path: Path) -> None:
    # given: a user's test, with a mistake in it
    (tmp_path / "test_driver.py").write_text(
        "from kmod_harness import Guest\n"
        "def test(guest: Guest) -> None:\n"
        "    with guest.checkpoint().guest() as other:\n"
        "        reveal_type(other.run(['true']).status)\n"
        "        other.open(5)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "test_driver.py"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )

    # then: the mistake is found, by the types of the package itself
    assert 'Revealed type is "int"' in done.stdout.replace("builtins.", ""), done.stdout + done.stderr
    assert 'Argument 1 to "open" of "Guest" has incompatible type "int"; expected "str"' in done.stdout
    assert "Found 1 error" in done.stdout


def test_the_package_says_that_it_is_typed() -> None:
    assert (files("kmod_harness") / "py.typed").is_file()


@pytest.mark.parametrize("name", ["run", "verify", "test-verdict"])
def test_a_schema_is_one_and_names_its_version(name: str) -> None:
    Draft202012Validator.check_schema(schema(name))
    assert schema(name)["properties"]["version"] == {"const": 1}


def test_exit_statuses_stay_what_they_are() -> None:
    assert {status.name: int(status) for status in ExitStatus} == {
        "PASSED": 0,
        "FAILED": 1,
        "USAGE": 2,
        "SPLAT": 3,
        "PANIC": 4,
        "HANG": 5,
        "BOOT_FAILED": 6,
        "QEMU_DIED": 7,
        "NOTHING_TESTED": 8,
        "LOG_INCOMPLETE": 9,
    }
