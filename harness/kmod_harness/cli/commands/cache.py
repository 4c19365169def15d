"""`kmod-harness cache`: what the store of build products holds, and making it smaller."""

from __future__ import annotations

import argparse
import re
import time
from typing import Any

_UNITS = {"": 1, "K": 1000, "M": 1000**2, "G": 1000**3, "T": 1000**4}


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("cache", help="list or prune the store of kernels and images")
    actions = parser.add_subparsers(metavar="ACTION", dest="action", required=True, parser_class=type(parser))
    listed = actions.add_parser("list", help="list the entries, least recently used first")
    listed.set_defaults(execute=execute_list, parser=listed)
    prune = actions.add_parser("prune", help="remove entries, least recently used first")
    prune.add_argument(
        "--max-size",
        type=parse_bytes,
        default=None,
        metavar="SIZE",
        help="bytes that may stay, as 500M or 10G (default: 20G); 0 removes all that is not in use; "
        "what was used within the last hour counts as in use",
    )
    prune.set_defaults(execute=execute_prune, parser=prune)


def execute_list(args: argparse.Namespace) -> int:
    """Prints size, age and name of every entry, the total last."""
    from kmod_harness.build.cache import default_cache  # lazy

    cache = default_cache()
    total = 0
    for entry in cache.entries():
        size = entry.size()
        total += size
        print(f"{format_bytes(size):>9}  {_age(time.time() - entry.used):>8}  {entry.name}")
    print(f"{format_bytes(total):>9}  in {cache.root}, which may hold {format_bytes(cache.max_bytes)}")
    return 0


def execute_prune(args: argparse.Namespace) -> int:
    """Prints the names of what was removed."""
    from kmod_harness.build.cache import DEFAULT_MAX_BYTES, default_cache  # lazy

    wanted = DEFAULT_MAX_BYTES if args.max_size is None else args.max_size
    removed = default_cache().prune(wanted)
    for name in removed:
        print(f"removed {name}")
    if not removed:
        print("nothing to remove (an entry used within the last hour stays)")
    return 0


def parse_bytes(text: str) -> int:
    """Returns bytes for `10G`, `500M`, `1.5G` or a plain number."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)B?", text.strip().upper())
    if match is None:
        raise argparse.ArgumentTypeError(f"expected a size such as 500M or 10G, not {text!r}")
    return int(float(match[1]) * _UNITS[match[2]])


def format_bytes(size: int) -> str:
    """Returns a size for people.

    >>> format_bytes(1_234_567)
    '1.2 MB'
    """
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size = size / 1000  # type: ignore[assignment]
    return f"{size:.3g} GB"


def _age(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return "now"
