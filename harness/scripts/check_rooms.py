"""`make lint` beside the import contracts: no file too long, no folder too full, lazy imports marked.

Prints one line for each finding; ends with 1 when there is one.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

MAX_LINES = 350
MAX_FILES = 15
#: Where the checkout's Python lies; git, which knows too, is not needed here.
TOPS = ("buildroot", "harness", "modules", "tests")
PACKAGE = Path("harness/kmod_harness")


def findings(root: Path, files: list[Path]) -> Iterator[str]:
    """Yields what is wrong with the Python files, whose paths are relative to the checkout's root."""
    for folder, count in sorted(Counter(file.parent for file in files).items()):
        if count > MAX_FILES:
            yield f"{folder}: {count} Python files; more than {MAX_FILES} want rooms inside"
    for file in files:
        source = (root / file).read_text()
        lines = source.splitlines()
        if len(lines) > MAX_LINES:
            yield f"{file}: {len(lines)} lines; more than {MAX_LINES} hold more than one idea"
        if file.is_relative_to(PACKAGE):
            for number in unmarked_lazy_imports(source):
                yield f"{file}:{number}: an import inside a function is for start-up time: mark it `# lazy`"


def unmarked_lazy_imports(source: str) -> list[int]:
    """Returns the lines, from 1, of imports inside functions without the comment `# lazy`.

    >>> unmarked_lazy_imports("def f():\\n    import json  # lazy\\n    import csv\\n")
    [3]
    """
    lines = source.splitlines()
    functions = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    inside = {
        (node.lineno, node.end_lineno or node.lineno)
        for function in functions
        for node in ast.walk(function)
        if isinstance(node, (ast.Import, ast.ImportFrom))
    }
    return sorted(first for first, last in inside if "# lazy" not in "".join(lines[first - 1 : last]))


def main() -> int:
    files = sorted(path for top in TOPS for path in Path(top).rglob("*.py"))
    found = list(findings(Path(), files))
    print("\n".join(found) or f"rooms: {len(files)} files, none too long, no folder too full")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
