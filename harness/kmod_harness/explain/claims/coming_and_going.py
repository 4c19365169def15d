"""Who may load a module, and how it goes again."""

from __future__ import annotations

import errno

from kmod_harness.explain.claims.claim import Claim, Evidence, Verdict
from kmod_harness.explain.claims.phrases import attempt_text, count, executed_text, inside, outside
from kmod_harness.explain.observed.observations import Observations
from kmod_harness.releases import facts
from kmod_harness.releases.release import release_pair

# --- as root


def _root(seen: Observations) -> Verdict:
    user, root = seen.privilege.user_with, seen.privilege.root_without
    if user.worked and root.errno == errno.EPERM:
        return Verdict.IMPRECISE
    if not user.worked and root.worked:
        return Verdict.TRUE
    return Verdict.FALSE if user.worked and root.worked else Verdict.UNDECIDED


def _explain_root(seen: Observations) -> str:
    return (
        "What counts is the capability CAP_SYS_MODULE in the first user namespace, which root normally has. "
        "A process of uid 1000 with it loads the module; one of root's without it may not, nor may root of "
        "a namespace of its own. Once loaded, the module answers to nobody: it runs at the processor's "
        "highest level."
    )


def _root_inside(seen: Observations) -> Evidence:
    p = seen.privilege
    cases = (
        (p.user_with, p.user_with_status),
        (p.root_without, p.root_without_status),
        (p.namespace_root, p.namespace_root_status),
    )
    return inside(
        "Three processes tried, each with its own uid and capabilities, and the kernel's answer to each.",
        "\n\n".join(f"{status}\n{attempt_text(attempt)}" for attempt, status in cases),
    )


def _root_outside(seen: Observations) -> Evidence:
    executed = seen.privilege.user_executed
    return outside(
        f"QEMU's execution log of the load by uid 1000: {count(len(executed.blocks), 'block')} of the "
        "module, at privilege level "
        f"{', '.join(map(str, sorted({block.cpl for block in executed.blocks}))) or '(none ran)'}; of the "
        f"load by root without the capability: {len(seen.privilege.root_executed.blocks)}.",
        executed_text(executed) + "\n" + executed_text(seen.privilege.root_executed),
    )


ROOT = Claim(
    8,
    "as-root",
    "Only root can load it.",
    "sudo insmod is how it is done.",
    "kernel/module/main.c:2570 may_init_module: capable(CAP_SYS_MODULE)",
    _root,
    _explain_root,
    _root_inside,
    _root_outside,
)


# --- rmmod


def _left(seen: Observations) -> list[int]:
    """Returns the addresses of its pages that are still mapped, but for code in a cache of large pages.

    Such a page belongs to the cache, which keeps it for the code of other modules.
    """
    caches = facts.TEXT_CACHE.holds(release_pair(seen.machine.release))
    code = {page.virtual for page in seen.pages if caches and page.permissions == "r-x"}
    return [virtual for virtual, _ in seen.unloading.mapped_after if virtual not in code]


def _rmmod(seen: Observations) -> Verdict:
    unloading = seen.unloading
    if not unloading.done.worked:
        return Verdict.FALSE
    if _left(seen) or unloading.still_named:
        return Verdict.FALSE
    if unloading.while_open is None or unloading.while_open.worked:
        return Verdict.TRUE
    return Verdict.IMPRECISE


def _explain_rmmod(seen: Observations) -> str:
    unloading = seen.unloading
    if _left(seen):
        return f"{count(len(_left(seen)), 'page')} of it are still mapped after rmmod."
    if not unloading.done.worked:
        return "The kernel did not let it go."
    code = (
        " Its code gives its place back to a cache of large pages, which stay mapped, filled with "
        "instructions that trap."
        if unloading.mapped_after
        else ""
    )
    return (
        "rmmod asks, by one system call, and the kernel refuses while the module is in use: an open device, "
        "or a module that depends on it. Otherwise the kernel calls the module's exit function in rmmod's "
        f"process, then unmaps and frees {'the other pages' if code else 'every page'}.{code} What exit "
        "forgets to take back stays, and points nowhere."
    )


def _rmmod_inside(seen: Observations) -> Evidence:
    unloading = seen.unloading
    attempts = [one for one in (unloading.while_open, unloading.done) if one is not None]
    still_named = (
        f"{count(len(unloading.still_named), 'line')} of /proc/modules and /proc/kallsyms name it"
        if unloading.still_named
        else ("afterwards neither /proc/modules nor /proc/kallsyms names it")
    )
    return inside(
        f"delete_module was {'refused while its device was open, and ' if unloading.while_open else ''}"
        f"{'done' if unloading.done.worked else 'refused'} by process {unloading.caller_pid}; {still_named}.",
        "\n".join(attempt_text(attempt) for attempt in attempts),
    )


def _rmmod_outside(seen: Observations) -> Evidence:
    unloading = seen.unloading
    return outside(
        f"QEMU's execution log shows {count(len(unloading.executed.blocks), 'block')} of the module during "
        f"rmmod, its exit function; after it {count(len(unloading.mapped_after), 'page')} of "
        f"{len(seen.pages)} are mapped.",
        executed_text(unloading.executed),
    )


RMMOD = Claim(
    16,
    "rmmod-removes",
    "rmmod takes it out of memory again.",
    "The opposite of insmod, whenever one likes.",
    "kernel/module/main.c:696 delete_module, 670 in use, 755 exit, 767 free_module",
    _rmmod,
    _explain_rmmod,
    _rmmod_inside,
    _rmmod_outside,
)
