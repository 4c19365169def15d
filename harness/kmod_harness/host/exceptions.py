"""Any exception as an error for the user: what happened, the evidence, what to do next."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
import traceback
from collections.abc import Iterator

from kmod_harness.errors import GUESTS_ANSWER, InternalError, KmodHarnessError, MachineFailure, Misuse
from kmod_harness.host.directories import working_directory
from kmod_harness.spec.spec import SpecError

_PLACES = "places are set by XDG_CACHE_HOME (the cache), XDG_STATE_HOME (failures), TMPDIR (scratch files)"
_ADVICE = {
    errno.EACCES: f"user {os.getuid()} has no right to it; {_PLACES}",
    errno.EPERM: f"user {os.getuid()} has no right to it; {_PLACES}",
    errno.EROFS: _PLACES,
    errno.ENOSPC: f"make room there; {_PLACES}",
    errno.EDQUOT: f"make room there; {_PLACES}",
    errno.EFBIG: "ulimit -f unlimited",
    errno.EMFILE: "ulimit -n 256: a run takes about 30 descriptors",
    errno.ENFILE: "too many files are open on this machine: end what holds them",
    errno.EAGAIN: "ulimit -u 4096: this user may start no more processes",
    errno.ENOMEM: "end what uses this machine's memory, or raise ulimit -v",
}


def as_harness_error(error: Exception) -> KmodHarnessError:
    """Returns the error as a KmodHarnessError.

    Misuse for an error of this machine's system, MachineFailure for one that the guest answered with,
    InternalError for a bug.
    """
    if isinstance(error, KmodHarnessError):
        return error
    if isinstance(error, SpecError):
        return Misuse(str(error))
    if isinstance(error, OSError):
        return _of_a_system(error)
    if isinstance(error, ImportError) and not (error.name or "").startswith("kmod_harness"):
        return Misuse(
            f"Python cannot import {error.name or 'a package'}: {error}",
            advice="install kmod-harness again: pip install --force-reinstall, or `make setup` in a checkout",
        )
    return _internal(error)


def is_guests_answer(error: OSError) -> bool:
    """Returns whether the guest answered a call with that error, and not this machine's system."""
    return GUESTS_ANSWER in getattr(error, "__notes__", ())


@contextlib.contextmanager
def os_errors_as_misuse() -> Iterator[None]:
    """Raises an OSError inside as Misuse; other exceptions, which are bugs, pass unchanged."""
    try:
        yield
    except OSError as error:
        raise as_harness_error(error) from None


def _of_a_system(error: OSError) -> Misuse | MachineFailure:
    if isinstance(error, FileNotFoundError) and working_directory() is None:
        return Misuse("the working directory does not exist any more", advice="cd to one that does")
    if error.errno is None or error.strerror is None:
        return Misuse(str(error))
    names = [repr(name) for name in (error.filename, error.filename2) if isinstance(name, (str, bytes))]
    words = ": ".join([error.strerror, *names])
    if is_guests_answer(error):
        return MachineFailure(f"{words} {GUESTS_ANSWER}")
    return Misuse(words, advice=_ADVICE.get(error.errno, ""))


def _internal(error: Exception) -> InternalError:
    whole = "".join(traceback.format_exception(error))
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="kh-internal-error-", suffix=".txt", delete=False, errors="backslashreplace"
        ) as file:
            file.write(whole)
        evidence, where = f"the traceback: {file.name}", " with that file"
    except OSError:
        evidence, where = whole, " with these lines"
    return InternalError(
        f"internal error: {type(error).__name__}: {error}",
        evidence=evidence,
        advice=f"this is a bug of kmod-harness, and says nothing about what was tested: report it{where}",
    )
