"""A kernel's release tells its configuration, so that a module built for another one is refused. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from kmod_harness.build.cache import digest_of
from kmod_harness.build.kernel.kconfig import Request

SYMBOL = "LOCALVERSION"
_DIGITS = 8


def own_localversion(fragments: Sequence[Sequence[Request]]) -> Request | None:
    """Returns the request for a LOCALVERSION that no other combination of fragments has.

    fragments: the requests of each fragment; the first is the base, which names its own

    None for the base alone, and for one more fragment that names its own LOCALVERSION, as `debug` does.
    Otherwise the name asked for last, and a digest of what the further fragments ask for.
    """
    more = fragments[1:]
    named = [request for requests in more for request in requests if request.symbol == SYMBOL]
    if not more or (len(more) == 1 and named):
        return None
    asked = [request for request in fragments[0] if request.symbol == SYMBOL] + named
    name = asked[-1].value.strip('"') if asked else ""
    digest = digest_of(*(str(request) for requests in more for request in requests))[:_DIGITS]
    return Request(SYMBOL, f'"{name}-{digest}"', "kmod-harness", 0)
