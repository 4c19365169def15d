"""What a frame of a trace means, by addr2line, and what `symbolize` and decode_stacktrace.sh say of it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

from kmod_harness.klog.frames import Frame, frames_of, plain, position_of
from kmod_harness.klog.records import parse_console
from shared.cli_process import COMMAND

_SYMBOL = re.compile(r"([0-9a-f]+) .{7} (\S+)\t([0-9a-f]+) (?:\.\w+ )?(\S+)")
_PLACE = re.compile(r"(\S+):(\d+)(?: \(discriminator \d+\))?")


@dataclass(frozen=True)
class Place:
    """A line of the sources, and the function it stands in: "" where a reader does not tell it."""

    function: str
    path: str
    line: int


#: Inlined functions first; () is: no line is known.
Chain = tuple[Place, ...]


@dataclass(frozen=True)
class Entry:
    """A line of a log with a frame; exact: where the CPU was, else the offset is a return address."""

    line: str
    frame: Frame
    exact: bool


def entries(log: str) -> list[Entry]:
    """Returns the lines that show a frame: RIP and the call trace, `?` leftovers included."""
    found = []
    for record in parse_console(log):
        position = position_of([record.text])
        frame = position or next(frames_of([record.text]), None)
        if frame is not None:
            found.append(Entry(record.raw, frame, exact=position is not None))
    return found


@dataclass(frozen=True)
class Spot:
    """An address as addr2line takes it; section "" is vmlinux', whose addresses are all different."""

    section: str
    address: int


class Image:
    """vmlinux or a module: where its functions are by binutils, and what addr2line says of them."""

    def __init__(self, path: Path, *, is_module: bool) -> None:
        self.path = path
        self.is_module = is_module

    def spot(self, frame: Frame) -> Spot:
        """Returns where the frame's offset lies. Fails when two functions could be meant."""
        places = self._functions.get(frame.function, {})
        fitting = [place for place, size in places.items() if self.is_module or size == frame.size]
        assert len(fitting) == 1, f"{frame} may be any of {places} in {self.path.name}"
        assert frame.offset is not None
        return Spot(fitting[0].section, fitting[0].address + frame.offset)

    @cached_property
    def _functions(self) -> dict[str, dict[Spot, int]]:
        """Name -> its places, each with the size that kallsyms gives it: as far as the next symbol."""
        if self.is_module:
            table = _run("objdump", "-t", self.path)
            symbols = [(m[4], Spot(m[2], int(m[1], 16)), int(m[3], 16)) for m in _SYMBOL.finditer(table)]
        else:
            lines = [line.split() for line in _run("nm", "-n", self.path).splitlines()]
            named = [(words[2], int(words[0], 16)) for words in lines if len(words) == 3]
            starts = sorted({address for _, address in named})
            sizes = {one: other - one for one, other in pairwise(starts)}
            symbols = [(name, Spot("", address), sizes.get(address, 0)) for name, address in named]
        functions: dict[str, dict[Spot, int]] = {}
        for name, place, size in symbols:
            functions.setdefault(name, {})[place] = size
        return functions

    def chains(self, spots: Iterable[Spot]) -> dict[Spot, Chain]:
        """Returns what `addr2line -i -j SECTION` says of each."""
        told: dict[Spot, Chain] = {}
        wanted = sorted(set(spots), key=lambda spot: (spot.section, spot.address))
        for section in sorted({spot.section for spot in wanted}):
            here = [spot for spot in wanted if spot.section == section]
            within = ["-j", section] if section else []
            addresses = [hex(spot.address) for spot in here]
            text = _run("addr2line", "-a", "-f", "-i", *within, "-e", self.path, *addresses)
            groups = re.split(r"^0x[0-9a-f]{16}\n", text, flags=re.MULTILINE)[1:]
            told.update(zip(here, map(_chain, groups), strict=True))
        return told


def _chain(group: str) -> Chain:
    lines = group.splitlines()
    found = []
    for function, place in zip(lines[::2], lines[1::2], strict=True):
        if match := _PLACE.fullmatch(place):
            found.append(Place(function, str(Path(match[1]).resolve()), int(match[2])))
    return tuple(found)


@dataclass(frozen=True)
class Truth:
    """What addr2line says of a frame.

    section: that of the module's function, "" in the kernel. of_call: of the byte before the return address,
    within the call; for where the CPU was, of that address. of_return: of the address itself.
    """

    section: str
    of_call: Chain
    of_return: Chain


def truths(all_entries: Sequence[Entry], vmlinux: Path, modules: dict[str, Path]) -> list[Truth]:
    """Returns one for each entry."""
    images = {name: Image(path, is_module=True) for name, path in modules.items()}
    images[""] = Image(vmlinux, is_module=False)
    spots = [images[entry.frame.module].spot(entry.frame) for entry in all_entries]
    calls = [
        spot if entry.exact else Spot(spot.section, spot.address - 1)
        for entry, spot in zip(all_entries, spots, strict=True)
    ]
    chains = {
        name: image.chains(
            spot
            for entry, *both in zip(all_entries, spots, calls, strict=True)
            if entry.frame.module == name
            for spot in both
        )
        for name, image in images.items()
    }
    return [
        Truth(spot.section, chains[entry.frame.module][call], chains[entry.frame.module][spot])
        for entry, spot, call in zip(all_entries, spots, calls, strict=True)
    ]


def symbolized(log: Path, vmlinux: Path, modules: dict[str, Path], root: Path) -> list[Chain]:
    """Returns what `kmod-harness symbolize` says of each entry of a log."""
    words = [word for path in modules.values() for word in ("--module", path)]
    lines = iter(_run(*COMMAND, "symbolize", log, "--vmlinux", vmlinux, *words).splitlines())
    told = []
    for entry in entries(log.read_text()):
        inlined: list[Place] = []
        for line in lines:
            if line.startswith(entry.line):
                break
            if match := re.search(r"(\S+) at (\S+):(\d+) \(inlined\)$", line):
                inlined.append(Place(match[1], _absolute(match[2], root), int(match[3])))
            else:
                inlined.clear()
        else:
            raise AssertionError(f"symbolize lost the line {entry.line!r}")
        own = re.fullmatch(r" at (\S+):(\d+)", line.removeprefix(entry.line))
        place = [Place(plain(entry.frame.function), _absolute(own[1], root), int(own[2]))] if own else []
        told.append((*inlined, *place))
    return told


def decoded(lines: Sequence[str], vmlinux: Path, modules: Path, source: Path) -> list[Chain]:
    """Returns what a kernel source's scripts/decode_stacktrace.sh says of each line; it names no function."""
    script = source / "scripts/decode_stacktrace.sh"
    told = _run("bash", script, vmlinux, source, modules, given="".join(f"{line}\n" for line in lines))
    found = []
    for line in told.splitlines():
        places = re.search(r"\((\S+:\d.*)\)", line)
        found.append(
            tuple(
                Place("", _absolute(match[1], source), int(match[2]))
                for match in _PLACE.finditer(places[1] if places else "")
            )
        )
    assert len(found) == len(lines), told
    return found


def _absolute(path: str, root: Path) -> str:
    """A path that was printed short: below the kernel's source, or the working directory."""
    below = [(base / path).resolve() for base in (root, Path.cwd())]
    return str(next((full for full in below if full.is_file()), below[0]))


def _run(*words: str | Path, given: str = "") -> str:
    argv = [str(word) for word in words]
    return subprocess.run(argv, input=given, capture_output=True, text=True, check=True).stdout
