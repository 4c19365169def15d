"""The page: what was observed, as one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from kmod_harness.explain.claims.checked_release import checked_in
from kmod_harness.explain.claims.claim import JudgedClaim, Verdict
from kmod_harness.explain.observed.observations import Observations
from kmod_harness.explain.page import wording
from kmod_harness.explain.page.account import Account
from kmod_harness.explain.page.address_space import (
    kept_blocks,
    levels,
    permission_kind,
    place_of_code,
    section_kind,
)
from kmod_harness.explain.page.followed_function import followed_function
from kmod_harness.explain.page.journey import shown_frames, stack_use
from kmod_harness.explain.page.module_pages import pages_picture
from kmod_harness.explain.page.relocations import (
    MEANINGS_OF_SYMBOLS,
    relocation_rows,
    relocation_summary,
)
from kmod_harness.explain.page.scale import largest
from kmod_harness.explain.page.source_links import exact_release, linked_places, place_url
from kmod_harness.explain.page.timeline import timeline

PAGE = "index.html"
RELOCATIONS = "relocations.csv"
#: In the order in which they are read: what comes later wins.
STYLES = tuple(
    f"style/{name}.css"
    for name in (
        "colours",
        "text",
        "drawings",
        "walk",
        "tables",
        "sequences",
        "claims",
        "narrow",
        "paper",
    )
)
SCRIPTS = ("script/walk.js", "script/tables.js", "script/quiz.js")
ICON = "favicon.svg"
#: Bands of one step that its legend names; the rest is counted.
_MAX_LEGEND = 16


@dataclass(frozen=True)
class Provenance:
    """How the page came about: everything a reader needs to do it again.

    accelerator: its name and reason. ram_size: bytes. module_digest: SHA-256 of the file.
    commands: what to type, in order. seconds: how long it took. picture: address of an image for those who
    show a link to the page, "" for none.
    """

    when: datetime
    accelerator: str
    qemu: str
    kernel: str
    ram_size: int
    module_file: str
    module_digest: str
    harness_version: str
    commands: tuple[str, ...]
    seconds: float
    picture: str = ""


def write_page(
    directory: Path,
    seen: Observations,
    judged: Sequence[JudgedClaim],
    provenance: Provenance,
    account: Account | None = None,
) -> Path:
    """Writes the page and the whole list of relocations beside it; returns the page's path."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / RELOCATIONS).write_text(relocations_csv(seen), encoding="utf-8", errors="backslashreplace")
    page = directory / PAGE
    page.write_text(render(seen, judged, provenance, account), encoding="utf-8", errors="backslashreplace")
    return page


def render(
    seen: Observations,
    judged: Sequence[JudgedClaim],
    provenance: Provenance,
    account: Account | None = None,
) -> str:
    """Returns the page's HTML; whatever came from the guest or the module's file is escaped in it."""
    environment = _environment()
    style, script = _sources(environment, STYLES), _sources(environment, SCRIPTS)
    picture = pages_picture(seen.pages, provenance.ram_size) if seen.pages else None
    steps, followed = levels(seen), followed_function(seen)
    summary = relocation_summary(
        seen.module, seen.sections, seen.linking.relocations, followed.name if followed else ""
    )
    explained = {row.wants for row in followed.rows} if followed else set()
    return environment.get_template("page.html.j2").render(
        seen=seen,
        judged=judged,
        provenance=provenance,
        account=account,
        style=style,
        script=script,
        policy=_policy(style, script),
        icon=_data_address(_sources(environment, (ICON,))),
        templates=templates_digest(),
        counts=verdict_counts(judged),
        levels=steps,
        blocks=kept_blocks(seen),
        code=place_of_code(seen),
        checked_in=checked_in(seen.machine.release),
        exact=exact_release(seen.machine.release),
        legends=[largest(step.bands, _MAX_LEGEND) for step in steps],
        picture=picture,
        followed=followed,
        summary=summary,
        meanings=MEANINGS_OF_SYMBOLS,
        unexplained=summary.to_be_explained(explained),
        timeline=timeline(seen.loading.timeline, seen.loading.init_function),
        way=shown_frames(seen.opening.stop, seen.module.name) if seen.opening.stop else (),
        stack=stack_use(seen.opening.stop) if seen.opening.stop else None,
        relocations_file=RELOCATIONS,
    )


def verdict_counts(judged: Sequence[JudgedClaim]) -> tuple[tuple[Verdict, int], ...]:
    """Returns how many claims got each verdict, in the order of the verdicts; absent ones are left out."""
    found = Counter(claim.verdict for claim in judged)
    return tuple((verdict, found[verdict]) for verdict in Verdict if found[verdict])


def relocations_csv(seen: Observations) -> str:
    """Returns every relocation, one a line, by address."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("address", "place", "section", "type", "symbol", "image", "target", "addend", "bytes"))
    for row in relocation_rows(seen.module, seen.sections, seen.linking.relocations):
        where, target = f"{row.where:#x}", f"{row.target:#x}"
        writer.writerow(
            (where, row.place, row.section, row.type, row.symbol, row.image, target, row.addend, row.written)
        )
    return out.getvalue()


@cache
def templates_digest() -> str:
    """Return a digest of the templates: 16 hexadecimal digits."""
    environment = _environment()
    names = environment.list_templates()
    text = "\0".join(f"{name}\0{_sources(environment, (name,))}" for name in names)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("kmod_harness.explain.page"),
        autoescape=True,
        finalize=_finite,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., object]] = {
        "size": wording.size_text,
        "time": wording.time_text,
        "number": wording.count_text,
        "number_word": wording.number_word,
        "address": wording.address_markup,
        "percent": lambda value: f"{value:.3f}".rstrip("0").rstrip(".") + "%",
        "permissions": permission_kind,
        "prose": wording.prose_markup,
        "places": linked_places,
    }
    environment.filters.update(filters)
    environment.globals |= {
        "plural": wording.plural,
        "section_kind": section_kind,
        "place_url": place_url,
    }
    return environment


def _finite(value: object) -> object:
    """Cuts a text that is put on the page: whoever made it, a guest say, may have made it very long."""
    return wording.bounded(value) if type(value) is str else value


def _sources(environment: Environment, names: Sequence[str]) -> str:
    assert environment.loader is not None
    return "\n".join(environment.loader.get_source(environment, name)[0] for name in names)


def _policy(style: str, script: str) -> str:
    """Returns a Content-Security-Policy under which this style and script run, and nothing else does.

    What a guest could smuggle past the escaping would not run either. The one image is the page's icon.
    """
    return f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}"


def _data_address(picture: str) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(picture.encode()).decode()}"


def _hash(source: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"
