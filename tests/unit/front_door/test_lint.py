"""What checks the sources: `make lint` and the hooks before a commit call the same programs."""

from __future__ import annotations

import re

from shared.checkout import ROOT

HOOKS = (ROOT / ".pre-commit-config.yaml").read_text()
VARIABLES = {
    "$(VENV)": ".venv/bin",
    "$(HARNESS)": ".venv/bin/kmod-harness",
    "$(KERNEL)": "minimal",
    "$$": "$",
}


def lint_commands() -> list[str]:
    """The commands of `make lint`, as make gives them to a shell."""
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe
    text = recipe[1]
    for name, value in VARIABLES.items():
        text = text.replace(name, value)
    return [line.strip() for line in text.splitlines()]


def hook_commands() -> list[str]:
    """The commands of the hooks; pre-commit starts them without a shell, so some bring one."""
    entries = re.findall(r"^ +entry: (.+)$", HOOKS, re.MULTILINE)
    return [re.sub(r"^bash -c '(.*)'$", r"\1", entry) for entry in entries]


def test_the_hooks_call_what_make_lint_calls() -> None:
    assert lint_commands()
    assert hook_commands() == lint_commands()


def test_the_hooks_take_nothing_from_elsewhere() -> None:
    assert re.findall(r"^ +- repo: (.+)$", HOOKS, re.MULTILINE) == ["local"]
    languages = re.findall(r"^ +language: (.+)$", HOOKS, re.MULTILINE)
    assert languages == ["system"] * len(hook_commands())
