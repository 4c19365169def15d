"""What a `verify` is about: files and names made into modules, in load order, with what they depend on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kmod_harness.build.image.initrd import channel_modules, module_files
from kmod_harness.errors import Misuse
from kmod_harness.kmod.elf.module import KernelModule, read_module
from kmod_harness.kmod.preflight import load_order
from kmod_harness.lifecycle.prepare import Prepared


@dataclass(frozen=True)
class VerifyPlan:
    """present: loaded by the harness's init. order: to be loaded. targets: to be verified."""

    present: tuple[KernelModule, ...]
    order: tuple[KernelModule, ...]
    targets: tuple[KernelModule, ...]

    @property
    def known(self) -> tuple[KernelModule, ...]:
        """Loaded modules that are not verified, but may export what the targets use."""
        names = {module.name for module in self.targets}
        return tuple(module for module in (*self.present, *self.order) if module.name not in names)


def read_files(words: Sequence[str]) -> dict[str, KernelModule]:
    """Word -> module, of those words that are paths. Raises ModuleFileError."""
    return {word: read_module(word) for word in words if is_path(word)}


def is_path(word: str) -> bool:
    """True for what names a file: it exists, has a slash, or ends as a .ko does."""
    return "/" in word or ".ko" in word or Path(word).is_file()


def plan(
    words: Sequence[str], files: Mapping[str, KernelModule], prepared: Prepared, *, with_dependencies: bool
) -> VerifyPlan:
    """Returns what to load and what to verify. Raises Misuse: no such module, none with a tree.

    words: as given; files: read_files of them. A name is a module of the kernel's own tree, where
    the dependencies of files are looked for too.
    """
    kernel = prepared.kernel
    tree = module_files(kernel.modules_dir) if kernel.modules_dir is not None else {}
    present = {module.name: module for module in map(read_module, channel_modules(kernel))}
    wanted: dict[str, KernelModule] = {}
    for word in words:
        module = files.get(word) or present.get(_plain(word)) or _of_tree(word, tree, prepared)
        twin = wanted.setdefault(module.name, module)
        if twin is not module and twin.path != module.path:
            raise Misuse(f"two modules are named {module.name}", evidence=f"{twin.path}\n{module.path}")
    loads: dict[str, KernelModule] = {}
    for module in wanted.values():
        _add(module, {**tree, **{name: module.path for name, module in wanted.items()}}, present, loads)
    order = load_order(list(loads.values()))
    targets = (
        [*(module for module in wanted.values() if module.name not in loads), *order]
        if with_dependencies
        else list(wanted.values())
    )
    return VerifyPlan(tuple(present.values()), order, tuple(targets))


def _of_tree(word: str, tree: Mapping[str, Path], prepared: Prepared) -> KernelModule:
    path = tree.get(_plain(word))
    if path is not None:
        return read_module(path)
    kernel = prepared.kernel
    if not tree:
        raise Misuse(
            f"the kernel {kernel.name} comes without modules of its own, so there is no {word}",
            advice="give the path of a .ko, or --kernel debian for its modules",
        )
    raise Misuse(
        f"the kernel {kernel.release} has no module {word} (it has {len(tree)})",
        evidence=str(kernel.modules_dir),
        advice="it may be built in; `modules.order` there lists the modules",
    )


def _add(
    module: KernelModule,
    files: Mapping[str, Path],
    present: Mapping[str, KernelModule],
    loads: dict[str, KernelModule],
) -> None:
    """Adds a module and what it depends on, dependencies first; load_order refuses circles later."""
    if module.name in loads or module.name in present:
        return
    loads[module.name] = module
    for name in map(_plain, module.depends):
        if name in files and name not in loads:
            _add(read_module(files[name]), files, present, loads)


def _plain(name: str) -> str:
    return name.replace("-", "_")
