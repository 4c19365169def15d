"""dkms.conf, evaluated by bash for a kernel: what it says, and what it says wrongly."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmod_harness.build.ways.dkms_conf import DkmsConf, conf_of, read_dkms_conf
from kmod_harness.errors import Misuse

HEAD = 'PACKAGE_NAME="mine"\nPACKAGE_VERSION="1.2"\n'
RELEASE = "6.1.0-9-amd64"


def read(tmp_path: Path, text: str, config: Mapping[str, str] | None = None) -> DkmsConf:
    (tmp_path / "dkms.conf").write_text(text)
    build_dir = tmp_path / "kernel"
    build_dir.mkdir(exist_ok=True)
    (build_dir / ".config").write_text("".join(f"CONFIG_{k}={v}\n" for k, v in (config or {}).items()))
    return read_dkms_conf(tmp_path, RELEASE, build_dir, config or {})


def test_the_least_that_dkms_takes_is_built_by_kbuild_under_the_packages_name(tmp_path: Path) -> None:
    conf = read(tmp_path, HEAD)
    assert conf.modules == (Path("mine.ko"),)
    assert conf.make == f"make -C {tmp_path}/kernel M=/var/lib/dkms/mine/1.2/build"
    assert not conf.alters_sources


def test_variables_of_dkms_are_there_and_its_directories_become_ours(tmp_path: Path) -> None:
    conf = read(
        tmp_path,
        HEAD + 'MAKE[0]="make -C ${kernel_source_dir} M=${dkms_tree}/${PACKAGE_NAME}/${PACKAGE_VERSION}/build'
        " KV=$kernelver A=$arch S=$source_tree/$PACKAGE_NAME-$PACKAGE_VERSION"
        ' K=/lib/modules/${kernelver}/build"\n',
    )
    placed = conf.in_place(Path("/my/dir"), Path("/k"), RELEASE)
    assert placed.make == f"make -C {tmp_path}/kernel M=/my/dir KV={RELEASE} A=x86_64 S=/my/dir K=/k"


def test_the_packages_name_and_version_are_known_before_the_file_says_them(tmp_path: Path) -> None:
    text = 'PSRC="$dkms_tree/$module/$module_version/build"\necho read >&2\nMAKE="make M=$PSRC"\n'
    conf = read(tmp_path, text + HEAD)
    assert conf.in_place(Path("/my/dir"), Path("/k"), RELEASE).make == "make M=/my/dir"
    assert conf.said == "read"


def test_a_directory_below_usr_src_is_not_replaced_twice(tmp_path: Path) -> None:
    place = Path("/x/usr/src/mine-1.2")
    assert read(tmp_path, HEAD).in_place(place, Path("/k"), RELEASE).make.endswith(f"M={place}")


def test_modules_with_and_without_a_location(tmp_path: Path) -> None:
    text = "BUILT_MODULE_NAME[0]=a\nBUILT_MODULE_LOCATION[0]=src/a\nBUILT_MODULE_NAME[1]=b\n"
    assert read(tmp_path, HEAD + text).modules == (Path("src/a/a.ko"), Path("b.ko"))


def test_a_loop_of_bash_and_the_kernels_configuration_are_followed(tmp_path: Path) -> None:
    text = """
. $kernel_source_dir/.config
i=0
for name in a b; do BUILT_MODULE_NAME[$i]=$name; i=$((i+1)); done
[ "$CONFIG_NET" = y ] && BUILT_MODULE_NAME[$i]=net
"""
    assert read(tmp_path, HEAD + text, {"NET": "y"}).modules == (Path("a.ko"), Path("b.ko"), Path("net.ko"))


def test_the_command_and_the_patches_of_this_kernel_are_chosen(tmp_path: Path) -> None:
    text = """
