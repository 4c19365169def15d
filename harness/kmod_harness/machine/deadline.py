"""How long something may take, on a clock that stands still while a person debugs."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass
class Clock:
    """Monotonic seconds that do not pass while paused (pdb is open, gdb holds the guest)."""

    _left_out: float = 0.0
    _paused_at: float | None = None

    def now(self) -> float:
        at = time.monotonic() if self._paused_at is None else self._paused_at
        return at - self._left_out

    @property
    def is_paused(self) -> bool:
        return self._paused_at is not None

    def pause(self) -> None:
        if self._paused_at is None:
            self._paused_at = time.monotonic()

    def resume(self) -> None:
        if self._paused_at is not None:
            self._left_out += time.monotonic() - self._paused_at
            self._paused_at = None


@dataclass(frozen=True)
class Deadline:
    """`seconds` from its creation for `what`; None never ends."""

    what: str
    seconds: float | None
    clock: Clock = field(default_factory=Clock)
    _start: float = field(default=-1.0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_start", self.clock.now())

    @property
    def elapsed(self) -> float:
        return self.clock.now() - self._start

    @property
    def remaining(self) -> float | None:
        """Seconds left, never below 0; None without a limit."""
        return None if self.seconds is None else max(0.0, self.seconds - self.elapsed)

    @property
    def passed(self) -> bool:
        return self.remaining == 0.0
