"""A run as people and CI start it: whatever the user, the directories, the streams and the limits are.

Each works, or says in one line what is wrong, with status 2 (125 under --bisect); none ends with 1, which
`git bisect run` reads as a bad commit.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from kmod_harness.build.cache import default_cache
from shared.cli_process import PATIENCE, command_line, unwrapped


def in_shell(
    script: str, *words: str | Path, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Returns a finished command line started by a shell: `script` says `"$@"` where it is to run."""
    return subprocess.run(
        ["sh", "-c", script, "sh", *command_line(*words)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        env={**os.environ, **(env or {})},
    )


def assert_passed(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "kmod-harness: passed: 1 module loaded" in unwrapped(done.stderr)


NEEDS_NAMESPACES = pytest.mark.needs("user namespaces")
LONG = "x" * 190
STARTS = {
    "a directory that was deleted": 'd=$(mktemp -d) && cd "$d" && rmdir "$d" && "$@"',
    "stdin and stdout closed": '"$@" <&- >&-',
    "SIGINT ignored": "trap '' INT; \"$@\"",
    "umask 077": 'umask 077; "$@"',
    "umask 000": 'umask 000; "$@"',
    "a TMPDIR of 200 characters": f'd=$(mktemp -d)/{LONG}; mkdir -p "$d"; TMPDIR=$d "$@"',
    "an XDG_RUNTIME_DIR of 200 characters": f'd=$(mktemp -d)/{LONG}; mkdir -p "$d"; XDG_RUNTIME_DIR=$d "$@"',
    "a TMPDIR that is not there": 'TMPDIR=/nonexistent "$@"',
    "a TMPDIR with a blank and a comma": 'd="$(mktemp -d)/a b, c"; mkdir "$d"; TMPDIR=$d "$@"',
    "a TMPDIR in UTF-8": 'd="$(mktemp -d)/\u00e9\u2192"; mkdir "$d"; TMPDIR=$d "$@"',
    "the POSIX locale": 'LC_ALL=POSIX PYTHONCOERCECLOCALE=0 PYTHONUTF8=0 "$@"',
    "a locale that is not there": 'LC_ALL=xx_YY.FOO "$@"',
    "no TERM and an odd COLUMNS": 'unset TERM; COLUMNS=-7 "$@"',
    "32 descriptors": 'ulimit -n 32; "$@"',
    "no network": 'unshare --user --map-root-user --net "$@"',
    "a PATH without sbin": 'PATH=/usr/local/bin:/usr/bin:/bin "$@"',
}


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(start, id=name, marks=[NEEDS_NAMESPACES] if "unshare" in start else [])
        for name, start in STARTS.items()
    ],
)
def test_a_run_works_with(start: str, chardev_ko: Path, tmp_path: Path) -> None:
    assert_passed(in_shell(start, "run", chardev_ko, env={"TMPDIR": str(tmp_path)}))


def test_a_run_in_a_deleted_directory_has_its_json_object(chardev_ko: Path) -> None:
    done = in_shell(STARTS["a directory that was deleted"], "run", "--bisect", "--json", chardev_ko)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["outcome"] == "passed"


def test_a_failure_in_a_deleted_directory_leaves_its_evidence(faulty_ko: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    words = ("run", faulty_ko, "--param", "fault=oops", "--bundle", bundle)
    done = in_shell(STARTS["a directory that was deleted"], *words)
    assert done.returncode == 3, done.stderr
    assert (bundle / "reproduce.sh").is_file()


@pytest.mark.parametrize("name", ["a b, c", "\u00e9\u2192", os.fsdecode(b"odd-\xff")])
def test_a_path_may_hold_any_bytes(name: str, faulty_ko: Path, tmp_path: Path) -> None:
    place = tmp_path / name
    place.mkdir()
    module = place / "faulty.ko"
    module.write_bytes(faulty_ko.read_bytes())
    words = ("run", module, "--param", "fault=oops", "--bundle", place / "bundle")

    done = in_shell('cd "$PLACE" && "$@"', *words, env={"PLACE": str(place)})
    assert done.returncode == 3, done.stderr
    assert "bundle" in done.stderr.splitlines()[-2], done.stderr

    again = subprocess.run(
        [place / "bundle/reproduce.sh"], capture_output=True, timeout=PATIENCE, check=False
    )
    assert again.returncode == 3, again.stderr


@pytest.mark.parametrize(("bisect", "status"), [([], 2), (["--bisect"], 125)])
def test_too_few_descriptors_are_told_with_the_limit_to_raise(
    chardev_ko: Path, bisect: list[str], status: int
) -> None:
    done = in_shell('ulimit -n 16; "$@"', "run", *bisect, chardev_ko)
    assert done.returncode == status, done.stderr
    assert "Too many open files" in unwrapped(done.stderr)
    assert "ulimit -n" in unwrapped(done.stderr)
    assert "Traceback" not in done.stderr


@NEEDS_NAMESPACES
def test_a_run_works_from_a_cache_that_is_read_only(chardev_ko: Path) -> None:
    cache = default_cache().root
    mounts = 'mount --bind "$CACHE" "$CACHE" && mount -o remount,ro,bind "$CACHE"'
    script = f"""unshare --user --map-root-user --mount sh -c '{mounts} && "$@"' sh "$@" """
    # what a run needs is made by the first one
    assert_passed(in_shell('"$@"', "run", chardev_ko))
    assert_passed(in_shell(script, "run", chardev_ko, env={"CACHE": str(cache)}))


@NEEDS_NAMESPACES
@pytest.mark.parametrize(("bisect", "status"), [([], 2), (["--bisect"], 125)])
def test_a_user_without_a_home_is_told_what_to_set(chardev_ko: Path, bisect: list[str], status: int) -> None:
    script = 'unset HOME XDG_CACHE_HOME XDG_STATE_HOME; unshare --user --map-user=4242 "$@"'
    done = in_shell(script, "run", *bisect, chardev_ko)
    assert done.returncode == status, done.stderr
    assert "HOME is not set" in unwrapped(done.stderr)
    assert "set HOME, or XDG_CACHE_HOME" in unwrapped(done.stderr)
    assert "Traceback" not in done.stderr


def test_output_that_is_lost_makes_no_failure_of_a_run_that_passed(chardev_ko: Path) -> None:
    done = in_shell('"$@" >/dev/full', "run", "--bisect", chardev_ko, "--", "echo", "hi")
    assert done.returncode == 125
    assert "stdout cannot be written: No space left on device" in unwrapped(done.stderr)
    assert in_shell('"$@" 2>/dev/full', "run", "--bisect", chardev_ko).returncode == 0
