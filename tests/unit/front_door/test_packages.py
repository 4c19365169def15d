"""install-packages.sh: what is missing is installed, or named; never half of it, never in vain.

The real script with a package list of the test's own; apt-get, apt-cache, sudo and id are small
programs that note their call, and PATH holds nothing else than them and the usual text tools.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from shared.checkout import ROOT

SCRIPTS = ROOT / "harness/scripts"
TOOLS = "bash sh env dirname readlink mkdir grep awk sort comm tail printf cat touch true"

LIST = """\
# GROUP PACKAGE CHECK WHY
run     qemu    qemu-system-x86_64  # boots
run     headers file:{directory}/stdio.h
kernel  flex    flex
fetch   busybox -
test    busybox busybox
"""
#: Installing puts the package's program (or header) in place, as apt-get would.
APT_GET = """\
#!/bin/sh
echo "apt-get $*" >>{directory}/calls
case "$*" in
*update) cp {directory}/archive {directory}/lists ;;
*install*)
	[ ! -e {directory}/broken ] || {{ echo "E: broken" >&2; exit 100; }}
	for word; do case $word in
	qemu) ln -s /bin/true {directory}/bin/qemu-system-x86_64 ;;
	flex) ln -s /bin/true {directory}/bin/flex ;;
	busybox) ln -s /bin/true {directory}/bin/busybox ;;
	headers) touch {directory}/stdio.h ;;
	esac; done ;;
esac
"""
APT_CACHE = """\
#!/bin/sh
if [ "$1" = showpkg ]; then
	shift
	for name; do
		printf 'Package: %s\nVersions: \nReverse Provides: \n' "$name"
		[ ! -e {directory}/provided-"$name" ] || cat {directory}/provided-"$name"
	done
	exit
fi
shift
for name; do
	if grep -qx "$name" {directory}/lists; then
		printf '%s:\\n  Installed: (none)\\n  Candidate: 1.0\\n' "$name"
	fi
done
"""
SUDO = '#!/bin/sh\necho "sudo $*" >>{directory}/calls\n[ "$1" = -n ] && shift\nexec "$@"\n'


@dataclass(frozen=True)
class MachineOfSomebody:
    """A machine with nothing but the text tools: Debian, root, and apt's lists empty."""

    directory: Path

    def install(self, *groups: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.directory / "harness/scripts/install-packages.sh", *groups],
            env={"PATH": str(self.directory / "bin"), **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            # no terminal on which sudo could ask for a password
            start_new_session=True,
        )

    def calls(self) -> list[str]:
        """Returns the calls of apt-get and sudo so far, without the options every one of them has."""
        path = self.directory / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line.replace(" -q -o DPkg::Lock::Timeout=300", "") for line in lines]

    def program(self, name: str, text: str) -> None:
        path = self.directory / "bin" / name
        path.unlink(missing_ok=True)
        path.write_text(text.format(directory=self.directory))
        path.chmod(0o755)

    def archive_holds(self, *packages: str) -> None:
        (self.directory / "archive").write_text("".join(f"{name}\n" for name in packages))

    def distribution(self, name: str) -> None:
        (self.directory / "os-release").write_text(f"ID={name}\n")

    def user(self, number: int) -> None:
        self.program("id", f"#!/bin/sh\necho {number}\n")


@pytest.fixture
def machine(tmp_path: Path) -> MachineOfSomebody:
    machine = MachineOfSomebody(tmp_path)
    for directory in ("bin", "harness/scripts"):
        (tmp_path / directory).mkdir(parents=True)
    for tool in (*TOOLS.split(), "cp", "ln"):
        found = shutil.which(tool)
        assert found, f"this test needs {tool}"
        (tmp_path / "bin" / tool).symlink_to(found)
    script = (
        (SCRIPTS / "install-packages.sh").read_text().replace("/etc/os-release", f"{tmp_path}/os-release")
    )
    (tmp_path / "harness/scripts/install-packages.sh").write_text(script)
    (tmp_path / "harness/scripts/install-packages.sh").chmod(0o755)
    (tmp_path / "harness/scripts/debian-packages.txt").write_text(LIST.format(directory=tmp_path))
    (tmp_path / "lists").touch()
    machine.archive_holds("qemu", "headers", "flex", "busybox")
    machine.distribution("debian")
    machine.program("apt-get", APT_GET)
    machine.program("apt-cache", APT_CACHE)
    machine.user(0)
    return machine


