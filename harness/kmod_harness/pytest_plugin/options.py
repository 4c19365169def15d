"""The plugin's options: a command line form and an ini twin each, no environment twins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from kmod_harness.errors import Misuse
from kmod_harness.repository.as_options import options_said
from kmod_harness.repository.read import read_repository
from kmod_harness.repository.settings import Repository
from kmod_harness.spec.spec import MEMORY_WITH_MODULES, Spec, SpecError, parse_size_mib


@dataclass(frozen=True)
class Settings:
    """The settings of the command line, the ini file and the repository's kmod-harness.toml.

    cold: every test gets a boot of its own. unrestored: tests share a guest. settle: seconds at each
    test's end, so that what fires late does so in the test that caused it. standby: the next guest
    is made ready while a test runs. timeout: seconds that one thing asked
    of a guest may take, unless the test says otherwise. boot_timeout: seconds of a boot.
    bundles: where failures leave their evidence, "" for pytest's cache directory. dump: the guest's memory
    and state are part of it whatever the failure. debug: a failing
    test's guest waits for gdb.
    allowed: reports that may come, as texts. leftovers: what modules leave in the kernel fails the test.
    given: the options that were set at all, as they were written. repository: what its file says;
    taken: what was taken from there.
    """

    spec: Spec
    cold: bool
    unrestored: bool
    settle: float
    standby: bool
    timeout: float | None
    boot_timeout: float | None
    bundles: str
    dump: bool
    debug: bool
    allowed: tuple[str, ...]
    leftovers: bool
    given: tuple[str, ...]
    repository: Repository
    taken: tuple[str, ...]


@dataclass(frozen=True)
class Option:
    """`--kh-NAME` and its ini twin `kh_NAME` (with _ for -).

    shape: `one` value, `many` (repeated; in the ini file separated like shell words) or `flag`.
    """

    name: str
    help: str
    metavar: str = "VALUE"
    shape: str = "one"

    @property
    def flag(self) -> str:
        return f"--kh-{self.name}"

    @property
    def key(self) -> str:
        return f"kh_{self.name.replace('-', '_')}"


OPTIONS = (
    Option("kernel", "minimal, debian, host, or the path of a bzImage or build directory", "KERNEL"),
    Option("rootfs", "embedded, buildroot, buildroot-ext4, or a cpio archive or ext4 image", "ROOTFS"),
    Option(
        "kconfig",
        "Kconfig fragment over minimal.config: debug, kasan, ... or a file; repeat it",
        "NAME",
        "many",
    ),
    Option("append", "word for the kernel's command line; repeat it", "WORD", "many"),
    Option("cpus", "number of CPUs", "N"),
    Option("memory", "RAM: 512M, 2G", "SIZE"),
    Option("modules", "what modprobe finds in the guest: needed, or all of the kernel's own", "needed|all"),
    Option("disk", "disk /dev/vda, vdb, ...: FILE[,format=raw|qcow2][,ro]; repeat it", "FILE", "many"),
    Option("device", "argument for QEMU's -device; repeat it", "DEVICE", "many"),
    Option("qemu-arg", "raw argument for QEMU; repeat it", "ARG", "many"),
    Option("firmware", "BIOS image for QEMU's -bios", "FILE"),
    Option("accel", "auto, kvm or tcg", "NAME"),
    Option("cold", "boot anew for every test", shape="flag"),
    Option("unrestored", "share one guest between tests while it is sound", shape="flag"),
    Option("settle", "wait this long at each test's end for what fires late", "SECONDS"),
    Option("timeout", "limit of each call to a guest that has none of its own", "SECONDS"),
    Option("boot-timeout", "limit of a boot", "SECONDS"),
    Option("allow-splat", "report that may come, KIND[:PATTERN][; times=N; ...]; repeat it", "KIND", "many"),
    Option("debug", "a failing test's guest stands still and waits for gdb (with pytest -s)", shape="flag"),
    Option("no-leftovers", "do not look for what modules leave in the kernel", shape="flag"),
    Option("bundles", "directory for what failed tests leave (default: in pytest's cache)", "DIR"),
    Option("dump", "keep the guest of any failure, not of panics, hangs and oopses alone", shape="flag"),
)

SETTINGS = pytest.StashKey[Settings]()


def add_options(parser: pytest.Parser) -> None:
    group = parser.getgroup("kmod-harness", "kmod-harness: guests that run Linux kernels")
    for option in OPTIONS:
        if option.shape == "flag":
            group.addoption(option.flag, dest=option.key, action="store_true", default=None, help=option.help)
            parser.addini(option.key, option.help, type="bool", default=False)
        elif option.shape == "many":
            group.addoption(
                option.flag, dest=option.key, action="append", metavar=option.metavar, help=option.help
            )
            parser.addini(option.key, option.help, type="args", default=[])
        else:
            group.addoption(option.flag, dest=option.key, metavar=option.metavar, help=option.help)
            parser.addini(option.key, option.help, type="string", default="")


def read_settings(config: pytest.Config) -> Settings:
    """Returns the settings. Raises pytest.UsageError, naming the option, for a wrong value."""
    values = {option.name: _value(config, option) for option in OPTIONS}
    given = tuple(f"{name}={values[name]}" for name in values if values[name])
    repository = _repository(config)
    taken = options_said(repository, [name for name in values if values[name]])
    values |= taken

    def number(name: str, convert: Callable[[str], float]) -> float | None:
        text = str(values[name])
        if not text:
            return None
        try:
            result = convert(text)
        except ValueError as error:
            raise pytest.UsageError(f"--kh-{name} (kh_{name.replace('-', '_')}): {error}") from None
        if result <= 0:
            raise pytest.UsageError(f"--kh-{name}: must be above 0, not {text}")
        return result

    def words(name: str) -> tuple[str, ...]:
        value = values[name]
        return tuple(value) if isinstance(value, list) else ()

    memory = MEMORY_WITH_MODULES if values["modules"] == "all" else Spec().memory_mib
    try:
        spec = Spec(
            kernel=str(values["kernel"]),
            rootfs=str(values["rootfs"]) or "embedded",
            kconfig=words("kconfig"),
            append=words("append"),
            cpus=int(number("cpus", int) or 1),
            memory_mib=int(number("memory", parse_size_mib) or memory),
            disks=words("disk"),
            devices=words("device"),
            qemu_args=words("qemu-arg"),
            firmware=str(values["firmware"]),
            modules=str(values["modules"]) or "needed",
            accelerator=str(values["accel"]) or "auto",
        )
    except SpecError as error:
        raise pytest.UsageError(f"kmod-harness: {error}") from None
    return Settings(
        spec=spec,
        cold=bool(values["cold"]),
        unrestored=bool(values["unrestored"]),
        settle=number("settle", float) or 0.0,
        # two workers on two processors have no time to make a guest ready beforehand
        standby=not hasattr(config, "workerinput") and not values["unrestored"] and not values["cold"],
        timeout=number("timeout", float),
        boot_timeout=number("boot-timeout", float),
        bundles=str(values["bundles"]),
        dump=bool(values["dump"]),
        debug=bool(values["debug"]),
        allowed=words("allow-splat"),
        leftovers=not values["no-leftovers"],
        given=given,
        repository=repository,
        taken=tuple(f"{name}={value}" for name, value in taken.items()),
    )


def _repository(config: pytest.Config) -> Repository:
    """Return the settings of the file nearest to where pytest was started, else nearest to its tests."""
    started = config.invocation_params.dir
    tests = (started / argument.partition("::")[0] for argument in config.args)
    try:
        found = (read_repository(place) for place in (started, *tests))
        return next((one for one in found if one.file is not None), Repository())
    except Misuse as error:
        raise pytest.UsageError(str(error)) from None


def _value(config: pytest.Config, option: Option) -> object:
    """Command line beats ini; a repeated option replaces the ini's words, it does not add to them."""
    value = config.getoption(option.key)
    return config.getini(option.key) if value is None else value
