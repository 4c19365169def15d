"""A full-system test harness for Linux kernel modules.

`Spec` says what to boot, `prepare` finds it, `boot` gives a `Guest`:

    with boot(prepare(Spec(kernel="minimal"))) as guest:
        with guest.load("mydriver.ko"), guest.open("/dev/mydriver0", os.O_RDWR) as device:
            device.write(b"hello")

Names are looked up on first use: `import kmod_harness` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kmod_harness.guest.guest import Guest as Guest
    from kmod_harness.lifecycle.boot import boot as boot
    from kmod_harness.lifecycle.prepare import Prepared as Prepared
    from kmod_harness.lifecycle.prepare import prepare as prepare
    from kmod_harness.spec.spec import Spec as Spec

_FILE_OF = {
    "Guest": "guest.guest",
    "Prepared": "lifecycle.prepare",
    "Spec": "spec.spec",
    "boot": "lifecycle.boot",
    "prepare": "lifecycle.prepare",
}
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """Returns a public name from its file (PEP 562)."""
    if name not in _FILE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_FILE_OF[name]}"), name)
