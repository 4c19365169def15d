"""Parameters of modules on a command line: the option, and what its words mean."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kmod_harness.errors import Misuse
from kmod_harness.kmod.loading.parameters import format_parameters

if TYPE_CHECKING:
    from kmod_harness.kmod.elf.module import KernelModule


def add_parameter_option(parser: argparse.ArgumentParser) -> None:
    """Adds --param, which `assign_parameters` reads."""
    parser.add_argument(
        "--param",
        action="append",
        default=[],
        metavar="[MODULE.]NAME[=VALUE]",
        help="a parameter of the last MODULE, or of the one named; repeatable; a bool needs no value",
    )


def assign_parameters(
    texts: Sequence[str], modules: Sequence[KernelModule], loaded: Sequence[KernelModule] = ()
) -> dict[str, dict[str, str | None]]:
    """Returns module name -> parameters, from `NAME=VALUE`, `NAME` and `MODULE.NAME=VALUE`.

    The form with a dot is the kernel's own (Documentation/admin-guide/kernel-parameters.rst);
    without it the last module is meant. `loaded` may be named too: what is loaded for the others.
    None for one without a value. Raises Misuse, also for what the kernel has no way to take.
    """
    by_name = {module.name: module for module in (*loaded, *modules)}
    assigned: dict[str, dict[str, str | None]] = {}
    for text in texts:
        left, equals, value = text.partition("=")
        module, dot, name = left.rpartition(".")
        if not name or any(character.isspace() or character == '"' for character in left):
            raise Misuse(f"--param takes NAME=VALUE or MODULE.NAME=VALUE, not {text!r}")
        if not modules:
            raise Misuse(f"--param {text}: no module is given")
        module = module.replace("-", "_") if dot else modules[-1].name
        if module not in by_name:
            raise Misuse(
                f"--param {text}: no module {module} is given", evidence=f"given: {', '.join(by_name)}"
            )
        assigned.setdefault(module, {})[name] = value if equals else None
    for parameters in assigned.values():
        try:
            format_parameters(parameters)
        except ValueError as error:
            raise Misuse(f"--param: {error}") from None
    return assigned
