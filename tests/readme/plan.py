"""What becomes of each command of the README: typed in a clean copy, in a stranger's repository, or not here.

Commands stand here as the README has them; test_plan.py fails when one is missing, or no longer there.
"""

from __future__ import annotations

from dataclasses import dataclass

#: The status of what waits for ever, as a shell reports it: these tests end it by SIGTERM.
ENDED = 143


@dataclass(frozen=True)
class Typed:
    """A command that is typed, and what comes.

    says: in its output. status: its exit status. on_stdin: what a person would type into it.
    before: commands that its being tried takes, which a reader of that place has given already.
    gdb: it prints gdb's command line and waits; what gdb is told, and its answer.
    """

    command: str
    says: str = ""
    status: int = 0
    on_stdin: str = ""
    before: tuple[str, ...] = ()
    gdb: tuple[str, str] | None = None


@dataclass(frozen=True)
class NotTyped:
    """A command that these tests do not type, and what does."""

    command: str
    why: str


#: The block under "In your own repository": the fixture `stranger` types it as one.
OWN_REPOSITORY = "pip install /path/to/kmod-harness"

#: In a clean copy of this checkout, after `make demo`; in this order, since the last ones tidy up.
IN_THE_COPY = (
    Typed("make", says="make TARGET"),
    Typed(".venv/bin/kmod-harness", says="a command is missing", status=2),
    Typed(".venv/bin/pytest test_chardev.py", says="1 passed"),
    Typed('make run ARGS="my.ko -- ./check.sh"', says="kmod-harness: passed"),
    Typed("make explain", says="build/explain/index.html"),
    Typed("make demo KERNEL=debian", says="demo: passed"),
    Typed("make clean"),
    Typed("make distclean"),
)

IN_A_STRANGERS_REPOSITORY = (
    Typed("kmod-harness run my.ko", says="kmod-harness: passed"),
    Typed("kmod-harness run my.ko -- ./check.sh", says="kmod-harness: passed"),
    Typed("kmod-harness run my.ko --json", says='"outcome": "passed"'),
    Typed("kmod-harness run my.ko --settle 3", says="kmod-harness: passed"),
    Typed("kmod-harness doctor explain", says="can work"),
    Typed("kmod-harness modules", says="my.ko"),
    Typed("kmod-harness symbolize console.log --module my.ko", says="my.c:"),
    Typed("kmod-harness crash BUNDLE", says="my_write"),
    Typed("kmod-harness crash BUNDLE --shell", says="kmod_harness_was_here",
          on_stdin="print(prog['init_task'].comm.string_().decode(), 'kmod_harness' + '_was_here')\n"),
    Typed("kmod-harness debug --from BUNDLE", status=ENDED, gdb=("bt 16", "my_write")),
    Typed("kmod-harness debug my.ko --at init --break my_write -- sh -c 'echo x > /dev/my'",
          status=ENDED, gdb=("continue", "my_init ()")),
    Typed("kmod-harness verify my.ko", says="kmod-harness: passed"),
    Typed("kmod-harness verify xfs btrfs nfs --kernel debian --with-dependencies",
          says="kmod-harness: passed", before=("kmod-harness kernel build debian",)),
    Typed("kmod-harness explain MODULE.ko -o DIR", says="DIR/index.html"),
    Typed("pytest --help", says="--kh-kernel"),
    Typed("pytest -s --kh-debug", status=1, gdb=("info symbol my_write", "my_write in section .text")),
    Typed("reproduce.sh", says="kmod-harness: splat", status=3),
)  # fmt: skip

#: With a kernel that has the detectors, where one has been built: by `make test-debug`, minutes.
ON_A_DEBUG_KERNEL = (
    Typed("kmod-harness kernel build minimal --kconfig debug", says="-debug"),
    Typed("make -C $(kmod-harness kernel dir minimal --kconfig debug) M=$PWD modules"),
    Typed(
        "kmod-harness run --memory 512M --boot-timeout 200 my.ko -- ./check.sh", says="kmod-harness: passed"
    ),
)

NOT_TYPED = (
    NotTyped("apt-get update && apt-get install make", "takes a machine without make: `make fresh` types it"),
    NotTyped("make fresh", "it types the first block itself"),
    NotTyped("make readme", "these tests"),
    NotTyped("make test", "15 minutes: `make fresh` and .ci/run type it"),
    NotTyped("make lint", ".ci/run types it"),
    NotTyped("make test-debug", "a kernel to compile and 4 minutes: .ci/run types it"),
    NotTyped("make nightly", "hours: .github/workflows/nightly.yml types it"),
    NotTyped("kmod-harness nightly", "the same, and `make nightly` types it"),
    NotTyped("make rootfs ROOTFS=buildroot", "a clone and 3 minutes: tests/soak/test_buildroot.py builds it"),
    NotTyped("harness/scripts/debootstrap-rootfs.sh", "takes root and debootstrap: `make nightly` types it"),
    NotTyped("git bisect run", "git's; what --bisect makes of each status: unit/cli/run/test_exit_status.py"),
    NotTyped("kmod-harness cache prune --max-size 5G", "this user's cache is no test's: build/test_cache.py"),
)  # fmt: skip

#: ModuleBlocks that nobody types, by their first line.
OUTPUT = ("Accelerator",)

#: Python that is part of a file, by its first line: what makes it whole, in place of a body `...` or below.
FRAGMENTS = {
    '@pytest.mark.expect_splat("OOPS")': """
    guest.load("my.ko")
    guest.run(["sh", "-c", "echo oops > /dev/my"])
""",
    "@pytest.mark.cold_boot": """
    guest.load("my.ko")
""",
    '@pytest.fixture(scope="module")': """

def test_it_is_loaded(guest):
    assert guest.run(["test", "-c", "/dev/my"]).status == 0
""",
}