def test_what_is_missing_is_installed_once(machine: MachineOfSomebody) -> None:
    done = machine.install("run", "fetch")
    assert (done.returncode, done.stderr) == (0, "")
    assert machine.calls() == ["apt-get update", "apt-get install -y --no-install-recommends qemu headers"]
    assert machine.install("run", "fetch").returncode == 0
    assert len(machine.calls()) == 2


def test_lists_that_know_the_packages_are_not_fetched_again(machine: MachineOfSomebody) -> None:
    (machine.directory / "lists").write_text("qemu\nheaders\nbusybox\n")
    assert machine.install("run", "fetch").returncode == 0
    assert machine.calls() == ["apt-get install -y --no-install-recommends qemu headers"]


def test_a_package_only_to_be_fetched_has_to_be_known_and_is_not_installed(
    machine: MachineOfSomebody,
) -> None:
    assert machine.install("fetch").returncode == 0
    assert machine.calls() == ["apt-get update"]


def test_a_package_may_stand_in_two_groups(machine: MachineOfSomebody) -> None:
    assert machine.install("fetch", "test").returncode == 0
    assert machine.calls() == ["apt-get update", "apt-get install -y --no-install-recommends busybox"]


def test_a_package_that_no_archive_holds_is_named(machine: MachineOfSomebody) -> None:
    machine.archive_holds("qemu", "headers")
    failed = machine.install("run", "fetch")
    assert failed.returncode == 2
    assert "apt knows no package busybox" in failed.stderr
    assert machine.calls() == ["apt-get update"]


def test_a_name_that_another_package_provides_is_known(machine: MachineOfSomebody) -> None:
    machine.archive_holds("qemu", "headers")
    (machine.directory / "provided-busybox").write_text("busybox2 1.0 (= 1.0)\n")
    assert machine.install("run", "fetch").returncode == 0


def test_declined_installs_name_every_missing_program(machine: MachineOfSomebody) -> None:
    declined = machine.install("run", "kernel", "fetch", KH_NO_INSTALL="1")
    assert declined.returncode == 2
    assert declined.stderr.splitlines() == [
        "missing on this machine, and KH_NO_INSTALL=1 declines installing:",
        "  qemu-system-x86_64",
        f"  {machine.directory}/stdio.h",
        "  flex",
        "-> as root: apt-get install --no-install-recommends qemu headers flex",
    ]
    assert machine.calls() == []


def test_another_distribution_is_told_programs_not_packages(machine: MachineOfSomebody) -> None:
    machine.distribution("fedora")
    told = machine.install("run", "kernel", "fetch")
    assert told.returncode == 2
    assert "  qemu-system-x86_64\n" in told.stderr
    assert "  flex\n" in told.stderr
    assert "apt-get" not in told.stderr
    assert machine.calls() == []


def test_another_distribution_with_everything_there_is_fine(machine: MachineOfSomebody) -> None:
    machine.distribution("fedora")
    machine.program("flex", "#!/bin/sh\n")
    assert machine.install("kernel", "fetch").returncode == 0


def test_a_user_installs_through_sudo(machine: MachineOfSomebody) -> None:
    machine.user(1000)
    machine.program("sudo", SUDO)
    assert machine.install("kernel").returncode == 0
    sudo = [call for call in machine.calls() if call.startswith("sudo env")]
    assert sudo[-1].endswith("apt-get install -y --no-install-recommends flex")


@pytest.mark.parametrize("sudo", ["", "#!/bin/sh\nexit 1\n"], ids=["no sudo", "sudo wants a password"])
def test_a_user_who_may_not_install_is_told_what_is_missing(machine: MachineOfSomebody, sudo: str) -> None:
    machine.user(1000)
    if sudo:
        machine.program("sudo", sudo)
    told = machine.install("run", "kernel")
    assert told.returncode == 2
    assert "installing needs root or sudo" in told.stderr
    assert "  flex\n" in told.stderr
    assert machine.calls() == []


def test_a_failed_install_fails_and_shows_apts_words(machine: MachineOfSomebody) -> None:
    (machine.directory / "broken").touch()
    failed = machine.install("run")
    assert failed.returncode == 2
    assert "E: broken" in failed.stderr
    assert f"the whole log: {machine.directory}/build/log/apt-get.log" in failed.stderr


def test_a_package_that_does_not_bring_its_program_is_noticed(machine: MachineOfSomebody) -> None:
    machine.program(
        "apt-get", '#!/bin/sh\necho "$*" >>{directory}/calls\ncp {directory}/archive {directory}/lists\n'
    )
    failed = machine.install("kernel")
    assert failed.returncode == 2
    assert "still not there: flex" in failed.stderr
