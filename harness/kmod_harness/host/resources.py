"""The project's own data files: in a checkout, or inside an installed wheel."""

from __future__ import annotations

from pathlib import Path

from kmod_harness.errors import Misuse

_PACKAGE = Path(__file__).resolve().parents[1]


def checkout() -> Path | None:
    """Returns the root of the checkout this package runs from, None when it was installed."""
    root = _PACKAGE.parents[1]
    return root if (root / "kernel-config").is_dir() else None


def data_directory(name: str) -> Path:
    """Returns the directory `name` (such as `modules`) of the checkout or the wheel.

    Raises Misuse when neither has it: the installation is damaged.
    """
    candidates = [_PACKAGE / "data" / name]
    root = checkout()
    if root is not None:
        candidates.insert(0, root / name)
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    raise Misuse(
        f"this installation of kmod-harness has no {name} directory",
        evidence="\n".join(map(str, candidates)),
        advice="install the package again",
    )


def minimal_config() -> Path:
    """Returns the fragment that the `minimal` kernel is made from."""
    return data_directory("kernel-config") / "minimal.config"


def fragment_names() -> tuple[str, ...]:
    """Returns the names of the Kconfig fragments that come with the project: `debug`, `kasan`, ..."""
    directory = data_directory("kernel-config")
    return tuple(sorted(path.stem for path in directory.glob("*.config") if path != minimal_config()))


def kconfig_fragment(name: str) -> Path:
    """Returns the absolute path of a fragment, given by a name of fragment_names() or by a path.

    A name takes precedence over a file of that name, which `./NAME` means. Raises Misuse, with the names, for
    neither.
    """
    if name in fragment_names():
        return data_directory("kernel-config") / f"{name}.config"
    fragment = Path(name)
    try:
        if fragment.is_file():
            return fragment.absolute()
        evidence = ""
    except OSError as error:
        evidence = str(error)
    raise Misuse(
        f"there is no Kconfig fragment {name}; expected a name or a file of CONFIG_ lines",
        evidence=evidence,
        advice=f"the names: {', '.join(fragment_names())}",
    )


def agent_sources() -> tuple[Path, ...]:
    """Returns the C files and headers of the guest's agent, sorted by name."""
    directory = _PACKAGE / "guest" / "agent" / "src"
    return tuple(sorted((*directory.glob("*.c"), *directory.glob("*.h"))))
