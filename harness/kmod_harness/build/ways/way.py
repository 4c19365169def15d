"""Which way a directory of modules is built for a kernel, chosen from what lies in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kmod_harness.build.ways.dkms_conf import FILE, DkmsConf, read_dkms_conf
from kmod_harness.build.ways.own_makefile import (
    KbuildCall,
    KernelVariables,
    kbuild_call,
    kernel_variables,
    makefile_texts,
)
from kmod_harness.errors import Misuse
from kmod_harness.repository.sources import Found, look_through

_MAKEFILES = (Path("Kbuild"), Path("Makefile"), Path("makefile"), Path("GNUmakefile"))


@dataclass(frozen=True)
class ForKernel:
    """The facts about a kernel that decide how modules are built for it.

    release: its release
    build_dir: directory for `make -C`
    config: symbol -> value
    """

    release: str
    build_dir: Path
    config: Mapping[str, str]


@dataclass(frozen=True)
class Kbuild:
    """By `make -C KERNEL M=DIRECTORY modules`; settings: `NAME=value` for make."""

    directory: Path
    settings: tuple[str, ...] = ()

    @property
    def said(self) -> str:
        """The way, in a few words."""
        return " ".join(("kbuild", *self.settings))


@dataclass(frozen=True)
class OwnMakefile:
    """By the directory's own Makefile, which takes the kernel by its variables; target "": the first."""

    directory: Path
    variables: KernelVariables
    target: str = ""

    @property
    def said(self) -> str:
        """The way, in a few words."""
        words = [f"{name}=KERNEL" for name in self.variables.directories]
        words += [f"{name}=RELEASE" for name in self.variables.releases]
        return f"its own Makefile: make {' '.join([*words, self.target])}".rstrip()


@dataclass(frozen=True)
class Dkms:
    """By its dkms.conf; variables: those by which its Makefiles would take another kernel."""

    directory: Path
    conf: DkmsConf
    variables: KernelVariables

    @property
    def said(self) -> str:
        """The way, in a few words."""
        more = [f"{len(self.conf.patches)} patches"] if self.conf.patches else []
        more += [f"PRE_BUILD {self.conf.pre_build.split()[0]}"] if self.conf.pre_build else []
        more += ["in a copy"] if self.conf.alters_sources else []
        return ", ".join((f"dkms.conf of {self.conf.name} {self.conf.version}", *more))


Way = Kbuild | OwnMakefile | Dkms


def choose_ways(directory: Path, kernel: ForKernel) -> tuple[Way, ...]:
    """Returns how the modules of a directory are built: in one way, or in one for each of several below it.

    A dkms.conf decides; then a Makefile that tells kbuild more than its directory; then kbuild's lists; then
    what lies below. Runs bash for a dkms.conf. Raises Misuse where there is nothing to build.
    """
    require_sources(directory)
    texts = makefile_texts(directory)
    if (directory / FILE).is_file():
        conf = read_dkms_conf(directory, kernel.release, kernel.build_dir, kernel.config)
        return (Dkms(directory, conf, kernel_variables(texts.values())),)
    top = next((texts[name] for name in _MAKEFILES if name in texts), None)
    found = look_through(directory)
    if top is not None:
        call = kbuild_call(texts.get(Path("Makefile"), top))
        variables = kernel_variables(texts.values())
        chosen = _of_makefile(directory, found, call, variables, kernel)
        if chosen is not None:
            return (chosen,)
    below = _below(directory, found)
    ways = [way for one in below for way in choose_ways(directory / one, kernel)]
    if not ways and top is None:
        raise Misuse(
            f"{directory} has no Makefile, Kbuild or dkms.conf, and none below it names modules",
            advice="a Makefile with `obj-m := NAME.o` has NAME.c built",
        )
    # with a list that make alone can read
    return tuple(ways) or (Kbuild(directory),)


def _of_makefile(
    directory: Path, found: Found, call: KbuildCall | None, variables: KernelVariables, kernel: ForKernel
) -> Way | None:
    """Returns the way of a directory with a Makefile of its own, None where only those below it build."""
    is_own = bool(variables.directories)
    own = OwnMakefile(directory, variables, call.target if call else "")
    modules = found.modules if Path() in found.kbuild else ()
    unset = [
        config
        for module in modules
        for config in module.configs
        if kernel.config.get(config.removeprefix("CONFIG_"), "n") == "n"
    ]
    # a symbol of the module's own: its Makefile sets it, or nobody
    none_is_set = bool(unset) and all(set(module.configs) & set(unset) for module in modules)
    if is_own and ((call is not None and call.says_more) or none_is_set or not found.kbuild):
        return own
    if modules:
        return Kbuild(directory, tuple(f"{name}=m" for name in dict.fromkeys(unset)) if none_is_set else ())
    if is_own and call is not None:
        return own
    if any(unclear.makefile in _MAKEFILES and unclear.line.startswith("obj-") for unclear in found.unclear):
        return Kbuild(directory)
    return None


def _below(directory: Path, found: Found) -> list[Path]:
    """Returns the directories below that build on their own, relative to `directory`."""
    confs = sorted(path.parent.relative_to(directory) for path in directory.glob(f"*/{FILE}"))
    listed = [one for one in found.kbuild if one != Path()]
    return [*confs, *(one for one in listed if not any(one.is_relative_to(conf) for conf in confs))]


def require_sources(directory: Path) -> None:
    """Raises Misuse for what is no directory."""
    if not directory.is_dir():
        raise Misuse(f"there is no directory {directory}; expected one with a module's sources and Makefile")
