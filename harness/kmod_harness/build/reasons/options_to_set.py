"""The lines of a fragment that set an option of the kernel, with all that it depends on. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from kmod_harness.build.reasons.kconfig_expression import TRUE, All, Any, Compared, Expression, Not, Option
from kmod_harness.build.reasons.kconfig_files import Symbol

_CONSTANTS = {"y": True, "m": True, "n": False}
_DEPTH = 12


def lines_to_set(
    name: str, symbols: Mapping[str, Symbol], config: Mapping[str, str]
) -> tuple[str, ...] | None:
    """Returns the options, outermost first, to be set to y so that `name` is set; None where there is no way.

    symbols: of the kernel's Kconfig files. config: symbol -> value, as it is now.
    """
    return _Search(symbols, config).set(name, ())


def with_set(
    names: tuple[str, ...], symbols: Mapping[str, Symbol], config: Mapping[str, str]
) -> dict[str, str]:
    """Returns a configuration with these options set, and what they select and have set by default."""
    settings = dict(config)
    search = _Search(symbols, settings)
    added = [*names]
    while added:
        for name in added:
            settings[name] = "y"
        selected = [
            other
            for name in added
            if name in symbols
            for other, condition in symbols[name].selects.items()
            if search.is_true(condition)
        ]
        selected += [
            symbol.name
            for symbol in symbols.values()
            if not symbol.can_be_asked and symbol.defaults and search.is_true(symbol.needs)
            if any(map(search.is_true, symbol.defaults))
        ]
        added = [name for name in dict.fromkeys(selected) if settings.get(name, "n") == "n"]
    return settings


class _Search:
    def __init__(self, symbols: Mapping[str, Symbol], config: Mapping[str, str]) -> None:
        self._symbols = symbols
        self._config = config
        self._known: dict[str, tuple[str, ...] | None] = {}

    def set(self, name: str, inside: tuple[str, ...]) -> tuple[str, ...] | None:
        """Returns the options to set; `inside`: the options that are being looked at already."""
        if self._is_set(name):
            return ()
        symbol = self._symbols.get(name)
        if symbol is None or name in inside or len(inside) > _DEPTH:
            return None
        if name not in self._known:
            self._known[name] = self._found(symbol, (*inside, name))
        return self._known[name]

    def _found(self, symbol: Symbol, inside: tuple[str, ...]) -> tuple[str, ...] | None:
        needed = self._meet(symbol.needs, inside)
        if needed is not None and symbol.can_be_asked:
            return _once((*needed, symbol.name))
        # it cannot be asked for: by the options, that can, which have it set
        found = []
        for default in symbol.defaults if needed is not None else ():
            by_default = self._meet(default, inside)
            if by_default is not None:
                found.append(_once((*(needed or ()), *by_default)))
        for other in self._symbols.values():
            condition = other.selects.get(symbol.name)
            if condition is None:
                continue
            before = self.set(other.name, inside)
            wanted = () if condition == TRUE else self._with(before)._meet(condition, (*inside, other.name))
            if before is not None and wanted is not None:
                found.append(_once((*wanted, *before)))
        return min(found, key=lambda names: self._weight(names, symbol.file), default=None)

    def _with(self, names: tuple[str, ...] | None) -> _Search:
        """Returns a search in the configuration that has these options too."""
        return _Search(self._symbols, {**self._config, **dict.fromkeys(names, "y")}) if names else self

    def _weight(self, names: tuple[str, ...], file: str) -> tuple[int, int, tuple[str, ...]]:
        """Returns the sort key of ways: few options of the same Kconfig file that select few come first."""
        others = sum(self._symbols[name].file != file for name in names)
        return len(names) + 2 * others, sum(len(self._symbols[name].selects) for name in names), names

    def _meet(self, expression: Expression, inside: tuple[str, ...]) -> tuple[str, ...] | None:
        """Returns the options to set for an expression to be true; None where it cannot be."""
        if isinstance(expression, Option):
            if expression.name in _CONSTANTS:
                return () if _CONSTANTS[expression.name] else None
            return self.set(expression.name, inside)
        if isinstance(expression, All):
            parts = [self._meet(part, inside) for part in expression.parts]
            return None if None in parts else _once(tuple(name for part in parts for name in part or ()))
        if isinstance(expression, Any):
            ways = [way for part in expression.parts if (way := self._meet(part, inside)) is not None]
            return min(ways, key=len, default=None)
        if isinstance(expression, Not):
            return () if not self.is_true(expression.part) else None
        if expression.operator == "=" and expression.right == "y":
            return self.set(expression.left, inside)
        return () if self.is_true(expression) else None

    def is_true(self, expression: Expression) -> bool:
        """Returns whether an expression is true in the configuration as it is."""
        if isinstance(expression, Option):
            return _CONSTANTS.get(expression.name, self._is_set(expression.name))
        if isinstance(expression, Not):
            return not self.is_true(expression.part)
        if isinstance(expression, All):
            return all(map(self.is_true, expression.parts))
        if isinstance(expression, Any):
            return any(map(self.is_true, expression.parts))
        return self._compare(expression)

    def _compare(self, compared: Compared) -> bool:
        left, right = self._value(compared.left), self._value(compared.right)
        if compared.operator in ("=", "!="):
            return (left == right) == (compared.operator == "=")
        # of versions and sizes; not looked into
        return True

    def _value(self, word: str) -> str:
        return self._config.get(word, "n" if word in self._symbols else word).strip('"')

    def _is_set(self, name: str) -> bool:
        return self._config.get(name, "n") not in ("n", "")


def _once(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
