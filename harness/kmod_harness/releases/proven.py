"""What is assumed of a kernel that is newer than what was proven, in one line for who runs it."""

from __future__ import annotations

from collections.abc import Iterator

from kmod_harness.releases import facts
from kmod_harness.releases.fact import Fact, NumberFact
from kmod_harness.releases.release import Release, UnsupportedRelease, in_words, release_pair


def table() -> dict[str, Fact | NumberFact]:
    """Returns name -> fact, in the order of facts.py."""
    return {name: fact for name, fact in vars(facts).items() if isinstance(fact, (Fact, NumberFact))}


def unproven(release: Release) -> tuple[str, ...]:
    """Returns the names of the facts that nobody has looked at in a release."""
    return tuple(name for name, fact in table().items() if release not in fact.proven_on)


def note_of_newer(*releases: str) -> Iterator[str]:
    """Yields a line for each release, such as `7.4.1`, that is newer than all that were proven.

    A text that is no release is passed over.
    """
    newest = max(facts.PROVEN)
    for release in sorted({pair for text in releases if (pair := _pair(text)) and pair > newest}):
        yield (
            f"Linux {in_words(release)} is newer than {in_words(newest)}, the newest release that was "
            f"proven; assumed as there: {_parts(assumed=True)}; not compared: {_parts(assumed=False)}"
        )


def _parts(*, assumed: bool) -> str:
    return ", ".join(dict.fromkeys(fact.part for fact in table().values() if fact.assumed is assumed))


def _pair(release: str) -> Release | None:
    try:
        return release_pair(release)
    except UnsupportedRelease:
        return None
