"""The parser of the whole command line; building it imports argparse and nothing of the harness."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Sequence
from importlib import import_module
from types import ModuleType
from typing import NoReturn

from kmod_harness.errors import Misuse

_WIDTH = 80
#: What a command does with its parsed arguments; returns the exit status.
Execute = Callable[[argparse.Namespace], int]


class UsageError(Misuse):
    """The command line itself is wrong; `usage` is what the command takes."""

    def __init__(self, message: str, usage: str, program: str) -> None:
        super().__init__(message, advice=f"{program} --help")
        self.usage = usage


class HelpFormatter(argparse.HelpFormatter):
    """Wraps the paragraphs of a description to the terminal, to 80 columns at most; indented lines stay."""

    def __init__(self, prog: str) -> None:
        import shutil  # lazy

        super().__init__(prog, width=min(shutil.get_terminal_size().columns, _WIDTH) - 2)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        from kmod_harness.report.columns import wrapped  # lazy

        lines: list[str] = []
        for is_prose, group in itertools.groupby(text.splitlines(), lambda line: line[:1].strip() != ""):
            part = list(group)
            lines += wrapped(" ".join(part), indent=indent, width=width) if is_prose else part
        return "\n".join(lines) + "\n"


class Parser(argparse.ArgumentParser):
    """Raises UsageError instead of exiting, so that --json can say it too; takes no abbreviations."""

    def __init__(self, **options: object) -> None:
        options.setdefault("allow_abbrev", False)
        options.setdefault("formatter_class", HelpFormatter)
        super().__init__(**options)  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, self.format_usage().strip(), self.prog)


#: The commands in the order of --help.
COMMANDS = (
    *("init", "run", "verify", "explain", "kernel", "modules", "rootfs", "boot", "debug", "demo"),
    *("symbolize", "crash", "nightly", "doctor", "cache"),
)
#: Those that are a room of their own; each other is a file in commands/.
_ROOMS = ("run", "verify", "explain", "demo", "doctor")


def build_parser(commands: Sequence[str] = COMMANDS) -> Parser:
    """Returns the parser of some commands; each sets `execute` (an Execute) and may set `takes_command`."""
    parser = Parser(
        prog="kmod-harness",
        description="Boot a kernel in QEMU, load modules, drive them, and judge what the kernel did.",
        epilog="kmod-harness COMMAND --help tells what a command takes.",
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    subparsers = parser.add_subparsers(metavar="COMMAND", dest="command_name", parser_class=Parser)
    for command in commands:
        _module_of(command).add_parser(subparsers)
    return parser


def _module_of(command: str) -> ModuleType:
    """Imports the file of a command, which has `add_parser`; none is imported before it is needed."""
    file = f"{command}.command" if command in _ROOMS else f"commands.{command}"
    return import_module(f"{__package__}.{file}")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Returns the parsed command line. Raises UsageError.

    What stands behind `--` is `args.command`, untouched. Positional arguments may
    stand between options.
    """
    before, behind = split_command(arguments)
    # a command line that begins with its command needs no other's options
    parser = build_parser(before[:1] if before[:1] and before[0] in COMMANDS else COMMANDS)
    args, extra = parser.parse_known_args(before)
    args.command = behind
    args.words = list(arguments)
    if args.version:
        return args
    if not hasattr(args, "execute"):
        parser.error("a command is missing")
    args.parser = getattr(args, "parser", parser)
    modules = getattr(args, "modules", None)
    if modules is not None and not any(word.startswith("-") for word in extra):
        modules += extra
    elif extra:
        args.parser.error(f"unknown arguments: {' '.join(extra)}")
    if behind is not None and not getattr(args, "takes_command", False):
        args.parser.error("this command takes nothing behind `--`")
    return args


def split_command(arguments: Sequence[str]) -> tuple[list[str], list[str] | None]:
    """Returns the words before the first `--`, and those behind it (None without one)."""
    words = list(arguments)
    if "--" not in words:
        return words, None
    at = words.index("--")
    return words[:at], words[at + 1 :]
