"""One suite, one user: a clone of HEAD in an empty root, each command, its time, and what was installed."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import readme
from .host import CannotRun, Host
from .root import USER, Root, cache_directory, empty_root

#: What CACHE=keep shares between runs: kernels and their source, keyed by all that went into them.
_KEPT_KINDS = ("kernel", "source")
_PACKAGES = "dpkg-query --show --showformat='${Package} ${Version}\\n'"
_ASKED_FOR = "apt-mark showmanual"
_NAME = "kmod-harness"


@dataclass(frozen=True)
class Step:
    """A command as it was typed; `tests` is pytest's closing line, or ""."""

    suite: str
    user: str
    command: str
    status: int
    seconds: float
    tests: str
    log: Path


@dataclass(frozen=True)
class Trial:
    """What to try: `user` is root or sudo; `shared` a directory laid beside the clone, read-only, or None."""

    suite: str
    user: str
    setup: tuple[str, ...]
    commands: tuple[str, ...]
    keep_kernels: bool = False
    shared: Path | None = None


def run_trial(trial: Trial, checkout: Path, host: Host, out: Path) -> Iterator[Step]:
    """Yields each step as it ends; a command that fails does not keep the next from being tried.

    A setup command that fails ends the trial. Logs, reports and the list of packages go to `out`.
    Raises CannotRun when there can be no root.
    """
    name = "root" if trial.user == "root" else USER
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    home = "/root" if name == "root" else f"/home/{name}"
    binds = [f"{trial.shared}:{home}/shared:ro"] if trial.shared else []
    kept = _kept_kernels(trial) if trial.keep_kernels else None
    if kept:
        binds.append(f"{kept}:{home}/.cache/kmod-harness")
    with empty_root(trial.suite, name, host, out, binds) as root:
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
    """Clones HEAD; git sees no configuration of this user's, and the clone has no link into the checkout."""
    place = f"{root.home}/{_NAME}"
    bundle = root.path / "tmp/head.bundle"
    made = subprocess.run(
        ["git", "-C", str(checkout), "bundle", "create", str(bundle), "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode != 0:
        raise CannotRun(f"git cannot pack HEAD of {checkout}: {made.stderr.strip()}")
    # unpacked by a git of this machine's: the root may have none yet
    scratch = root.path / "tmp/clone"
    subprocess.run(["git", "clone", "--quiet", str(bundle), str(scratch)], check=True, capture_output=True)
    bundle.unlink()
    owned = f"{root.home}/.cache {place}"
    root.run(f"mkdir -p {root.home}/.cache && mv /tmp/clone {place} && chown -R {root.user}: {owned}")


def _type(trial: Trial, root: Root, command: str, log: Path) -> Step:
    """Runs one command in the clone, its output on this terminal and in a log."""
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
    """Returns what pytest's last line says of its tests ("1830 passed, 2 skipped"), or ""."""
    found = re.findall(
        r"^=+ (.*(?:passed|failed|error|no tests ran).*) in [\d.]+s.*=+$", output, re.MULTILINE
    )
    return str(found[-1]) if found else ""


def _lines(root: Root, command: str) -> set[str]:
    return set(root.run(command).splitlines())


def _keep(root: Root, installed: Sequence[str], asked_for: Sequence[str], out: Path) -> None:
    (out / "installed.txt").write_text("".join(f"{line}\n" for line in installed))
    reports = root.path / root.home.lstrip("/") / _NAME / "build/test"
    if reports.is_dir():
        shutil.copytree(reports, out / "test", ignore=shutil.ignore_patterns("*.ko", "bundles"))
    names = textwrap.fill(" ".join(asked_for), 78, initial_indent="  ", subsequent_indent="  ")
    print(
        f"\n{len(installed)} packages were installed ({out}/installed.txt), for these:\n{names}", flush=True
    )


def _kept_kernels(trial: Trial) -> Path:
    """Returns the harness's cache for this suite and user; nothing is in it but kernels and their source."""
    directory = cache_directory() / "kernels" / f"{trial.suite}-{trial.user}"
    directory.mkdir(parents=True, exist_ok=True)
    for entry in directory.iterdir():
        if entry.name not in _KEPT_KINDS:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    return directory
