"""One suite, one user: a clone of HEAD in an empty root, each command, its time, packages installed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import readme
from .host import CannotRun, Host
from .root import USER, Root, as_root_of_namespace, cache_directory, empty_root

#: Kinds of cache entries that CACHE=keep shares between runs: kernels and their source.
_KEPT_KINDS = ("kernel", "source")
_PACKAGES = "dpkg-query --show --showformat='${Package} ${Version}\\n'"
_ASKED_FOR = "apt-mark showmanual"
_NAME = "kmod-harness"
#: Files of build/test that are kept beside the logs.
_REPORTS = ("junit.xml", "debug.xml", "readme.xml", "faults.md")


@dataclass(frozen=True)
class Step:
    """One command and its result.

    suite: suite of the root
    user: user who typed it
    command: the command as it was typed
    status: exit status
    seconds: time it took
    tests: pytest's closing line, or ""
    log: its output
    """

    suite: str
    user: str
    command: str
    status: int
    seconds: float
    tests: str
    log: Path


@dataclass(frozen=True)
class Trial:
    """One trial of a suite by a user.

    suite: suite of the root
    user: `root` or `sudo`
    setup: commands that set up the machine
    commands: commands to try
    keep_kernels: whether compiled kernels are shared with other runs
    shared: directory laid beside the clone, read-only, None for none
    """

    suite: str
    user: str
    setup: tuple[str, ...]
    commands: tuple[str, ...]
    keep_kernels: bool = False
    shared: Path | None = None


def run_trial(trial: Trial, checkout: Path, host: Host, out: Path) -> Iterator[Step]:
    """Yields each step as it ends; the next command is tried even after one that fails.

    A failing setup command ends the trial. Logs, reports and the list of packages go to `out`. Raises
    CannotRun when there can be no root.
    """
    name = "root" if trial.user == "root" else USER
    home = "/root" if name == "root" else f"/home/{name}"
    binds = [f"{trial.shared}:{home}/shared:ro"] if trial.shared else []
    with contextlib.ExitStack() as held:
        held.enter_context(_alone(out))
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True, exist_ok=True)
        if trial.keep_kernels:
            kept = held.enter_context(_kept_kernels(trial))
            binds.append(f"{kept}:{home}/.cache/kmod-harness")
        root = held.enter_context(empty_root(trial.suite, name, host, out, binds))
        before, asked_before = _lines(root, _PACKAGES), _lines(root, _ASKED_FOR)
        _clone(checkout, root)
        for number, command in enumerate((*trial.setup, *trial.commands)):
            typed = readme.as_user(command, name)
            log = out / f"{number:02}-{re.sub(r'[^A-Za-z0-9=]+', '-', command)[:40].strip('-')}.log"
            step = _type(trial, root, typed, log)
            yield step
            if step.status != 0 and command in trial.setup:
                break
        asked = sorted(_lines(root, _ASKED_FOR) - asked_before)
        _keep(root, sorted(_lines(root, _PACKAGES) - before), asked, out)


def _clone(checkout: Path, root: Root) -> None:
    """Clones HEAD with this machine's git, since the root may have none; its user's settings do not count."""
    place = f"{root.home}/{_NAME}"
    bundle, scratch = root.path / "tmp/head.bundle", root.path / "tmp/clone"
    _git(os.environ, "-C", str(checkout), "bundle", "create", str(bundle), "HEAD")
    unset = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    _git({**os.environ, **unset}, "clone", "--quiet", str(bundle), str(scratch))
    bundle.unlink()
    owned = f"{root.home}/.cache {place}"
    root.run(f"mkdir -p {root.home}/.cache && mv /tmp/clone {place} && chown -R {root.user}: {owned}")


def _git(environment: Mapping[str, str], *words: str) -> None:
    done = subprocess.run(["git", *words], env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CannotRun(f"git cannot clone HEAD: {done.stderr.strip()}")


def _type(trial: Trial, root: Root, command: str, log: Path) -> Step:
    """Runs one command in the clone; its output goes to this terminal and to a log."""
    print(f"\n== {trial.suite}, {trial.user}: {command}", flush=True)
    started = time.monotonic()
    with log.open("wb") as file:
        process = subprocess.Popen(
            root.call(command, f"{root.home}/{_NAME}"),
            env=dict(root.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert process.stdout is not None
        try:
            for line in process.stdout:
                file.write(line)
                sys.stdout.buffer.write(line)
                sys.stdout.flush()
            status = process.wait()
        finally:
            process.kill()
            process.wait()
    seconds = time.monotonic() - started
    return Step(
        trial.suite, trial.user, command, status, seconds, closing_line(log.read_text(errors="replace")), log
    )


def closing_line(output: str) -> str:
    """Returns pytest's summary of its tests, such as "1830 passed, 2 skipped", or ""."""
    found = re.findall(
        r"^=+ (.*(?:passed|failed|error|no tests ran).*) in [\d.]+s.*=+$", output, re.MULTILINE
    )
    return str(found[-1]) if found else ""


def _lines(root: Root, command: str) -> set[str]:
    return set(root.run(command).splitlines())


def _keep(root: Root, installed: Sequence[str], asked_for: Sequence[str], out: Path) -> None:
    (out / "installed.txt").write_text("".join(f"{line}\n" for line in installed))
    for name in _REPORTS:
        # read by root in the root: other users may not read a home
        text = root.run(f"cat {root.home}/{_NAME}/build/test/{name} 2>/dev/null || true")
        if text:
            (out / name).write_text(text)
    names = textwrap.fill(" ".join(asked_for), 78, initial_indent="  ", subsequent_indent="  ")
    print(
        f"\n{len(installed)} packages were installed ({out}/installed.txt), for these:\n{names}", flush=True
    )


@contextlib.contextmanager
def _kept_kernels(trial: Trial) -> Iterator[Path]:
    """Gives the harness's cache for this suite and user, with nothing in it but kernels and their source."""
    directory = cache_directory() / "kernels" / f"{trial.suite}-{trial.user}"
    directory.mkdir(parents=True, exist_ok=True)
    with _alone(directory):
        others = [str(entry) for entry in directory.iterdir() if entry.name not in _KEPT_KINDS]
        as_root_of_namespace(["rm", "-rf", *others])
        yield directory


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Holds a directory for one run. Raises CannotRun when another run has it."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with (directory.parent / f".{directory.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotRun(f"another run uses {directory}: wait for its end") from None
        yield
