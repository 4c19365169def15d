"""Writes where the kernel's functions are defined and how many subsystems call each, for klog/guilty.

    python harness/scripts/function_places.py DIRECTORY SOURCE[=VMLINUX] ...

DIRECTORY: harness/kmod_harness/klog/guilty. SOURCE: a kernel's source tree; VMLINUX: the image built from it,
with DWARF. Definitions and callers come from a scan of the C and assembler files; what macros define (entry
points, system calls, lock functions) from the image's symbols and line table. Several trees are put together.

A line of function-places.xz is `place level name name ...`. place: a file of a core of the kernel,
a directory elsewhere. level: binary logarithm of 1 + the number of subsystems that call the function, rounded
down.
function-words.xz has the words of names: how many functions with it work for others, and how many do not.
Takes four minutes for three trees. No log is looked at.
"""

from __future__ import annotations

import lzma
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from kmod_harness.klog.guilty.groups import is_kept, is_typical
from kmod_harness.klog.guilty.places import ELSEWHERE
from kmod_harness.klog.guilty.words import WordCounts, words_of

TOPS = (
    *("arch/x86", "arch/arm", "arch/arm64", "block", "certs", "crypto", "drivers", "fs", "include", "init"),
    *("io_uring", "ipc", "kernel", "lib", "mm", "net", "rust", "security", "sound", "virt"),
)
#: No part of the running kernel, or its own tests.
LEFT_OUT = re.compile(
    r"arch/\w+/(?:boot|um|purgatory|tools)/|drivers/firmware/efi/libstub/|lib/test_|lib/tests/|include/uapi/|"
    r".*(?:_kunit|kunit_|_test|selftest|-test)\w*\.c|.*/tests?/|kernel/locking/test|mm/nommu\.c"
)
#: What is known file by file, and where a name's home is when drivers have it too.
BY_FILE = (
    "net/core/",
    "fs/kernfs/",
    "fs/sysfs/",
    "kernel/sched/",
    "kernel/time/",
    "kernel/rcu/",
    "kernel/locking/",
)
CORES = (
    *(
        "lib/",
        "mm/",
        "kernel/",
        "virt/lib/",
        "arch/",
        "include/linux/",
        "include/asm-generic/",
        "include/trace/",
    ),
    *("init/", "block/", "drivers/base/", "net/core/", "net/socket.c", "fs/sysfs/", "fs/kernfs/", "fs/proc/"),
    "security/security.c",
)
#: Of functions that no group keeps, those are listed that so many subsystems call, or whose words deceive.
CALLED_BY_MANY = 2
DECEIVES = 0.5
NOISE = re.compile(r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"", re.DOTALL)
#: A definition begins in the first column, and its body's brace follows its arguments.
DEFINED = re.compile(
    r"^(?:[A-Za-z_][^\n;{}()=#]*?[\s*])?([A-Za-z_]\w*)[ \t]*\((?:[^;{}]){0,1500}?\)[^;{}()=]{0,80}\n?\{", re.M
)
ASSEMBLER = re.compile(r"^\s*(?:SYM_\w*(?:START|LABEL)\w*|\w*ENTRY|idtentry\w*)\s*\(?\s*(\w+)", re.M)
CALLED = re.compile(r"\b([A-Za-z_]\w{2,})\s*\(")
KEYWORDS = frozenset(
    (
        "if",
        "for",
        "while",
        "switch",
        "return",
        "sizeof",
        "defined",
        "else",
        "do",
        "case",
        "typeof",
        "__attribute__",
    )
)


class Found:
    """What the trees tell: name -> the files that define it, and the subsystems that call it."""

    def __init__(self) -> None:
        self.defined: defaultdict[str, set[str]] = defaultdict(set)
        self.callers: defaultdict[str, set[str]] = defaultdict(set)

    def read(self, path: str, text: str) -> None:
        """Take in a file's definitions and calls; path: in the kernel's tree."""
        text = NOISE.sub(" ", text)
        if path.endswith(".S"):
            for name in ASSEMBLER.findall(text):
                self.defined[name].add(path)
            return
        own = {name for name in DEFINED.findall(text) if name not in KEYWORDS}
        for name in own:
            self.defined[name].add(path)
        for name in set(CALLED.findall(text)) - own:
            self.callers[name].add(subsystem(path))


def subsystem(path: str) -> str:
    """Return the directory whose files belong together: drivers/usb, fs/ext4, mm."""
    parts = path.split("/")
    return "/".join(parts[: 2 if parts[0] in ("drivers", "fs", "net", "sound", "arch", "include") else 1])


