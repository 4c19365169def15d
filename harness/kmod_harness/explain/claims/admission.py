"""The kernel's checks before it lets a module in, and the marks that it leaves."""

from __future__ import annotations

import errno

from kmod_harness.explain.claims.claim import Claim, Evidence, Verdict
from kmod_harness.explain.claims.phrases import attempt_text, inside, no_inside, outside
from kmod_harness.explain.observed.observations import Observations

# --- the kernel that it was built for


def _vermagic(seen: Observations) -> Verdict:
    attempt = seen.admission.other_release
    if attempt is None:
        return Verdict.UNDECIDED
    if attempt.worked:
        return Verdict.FALSE
    # only ENOEXEC says that the file was read and did not fit
    return Verdict.IMPRECISE if attempt.errno == errno.ENOEXEC else Verdict.UNDECIDED


def _explain_vermagic(seen: Observations) -> str:
    if _vermagic(seen) is Verdict.UNDECIDED:
        return "The file does not say what it was built for, or the kernel refused it for another reason."
    compared = (
        "The kernel compares one line of text, the version magic: its release and a few options (SMP, "
        "preemption, unloading). "
    )
    if _vermagic(seen) is Verdict.FALSE:
        return (
            compared
            + "Where both sides have symbol versions (MODVERSIONS), as here, the release is left out; "
            "instead each imported symbol has a checksum that must be the kernel's. So a module outlives "
            "updates that leave those alone."
        )
    return (
        compared + "Here they must be equal to the letter. But that is all it checks: a kernel with the same "
        "line and other data structures would take the module, and crash by it. With MODVERSIONS each "
        "imported symbol has a checksum as well. modprobe --force leaves the line out."
    )


def _vermagic_inside(seen: Observations) -> Evidence:
    attempt = seen.admission.other_release
    if attempt is None:
        return no_inside("the file carries no version magic that could be changed")
    came = "taken" if attempt.worked else "refused"
    return inside(f"The same file with one digit of the release changed is {came}.", attempt_text(attempt))


def _vermagic_outside(seen: Observations) -> Evidence:
    own, kernel = seen.module.vermagic, seen.admission.kernel_vermagic
    lines = f"the file:   {own}\nthe kernel: {kernel or 'no symbol tells where its line is'}"
    if not kernel:
        return outside("The file's own line, read on the host.", lines)
    same = "the same" if own.strip() == kernel.strip() else "not the same"
    return outside(
        f"The kernel's line, read from its memory, and the file's, read on the host, are {same}.", lines
    )


VERMAGIC = Claim(
    20,
    "built-for-this-kernel",
    "It loads only into the kernel that it was built for.",
    "Any other version refuses it.",
    "kernel/module/main.c:1981 same_magic; kernel/module/version.c:79 same_magic; "
    "include/linux/vermagic.h:42 VERMAGIC_STRING",
    _vermagic,
    _explain_vermagic,
    _vermagic_inside,
    _vermagic_outside,
)


# --- taint

#: kernel/panic.c, taint_flags, 6.1: those that a module's load can set, by their bit.
_FLAGS = {
    0: "P: a proprietary licence",
    1: "F: loaded by force",
    10: "C: from staging",
    12: "O: built out of the kernel's tree",
    13: "E: not signed",
    15: "K: a live patch",
    18: "N: a test",
}


def _new_taint(seen: Observations) -> int:
    return seen.admission.taint_loaded & ~seen.admission.taint_before


def _taint(seen: Observations) -> Verdict:
    if not seen.admission.module_taint:
        return Verdict.FALSE
    if not _new_taint(seen):
        return Verdict.UNDECIDED
    return Verdict.TRUE if not _new_taint(seen) & ~seen.admission.taint_after else Verdict.IMPRECISE


def _flag_names(mask: int) -> str:
    known = [name for bit, name in _FLAGS.items() if mask >> bit & 1]
    return "; ".join(known) or "none that a module's load sets"


def _explain_taint(seen: Observations) -> str:
    if _taint(seen) is Verdict.FALSE:
        return (
            "This one does not. A module that was built with the kernel, and signed where the kernel checks "
            "that, leaves no mark."
        )
    if _taint(seen) is Verdict.UNDECIDED:
        return "The flags were set before it was first offered to the kernel: this boot cannot tell."
    return (
        f"Set here: {_flag_names(_new_taint(seen))}. Nothing is broken, and the kernel works as before. "
        "It is a note for whoever reads a report later: each oops shows these letters, and the kernel's "
        "developers may ask to see the trouble without the module. rmmod does not take it back."
    )


def _taint_inside(seen: Observations) -> Evidence:
    admission = seen.admission
    return inside(
        f"sysfs shows {admission.module_taint or 'no letter'} for the module.",
        f"/sys/module/{seen.module.name}/taint: {admission.module_taint or '(empty)'}",
    )


def _taint_outside(seen: Observations) -> Evidence:
    admission = seen.admission
    return outside(
        f"The kernel's flags, read from its memory: {admission.taint_before} before the module was first "
        f"offered, {admission.taint_loaded} after its first load, {admission.taint_after} when it was gone.",
        "\n".join(
            f"tainted_mask {when:<8} {mask:#x} {_flag_names(mask)}"
            for when, mask in (
                ("before:", admission.taint_before),
                ("loaded:", admission.taint_loaded),
                ("after:", admission.taint_after),
            )
        )
        + _set_by_others(admission.taint_after & ~admission.taint_loaded),
    )


def _set_by_others(mask: int) -> str:
    if not mask:
        return ""
    return f"\nset in between, by the files that were changed on purpose: {_flag_names(mask)}"


TAINT = Claim(
    21,
    "taints-the-kernel",
    "A foreign module taints the kernel until the next boot.",
    "A tainted kernel is a damaged one.",
    "kernel/module/main.c:1987 intree, 159 add_taint_module; kernel/panic.c:541 add_taint",
    _taint,
    _explain_taint,
    _taint_inside,
    _taint_outside,
)
