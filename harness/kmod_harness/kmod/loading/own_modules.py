"""The modules that a kernel comes with, as far as loading others needs to know them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kmod_harness.errors import Misuse, UnknownModule
from kmod_harness.kmod.elf.module import KernelModule
from kmod_harness.kmod.loading.depmod_files import Softdeps
from kmod_harness.kmod.loading.names import Alias, modules_of_alias, nearest, plain


@dataclass(frozen=True)
class OwnModules:
    """A kernel's own modules; every name is plain, with `_` for `-`.

    kernel: how the kernel is called in messages: its release, where that is known
    directory: where its files lie
    files: module -> path of its .ko
    depends: module -> what it needs, by `modules.dep`; {} without that file
    softdeps: module -> what is loaded before and after it, by `modules.softdep`; {} without that file
    built_in: modules that are part of the image
    aliases: returns all aliases, those of built-in modules too; they are read when first asked for
    exporters: returns symbol -> module that exports it; read when first asked for
    """

    kernel: str = "of this guest"
    directory: Path = Path()
    files: Mapping[str, Path] = field(default_factory=dict)
    depends: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    softdeps: Mapping[str, Softdeps] = field(default_factory=dict)
    built_in: frozenset[str] = frozenset()
    aliases: Callable[[], tuple[Alias, ...]] = field(default=tuple, compare=False)
    exporters: Callable[[], Mapping[str, str]] = field(default=dict, compare=False)

    def has(self, module: KernelModule) -> bool:
        """Returns whether a module is one of these, and not a user's of the same name."""
        return self.files.get(plain(module.name)) == module.path

    def file_in_guest(self, name: str) -> str:
        """Returns the path of a module's file in a guest's /lib/modules/RELEASE, where all of them lie."""
        # BusyBox does not read zstd: such a file is unpacked
        return str(self.files[name].relative_to(self.directory)).removesuffix(".zst")

    def file_of(self, word: str) -> Path:
        """Returns the .ko that a name or an alias means.

        Raises UnknownModule; Misuse for a built-in one and for an alias of several modules.
        """
        name = plain(word)
        if name in self.files:
            return self.files[name]
        if name in self.built_in:
            raise self._nothing_to_load(word, name)
        meant = modules_of_alias(word, self.aliases())
        loadable = [module for module in meant if module in self.files]
        if len(loadable) == 1:
            return self.files[loadable[0]]
        if len(loadable) > 1:
            raise Misuse(
                f"{word} is an alias of {len(loadable)} modules of the kernel {self.kernel}",
                evidence=", ".join(loadable),
                advice="name one of them",
            )
        if meant:
            raise self._nothing_to_load(word, meant[0])
        raise self._unknown(word)

    def modules_meant(self, name: str) -> tuple[str, ...]:
        """Returns the modules with a .ko that a name or an alias means; () for built-in and unknown ones."""
        if plain(name) in self.files:
            return (plain(name),)
        if plain(name) in self.built_in or not self.files:
            return ()
        return tuple(module for module in modules_of_alias(name, self.aliases()) if module in self.files)

    def _nothing_to_load(self, word: str, module: str) -> Misuse:
        name = word if plain(word) == module else f"{word} ({module})"
        return Misuse(
            f"{name} is built into the kernel {self.kernel}: there is nothing to load",
            advice="leave it out; its parameters go on the kernel's command line: --append MODULE.NAME=VALUE",
        )

    def _unknown(self, word: str) -> UnknownModule:
        if not self.files:
            return UnknownModule(
                f"the kernel {self.kernel} comes without modules of its own, so there is no {word}",
                advice="give the path of a .ko, or --kernel debian for its modules",
            )
        near = nearest(word, [*self.files, *self.built_in])
        return UnknownModule(
            f"the kernel {self.kernel} has no module {word}, by that name or as an alias",
            evidence=f"nearest of its {len(self.files)}: {', '.join(near)}" if near else "",
            advice="give a name, as `lsmod` shows it, or the path of a .ko",
        )
