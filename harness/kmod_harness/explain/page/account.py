"""Every byte of the module in memory: equal to what the link gives, or changed by what. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from kmod_harness.verify.mechanism import Mechanism
from kmod_harness.verify.report import Report, Totals, totals

#: Why the kernel changes bytes after it has linked the module, in plain words.
_MEANINGS = {
    Mechanism.FENTRY: "the tracer's hook at the start of each function, made to do nothing",
    Mechanism.TRACER: "the same hook, in use by a tracer",
    Mechanism.MCOUNT: "the list of these hooks, sorted",
    Mechanism.RETURN_SITE: "returns, made safe or plain as this processor needs them",
    Mechanism.RETPOLINE: "indirect calls, made safe or plain as this processor needs them",
    Mechanism.ITS_THUNK: "indirect calls, led through code at a safer address",
    Mechanism.ALTERNATIVE: "instructions exchanged for better ones that this processor has",
    Mechanism.PARAVIRT: "calls that a virtual machine would want to take over, made direct",
    Mechanism.SMP_LOCK: "lock prefixes taken out: the machine has one processor",
    Mechanism.ENDBR: "marks of functions that nobody calls indirectly, removed",
    Mechanism.JUMP_LABEL: "rarely changed branches, switched on or off in the code itself",
    Mechanism.STATIC_CALL: "calls whose target is set in the code itself",
    Mechanism.ORC: "the table for walking stacks, sorted",
    Mechanism.EXCEPTION_TABLE: "the table of instructions that may fault, sorted",
    Mechanism.THIS_MODULE: "struct module: the kernel's record of this module, filled in",
    Mechanism.RO_AFTER_INIT: "values that init has set, read-only since",
    Mechanism.DATA: "data that running code has written",
}
#: What differs where the kernel may have written, and what it wrote was not worked out.
_NOT_COMPARED = (Mechanism.HIDDEN_SYMBOL, Mechanism.NOT_REPLAYED)


@dataclass(frozen=True)
class Account:
    """Bytes compared and equal; mechanisms: (in words, bytes), largest first.

    not_compared: bytes that differ and were not worked out, in none of the mechanisms. findings: what
    nothing explains, in words. limits: what could not be verified, and why.
    """

    compared: int
    equal: int
    mechanisms: tuple[tuple[str, int], ...]
    findings: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    not_compared: int = 0


def meaning_of_change(mechanism: Mechanism) -> str:
    """Return why the kernel changed bytes, in plain words."""
    return _MEANINGS.get(mechanism, str(mechanism))


def account_of(report: Report) -> Account:
    """Returns the account that a report gives."""
    findings = tuple(finding.text for module in report.modules for finding in module.findings)
    return summed(totals(report.modules), findings, tuple(limit.message for limit in report.all_limits))


def summed(sums: Totals, findings: tuple[str, ...], limits: tuple[str, ...]) -> Account:
    """Returns the account, the mechanisms in words and largest first."""
    unknown = sum(sums.explained.get(mechanism, 0) for mechanism in _NOT_COMPARED)
    known = [item for item in sums.explained.items() if item[0] not in _NOT_COMPARED]
    in_words = tuple(
        (meaning_of_change(mechanism), count) for mechanism, count in sorted(known, key=lambda item: -item[1])
    )
    return Account(sums.bytes, sums.equal, in_words, findings, limits, unknown)
