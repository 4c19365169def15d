"""The configuration of an image: a defconfig, and fragments over it in the mode `debian`."""

from __future__ import annotations

from pathlib import Path

from kmod_harness.build.buildroot.source_mode import DEBIAN
from kmod_harness.build.kernel import kconfig
from kmod_harness.errors import Misuse


def find_defconfig(name: str, external: Path, buildroot: Path) -> Path:
    """Returns the path of a defconfig: a file, or a name in our tree or in Buildroot's. Raises Misuse."""
    candidates = (Path(name), external / "configs" / name, buildroot / "configs" / name)
    found = next((path for path in candidates if path.is_file()), None)
    if found is None:
        ours = sorted(path.name for path in (external / "configs").glob("*_defconfig"))
        raise Misuse(f"there is no defconfig {name}", advice=f"a file, or one of {', '.join(ours)}")
    return found.absolute()


def fragments_of(defconfig: Path, external: Path, mode: str) -> list[Path]:
    """Returns the defconfig, followed by the fragments laid over it in the mode `debian`."""
    if mode != DEBIAN:
        return [defconfig]
    own = external / "configs" / f"{defconfig.name}.debian"
    return [defconfig, external / "configs/debian.fragment", *([own] if own.is_file() else [])]


def read_requests(path: Path) -> tuple[kconfig.Request, ...]:
    """Returns the requests of a fragment. Raises Misuse for a line of another form."""
    try:
        return kconfig.parse_fragment(path.read_text(), str(path), kconfig.BUILDROOT)
    except (OSError, UnicodeDecodeError) as error:
        raise Misuse(f"cannot read the defconfig {path}", evidence=str(error)) from None
    except kconfig.KconfigError as error:
        raise Misuse(str(error)) from None
