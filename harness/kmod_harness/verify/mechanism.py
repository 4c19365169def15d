"""The mechanisms by which bytes of a loaded module may differ from what relocation left there."""

from __future__ import annotations

from enum import StrEnum


class Mechanism(StrEnum):
    """The writer of a byte; the values appear in reports and JSON."""

    EXCEPTION_TABLE = "exception table sorted"
    PARAVIRT = "paravirt"
    RETPOLINE = "retpoline"
    ITS_THUNK = "ITS thunk"
    RETURN_SITE = "return site"
    ALTERNATIVE = "alternative"
    ENDBR = "endbr seal"
    SMP_LOCK = "SMP lock"
    ORC = "ORC table sorted"
    MCOUNT = "mcount table sorted"
    FENTRY = "fentry NOP"
    TRACER = "fentry call of a tracer"
    JUMP_TABLE = "jump table sorted"
    JUMP_LABEL = "jump label"
    STATIC_CALL_TABLE = "static call table sorted"
    STATIC_CALL = "static call"
    BUG_FLAG = "BUG once flag"
    THIS_MODULE = "struct module"
    RO_AFTER_INIT = "written during init"
    DATA = "run-time data"
    HIDDEN_SYMBOL = "relocation against a hidden symbol"
    NOT_REPLAYED = "patching code that is not replayed"


#: Mechanisms whose bytes are not predicted, and what is checked instead.
NOT_DETERMINED = {
    Mechanism.TRACER: "not reproduced; it calls ftrace's entry, or a trampoline that begins as that does",
    Mechanism.BUG_FLAG: "not reproduced; BUGFLAG_DONE is set and nothing else",
    Mechanism.THIS_MODULE: "not reproduced; it bears the module's name, its init and exit",
    Mechanism.RO_AFTER_INIT: "not reproduced: init's own; sealed since",
    Mechanism.DATA: "not reproduced: the work of running code",
    Mechanism.HIDDEN_SYMBOL: "not reproduced: an address it depends on is hidden",
    Mechanism.NOT_REPLAYED: (
        "not reproduced: a place that the module's own tables give the kernel to patch, "
        "or the padding before a function"
    ),
}

_NUMBERED = tuple(Mechanism)


def code_of(mechanism: Mechanism) -> int:
    """Returns a mechanism's number, from 1 on; it fits a byte."""
    return _NUMBERED.index(mechanism) + 1


def mechanism_of(code: int) -> Mechanism:
    """Returns the mechanism of a number."""
    return _NUMBERED[code - 1]
