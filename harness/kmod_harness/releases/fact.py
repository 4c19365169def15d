"""A fact of the kernel's that differs by release: since when it holds, where that is from, who asks."""

from __future__ import annotations

from dataclasses import dataclass, field

from kmod_harness.releases.release import Release, UnsupportedRelease, in_words, release_pair


@dataclass(frozen=True, kw_only=True)
class Fact:
    """What holds from one release on, or up to one.

    part: the part of the kernel's work that it belongs to, in words
    what: what holds, in words
    since: the first release in which it does
    until: the first release in which it does no more, None while none is known
    source: the kernel's commit or file
    used_by: the rooms or files that ask, below harness/kmod_harness
    proven: the releases on which tests that load modules bear it out
    assumed: whether releases after the newest proven one are taken to be like that one; else what depends on
        the fact is not done on them, and says so
    """

    part: str
    what: str
    since: Release
    until: Release | None = None
    source: str
    used_by: str
    proven: str
    assumed: bool

    def holds(self, release: Release) -> bool:
        """Returns whether it holds in a release, such as (6, 12)."""
        return self.since <= release and (self.until is None or release < self.until)

    @property
    def proven_on(self) -> frozenset[Release]:
        """The releases of `proven`."""
        return frozenset(release_pair(word) for word in self.proven.split())


@dataclass(frozen=True, kw_only=True)
class NumberFact:
    """A number that each release has its own of: never assumed, it must have been looked up.

    what: the number, in words
    numbers: release -> number
    part, source, used_by: as a Fact's
    """

    part: str
    what: str
    numbers: dict[Release, int] = field(hash=False)
    source: str
    used_by: str
    assumed: bool = False

    def of(self, release: Release) -> int:
        """Returns the number in a release. Raises UnsupportedRelease where nobody has looked it up."""
        if release not in self.numbers:
            raise UnsupportedRelease(
                f"{self.what} is not known for Linux {in_words(release)}",
                evidence=f"known for {in_words(*sorted(self.numbers))}: {self.source}",
            )
        return self.numbers[release]

    @property
    def proven_on(self) -> frozenset[Release]:
        """The releases that it is known for."""
        return frozenset(self.numbers)
