"""The Makefile: what a first call does, that a second does nothing, and what makes it work again.

The real Makefile under the real make; the programs behind it are small ones that note their call.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from shared.checkout import ROOT

NOTE = """\
#!/bin/sh
echo "{name} $*" >>{calls}
"""
PYTHON = """\
#!/bin/sh
echo "python $*; installed: $KH_INSTALLED" >>{calls}
"""
HARNESS = (
    NOTE
    + """\
case "$1 $2" in
"kernel dir") echo {cache}/kernel-$3 ;;
"modules --kernel") mkdir -p build/modules/chardev; touch build/modules/chardev/chardev.ko
	echo build/modules/chardev/chardev.ko ;;
"rootfs ") echo {cache}/rootfs.cpio.gz ;;
esac
"""
)

pytestmark = pytest.mark.needs("make")


@dataclass(frozen=True)
class Checkout:
    """A copy of the front door; `cache` stands for the cache, `calls` notes what was called."""

    directory: Path
    cache: Path
    calls: Path

    def make(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.directory)}
        command = ["make", *arguments]
        return subprocess.run(
            command, cwd=self.directory, env=environment, capture_output=True, text=True, check=False
        )

    def calls_of(self, *arguments: str) -> list[str]:
        """Returns the programs that a successful `make` with these arguments calls."""
        self.calls.write_text("")
        done = self.make(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return self.calls.read_text().splitlines()


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Checkout]:
    directory, cache, calls = tmp_path / "checkout", tmp_path / "cache", tmp_path / "calls"
    cache.mkdir()
    for made in ("kernel-minimal", "kernel-debian", "rootfs.cpio.gz"):
        (cache / made).touch()
    for path in (
        "Makefile",
        "harness/scripts/help.sh",
        "harness/scripts/debian-packages.txt",
        "pyproject.toml",
    ):
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, directory / path)
    for path in ("harness/kmod_harness/build/image/embedded.py", "harness/kmod_harness/build/image/cpio.py"):
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).touch()
    for path in ("kernel-config/minimal.config", "modules/chardev/main.c"):
        (directory / path).parent.mkdir(parents=True)
        (directory / path).touch()
    for path, text in (
        ("harness/scripts/install-packages.sh", NOTE),
        ("harness/scripts/make-venv.sh", NOTE),
        (".venv/bin/kmod-harness", HARNESS),
        (".venv/bin/python", PYTHON),
        ("harness/scripts/find-python.sh", "#!/bin/sh\necho .venv/bin/python\n"),
    ):
        program = directory / path
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(text.format(name=program.stem, calls=calls, cache=cache))
        program.chmod(0o755)
    yield Checkout(directory, cache, calls)


def test_help_is_the_default_goal_and_names_every_target(checkout: Checkout) -> None:
    said = checkout.make().stdout
    listed = {line.split()[0] for line in said.splitlines() if line.startswith("  ") and line.split()}
    wanted = "help setup kernel modules rootfs demo explain run boot debug test soak nightly bench lint clean"
    assert set(wanted.split()) | {"format", "readme"} | {"distclean", "KERNEL=", "KH_NO_INSTALL=1"} <= listed


def test_the_first_demo_does_all_the_set_up(checkout: Checkout) -> None:
    assert checkout.calls_of("demo") == [
        "install-packages run fetch kernel source",
        "make-venv ",
        "kmod-harness kernel build minimal",
        "kmod-harness kernel dir minimal",
        "kmod-harness modules --kernel minimal",
        "kmod-harness rootfs",
        "kmod-harness demo --kernel minimal --rootfs embedded",
    ]


def test_a_second_demo_only_boots_and_is_quick_about_it(checkout: Checkout) -> None:
    checkout.calls_of("demo")
    assert checkout.calls_of("demo") == ["kmod-harness demo --kernel minimal --rootfs embedded"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert checkout.calls_of("ready") == []
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # of a processor: the machine may be busy
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1


def test_debians_kernel_needs_neither_a_source_nor_a_compilers_tools(checkout: Checkout) -> None:
    calls = checkout.calls_of("demo", "KERNEL=debian")
    assert calls[0] == "install-packages run fetch debian"
    assert "kmod-harness kernel build debian" in calls


def test_a_kernel_by_path_is_not_built(checkout: Checkout) -> None:
    calls = checkout.calls_of("ready", "KERNEL=/boot/vmlinuz")
    assert [call for call in calls if "kernel build" in call] == []
    assert "kmod-harness modules --kernel /boot/vmlinuz" in calls


def test_another_source_is_looked_at_every_time_and_voids_the_default(checkout: Checkout) -> None:
    checkout.calls_of("kernel")
    elsewhere = "kmod-harness kernel build minimal --source /linux"
    assert elsewhere in checkout.calls_of("kernel", "KERNEL_SRC=/linux")
    assert elsewhere in checkout.calls_of("kernel", "KERNEL_SRC=/linux")
    assert "kmod-harness kernel build minimal" in checkout.calls_of("kernel")


@pytest.mark.parametrize(
    ("changed", "again"),
    [
        ("pyproject.toml", "make-venv "),
        ("harness/scripts/debian-packages.txt", "install-packages run fetch kernel source"),
        ("kernel-config/minimal.config", "kmod-harness kernel build minimal"),
        ("modules/chardev/main.c", "kmod-harness modules --kernel minimal"),
        ("harness/kmod_harness/build/image/embedded.py", "kmod-harness rootfs"),
    ],
)
def test_what_changed_is_done_again(checkout: Checkout, changed: str, again: str) -> None:
    checkout.calls_of("ready")
    assert checkout.calls_of("ready") == []
    (checkout.directory / changed).touch()
    assert again in checkout.calls_of("ready")
    assert checkout.calls_of("ready") == []


@pytest.mark.parametrize(
    ("gone", "again"),
    [
        ("kernel-minimal", "kmod-harness kernel build minimal"),
        ("rootfs.cpio.gz", "kmod-harness rootfs"),
    ],
)
def test_what_left_the_cache_is_made_again(checkout: Checkout, gone: str, again: str) -> None:
    checkout.calls_of("ready")
    (checkout.cache / gone).unlink()
    assert again in checkout.calls_of("ready")


def test_a_step_that_failed_is_not_taken_for_done(checkout: Checkout) -> None:
    install = checkout.directory / "harness/scripts/install-packages.sh"
    working = install.read_text()
    install.write_text("#!/bin/sh\necho flex is missing >&2\nexit 2\n")
    failed = checkout.make("demo")
    assert failed.returncode == 2
    assert "flex is missing" in failed.stderr
    install.write_text(working)
    assert checkout.calls_of("demo")[0] == "install-packages run fetch kernel source"


def test_run_takes_the_sample_driver_or_what_it_is_given(checkout: Checkout) -> None:
    run = "kmod-harness run --kernel minimal --rootfs embedded"
    assert checkout.calls_of("run")[-1] == f"{run} build/modules/chardev/chardev.ko"
    assert checkout.calls_of("run", "ARGS=my.ko -- ls /dev")[-1] == f"{run} my.ko -- ls /dev"


@pytest.mark.parametrize(
    ("asked", "machine", "installed"),
    [
        ([], "", "run fetch kernel source test"),
        (["KERNEL=debian"], " --kh-kernel=debian", "run fetch debian test"),
        (
            ["KERNEL=/boot/vmlinuz", "ROOTFS=buildroot"],
            " --kh-kernel=/boot/vmlinuz --kh-rootfs=buildroot",
            "run fetch buildroot test",
        ),
    ],
)
@pytest.mark.parametrize("suite", ["test", "soak"])
def test_the_suites_get_the_machine_that_was_asked_for_and_what_make_has_installed(
    checkout: Checkout, suite: str, asked: list[str], machine: str, installed: str
) -> None:
    call = " ".join(checkout.calls_of(suite, *asked)[-1].split())
    assert f"{machine} --junitxml=" in call
    assert call.endswith(f"; installed: {installed}")
    assert "--kh-kernel" in machine or "--kh-kernel" not in call


def test_every_suite_knows_what_make_has_installed(checkout: Checkout) -> None:
    harness = checkout.directory / ".venv/bin/kmod-harness"
    harness.write_text(f"{harness.read_text()}\necho installed: $KH_INSTALLED >>{checkout.calls}\n")
    (checkout.directory / "harness/scripts/detector-kernels.sh").symlink_to("/bin/true")
    (checkout.directory / "harness/scripts/image-suites.sh").symlink_to("/bin/true")
    assert checkout.calls_of("nightly")[-1] == "installed: run fetch kernel source test"
    assert checkout.calls_of("test-debug")[-1].endswith("; installed: run fetch kernel source test")


def test_modules_of_others_are_built_where_they_are(checkout: Checkout) -> None:
    assert checkout.calls_of("modules", "M=/home/me/driver")[-1] == (
        "kmod-harness modules --kernel minimal /home/me/driver"
    )


def test_fresh_tries_all_that_nobody_names_and_takes_commands_as_they_are(checkout: Checkout) -> None:
    assert checkout.calls_of("fresh") == [
        "install-packages fresh",
        "python -m fresh --suite  --user  --commands ; installed: ",
    ]
    words = ("SUITE=trixie", "WHO=sudo", "CACHE=keep", 'COMMANDS=make test ARGS="-k x"; make lint')
    assert checkout.calls_of("fresh", *words) == [
        'python -m fresh --suite trixie --user sudo --commands make test ARGS="-k x"; make lint'
        " --keep-kernels; installed: "
    ]
