"""How long something may take, on a clock that stands still while a person debugs."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field

#: Seconds from QEMU's start to the agent's first word, and more for each of SLOW_OPTIONS that the kernel has
#: (times 4 under emulation).
BOOT_SECONDS = 15.0
SLOW_OPTION_SECONDS = 6.0
#: Options whose checks run at every memory access, lock or allocation: a boot with all of them takes several
#: times as long as one with none, and on a busy machine that counts.
SLOW_OPTIONS = (
    *("KASAN", "KCSAN", "KMSAN", "UBSAN", "PROVE_LOCKING", "DEBUG_KMEMLEAK", "DEBUG_OBJECTS"),
    *("SLUB_DEBUG_ON", "DEBUG_PAGEALLOC", "GCOV_PROFILE_ALL"),
)


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
    """`seconds` from its creation for `what`; None never ends.

    prolonged_by: how a user gives it more, "" where nobody can.
    """

    what: str
    seconds: float | None
    clock: Clock = field(default_factory=Clock)
    _start: float = field(default=-1.0)
    prolonged_by: str = ""

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


@dataclass(frozen=True)
class BootLimit:
    """How long a boot may take where nobody gave a limit.

    seconds: before the factor for emulation. slow: the kernel's options that prolong it, without CONFIG_.
    """

    seconds: float = BOOT_SECONDS
    slow: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return why it is longer than that of other kernels, "" where it is not."""
        if not self.slow:
            return ""
        return f"more than other kernels have, because this one has {', '.join(self.slow)}"


def boot_limit(config: str) -> BootLimit:
    """Return the limit for a kernel of this configuration (the text of its .config).

    >>> boot_limit("CONFIG_KASAN=y\\n# CONFIG_UBSAN is not set\\nCONFIG_PROVE_LOCKING=y\\n")
    BootLimit(seconds=27.0, slow=('KASAN', 'PROVE_LOCKING'))
    """
    chosen = set(re.findall(r"^CONFIG_(\w+)=y$", config, re.MULTILINE))
    slow = tuple(option for option in SLOW_OPTIONS if option in chosen)
    return BootLimit(BOOT_SECONDS + SLOW_OPTION_SECONDS * len(slow), slow)
