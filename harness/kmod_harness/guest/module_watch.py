"""Who is told of the modules that are loaded and unloaded in a guest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from kmod_harness.guest.loaded_module import LoadedModule


class ModuleWatch(Protocol):
    """Is told before a module is loaded, when it was, and when it is gone."""

    def before_load(self) -> None: ...

    def loaded(self, module: LoadedModule) -> None: ...

    def unloaded(self, module: LoadedModule) -> None: ...
