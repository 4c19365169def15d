"""The settings of the repository's kmod-harness.toml, put where the command line leaves something open."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from kmod_harness.host.directories import working_directory
from kmod_harness.repository.locate import find_file

if TYPE_CHECKING:
    from kmod_harness.repository.settings import Repository
    from kmod_harness.spec.spec import Spec


def add_repository_option(parser: argparse.ArgumentParser) -> None:
    """Add --no-toml, which `with_repository` reads."""
    parser.add_argument(
        "--no-toml",
        action="store_true",
        help="leave kmod-harness.toml unread, which otherwise says what these options leave open",
    )


def with_repository(args: argparse.Namespace) -> argparse.Namespace:
    """Return the arguments, with the file's value for each option that was not given, and `repository`.

    repository: what the file says, None without a file. An option replaces what the file says, a repeatable
    one all of it; `--kernel` and `--kconfig` name a kernel together, so that either replaces both. `words`
    becomes a command line that means the same without the file. Raises Misuse for a mistake in the file.
    """
    here = working_directory()
    if getattr(args, "no_toml", False) or here is None or find_file(here) is None:
        return argparse.Namespace(**{**vars(args), "repository": None})
    from kmod_harness.repository.as_options import options_said  # lazy
    from kmod_harness.repository.read import read_repository  # lazy

    repository = read_repository(here)
    given = [name.replace("_", "-") for name, value in vars(args).items() if value not in (None, "", [])]
    said = {name.replace("-", "_"): value for name, value in options_said(repository, given).items()}
    taken = {name: value for name, value in said.items() if name in vars(args)}
    words = _words_without_file(args.words, taken)
    return argparse.Namespace(**{**vars(args), **taken, "words": words, "repository": repository})


def names_modules(args: argparse.Namespace) -> bool:
    """Return whether the repository has modules of its own to load."""
    return args.repository is not None and args.repository.modules.are_said


def modules_of_repository(args: argparse.Namespace, spec: Spec) -> list[str]:
    """Return the paths of the repository's modules, built for the machine's kernel; [] where it names none.

    A path below the working directory is relative to it. Raises BuildFailed, Misuse.
    """
    if not names_modules(args):
        return []
    from kmod_harness.build.kernel.known import resolve_kernel  # lazy
    from kmod_harness.build.repository_modules import build_repository_modules  # lazy

    repository: Repository = args.repository
    kernel = resolve_kernel(spec)
    print(f"{_shown(repository.file)}: building for {kernel.release}", file=sys.stderr, flush=True)
    return [_shown(path) for path in build_repository_modules(repository, kernel)]


def _words_without_file(words: list[str], taken: Mapping[str, object]) -> list[str]:
    """Returns the words, the options for what was taken from the file, and --no-toml."""
    options = ["--no-toml"]
    for name, value in taken.items():
        for one in value if isinstance(value, list) else [value]:
            options.append(f"--{name.replace('_', '-')}={one}")
    end = words.index("--") if "--" in words else len(words)
    return [*words[:end], *options, *words[end:]]


def _shown(path: Path | None) -> str:
    return os.path.relpath(path) if path is not None and path.is_relative_to(Path.cwd()) else str(path)
