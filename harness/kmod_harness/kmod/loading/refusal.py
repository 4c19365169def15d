"""The reason that a module did not load: the kernel's refusal, if its log has one, else its init's errno."""

from __future__ import annotations

import errno
import os
import re

#: Errors that only the kernel itself uses (include/linux/errno.h, 6.1).
_KERNELS_OWN = {
    512: "ERESTARTSYS",
    513: "ERESTARTNOINTR",
    514: "ERESTARTNOHAND",
    515: "ENOIOCTLCMD",
    516: "ERESTART_RESTARTBLOCK",
    517: "EPROBE_DEFER",
    518: "EOPENSTALE",
    519: "ENOPARAM",
    524: "ENOTSUPP",
}
_OF_INIT = "the errno is the one its init returned"
_ANOTHER_KERNEL = "the kernel does not take this file: built for another kernel, or damaged"
_PARAMETER = "the parameter was refused; `modinfo` lists the parameters"
#: A line of the kernel's and what to do, the first that is there: kernel/module/main.c, signing.c, version.c
#: and kernel/params.c, 6.1 to 7.2.
_REFUSALS = tuple(
    (re.compile(pattern), advice)
    for pattern, advice in (
        (
            r"uses symbol \S+ from namespace (?P<namespace>[^\s,]+), but does not import it",
            'MODULE_IMPORT_NS({namespace}) is missing in its source ("{namespace}" in quotes from 6.13 on)',
        ),
        (
            r"Unknown symbol (?P<symbol>\S+)",
            "a symbol it needs is not exported by this kernel ({symbol}); load the module that provides it "
            "first",
        ),
        (
            r"disagrees about version of symbol|version magic '|no symbol version for",
            "it was built for another kernel, or for another configuration of this one",
        ),
        (r"[Ii]nvalid ELF|Invalid module|ELF header|Section headers|truncated", _ANOTHER_KERNEL),
        (r"(?:`|')\S*' invalid for parameter|too large for parameter|Unknown parameter", _PARAMETER),
        (
            r"Loading of .*module.* is rejected|PKCS#7|unavailable key",
            "this kernel loads signed modules only (module.sig_enforce)",
        ),
        (r"[Ll]ockdown:", "the kernel forbids loading: lockdown"),
        (
            r"page allocation failure|vmalloc error|vmalloc: allocation failure|vmap allocation .*failed",
            "the guest's memory did not suffice: --memory 1G; in pytest --kh-memory 1G",
        ),
        (
            r"cannot create duplicate filename|kobject_add_internal failed",
            "something of that name was left behind, or is another's",
        ),
    )
)
#: Errors that the kernel gives without a word in its log.
_SILENT = {
    errno.EEXIST: "a module of this name is loaded already",
    errno.EBUSY: "another load of it is still under way: its init never returned",
}
#: Errors of a signature's check that end a load without a word (kernel/module/signing.c, 6.1 to 7.2).
_OF_SIGNATURES = (errno.ENOENT, errno.EBADMSG, errno.EKEYREJECTED)


def error_name(number: int) -> str:
    """Returns the name and words of an errno, those that only the kernel uses included.

    >>> error_name(517)
    'EPROBE_DEFER'
    """
    if number in _KERNELS_OWN:
        return _KERNELS_OWN[number]
    return f"{errno.errorcode.get(number, number)} ({os.strerror(number)})"


def refusal_advice(number: int, log: str, *, is_listed: bool, is_signed: bool = False) -> str:
    """Returns what to do about a module that did not load.

    number: finit_module's errno
    log: what the kernel logged meanwhile
    is_listed: whether /proc/modules lists a module of its name
    is_signed: whether its file has a signature behind it
    """
    for pattern, advice in _REFUSALS:
        found = pattern.search(log)
        if found is not None:
            return advice.format(**found.groupdict())
    if is_listed and number in _SILENT:
        return _SILENT[number]
    if number == errno.EPERM and not log:
        return f"{_OF_INIT}, or the kernel forbids loading (lockdown, modules_disabled, no CAP_SYS_MODULE)"
    if is_signed and number in _OF_SIGNATURES:
        return f"{_OF_INIT}, or the kernel could not check its signature: it lacks the hash or the cipher"
    return _OF_INIT