def place_of(path: str) -> str:
    """Return the place that the list names: a file of the cores, a directory elsewhere."""
    parts = path.split("/")
    if parts[0] in ("kernel", "mm", "fs", "net", "security", "lib") and len(parts) == 2:
        return path
    if path.startswith(BY_FILE):
        return path
    if parts[0] == "include":
        return path if parts[1] in ("linux", "asm-generic") else "/".join(parts[:2])
    if parts[0] == "arch":
        return "/".join(parts[:4] if len(parts) > 3 and parts[2] in ("kernel", "mm") else parts[:3])
    return "/".join(parts[:-1][:3])


def chosen(paths: Iterable[str]) -> str:
    """Return the place that a name belongs to, ELSEWHERE for a test's; a .c file comes before a header."""
    kept = [path for path in paths if not LEFT_OUT.match(path)]
    code = [path for path in kept if not path.startswith("include/")] or kept
    core = [path for path in code if path.startswith(CORES)]
    # a name that dozens of drivers give to a function of their own is theirs
    places = Counter(place_of(path) for path in (core if 4 * len(core) >= len(code) else code))
    return min(places, key=lambda place: (-places[place], place), default=ELSEWHERE)


def sources(tree: Path) -> Iterator[tuple[str, str]]:
    """Yield path and text of each C and assembler file that belongs to the kernel."""
    for top in TOPS:
        for path in sorted((tree / top).rglob("*.[chS]")):
            yield str(path.relative_to(tree)), path.read_text(errors="replace")


def symbols(image: Path) -> Iterator[tuple[str, str]]:
    """Yield name and file of each function of an image, by its symbols and its line table."""
    listed = [line.split() for line in _output(["nm", str(image)]).splitlines()]
    functions = [(words[0], words[2]) for words in listed if len(words) == 3 and words[1] in "tTwW"]
    lines = _output(["addr2line", "-e", str(image)], "\n".join(address for address, _ in functions))
    for (_, name), line in zip(functions, lines.splitlines(), strict=True):
        path = re.sub(r"^.*/linux/(?=[a-z_]+/)|^\./", "", line.rpartition(":")[0])
        if path.startswith(tuple(f"{top.split('/')[0]}/" for top in TOPS)):
            yield re.sub(r"\.(?:isra|constprop|part|cold)\b.*", "", name), path


def _output(command: list[str], given: str | None = None) -> str:
    return subprocess.run(command, input=given, capture_output=True, text=True, check=True).stdout


def words_in(places: Mapping[str, str]) -> WordCounts:
    """Return how often the words of names stand for machinery, and how often for others."""
    counts: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
    totals = [0, 0]
    for name, place in places.items():
        side = 0 if is_typical(place) else 1
        totals[side] += 1
        for word in words_of(name):
            counts[word][side] += 1
    return WordCounts(*totals, {word: (a, b) for word, (a, b) in counts.items() if a > 1 or b > 9})


def lines_of(places: Mapping[str, str], found: Found, counts: WordCounts) -> list[str]:
    """Return the lines of the list of places, sorted."""
    groups: defaultdict[tuple[str, int], list[str]] = defaultdict(list)
    for name, place in places.items():
        level = (1 + len(found.callers.get(name, ()))).bit_length() - 1
        if is_kept(place):
            groups[place, level].append(name)
        elif level >= CALLED_BY_MANY:
            known = level > CALLED_BY_MANY or place.startswith(("mm/", "kernel/", "fs/", "net/"))
            groups[place if known else ELSEWHERE, level].append(name)
        elif sum(counts.weight(word) for word in words_of(name)) > DECEIVES:
            groups[ELSEWHERE, 0].append(name)
    return [f"{place} {level} {' '.join(sorted(names))}" for (place, level), names in sorted(groups.items())]


def main(out: str, *given: str) -> None:
    found = Found()
    for each in given:
        tree, _, image = each.partition("=")
        for path, text in sources(Path(tree)):
            found.read(path, text)
        for name, path in symbols(Path(image)) if image else ():
            found.defined[name].add(path)
    places = {name: chosen(paths) for name, paths in found.defined.items() if len(name) > 2}
    counts = words_in(places)
    heading = f"{counts.machinery} {counts.others}"
    words = [f"{word} {a} {b}" for word, (a, b) in sorted(counts.of.items())]
    for name, lines in (("places", lines_of(places, found, counts)), ("words", [heading, *words])):
        path = Path(out) / f"function-{name}.xz"
        text = "\n".join(lines) + "\n"
        path.write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))
        print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main(*sys.argv[1:])
