"""The table `allow` of kmod-harness.toml: reports that may come, as --allow-splat takes them."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path

from kmod_harness.repository.wrong_value import WrongValue, shown

_TEXTS = ("pattern", "title", "function", "reason", "link")
_NAMES = ("kind", "pattern", "title", "function", "times", "reason", "link", "expires")


def read_allowed(value: object, directory: Path) -> tuple[str, ...]:
    """Return the text of each table, as `WARNING:my_probe; times=2`. Raises WrongValue."""
    tables = value if isinstance(value, list) else [value]
    return tuple(map(_text, tables))


def _text(table: object) -> str:
    if not isinstance(table, dict):
        raise WrongValue(f"is a table, [[allow]], not {shown(table)}")
    unknown = next((name for name in table if name not in _NAMES), None)
    if unknown is not None:
        raise WrongValue(f"has no `{unknown}`; it takes {', '.join(_NAMES)}")
    kind = table.get("kind")
    if not isinstance(kind, str) or not kind or ":" in kind:
        raise WrongValue(f'needs the kind of a report, as kind = "WARNING", not {shown(kind)}')
    texts = {name: _word(name, table[name]) for name in _TEXTS if name in table}
    if "times" in table:
        texts["times"] = _number(table["times"])
    if "expires" in table:
        texts["expires"] = _day(table["expires"])
    pattern = texts.pop("pattern", "")
    said = [f"{name}={texts[name]}" for name in _NAMES if name in texts]
    return "; ".join([f"{kind}:{pattern}" if pattern else kind, *said])


def _word(name: str, value: object) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise WrongValue(f"takes a text for `{name}`, not {shown(value)}")
    return " ".join(value.split())


def _number(value: object) -> str:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise WrongValue(f"takes a number above 0 for `times`, not {shown(value)}")
    return str(value)


def _day(value: object) -> str:
    """TOML has days of its own; one in quotation marks is meant as well."""
    try:
        if isinstance(value, str):
            return date.fromisoformat(value).isoformat()
    except ValueError:
        pass
    if isinstance(value, date) and not isinstance(value, datetime):
        return value.isoformat()
    raise WrongValue(f"takes a day for `expires`, as 2027-03-01, not {shown(value)}")
