"""A build that failed, told by its first error and by the kernel's options that it lacks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kmod_harness.build.reasons.complaints import read_complaints
from kmod_harness.build.reasons.kconfig_files import Symbol, read_symbols
from kmod_harness.build.reasons.missing_compiler import missing_compiler
from kmod_harness.build.reasons.missing_options import MissingOption, missing_options
from kmod_harness.build.reasons.options_to_set import lines_to_set, with_set
from kmod_harness.errors import BuildFailed, NotForThisKernel

_OPTION = re.compile(r"(?<!!)\bCONFIG_(\w+)")
_WORD = re.compile(r"(?<!!)\b(?!CONFIG_)[A-Z][A-Z0-9_]{2,}\b")
#: How many of the missed names are told for one option.
_TOLD = 3


@dataclass(frozen=True)
class Sources:
    """The sources that a failure is explained from.

    tree: the kernel's source, None without
    config: symbol -> value of the kernel that was built for
    minimal: the same of the kernel `base`, which fragments are added to; {} where it is not here
    prebuilt: the same of Debian's kernel, {} where it is not here or was the one built for
    base: the name of the minimal kernel of this release
    """

    tree: Path | None
    config: Mapping[str, str]
    minimal: Mapping[str, str]
    prebuilt: Mapping[str, str]
    base: str = "minimal"


def explain_failure(failure: BuildFailed, output: str, sources: Sources) -> BuildFailed:
    """Returns the failure of a build, with this output, told anew: its first error, the options it misses."""
    lacking = missing_compiler(output, sources.base)
    if lacking is not None:
        lacking.advice = "\n".join(filter(None, (lacking.advice, failure.advice)))
        lacking.built = failure.built
        return lacking
    complaints = read_complaints(output)
    missing: tuple[MissingOption, ...] = ()
    symbols: Mapping[str, Symbol] = {}
    if sources.tree is not None and (complaints.symbols or complaints.names or complaints.members):
        missing = missing_options(complaints, sources.tree, sources.config)
    if sources.tree is not None and (missing or complaints.words):
        symbols = read_symbols(sources.tree)
        missing = missing or _said(complaints.words, symbols, sources.config)
    if not complaints.first and not missing and failure.evidence:
        return failure
    evidence = [complaints.shown] if complaints.shown else []
    # of a make that ended well, and did not build what it should
    evidence += [failure.message] if complaints.first and not failure.evidence else []
    evidence += [_missed(option) for option in missing]
    return BuildFailed(
        complaints.first or failure.message,
        evidence="\n".join(evidence),
        advice="\n".join(filter(None, (_advice(missing, symbols, sources), failure.advice))),
        built=failure.built,
    )


def explain_exclusion(failure: NotForThisKernel, sources: Sources) -> NotForThisKernel:
    """Returns the failure of a module that is not for this kernel, with the kernel that it would be for."""
    symbols = read_symbols(sources.tree) if sources.tree is not None else {}
    words = dict.fromkeys((*_OPTION.findall(failure.evidence), *_WORD.findall(failure.evidence)))
    missing = _said(words, symbols, sources.config)
    return NotForThisKernel(
        failure.message,
        evidence=failure.evidence,
        advice=_advice(missing, symbols, sources) or failure.advice,
    )


def _said(
    words: Iterable[str], symbols: Mapping[str, Symbol], config: Mapping[str, str]
) -> tuple[MissingOption, ...]:
    """Returns the words that are options of this kernel's and not set."""
    names = (word.removeprefix("CONFIG_") for word in words)
    return tuple(
        MissingOption(name, ()) for name in names if name in symbols and config.get(name, "n") == "n"
    )


def _missed(option: MissingOption) -> str:
    told = ", ".join(option.missed[:_TOLD])
    more = f" and {len(option.missed) - _TOLD} more" if len(option.missed) > _TOLD else ""
    missed = f", which has {told}{more}" if told else ""
    return f"this kernel was built without CONFIG_{option.name}{missed}"


def _advice(missing: Sequence[MissingOption], symbols: Mapping[str, Symbol], sources: Sources) -> str:
    """Returns the command that gets a kernel with these options, "" where there are none or no way."""
    if not missing:
        return ""
    lines: list[str] = []
    no_way = []
    config: Mapping[str, str] = sources.minimal or sources.config
    for name in dict.fromkeys(name for option in missing for name in (option.name, *option.around)):
        names = lines_to_set(name, symbols, config)
        if names is None:
            no_way.append(f"CONFIG_{name}")
        elif names:
            lines += [f"CONFIG_{one}=y" for one in names]
            config = with_set(names, symbols, config)
    told = []
    if lines:
        fragment = f"{missing[0].name.lower().replace('_', '-')}.config"
        told += [f"a kernel with it: write into {fragment}", *lines]
        told.append(f"then: kmod-harness kernel build {sources.base} --kconfig {fragment}")
        told.append(f"and --kconfig {fragment} for `modules` and `run`")
    if no_way:
        told.append(f"no fragment alone sets {' '.join(no_way)}")
    if all(sources.prebuilt.get(option.name, "n") != "n" for option in missing):
        told.append("or take Debian's, which has it: --kernel debian")
    return "\n".join(told)
