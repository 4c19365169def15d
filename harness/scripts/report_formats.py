"""Lists what the kernel's report-printing functions print, and what klog takes it for: printed-formats.txt.

    python harness/scripts/report_formats.py SOURCE ...

SOURCE: kernel source trees. Prints the list anew, with the verdicts that it has. A format that is not in it
yet has the verdict `row` where the header table takes it, else `?`: write `report`, or a word and the reason
why it is none. Report-printing are calls at level emerg, alert or crit, and formats that begin with BUG,
WARNING, INFO, Oops and the like. Files: the kernel's cores and x86; drivers and file systems choose their
levels themselves.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from kmod_harness.klog.headers import header_of
from kmod_harness.klog.unnamed.printed_formats import FILE, URGENT, PrintedFormat, read_formats

DEEP = (
    *(
        "arch/x86/kernel",
        "arch/x86/mm",
        "arch/x86/entry",
        "arch/x86/lib",
        "block",
        "drivers/base",
        "fs/sysfs",
    ),
    *(
        "fs/debugfs",
        "fs/kernfs",
        "fs/proc",
        "init",
        "io_uring",
        "ipc",
        "kernel",
        "lib",
        "mm",
        "net/core",
        "security",
    ),
)
FLAT = ("fs", "net")
#: Tests, and tracers that print at level emerg what they were asked for.
LEFT_OUT = re.compile(
    r".*(?:/tests?/|selftest|_test\.c|test_|testmmiotrace|kunit|wdtest|torture|rcuscale|refscale|mmio-mod|/kdb/|/debug/)"
)
LEVELS = {"emerg": 0, "alert": 1, "crit": 2, "err": 3, "warn": 4, "warning": 4, "notice": 5, "info": 6}
_STRING = r"\"(?:\\.|[^\"\\])*\""
_CALL = re.compile(
    r"\b(?:printk_deferred\w*|printk_once|_?printk|(?:pr|dev|netdev)_(?P<level>[a-z]+)(?:_once|_ratelimited)?|"
    r"(?:nmi_)?panic)\s*\((?P<before>[^\"();]{0,120}?(?:\([^()]*\)[^\"();]*)?)"
    rf"(?P<text>(?:{_STRING}|\s|\b[A-Z_0-9]+[a-zA-Z_]*\b)+)"
)
_KERN = re.compile(r"KERN_(EMERG|ALERT|CRIT|ERR|WARNING|NOTICE|INFO)")
_PREFIX = re.compile(rf"#\s*define\s+pr_fmt\(\w+\)\s+(?P<text>(?:{_STRING}|KBUILD_MODNAME|\s)+)\w+")
_BEGINS = re.compile(
    r"(?:[\w-]+: )?(?:BUG|WARNING|INFO|Oops|[kK]ernel BUG|KASAN|UBSAN|Unable to handle|PANIC|Kernel panic)\b"
)
_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
_ESCAPES = {"\\t": "\t", "\\n": "\n", '\\"': '"', "\\\\": "\\"}


def formats(path: str, source: str) -> Iterator[tuple[int | None, str]]:
    """Yield level and first line of each format that a file prints and that may be a report's."""
    source = _COMMENT.sub(" ", source)
    prefix = _PREFIX.search(source)
    lead = _joined(prefix["text"].replace("KBUILD_MODNAME", f'"{Path(path).stem}"')) if prefix else ""
    for match in _CALL.finditer(source):
        kern = _KERN.search(match["before"] + match["text"])
        level = LEVELS.get(match["level"] or (kern[1].lower() if kern else ""))
        text = _joined(match["text"])
        if match[0].startswith("pr_"):
            text = lead + text
        line = next((line for line in text.split("\n") if line.strip()), "")
        if line and (_BEGINS.match(line) or (level is not None and level <= URGENT)):
            yield level, line


def _joined(text: str) -> str:
    parts = "".join(part[1:-1] for part in re.findall(_STRING, text))
    return re.sub(r"\\[tn\"\\]", lambda escape: _ESCAPES[escape[0]], parts)


def sources(tree: Path) -> Iterator[tuple[str, str]]:
    """Yield path and text of the files that are looked at."""
    paths = [path for top in DEEP for path in (tree / top).rglob("*.c")]
    paths += [path for top in FLAT for path in (tree / top).glob("*.c")]
    for path in sorted(paths):
        name = str(path.relative_to(tree))
        if not LEFT_OUT.match(name):
            yield name, path.read_text(errors="replace")


def release_of(tree: Path) -> str:
    """Return a tree's release, as `6.12`."""
    numbers = re.findall(r"^(?:VERSION|PATCHLEVEL) = (\d+)", (tree / "Makefile").read_text(), re.MULTILINE)
    return ".".join(numbers[:2])


def rows(trees: list[Path], known: tuple[PrintedFormat, ...]) -> list[PrintedFormat]:
    """Return the list for these trees, with the verdicts of the list known."""
    releases: defaultdict[tuple[str, int | None, str], list[str]] = defaultdict(list)
    for tree in trees:
        for path, source in sources(tree):
            for level, text in dict.fromkeys(formats(path, source)):
                releases[path, level, text].append(release_of(tree))
    before = {(row.path, row.level, row.text): row for row in known}
    found = []
    for key, having in sorted(releases.items(), key=lambda item: (item[0][0], item[0][2], item[0][1] or 0)):
        path, level, text = key
        old = before.get(key)
        row = PrintedFormat(
            old.verdict if old else "?", level, ",".join(having), path, text, old.sample if old else ""
        )
        taken = header_of(row.line) is not None
        found.append(row if old or not taken else PrintedFormat("row", level, row.releases, path, text))
    return found


def line_of(row: PrintedFormat) -> str:
    """Return the row as the list has it."""
    level = "-" if row.level is None else str(row.level)
    fields = (row.verdict, level, row.releases, row.path, row.text, *((row.sample,) if row.sample else ()))
    return "\t".join(field.replace("\t", "\\t") for field in fields)


def main(*trees: str) -> None:
    text = FILE.read_text() if FILE.exists() else ""
    heading = [line for line in text.splitlines() if line.startswith("#")]
    print("\n".join((*heading, *map(line_of, rows([Path(tree) for tree in trees], read_formats(text))))))


if __name__ == "__main__":
    main(*sys.argv[1:])
