"""The history of a module's code, by what was read of its memory. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from kmod_harness.explain.observed.code_history import CodeAtMoment, CodeHistory, CodePatch, Moment
from kmod_harness.explain.probes.load_stops import ModuleMemory
from kmod_harness.kmod.layout.placed import PlacedSection
from kmod_harness.kmod.layout.predict import Layout
from kmod_harness.kmod.link.relocation import BoundRelocation
from kmod_harness.verify.report import ModuleReport


def code_history(
    layout: Layout, memory: Sequence[ModuleMemory], bound: Sequence[BoundRelocation], report: ModuleReport
) -> CodeHistory:
    """Returns the history of `.text`, an empty one for a module without `.text`.

    layout: layout of the module
    memory: what was read of the module on the way to init
    bound: every relocation
    report: verification of the same load, running
    """
    text = layout.place(".text")
    running = next((section for section in report.sections if section.name == ".text"), None)
    if text is None or running is None:
        return CodeHistory()
    moments = [_at_moment(one, text) for one in memory if text.block in one.blocks]
    permissions = running.permissions.split(" ")[0]
    linked = next((one for one in memory if one.moment is Moment.LINKED), None)
    checked = [_holds(linked, one) for one in bound if one.size] if linked is not None else []
    known = [as_linked for as_linked in checked if as_linked is not None]
    return CodeHistory(
        moments=(*moments, CodeAtMoment(Moment.RUNNING, "", permissions, running.memory)),
        patches=tuple(
            CodePatch(one.address, one.size, one.mechanism) for one in running.differences if one.mechanism
        ),
        compared=len(known),
        differing=known.count(False),
    )


def _at_moment(memory: ModuleMemory, text: PlacedSection) -> CodeAtMoment:
    code = memory.blocks[text.block][text.offset : text.offset + text.section.size]
    return CodeAtMoment(memory.moment, memory.function, memory.permissions[text.block], code)


def _holds(memory: ModuleMemory, bound: BoundRelocation) -> bool | None:
    """Returns whether memory holds the relocation as computed; None where it was not read."""
    for block, base in memory.bases.items():
        at = bound.where - base
        if 0 <= at <= len(memory.blocks[block]) - bound.size:
            return memory.blocks[block][at : at + bound.size] == bound.value.to_bytes(bound.size, "little")
    return None
