"""dkms.conf: a fragment for bash, evaluated by bash for one kernel, and what it asks for."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from kmod_harness.build.required_tools import require_tools
from kmod_harness.errors import Misuse

FILE = "dkms.conf"
#: The only architecture of guests, as `uname -m` says it.
_ARCHITECTURE = "x86_64"
#: dkms's own directories (dkms.8, "framework.conf"), which many a dkms.conf writes out.
_DKMS_TREE, _SOURCE_TREE = "/var/lib/dkms", "/usr/src"
_SECONDS = 30

#: Reads the file as dkms does, then tells NAME, index and value of each variable on descriptor 3, a NUL after
#: each. dkms knows the package's name and version before, as `module` and `module_version`; here the file is
#: asked for them first. What is matched against the kernel's release is a regular expression of bash, so bash
#: matches it.
_READ = r"""
exec 3>&1 >/dev/null
bash -n ./dkms.conf || exit
tell() { printf '%s\0%s\0%s\0' "$1" "$2" "$3" >&3; }
value_of() (
    exec 2>/dev/null 4>&1 >&2
    . ./dkms.conf
    printf %s "${!1}" >&4
)
module=$(value_of PACKAGE_NAME) module_version=$(value_of PACKAGE_VERSION)
. ./dkms.conf
for name in PACKAGE_NAME PACKAGE_VERSION CLEAN PRE_BUILD MAKE BUILT_MODULE_NAME BUILT_MODULE_LOCATION PATCH \
    DEST_MODULE_LOCATION BUILD_EXCLUSIVE_KERNEL BUILD_EXCLUSIVE_KERNEL_MIN BUILD_EXCLUSIVE_KERNEL_MAX \
    BUILD_EXCLUSIVE_ARCH BUILD_EXCLUSIVE_CONFIG; do
    declare -n values=$name
    for index in "${!values[@]}"; do
        tell "$name" "$index" "${values[$index]}"
    done
done
for list in MAKE PATCH; do
    declare -n patterns=${list}_MATCH
    for index in "${!patterns[@]}"; do
        [[ -z ${patterns[$index]} ]] && continue
        [[ $kernelver =~ ${patterns[$index]} ]] && answer=yes || answer=no
        tell "${list}_MATCH" "$index" "$answer"
    done
