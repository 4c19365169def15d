"""A full-system test harness for Linux kernel modules.

`Spec` says what to boot, `prepare` finds it, `boot` gives a `Guest`:

    with boot(prepare(Spec(kernel="minimal"))) as guest:
        with guest.load("mydriver.ko"), guest.open("/dev/mydriver0", os.O_RDWR) as device:
            device.write(b"hello")

Public are: the names in `__all__`, those of `kmod_harness.errors`, the pytest plugin's fixtures, markers and
options, the exit statuses (`errors.ExitStatus`), and the JSON objects (schemas/). A name that begins with an
underscore, or that has to be imported from a room (`kmod_harness.ROOM...`), may change.

Names are looked up on first use: `import kmod_harness` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kmod_harness.guest.agent.protocol import Call, InOut, Out, Result, ResultOf
    from kmod_harness.guest.files.open_file import GuestFile
    from kmod_harness.guest.guest import Checkpoint, Guest
    from kmod_harness.guest.jobs import Completed
    from kmod_harness.guest.loaded_module import LoadedModule
    from kmod_harness.guest.process import Process
    from kmod_harness.host.version import __version__ as __version__
    from kmod_harness.lifecycle.boot import boot
    from kmod_harness.lifecycle.prepare import Prepared, prepare
    from kmod_harness.pytest_plugin.testbed import Pristine, Testbed
    from kmod_harness.spec.spec import Spec
    from kmod_harness.verify.verify_modules import verify_modules

__all__ = [
    "Call",
    "Checkpoint",
    "Completed",
    "Guest",
    "GuestFile",
    "InOut",
    "LoadedModule",
    "Out",
    "Prepared",
    "Pristine",
    "Process",
    "Result",
    "ResultOf",
    "Spec",
    "Testbed",
    "boot",
    "prepare",
    "verify_modules",
]
_FILE_OF = {
    "__version__": "host.version",
    "Call": "guest.agent.protocol",
    "Checkpoint": "guest.guest",
    "Completed": "guest.jobs",
    "Guest": "guest.guest",
    "GuestFile": "guest.files.open_file",
    "InOut": "guest.agent.protocol",
    "LoadedModule": "guest.loaded_module",
    "Out": "guest.agent.protocol",
    "Prepared": "lifecycle.prepare",
    "Pristine": "pytest_plugin.testbed",
    "Process": "guest.process",
    "Result": "guest.agent.protocol",
    "ResultOf": "guest.agent.protocol",
    "Spec": "spec.spec",
    "Testbed": "pytest_plugin.testbed",
    "boot": "lifecycle.boot",
    "prepare": "lifecycle.prepare",
    "verify_modules": "verify.verify_modules",
}


def __getattr__(name: str) -> object:
    """Returns a public name from its file (PEP 562)."""
    if name not in _FILE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_FILE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
