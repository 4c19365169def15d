"""What becomes of each command of the pages: typed in a clean copy, in a stranger's repository, or not here.

Commands stand here as the pages have them; test_plan.py fails when one is missing, or no longer there. What
getting-started.md has is typed too, by test_getting_started.py.
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
    Typed("make explain KERNEL=debian", says="build/explain/index.html"),
    Typed("make modules M=DIRECTORY", says="chardev.ko"),
    Typed("make clean"),
    Typed("make distclean"),
)

IN_A_STRANGERS_REPOSITORY = (
    Typed("kmod-harness run my.ko", says="kmod-harness: passed"),
    Typed("kmod-harness run my.ko -- ./check.sh", says="kmod-harness: passed"),
    Typed("kmod-harness run my.ko --no-leftovers", says="kmod-harness: passed"),
    Typed("kmod-harness run -- ./check.sh", says="kmod-harness: passed"),
    Typed("kmod-harness run my.ko --json", says='"outcome": "passed"'),
    Typed("kmod-harness run my.ko --settle 3", says="kmod-harness: passed"),
    Typed("kmod-harness init --ci github", says="wrote    .github/workflows/kmod-harness.yml"),
    Typed("kmod-harness init --ci gitlab", says="wrote    .gitlab-ci.yml"),
    Typed("kmod-harness kernel list", says="minimal  "),
    Typed("kmod-harness cache list", says="which may hold"),
    Typed("kmod-harness doctor explain", says="can work"),
    Typed("kmod-harness run xfs --kernel debian", says="loaded besides: ",
          before=("kmod-harness kernel build debian",)),
    # builds the repository's module for that kernel; the next one builds it for minimal again
    Typed("kmod-harness boot --kernel debian --modules all", says="libcrc32c",
          on_stdin="modprobe xfs; lsmod\n"),
    Typed("kmod-harness modules", says="my.ko"),
    Typed("kmod-harness modules DIRECTORY", says="my.ko"),
    Typed("kmod-harness symbolize console.log --module my.ko", says="my.c:"),
    Typed("kmod-harness crash BUNDLE", says="my_write"),
    Typed("kmod-harness crash BUNDLE --shell", says="kmod_harness_was_here",
          on_stdin="print(prog['init_task'].comm.string_().decode(), 'kmod_harness' + '_was_here')\n"),
    Typed("kmod-harness debug --from BUNDLE", status=ENDED, gdb=("bt 16", "my_write")),
    Typed("kmod-harness debug my.ko --at init --break my_write -- sh -c 'echo x > /dev/my'",
          status=ENDED, gdb=("continue", "my_init ()")),
    Typed("kmod-harness debug --at init", status=ENDED, gdb=("continue", "my_init ()")),
    Typed("kmod-harness verify", says="kmod-harness: passed"),
    Typed("kmod-harness verify --json", says='"outcome": "passed"'),
    Typed("kmod-harness verify my.ko", says="kmod-harness: passed"),
    Typed("kmod-harness verify xfs btrfs nfs --kernel debian --with-dependencies",
          says="kmod-harness: passed", before=("kmod-harness kernel build debian",)),
    Typed("kmod-harness explain MODULE.ko -o DIR", says="DIR/index.html"),
    Typed("pytest --help", says="--kh-kernel"),
    Typed("pytest -s --kh-debug", status=1, gdb=("info symbol my_write", "my_write in section .text")),
    Typed("kmod-harness nightly tests --kernel minimal --cpus 2 -- -k loads", says="nightly: passed"),
    Typed("reproduce.sh", says="kmod-harness: splat", status=3),
)  # fmt: skip

#: With a kernel that has the detectors, where one has been built: by `make test-debug`, minutes.
ON_A_DEBUG_KERNEL = (
    Typed("kmod-harness kernel build minimal --kconfig debug", says="-debug"),
    Typed("make -C $(kmod-harness kernel dir minimal --kconfig debug) M=$PWD modules"),
    Typed("kmod-harness run --kconfig debug --memory 512M my.ko -- ./check.sh", says="kmod-harness: passed"),
)

NOT_TYPED = (
    NotTyped("apt-get update && apt-get install make", "takes a machine without make: `make fresh` types it"),
    NotTyped("make page", "it renders the copy in harness/docs anew: explain is typed"),
    NotTyped("make fresh", "it types the first block itself"),
    NotTyped('make fresh SUITE=sid WHO=root COMMANDS="make test KERNEL=debian"', "20 minutes"),
    NotTyped("make readme", "these tests"),
    NotTyped("make test", "15 minutes: `make fresh` and .ci/run type it"),
    NotTyped("make lint", ".ci/run types it"),
    NotTyped("make test-debug", "a kernel to compile and 4 minutes: .ci/run types it"),
    NotTyped("make nightly", "hours: .github/workflows/nightly.yml types it"),
    NotTyped("kmod-harness nightly", "the same, and `make nightly` types it"),
    NotTyped("make rootfs ROOTFS=buildroot", "a clone and 3 minutes: tests/soak/test_buildroot.py builds it"),
    NotTyped("harness/scripts/debootstrap-rootfs.sh", "takes root and debootstrap: `make nightly` types it"),
    NotTyped("git bisect run kmod-harness run --bisect -- ./check.sh", "test_stranger.py has a test of it"),
    NotTyped("make -C KERNEL M=DIRECTORY modules", "a build: unit/build/test_repository_modules.py"),
    NotTyped("pytest tests/unit/klog --update", "it writes: unit/klog/test_cases.py"),
    NotTyped("pytest tests/unit/modules --update", "it writes: unit/modules/test_faulty_table.py"),
    NotTyped("pytest tests/unit/releases --update", "it writes: unit/releases/test_page.py"),
    NotTyped("pytest tests/unit/releases", "make test"),
    NotTyped("pytest tests/debug --kh-kernel NAME", "make test-debug, for one kernel"),
    NotTyped("kmod-harness cache prune --max-size 1G", "this user's cache is no test's: build/test_cache.py"),
    NotTyped("kmod-harness cache prune --max-size 5G", "this user's cache is no test's: build/test_cache.py"),
)  # fmt: skip

#: Blocks that nobody types, by their first line, and who compares them with what is really said.
OUTPUT = {
    "Accelerator": "test_copy.py",
    "kmod-harness: passed: 1 module loaded, 0.2 s": "test_getting_started.py",
    "KernelOops: my_read (my.c:12): NULL pointer dereference": "test_getting_started.py",
    "my_read+0x23/0x3d [my] at my.c:12": "test_getting_started.py",
    "tests/test_memory.py:8: in test_a_new_device_holds_nothing": "test_getting_started.py",
    "2 passed": "test_getting_started.py",
    "pinger left something behind after the unload": "tests/guest/modules/test_leftovers.py",
    "kmod-harness.toml:2: `cpu` is no key of kmod-harness; did you mean `cpus`?": "unit/repository",
}

#: What is neither Python nor typed, by its language, and who looks at it.
OTHER_LANGUAGES = {
    "c": "test_getting_started.py",
    "make": "test_getting_started.py",
    "diff": "test_getting_started.py",
    "toml": "unit/repository/test_page.py",
    "yaml": "unit/front_door/test_pages.py",
}
