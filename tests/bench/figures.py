"""What a measurement is: values with a median and a spread, and what is demanded of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One line of the table: `values` as measured, in `unit`."""

    name: str
    unit: str
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def row(self) -> str:
        spread = f"{min(self.values):.4g} - {max(self.values):.4g}"
        return f"{self.name:<52} {self.median:>10.4g} {self.unit:<6} {spread:>22}  n={len(self.values)}"


@dataclass(frozen=True)
class Demand:
    """A figure that the project promises: `held` is the verdict of this run."""

    name: str
    value: float
    limit: str
    held: bool


def seconds(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def at_most(name: str, value: float, limit: float) -> Demand:
    return Demand(name, value, f"<= {limit:g}", value <= limit)


def at_least(name: str, value: float, limit: float) -> Demand:
    return Demand(name, value, f">= {limit:g}", value >= limit)
