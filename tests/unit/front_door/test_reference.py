"""harness/docs/writing-tests.md against the code: names, signatures, errors, options, fixtures, markers."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import os
import re
import select
from collections.abc import Callable, Mapping
from typing import Any

import pytest

import kmod_harness
from kmod_harness import Completed, Guest, GuestFile, LoadedModule, Process, Spec, Testbed
from kmod_harness import errors as errors_of_users
from kmod_harness.errors import KmodHarnessError
from kmod_harness.guest.kernel_log import KernelLog
from kmod_harness.guest.shell import Shell
from kmod_harness.guest.ssh import Ssh
from kmod_harness.klog.kinds import SplatKind
from kmod_harness.pytest_plugin import markers
from kmod_harness.pytest_plugin.options import OPTIONS
from readme.blocks import prose
from shared.checkout import ROOT
from unit.public.test_interface import members

PAGE = (ROOT / "harness/docs/writing-tests.md").read_text()
#: Section -> the class whose public members its table has, one and all.
TABLES = {
    "guest": Guest,
    "Files": GuestFile,
    "Processes": Process,
    "Programs": Completed,
    "Modules": LoadedModule,
    "Kernel log": KernelLog,
}
#: Section or page -> the class some of whose methods its text has.
TEXTS = {"Shell": Shell, "SSH": Ssh, "Fixtures": Testbed}
_NAMES: Mapping[str, object] = {"os": os, "select": select}


def section(title: str) -> str:
    """The text below a heading of the second level."""
    _, found, rest = PAGE.partition(f"\n## {title}\n")
    assert found, title
    return rest.partition("\n## ")[0]


def first_cells(text: str) -> list[str]:
    """The first cell of each row of a section's tables."""
    rows = re.findall(r"^\| (`.*?)(?<!\\) \|", text, re.MULTILINE)
    return [row.replace(r"\|", "|") for row in rows]


def code_of(cells: list[str]) -> list[str]:
    return [span for cell in cells for span in re.findall(r"`([^`]+)`", cell)]


def name_of(span: str) -> str:
    return span.partition("(")[0]


def signature_of(function: Callable[..., object]) -> list[tuple[str, str, object]]:
    """(name, kind, default) of each parameter that a caller gives."""
    parameters = list(inspect.signature(function).parameters.values())
    return [(one.name, one.kind.name, one.default) for one in parameters if one.name != "self"]


def signature_on_page(span: str) -> list[tuple[str, str, object]]:
    """The same of `name(parameters)`, as the page has it."""
    (function,) = ast.parse(f"def {span}: ...").body
    scope: dict[str, Any] = dict(_NAMES)
    exec(compile(ast.Module([function], []), "page", "exec"), scope)
    return signature_of(scope[name_of(span)])


def spans_with_signatures() -> list[tuple[type, str]]:
    in_tables = [(kind, code_of(first_cells(section(title)))) for title, kind in TABLES.items()]
    in_texts = [(kind, re.findall(r"`([^`]+)`", prose(section(title)))) for title, kind in TEXTS.items()]
    found = []
    for kind, spans in [*in_tables, *in_texts]:
        for span in spans:
            words = span.removeprefix("machine.")
            name = name_of(words)
            if words.endswith(")") and name.isidentifier() and name in members(kind):
                found.append((kind, words))
    return found


@pytest.mark.parametrize("title", TABLES)
def test_a_table_has_every_public_member_and_no_other(title: str) -> None:
    spans = code_of(first_cells(section(title)))
    names = {name_of(span) for span in spans}
    kind = TABLES[title]
    fields = {field.name for field in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else set()
    assert names == {name for name in members(kind) | fields if not name.startswith("_")}


@pytest.mark.parametrize(
    ("kind", "span"), spans_with_signatures(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_signature_is_that_of_the_code(kind: type, span: str) -> None:
    assert signature_on_page(span) == signature_of(getattr(kind, name_of(span)))


def test_signatures_are_looked_at() -> None:
    looked_at = {(kind, name_of(span)) for kind, span in spans_with_signatures()}
    methods = {
        (kind, name)
        for kind in TABLES.values()
        for name in members(kind)
        if inspect.isfunction(inspect.getattr_static(kind, name, None))
    }
    in_their_words = {"open", "read_file", "read_text", "write_file", "exists", "device_number"}
    unseen = {(kind.__name__, name) for kind, name in methods - looked_at}
    assert unseen <= {("Process", name) for name in in_their_words}


def test_a_signature_that_is_wrong_is_found() -> None:
    right = signature_of(Guest.open)
    assert signature_on_page("open(path, flags=os.O_RDONLY, mode=0o666)") == right
    assert signature_on_page("open(path, flags=os.O_RDONLY, mode=0o644)") != right
    assert signature_on_page("open(path, mode=0o666)") != right


@pytest.mark.parametrize("name", ["boot", "prepare"])
def test_functions_without_pytest_have_their_signatures(name: str) -> None:
    text = section("Without pytest").rpartition("```")[2]
    (span,) = (span for span in re.findall(r"`([^`]+)`", text) if span.startswith(f"{name}("))
    assert signature_on_page(span) == signature_of(getattr(kmod_harness, name))


def test_every_fixture_is_named() -> None:
    from kmod_harness import pytest_plugin

    fixtures = {name for name in pytest_plugin.__all__ if not name.startswith("pytest_")}
    assert set(code_of(first_cells(section("Fixtures")))) == fixtures


def test_every_marker_is_named() -> None:
    registered = [line.partition(":")[0].partition("(")[0] for line in markers._REGISTERED]
    assert registered
    assert [name for name in registered if f"`@pytest.mark.{name}" not in section("Markers")] == []


def test_every_kind_of_report_is_named() -> None:
    named = set(re.findall(r"`([A-Z_]+)`", section("Markers")))
    assert named == {kind.value for kind in SplatKind}


def test_every_option_has_its_ini_key_and_no_other_is_there() -> None:
    rows = re.findall(r"^\| `(--kh-[\w-]+)` \| `(kh_\w+)` \|", section("Options"), re.MULTILINE)
    assert sorted(rows) == sorted((option.flag, option.key) for option in OPTIONS)


def test_every_error_is_named_with_its_base() -> None:
    defined = {
        name: kind.__base__.__name__
        for name, kind in vars(errors_of_users).items()
        if inspect.isclass(kind) and issubclass(kind, KmodHarnessError)
    }
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \|", section("Errors"), re.MULTILINE)
    assert dict(rows) == defined


def test_every_field_of_a_spec_is_named() -> None:
    named = set(code_of(first_cells(section("Without pytest"))))
    assert named == {field.name for field in dataclasses.fields(Spec)}


def test_the_time_limits_are_those_of_the_code() -> None:
    from kmod_harness.guest.agent.calls import CALL_SECONDS
    from kmod_harness.guest.jobs import RUN_SECONDS
    from kmod_harness.guest.kernel_log import SYNC_SECONDS
    from kmod_harness.guest.shell import SHELL_SECONDS
    from kmod_harness.guest.ssh import SSH_SECONDS
    from kmod_harness.machine.deadline import BOOT_SECONDS, SLOW_OPTION_SECONDS

    assert RUN_SECONDS == SHELL_SECONDS == SSH_SECONDS
    rows = re.findall(r"^\| .* \| (\d+)(?:, and (\d+) more .*)? \|$", section("Time limits"), re.MULTILINE)
    limits = [CALL_SECONDS, RUN_SECONDS, SYNC_SECONDS, BOOT_SECONDS]
    assert [float(first) for first, _ in rows] == limits
    assert float(rows[-1][1]) == SLOW_OPTION_SECONDS
