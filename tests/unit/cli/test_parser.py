"""What the parser makes of a command line."""

from __future__ import annotations

import pytest

from kmod_harness.cli.machine_options import spec_from
from kmod_harness.cli.parser import COMMANDS, UsageError, parse, split_command


def test_modules_may_stand_between_options() -> None:
    args = parse(["run", "a.ko", "--timeout", "5", "b.ko", "--json", "c.ko"])
    assert args.modules == ["a.ko", "b.ko", "c.ko"]
    assert args.timeout == 5.0
    assert args.command is None


def test_everything_behind_the_first_double_dash_is_the_commands() -> None:
    args = parse(["run", "a.ko", "--", "sh", "-c", "true", "--", "--json"])
    assert args.command == ["sh", "-c", "true", "--", "--json"]
    assert args.json is False
    assert split_command(["--", "x"]) == ([], ["x"])


def test_options_are_not_guessed_from_their_beginning() -> None:
    with pytest.raises(UsageError, match="--js"):
        parse(["run", "--js"])


def test_every_machine_option_reaches_the_spec() -> None:
    options = (
        "--kernel=debian --rootfs=r.cpio --append=quiet --append=loglevel=3 --cpus=2 --memory=1G "
        "--device=edu --qemu-arg=-d --qemu-arg=int --firmware=f.bin --ssh --network --accel=tcg"
    )
    args = parse(["run", *options.split()])
    spec = spec_from(args)
    assert (spec.kernel, spec.rootfs, spec.cpus, spec.memory_mib) == ("debian", "r.cpio", 2, 1024)
    assert spec.append == ("quiet", "loglevel=3")
    assert spec.devices == ("edu",)
    assert spec.qemu_args == ("-d", "int")
    assert (spec.firmware, spec.ssh, spec.network, spec.accelerator) == ("f.bin", True, True, "tcg")


def test_kconfig_fragments_keep_their_order() -> None:
    args = parse(["run", "--kconfig", "b", "--kconfig", "a"])
    assert spec_from(args).kconfig == ("b", "a")


@pytest.mark.parametrize("columns", ["80", "200"])
@pytest.mark.parametrize(
    "words",
    [(), *((command,) for command in COMMANDS), ("kernel", "build"), ("kernel", "list"), ("cache", "prune")],
    ids=" ".join,
)
def test_help_fits_80_columns_however_wide_the_terminal_is(
    words: tuple[str, ...], columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    with pytest.raises(SystemExit):
        parse([*words, "--help"])
    told = capsys.readouterr().out
    assert told.startswith("usage: kmod-harness")
    assert [line for line in told.splitlines() if len(line) > 80] == []