done
[[ $BUILD_EXCLUSIVE_KERNEL && ! $kernelver =~ $BUILD_EXCLUSIVE_KERNEL ]] && tell EXCLUDED 0 KERNEL
[[ $BUILD_EXCLUSIVE_ARCH && ! $arch =~ $BUILD_EXCLUSIVE_ARCH ]] && tell EXCLUDED 1 ARCH
tell READ 0 whole
"""


@dataclass(frozen=True)
class DkmsConf:
    """The content of a dkms.conf for one kernel.

    name, version: of the package
    make, clean: commands for sh; they, and `pre_build`, name the paths that dkms would build in
    modules: the .ko files to be made, relative to the directory
    patches: files in patches/ to apply for this kernel
    pre_build: a script and its arguments, "" for none
    not_for: why this kernel is none of its, a sentence each; () where it is
    said: what the file printed for people while it was evaluated
    """

    name: str
    version: str
    make: str
    clean: str
    modules: tuple[Path, ...]
    patches: tuple[str, ...] = ()
    pre_build: str = ""
    not_for: tuple[str, ...] = ()
    said: str = ""

    @property
    def alters_sources(self) -> bool:
        """Whether building it does more in its directory than make does."""
        commands = re.split(r"[;&|(){}\n]+", self.make)
        return bool(self.patches or self.pre_build) or not all(map(_is_make, commands))

    def in_place(self, directory: Path, build_dir: Path, release: str) -> DkmsConf:
        """Returns it with the paths of dkms and of installed headers replaced by those here."""
        places = {
            f"{_DKMS_TREE}/{self.name}/{self.version}/build": str(directory),
            f"{_DKMS_TREE}/{self.name}/{self.version}/source": str(directory),
            f"{_SOURCE_TREE}/{self.name}-{self.version}": str(directory),
            f"/lib/modules/{release}/build": str(build_dir),
            f"/lib/modules/{release}/source": str(build_dir),
        }

        # in one pass: the directory may itself lie below /usr/src
        pattern = re.compile("|".join(map(re.escape, places)))

        def placed(text: str) -> str:
            return pattern.sub(lambda match: places[match[0]], text)

        return replace(
            self, make=placed(self.make), clean=placed(self.clean), pre_build=placed(self.pre_build)
        )


def read_dkms_conf(directory: Path, release: str, build_dir: Path, config: Mapping[str, str]) -> DkmsConf:
    """Returns the content of the dkms.conf in `directory` for a kernel; runs bash, as dkms does.

    config: the kernel's configuration, symbol -> value. Raises Misuse for a file that dkms would refuse,
    MissingTool where there is no bash.
    """
    require_tools({"bash": "bash"})
    environment = {
        # no more of the caller's: a variable MAKE or CLEAN of its would be taken for the file's
        **{name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ},
        "LC_ALL": "C",
        "kernelver": release,
        "arch": _ARCHITECTURE,
        "kernel_source_dir": str(build_dir),
        "kernel_config": f"{build_dir}/.config",
        "dkms_tree": _DKMS_TREE,
        "source_tree": _SOURCE_TREE,
    }
    file = directory / FILE
    try:
        done = subprocess.run(
            ["bash", "-c", _READ],
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Misuse(f"{file} did not end within {_SECONDS} seconds when bash read it") from None
    said = done.stderr.decode(errors="replace").strip()
    words = done.stdout.decode(errors="replace").split("\0")[:-1]
    if words[-3:] != ["READ", "0", "whole"]:
        raise Misuse(f"{file} cannot be read by bash, as dkms reads it", evidence=said)
    variables: dict[str, dict[int, str]] = {}
    for name, index, value in zip(words[::3], words[1::3], words[2::3], strict=True):
        variables.setdefault(name, {})[int(index)] = value
    return conf_of(variables, file, release, build_dir, config, said)


def conf_of(
    variables: Mapping[str, Mapping[int, str]],
    file: Path,
    release: str,
    build_dir: Path,
    config: Mapping[str, str],
    said: str = "",
) -> DkmsConf:
    """Returns the meaning of a dkms.conf's variables, by dkms 3.0's rules. Raises Misuse."""

    def single(name: str) -> str:
        return variables.get(name, {}).get(0, "")

    name, version = single("PACKAGE_NAME"), single("PACKAGE_VERSION")
    if not name or not version:
        raise Misuse(
            f"{file} says no {'PACKAGE_NAME' if not name else 'PACKAGE_VERSION'}, which dkms asks for",
            evidence=said,
        )
    plain = f"make -C {build_dir} M={_DKMS_TREE}/{name}/{version}/build"
    return DkmsConf(
        name=name,
        version=version,
        make=_make(variables) or plain,
        clean=single("CLEAN") or f"{plain} clean",
        modules=_modules(variables, name, file),
        patches=_matching(variables, "PATCH"),
        pre_build=single("PRE_BUILD"),
        not_for=_exclusions(variables, release, config),
        said=said,
    )


def _make(variables: Mapping[str, Mapping[int, str]]) -> str:
    """Returns the make command: the last whose pattern matches the kernel, else the first without one."""
    commands, matches = variables.get("MAKE", {}), variables.get("MAKE_MATCH", {})
    chosen = commands.get(0, "") if 0 not in matches else ""
    for index, command in commands.items():
        if matches.get(index) == "yes":
            chosen = command
    return chosen


def _matching(variables: Mapping[str, Mapping[int, str]], name: str) -> tuple[str, ...]:
    matches = variables.get(f"{name}_MATCH", {})
    values = variables.get(name, {})
    return tuple(value for index, value in values.items() if value and matches.get(index, "yes") == "yes")


def _modules(variables: Mapping[str, Mapping[int, str]], package: str, file: Path) -> tuple[Path, ...]:
    names, locations = variables.get("BUILT_MODULE_NAME", {}), variables.get("BUILT_MODULE_LOCATION", {})
    destinations = variables.get("DEST_MODULE_LOCATION", {})
    last = max([*names, *locations, *destinations], default=0)
    # one module needs no name: it is the package's
    default = package if last == 0 else ""
    found = []
    for index in range(last + 1):
        name = names.get(index, "") or default
        if not name or name.endswith((".o", ".ko")):
            told = f"is {name!r}, with a suffix" if name else "is missing"
            raise Misuse(
                f"{file}: BUILT_MODULE_NAME[{index}] {told}; dkms takes the name of a .ko without it"
            )
        found.append(Path(locations.get(index, ""), f"{name}.ko"))
    return tuple(found)


def _exclusions(
    variables: Mapping[str, Mapping[int, str]], release: str, config: Mapping[str, str]
) -> tuple[str, ...]:
    """Returns why the kernel is excluded by BUILD_EXCLUSIVE_*, a sentence each."""

    def single(name: str) -> str:
        return variables.get(f"BUILD_EXCLUSIVE_{name}", {}).get(0, "")

    told = []
    for which in variables.get("EXCLUDED", {}).values():
        what = release if which == "KERNEL" else _ARCHITECTURE
        told.append(f"BUILD_EXCLUSIVE_{which} is {single(which)!r}, and this is {what}")
    least, most = single("KERNEL_MIN"), single("KERNEL_MAX")
    if least and _numbers(release) < _numbers(least):
        told.append(f"BUILD_EXCLUSIVE_KERNEL_MIN is {least}, and this is {release}")
    if most and _numbers(release)[: len(_numbers(most))] > _numbers(most):
        told.append(f"BUILD_EXCLUSIVE_KERNEL_MAX is {most}, and this is {release}")
    for word in single("CONFIG").split() if config else ():
        symbol = word.removeprefix("!")
        is_set = config.get(symbol.removeprefix("CONFIG_"), "n") in ("y", "m")
        if is_set == word.startswith("!"):
            told.append(
                f"BUILD_EXCLUSIVE_CONFIG asks for {word}, and {symbol} is {'' if is_set else 'not '}set"
            )
    return tuple(told)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", re.split(r"[^\d.]", version)[0])))


def _is_make(command: str) -> bool:
    """Returns whether a command is one of make, or of nothing, or changes into a directory."""
    words = [word for word in command.split() if not re.match(r"\w+=", word)]
    return not words or words[0].strip("'\"\\") in ("make", "cd")
