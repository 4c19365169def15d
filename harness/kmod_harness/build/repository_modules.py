"""The modules named by a repository's kmod-harness.toml, built as it says, in its own directory."""

from __future__ import annotations

import contextlib
import difflib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from kmod_harness.build.cache import Cache, default_cache, digest_of
from kmod_harness.build.kernel.kbuild import run_build
from kmod_harness.build.kernel.kernel import Kernel
from kmod_harness.build.modules import build_directory, build_modules_in_place
from kmod_harness.errors import Misuse
from kmod_harness.repository.settings import Repository


def build_repository_modules(
    repository: Repository, kernel: Kernel, *, copies: Path | None = None, cache: Cache | None = None
) -> tuple[Path, ...]:
    """Builds a repository's modules for a kernel; returns the .ko files to load, in the file's order.

    Builds of one repository wait for each other, and a later one may be for another kernel: with `copies`, a
    directory, the products are copied there, and the copies are returned. Raises BuildFailed with the first
    error, Misuse for a file that the build did not make, and for a repository that names no modules.
    """
    said, cache = repository.modules, cache or default_cache()
    if not said.are_said:
        file = repository.file or "there is no kmod-harness.toml in the working directory or above it"
        raise Misuse(
            f"this repository names no modules: {file}",
            advice='`kbuild = ["."]` below [modules] has them built; `kmod-harness init` writes such a file',
        )
    with _alone(repository.directory, cache) as log:
        built: list[Path] = []
        for directory in said.kbuild:
            built += build_modules_in_place(directory, kernel, log, cache=cache)
        if said.build:
            _run_own_command(said.build, repository.directory, kernel, log)
        found = _to_load(said.load, built, repository)
        return found if copies is None else tuple(Path(shutil.copy2(path, copies)) for path in found)


@contextlib.contextmanager
def _alone(directory: Path, cache: Cache) -> Iterator[Path]:
    """Gives the path of the build's log, while no other build of this repository runs."""
    from filelock import FileLock  # lazy

    name = f"repository-{digest_of(str(directory))}"
    log = cache.root / "logs" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    (cache.root / "locks").mkdir(exist_ok=True)
    with FileLock(cache.root / "locks" / f"{name}.lock"):
        yield log


def _run_own_command(command: str, directory: Path, kernel: Kernel, log: Path) -> None:
    log.write_bytes(b"")
    run_build(
        ["sh", "-c", command],
        log=log,
        what=f"`{command}` in {directory}",
        environment={"KERNEL_DIR": str(build_directory(kernel)), "KERNEL_RELEASE": kernel.release},
        directory=directory,
    )


def _to_load(load: Sequence[Path], built: Sequence[Path], repository: Repository) -> tuple[Path, ...]:
    """Returns the modules to load: those the file names, else all that kbuild built. Raises Misuse."""
    for path in load:
        if path.is_file() and (not built or path in built):
            continue
        here = built or sorted(repository.directory.rglob("*.ko"))
        names = [_shown(one, repository.directory) for one in here]
        wanted = _shown(path, repository.directory)
        near = [name for name in names if Path(name).name == path.name]
        near = near or difflib.get_close_matches(wanted, names, n=1)
        made = "kbuild built" if built else "there is"
        raise Misuse(
            f"{repository.file}: `modules.load` names {wanted}, which was not built",
            evidence=f"{made} {', '.join(names) or 'no .ko file'}",
            advice=f"did you mean {near[0]}?" if near else "",
        )
    return tuple(load) or tuple(built)


def _shown(path: Path, directory: Path) -> str:
    return str(path.relative_to(directory)) if path.is_relative_to(directory) else str(path)
