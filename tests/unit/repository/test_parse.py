"""kmod-harness.toml: what it may say, and how each mistake in it is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmod_harness.errors import Misuse
from kmod_harness.repository.parse import KEY_NAMES, parse_settings
from kmod_harness.repository.settings import MachineDefaults, Repository, RepositoryModules

FILE = Path("/repo/kmod-harness.toml")

EVERYTHING = """\
kernel = "linux/build"
kconfig = ["debug", "my.config"]
rootfs = "images/root.cpio"
append = ["loglevel=7 quiet", "nokaslr"]
cpus = 2
memory = "1G"
disk = ["disk.img,ro", "/var/other,format=qcow2"]
device = ["edu"]
qemu-arg = ["-rtc", "base=utc"]
firmware = "bios.bin"
boot-timeout = 90
timeout = 2.5

[modules]
kbuild = [".", "other"]
load = ["hello.ko", "other/it.ko"]

[[allow]]
kind = "WARNING"
pattern = "my_probe"
times = 2
reason = "known"
expires = 2027-03-01

[[allow]]
kind = "BUG"
title = "kernel BUG in *"
function = "my_*"
link = "https://bugs.example/1"
expires = "2027-03-01"
"""


def parsed(text: str, file: Path = FILE) -> Repository:
    return parse_settings(text.encode(), file)


def mistake(text: str, file: Path = FILE) -> Misuse:
    with pytest.raises(Misuse) as told:
        parsed(text, file)
    return told.value


def test_everything_that_can_be_said_is_read_and_paths_are_the_files() -> None:
    said = parsed(EVERYTHING)
    assert said == Repository(
        file=FILE,
        machine=MachineDefaults(
            kernel="/repo/linux/build",
            kconfig=("debug", "/repo/my.config"),
            rootfs="/repo/images/root.cpio",
            append=("loglevel=7", "quiet", "nokaslr"),
            cpus=2,
            memory_mib=1024,
            disks=("/repo/disk.img,ro", "/var/other,format=qcow2"),
            devices=("edu",),
            qemu_args=("-rtc", "base=utc"),
            firmware="/repo/bios.bin",
        ),
        boot_timeout=90.0,
        timeout=2.5,
        modules=RepositoryModules(
            kbuild=(Path("/repo"), Path("/repo/other")),
            load=(Path("/repo/hello.ko"), Path("/repo/other/it.ko")),
        ),
        allowed=(
            "WARNING:my_probe; times=2; reason=known; expires=2027-03-01",
            "BUG; title=kernel BUG in *; function=my_*; link=https://bugs.example/1; expires=2027-03-01",
        ),
    )


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('reason = "known"', "`allow` needs the kind of a report"),
        ("kind = 3", "`allow` needs the kind of a report"),
        ('kind = "BUG:x"', "`allow` needs the kind of a report"),
        ('kind = "BUG"\nwhy = "known"', "`allow` has no `why`; it takes kind, pattern,"),
        ('kind = "BUG"\ntimes = 0', "above 0 for `times`, not 0"),
        ('kind = "BUG"\ntimes = true', "above 0 for `times`, not true"),
        ('kind = "BUG"\nexpires = 2027-03-01T10:00:00', "takes a day for `expires`"),
        ('kind = "BUG"\nexpires = "soon"', "takes a day for `expires`"),
        ('kind = "BUG"\nreason = 1', "takes a text for `reason`"),
    ],
)
def test_a_wrong_allowance_is_told_with_its_line(table: str, said: str) -> None:
    message = mistake(f"cpus = 1\n\n[[allow]]\n{table}\n").message
    assert message.startswith("/repo/kmod-harness.toml:3: ")
    assert said in message


def test_allow_is_a_table() -> None:
    assert "`allow` is a table, [[allow]], not" in mistake('allow = "WARNING"\n').message


def test_this_file_says_something_for_every_key_there_is() -> None:
    other_way = '[modules]\nbuild = "make"\nload = ["a.ko"]\n'
    assert {name for name in KEY_NAMES if name.rpartition(".")[2] not in EVERYTHING + other_way} == set()


def test_a_file_without_a_word_says_nothing() -> None:
    assert parsed("") == Repository(file=FILE)
    assert not parsed("").modules.are_said


def test_names_stay_names() -> None:
    said = parsed('kernel = "debian"\nrootfs = "buildroot-ext4"\nkconfig = ["kasan"]\n').machine
    assert (said.kernel, said.rootfs, said.kconfig) == ("debian", "buildroot-ext4", ("kasan",))


def test_an_empty_list_is_something_said() -> None:
    assert parsed("device = []\n").machine.devices == ()


def test_pyproject_says_it_below_its_table() -> None:
    text = '[project]\n[tool.kmod-harness]\ncpus = 3\n[tool.kmod-harness.modules]\nkbuild = ["src"]\n'
    said = parsed(text, Path("/repo/pyproject.toml"))
    assert (said.machine.cpus, said.modules.kbuild) == (3, (Path("/repo/src"),))


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('cpus = "two"', '`cpus` takes a whole number, not "two"'),
        ("cpus = true", "`cpus` takes a whole number, not true"),
        ("cpus = 0", "`cpus` cannot be 0: cpus must be between 1 and 64"),
        ("memory = 512", '`memory` takes a size, as "512M" or "2G", not 512'),
        ('memory = "3Q"', "a memory size is a number with M or G behind it, not '3Q'"),
        ('memory = "1M"', "memory_mib must be between 64 and"),
        ("kernel = 6.1", '"debian@trixie", "host", or a path, not 6.1'),
        ('kernel = ""', "`kernel` takes a kernel"),
        ('kconfig = "debug"', '`kconfig` takes a list of Kconfig fragments, as ["debug", "my.config"]'),
        ("append = [1]", "`append` takes a list of words for the kernel's command line"),
        ('disk = ["a,format=vmdk"]', "a disk is FILE[,format=raw|qcow2][,ro]"),
        (f"timeout = 1{'0' * 400}", "`timeout` takes a number of seconds above 0"),
        ("timeout = 0", "`timeout` takes a number of seconds above 0, not 0"),
        ("boot-timeout = nan", "`boot-timeout` takes a number of seconds above 0, not NaN"),
        ('timeout = "5"', '`timeout` takes a number of seconds above 0, not "5"'),
        ("modules = 3", "`modules` is a table, not 3"),
        ('modules = {kbuild = "."}', '`modules.kbuild` takes a list of directories that kbuild builds'),
        ('modules = {load = ["a.c"]}', '`modules.load` takes .ko files, not "a.c"'),
        ('modules = {build = ["make"]}', '`modules.build` takes a shell command, as "make KDIR=$KERNEL_DIR"'),
    ],
)  # fmt: skip
def test_a_wrong_value_is_told_with_what_was_expected(line: str, told: str) -> None:
    assert told in str(mistake(f"{line}\n"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('kernal = "debian"\n', ":1: `kernal` is no key of kmod-harness; did you mean `kernel`?"),
        (
            "\nboot_timeout = 3\n",
            ":2: `boot_timeout` is no key of kmod-harness; did you mean `boot-timeout`?",
        ),
        (
            "[modules]\nkbiuld = []\n",
            ":2: `modules.kbiuld` is no key of kmod-harness; did you mean `kbuild`?",
        ),
        (
            "[modules]\n\ncpus = 2\n",
            ":3: `modules.cpus` is no key of kmod-harness: it stands at the top, before",
        ),
        ("[modules]\ncpu = 2\n", "did you mean `cpus`? It stands at the top, before [modules]"),
        ('kbuild = ["."]\n', ":1: `kbuild` is no key of kmod-harness: it stands below [modules]"),
        ("[tool.kmod-harness]\n", "`tool` is no key of kmod-harness: in kmod-harness.toml the keys stand at"),
        ("[permit]\nxyzzy = 1\n", ":1: `permit` is no key of kmod-harness"),
    ],
)
def test_an_unknown_key_is_told_with_its_line_and_the_nearest(text: str, told: str) -> None:
    error = mistake(text)
    assert told in str(error)
    assert "modules.kbuild" in error.advice


def test_in_pyproject_the_line_is_that_of_its_table() -> None:
    text = "[tool.other]\nkernal = 1\n[tool.kmod-harness]\nkernal = 2\n"
    assert mistake(text, Path("/repo/pyproject.toml")).message.startswith("/repo/pyproject.toml:4: `kernal`")


def test_several_mistakes_are_told_at_once_in_the_order_of_their_lines() -> None:
    error = mistake('timeout = -1\nkernal = "x"\ncpus = 1.5\n')
    assert error.message == f"{FILE} has 3 mistakes"
    assert [line.partition(": ")[0] for line in error.evidence.splitlines()] == ["line 1", "line 2", "line 3"]


@pytest.mark.parametrize(
    ("modules", "told"),
    [
        ('kbuild = ["."]\nbuild = "make"\nload = ["a.ko"]', "are two ways to build: say one"),
        ('build = "make"', "`modules.build` needs `modules.load`"),
    ],
)
def test_what_does_not_go_together_is_told(modules: str, told: str) -> None:
    assert told in str(mistake(f"[modules]\n{modules}\n"))


@pytest.mark.parametrize(
    ("text", "line"),
    [("cpus = 2\nmemory = 512M\n", 2), ("cpus = \n", 1), ("cpus = 1\ncpus = 2\n", 2), ('x = """\nabc', 2)],
)
def test_broken_toml_is_told_with_its_line(text: str, line: int) -> None:
    error = mistake(text)
    assert error.message.startswith(f"{FILE}:{line}: this is no TOML: ")
    assert error.evidence == text.splitlines()[line - 1].strip()


def test_a_byte_that_is_no_utf8_is_told_with_its_line() -> None:
    with pytest.raises(Misuse, match=r"kmod-harness\.toml:2: a byte that is no UTF-8"):
        parse_settings(b"cpus = 2\n# \xff\n", FILE)


@given(st.text())
def test_any_text_is_read_or_told(text: str) -> None:
    try:
        said = parsed(text)
    except Misuse as error:
        assert str(FILE) in error.message
    else:
        assert said.file == FILE


VALUES = st.recursive(
    st.booleans() | st.integers() | st.text(st.characters(codec="ascii", exclude_characters="\x7f")),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from([*KEY_NAMES, "cpu", "modules.x"]), VALUES))
def test_any_value_of_any_key_is_read_or_told_by_its_name(table: dict[str, object]) -> None:
    # dotted keys: JSON's values of these kinds are TOML's
    text = "".join(f"{name} = {json.dumps(value)}\n" for name, value in table.items())
    try:
        said = parsed(text)
    except Misuse as error:
        assert any(f"`{name}`" in str(error) for name in table), str(error)
    else:
        assert set(table) <= set(KEY_NAMES)
        assert (said.machine.cpus is not None) == ("cpus" in table)