MAKE[0]="make old"
X
MAKE[1]="make new"
MAKE_MATCH[1]="^6\\."
PATCH[0]=all.patch
PATCH[1]=old.patch
PATCH_MATCH[1]="^5"
PATCH[2]=new.patch
PATCH_MATCH[2]="^6\\.[0-9]+\\."
"""
    conf = read(tmp_path, HEAD + text)
    assert (conf.make, conf.patches) == ("make new", ("all.patch", "new.patch"))


@pytest.mark.parametrize(
    ("text", "alters"),
    [
        ('MAKE="make KDIR=x all"', False),
        ("MAKE=\"'make' -C sub && make -C other\"", False),
        ('MAKE="KERNELDIR=x make driver"', False),
        ('MAKE="./configure && make"', True),
        ('MAKE="make; mv a.ko b.ko"', True),
        ("PATCH[0]=a.patch", True),
        ('PRE_BUILD="configure --kernel"', True),
    ],
)
def test_what_does_more_than_make_has_a_copy(tmp_path: Path, text: str, alters: bool) -> None:
    assert read(tmp_path, HEAD + text).alters_sources is alters


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('BUILD_EXCLUSIVE_KERNEL="^6\\.([2-9]|1[0-9])"', "BUILD_EXCLUSIVE_KERNEL is "),
        ('BUILD_EXCLUSIVE_KERNEL="^6\\."', ""),
        ('BUILD_EXCLUSIVE_KERNEL_MIN="6.2"', "BUILD_EXCLUSIVE_KERNEL_MIN is 6.2, and this is 6.1.0-9-amd64"),
        ('BUILD_EXCLUSIVE_KERNEL_MIN="3.9"', ""),
        ('BUILD_EXCLUSIVE_KERNEL_MAX="6.0"', "BUILD_EXCLUSIVE_KERNEL_MAX is 6.0, and this is 6.1.0-9-amd64"),
        ('BUILD_EXCLUSIVE_KERNEL_MAX="6.1"', ""),
        ('BUILD_EXCLUSIVE_ARCH="aarch64"', "BUILD_EXCLUSIVE_ARCH is 'aarch64', and this is x86_64"),
        ('BUILD_EXCLUSIVE_ARCH="x86_64"', ""),
        ('BUILD_EXCLUSIVE_CONFIG="CONFIG_NET CONFIG_USB"', "asks for CONFIG_USB, and CONFIG_USB is not set"),
        ('BUILD_EXCLUSIVE_CONFIG="!CONFIG_NET"', "asks for !CONFIG_NET, and CONFIG_NET is set"),
        ('BUILD_EXCLUSIVE_CONFIG="CONFIG_NET !CONFIG_USB"', ""),
    ],
)
def test_a_kernel_that_is_none_of_its_is_told_with_the_reason(tmp_path: Path, text: str, told: str) -> None:
    conf = read(tmp_path, HEAD + text, {"NET": "m"})
    assert bool(conf.not_for) is bool(told)
    assert told in " ".join(conf.not_for)


def test_what_the_file_prints_is_kept_and_not_taken_for_a_variable(tmp_path: Path) -> None:
    conf = read(tmp_path, HEAD + "echo PACKAGE_NAME; echo I2C disabled >&2\n")
    assert (conf.name, conf.said) == ("mine", "I2C disabled")


def test_the_callers_variables_are_not_taken_for_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAKE", "rm -r")
    monkeypatch.setenv("PRE_BUILD", "evil")
    conf = read(tmp_path, HEAD)
    assert conf.make.startswith("make -C")
    assert conf.pre_build == ""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "says no PACKAGE_NAME"),
        ("PACKAGE_NAME=a\n", "says no PACKAGE_VERSION"),
        (HEAD + "if [ x\n", "cannot be read by bash"),
        (HEAD + "exit 1\n", "cannot be read by bash"),
        (HEAD + "BUILT_MODULE_NAME[0]=a.ko\n", "BUILT_MODULE_NAME[0] is 'a.ko', with a suffix"),
        (HEAD + "BUILT_MODULE_NAME[1]=b\n", "BUILT_MODULE_NAME[0] is missing"),
    ],
)
def test_a_file_that_dkms_would_refuse_is_told_with_what_is_wrong(
    tmp_path: Path, text: str, told: str
) -> None:
    with pytest.raises(Misuse) as failure:
        read(tmp_path, text)
    assert f"{tmp_path}/dkms.conf" in failure.value.message
    assert told in failure.value.message


@given(st.dictionaries(st.integers(0, 5), st.text("abc-_.ko", max_size=8), max_size=4))
def test_any_names_give_paths_of_ko_files_or_a_refusal(names: dict[int, str]) -> None:
    variables = {"PACKAGE_NAME": {0: "p"}, "PACKAGE_VERSION": {0: "1"}, "BUILT_MODULE_NAME": names}
    try:
        conf = conf_of(variables, Path("dkms.conf"), RELEASE, Path("/k"), {})
    except Misuse:
        assert names, "the package's name is enough"
    else:
        assert conf.modules
        assert all(path.suffix == ".ko" for path in conf.modules)
