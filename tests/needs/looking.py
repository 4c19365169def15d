"""Ways to look for a need; each returns the question that a Need asks."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from kmod_harness.build.kernel.kconfig import parse_config
from kmod_harness.build.kernel.kernel import Kernel
from kmod_harness.build.kernel.known import resolve_kernel
from kmod_harness.spec.spec import Spec

Look = Callable[[pytest.Config], bool]
#: A user's PATH on Debian lacks them; the harness looks there too.
_ADMIN = "/usr/sbin:/sbin"


def chosen(config: pytest.Config, name: str) -> Sequence[str]:
    """Returns what this run's --kh option of that name, or its ini key, gives: () when neither does."""
    value = config.getoption(f"kh_{name}") or config.getini(f"kh_{name}") or ()
    return (value,) if isinstance(value, str) else value


def kernel_of(config: pytest.Config) -> Kernel:
    """Returns the kernel of this run. Raises Misuse when it is not built."""
    name = "".join(chosen(config, "kernel")) or "minimal"
    return resolve_kernel(Spec(kernel=name, kconfig=tuple(chosen(config, "kconfig"))))


def path_of(program: str) -> str | None:
    """Returns where a program is, None when it is nowhere."""
    return shutil.which(program) or shutil.which(program, path=_ADMIN)


def programs(*names: str) -> Look:
    return lambda config: all(path_of(name) for name in names)


def module(name: str) -> Look:
    return lambda config: importlib.util.find_spec(name) is not None


def kernel_file(attribute: str) -> Look:
    """Asks whether the run's kernel comes with that file of class Kernel."""
    return lambda config: getattr(kernel_of(config), attribute) is not None


def lacks_kernel_file(attribute: str) -> Look:
    """Asks whether the run's kernel comes without that file of class Kernel."""
    return lambda config: getattr(kernel_of(config), attribute) is None


def kernel_symbol(symbol: str) -> Look:
    """Asks whether the run's kernel was configured with it (=y)."""

    def there(config: pytest.Config) -> bool:
        found = kernel_of(config).config
        return found is not None and parse_config(found.read_text()).get(symbol) == "y"

    return there


def option(name: str) -> Look:
    """Asks whether this run was given that --kh option."""
    return lambda config: bool(chosen(config, name))


def checkout(root: Path) -> Look:
    # in a worktree of git's it is a file
    return lambda config: (root / ".git").exists()


def directory(path: Path) -> Look:
    return lambda config: path.is_dir()


def fonts(where: str) -> Look:
    return directory(Path("/usr/share/fonts", where))


def environment(variable: str) -> Look:
    return lambda config: bool(os.environ.get(variable))


def root(config: pytest.Config) -> bool:
    return os.geteuid() == 0


def user_namespaces(config: pytest.Config) -> bool:
    """Asks whether this user may have a root, mounts and a network of their own, or become another user."""
    for words in (["--map-root-user", "--mount", "--net"], ["--map-user=4242"]):
        done = subprocess.run(["unshare", "--user", *words, "true"], capture_output=True, check=False)
        if done.returncode != 0:
            return False
    return True
