"""An empty root of Debian: made once for each suite, unpacked for each run, removed afterwards."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .host import CannotRun, Host

#: Seconds after which a tarball is made again: a new machine has present packages.
KEPT_SECONDS = 7 * 24 * 3600.0
#: The user with sudo.
USER = "dev"
_CERTIFICATES = "/etc/host-certificates.crt"
#: Makes a user that is not root the root of a user namespace; further ids come from /etc/subuid.
_USER_NAMESPACE = ("unshare", "--user", "--map-root-user", "--map-auto")
_NAMESPACES = ("--mount", "--pid", "--fork", "--kill-child")
#: When this process ends, the processes in the root end too (setpriv(1)), and so do their mounts.
_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL")


def obstacle() -> str:
    """Returns the reason why no empty root can be made or entered here, in one line, or ""."""
    if shutil.which("mmdebstrap") is None:
        return "mmdebstrap is not installed (apt-get install --no-install-recommends mmdebstrap)"
    tried = subprocess.run(
        [*_unshare(), "mount", "-t", "proc", "proc", "/proc"], capture_output=True, text=True, check=False
    )
    if tried.returncode != 0:
        who = (
            "root may not"
            if os.geteuid() == 0
            else "not root, and no user namespace (uidmap, /etc/subuid) can"
        )
        said = tried.stderr.strip().splitlines() or [f"status {tried.returncode}"]
        return f"{who} make mount and process namespaces: {said[0]}"
    return ""


def cache_directory() -> Path:
    """Returns the directory of tarballs and kept kernels; the harness's own cache would remove them."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "kmod-harness-fresh"


@dataclass(frozen=True)
class Root:
    """An unpacked root.

    path: its directory
    user: user of its commands
    binds: SOURCE:TARGET[:ro] for every command
    environment: environment of its commands
    """

    path: Path
    user: str
    binds: tuple[str, ...]
    environment: Mapping[str, str]

    @property
    def home(self) -> str:
        return "/root" if self.user == "root" else f"/home/{self.user}"

    def call(self, command: str, directory: str = "/", *, as_root: bool = False) -> list[str]:
        """Returns the command that runs a shell command in the root, in a process with `environment`."""
        inside = [sys.executable, str(Path(__file__).with_name("inside.py")), str(self.path)]
        binds = [f"--bind={bind}" for bind in self.binds]
        user = "root" if as_root else self.user
        return [*_unshare(), *inside, *binds, f"--user={user}", f"--directory={directory}", command]

    def run(self, command: str) -> str:
        """Runs a command as root and returns its output. Raises CannotRun when it fails."""
        done = subprocess.run(
            self.call(command, as_root=True),
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise CannotRun(
                f"in the empty root, `{command}` failed: {(done.stderr or done.stdout).strip()[-500:]}"
            )
        return done.stdout


@contextlib.contextmanager
def empty_root(suite: str, user: str, host: Host, scratch: Path, binds: Sequence[str] = ()) -> Iterator[Root]:
    """Gives a root of this suite with the user `user`, and removes it at the end.

    Raises CannotRun when it cannot be made.
    """
    tarball = _tarball(suite, host)
    path = scratch / "root"
    _remove(path)
    path.mkdir(parents=True)
    try:
        options = ("--extract", "--numeric-owner", "--exclude=./dev/*")
        as_root_of_namespace(["tar", *options, f"--file={tarball}", f"--directory={path}"])
        root = Root(path, user, tuple(binds), _environment(user, host))
        _configure(root, suite, host)
        if user != "root":
            _add_user(root, user)
        yield root
    finally:
        _remove(path)


def _tarball(suite: str, host: Host) -> Path:
    directory = cache_directory() / "roots"
    directory.mkdir(parents=True, exist_ok=True)
    tarball = directory / f"{suite}.tar"
    if tarball.is_file() and time.time() - tarball.stat().st_mtime < KEPT_SECONDS:
        return tarball
    unfinished = directory / f".{suite}.{os.getpid()}.tar"
    options = [f"--aptopt={option}" for option in host.apt_options]
    command = ["mmdebstrap", "--variant=minbase", *options, suite, str(unfinished), *host.sources_of(suite)]
    print(f"making an empty root of {suite}: {tarball}", flush=True)
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise CannotRun(f"mmdebstrap made no root of {suite}: {done.stderr.strip()[-500:]}")
        unfinished.replace(tarball)
    finally:
        unfinished.unlink(missing_ok=True)
    return tarball


def _environment(user: str, host: Host) -> dict[str, str]:
    """Returns the environment of a login, with CI's mark and the proxies of this machine."""
    home = "/root" if user == "root" else f"/home/{user}"
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    marks = {name: os.environ[name] for name in ("CI",) if name in os.environ}
    return {
        "HOME": home,
        "USER": user,
        "LOGNAME": user,
        "PATH": path,
        "TERM": "dumb",
        **marks,
        **host.proxies,
    }


def _configure(root: Root, suite: str, host: Host) -> None:
    """Writes the settings of the root's apt and pip by this machine's; apt asks no questions."""
    etc = root.path / "etc"
    options = ['APT::Get::Assume-Yes "true";', *host.apt_options]
    certificates = _CERTIFICATES if host.certificates else ""
    with _writable(root):
        if host.certificates:
            shutil.copyfile(host.certificates, root.path / _CERTIFICATES.lstrip("/"))
        (etc / "apt/sources.list").write_text("\n".join(host.sources_of(suite)) + "\n")
        # the last of all: mmdebstrap leaves the options that it was given in one of its own
        (etc / "apt/apt.conf.d/99zz-fresh").write_text("\n".join(options) + "\n")
        (etc / "pip.conf").write_text(host.pip_configuration(certificates))
        for name in ("resolv.conf", "hosts"):
            if Path("/etc", name).is_file():
                shutil.copyfile(f"/etc/{name}", etc / name)


@contextlib.contextmanager
def _writable(root: Root) -> Iterator[None]:
    """Lets this process write into /etc of the root, whoever owns it there."""
    if os.geteuid() == 0:
        yield
        return
    directories = [str(root.path / name) for name in ("etc", "etc/apt", "etc/apt/apt.conf.d")]
    as_root_of_namespace(["chmod", "a+w", *directories])
    as_root_of_namespace(
        [
            "rm",
            "-f",
            f"{root.path}/etc/apt/sources.list",
            f"{root.path}/etc/resolv.conf",
            f"{root.path}/etc/hosts",
        ]
    )
    yield
    as_root_of_namespace(["chmod", "go-w", *directories])


def _add_user(root: Root, user: str) -> None:
    root.run(
        "apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -qy install --no-install-recommends sudo"
        f" && useradd --create-home --shell /bin/bash {user}"
        f" && echo '{user} ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/{user}"
        " && apt-get clean && rm -rf /var/lib/apt/lists/*"
    )


def _unshare() -> tuple[str, ...]:
    return (*_WITH_PARENT, "unshare", *(() if os.geteuid() == 0 else _USER_NAMESPACE[1:]), *_NAMESPACES)


def as_root_of_namespace(command: Sequence[str]) -> None:
    """Runs a command on files of other users: as root, or as root of a user namespace.

    Raises CannotRun when it fails.
    """
    words = [*(() if os.geteuid() == 0 else _USER_NAMESPACE), *command]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CannotRun(f"{' '.join(command[:2])} failed: {done.stderr.strip()[-500:]}")


def _remove(path: Path) -> None:
    if path.exists():
        as_root_of_namespace(["rm", "-rf", "--one-file-system", str(path)])
