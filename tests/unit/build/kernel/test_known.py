"""Which kernel a spec means, and what is said when there is none."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmod_harness.build.cache import Cache
from kmod_harness.build.kernel.bzimage import bzimage_release
from kmod_harness.build.kernel.facts import vermagic
from kmod_harness.build.kernel.known import kernel_at, known_kernels, resolve_kernel
from kmod_harness.errors import KmodHarnessError, Misuse
from kmod_harness.spec.spec import Spec
from unit.build.kernel.kernel_files import build_dir, bzimage, put_kernel
from unit.build.kernel.sample_module import module_of


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def test_an_unpacked_distribution_kernel_comes_with_its_modules(tmp_path: Path) -> None:
    modules = tmp_path / "lib/modules/6.1.0-test"
    modules.mkdir(parents=True)
    (tmp_path / "boot").mkdir()
    (tmp_path / "boot/vmlinuz-6.1.0-test").write_bytes(bzimage())
    assert kernel_at(tmp_path / "boot/vmlinuz-6.1.0-test").modules_dir is None
    (modules / "modules.order").write_text("kernel/fs/ext4/ext4.ko\n")
    (tmp_path / "boot/config-6.1.0-test").write_text("CONFIG_MODULES=y\n")
    kernel = kernel_at(tmp_path / "boot/vmlinuz-6.1.0-test")
    assert (kernel.modules_dir, kernel.config) == (modules, tmp_path / "boot/config-6.1.0-test")
    (tmp_path / "boot/vmlinux-6.1.0-test").touch()
    symbols = tmp_path / "boot/System.map-6.1.0-test"
    symbols.write_text("ffffffffffffffff B the real System.map is in the linux-image-dbg package\n")
    assert kernel_at(tmp_path / "boot/vmlinuz-6.1.0-test").system_map is None
    symbols.write_text("ffffffff81000000 T _text\n" * 1000)
    kernel = kernel_at(tmp_path / "boot/vmlinuz-6.1.0-test")
    assert kernel.vmlinux == tmp_path / "boot/vmlinux-6.1.0-test"
    assert kernel.system_map == symbols


def test_the_release_of_a_bzimage(tmp_path: Path) -> None:
    (tmp_path / "vmlinuz").write_bytes(bzimage("6.1.0-56-cloud-amd64"))
    kernel = kernel_at(tmp_path / "vmlinuz")
    assert kernel.release == "6.1.0-56-cloud-amd64"
    assert kernel.bzimage == tmp_path / "vmlinuz"
    assert kernel.build_dir is kernel.system_map is kernel.modules_dir is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a kernel image"),
        (b"text\n" * 1000, "not a kernel image"),
        (b"\x7fELF" + bytes(4096), "vmlinux"),
        (bzimage()[:0x208], "not a kernel image"),
        (bzimage(version=0x0105), "does not say which release"),
        (bzimage(pointer=0x600)[:0x700] + bytes(4096), "does not say which release"),
    ],
)
def test_what_is_no_bzimage_is_refused_with_what_was_expected(
    tmp_path: Path, content: bytes, words: str
) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(Misuse, match=words) as failure:
        bzimage_release(tmp_path / "file")
    assert str(tmp_path / "file") in failure.value.message
    assert "bzImage" in failure.value.message


@given(st.binary(max_size=0x600))
def test_any_bytes_are_a_kernel_or_a_typed_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.mktemp("any") / "file"
    path.write_bytes(bzimage()[:0x202] + b"HdrS" + data)
    with suppress(Misuse):
        assert isinstance(bzimage_release(path), str)


def test_a_missing_kernel_is_named(tmp_path: Path) -> None:
    with pytest.raises(Misuse, match=r"there is no kernel .*nosuch; expected a bzImage"):
        resolve_kernel(Spec(kernel=str(tmp_path / "nosuch")))


def test_a_directory_without_a_kernel_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Misuse, match="directory without a built kernel"):
        resolve_kernel(Spec(kernel=str(tmp_path)))


def test_an_unreadable_kernel_is_refused() -> None:
    # address 0 of this process: not even root can read it
    with pytest.raises(Misuse, match="cannot read the kernel /proc/self/mem"):
        resolve_kernel(Spec(kernel="/proc/self/mem"))


def test_a_build_directory_brings_everything_with_it(tmp_path: Path) -> None:
    path = build_dir(tmp_path / "o", "6.1.0-mine", modules="kernel/a.ko\n")
    kernel = resolve_kernel(Spec(kernel=str(path)))
    assert kernel.release == "6.1.0-mine"
    assert kernel.build_dir == kernel.modules_dir == path
    assert kernel.system_map == path / "System.map"
    assert kernel.symvers == path / "Module.symvers"


def test_a_kernel_without_modules_has_no_directory_of_them(tmp_path: Path) -> None:
    assert kernel_at(build_dir(tmp_path / "o", "6.1.0-mine")).modules_dir is None


def test_minimal_that_was_not_built_tells_the_command(cache: Cache) -> None:
    for name in ("", "minimal"):
        with pytest.raises(Misuse) as failure:
            resolve_kernel(Spec(kernel=name), cache=cache)
        assert "kmod-harness kernel build minimal" in failure.value.advice


def test_debian_that_was_not_downloaded_tells_the_command(cache: Cache) -> None:
    with pytest.raises(Misuse) as failure:
        resolve_kernel(Spec(kernel="debian"), cache=cache)
    assert "kmod-harness kernel build debian" in failure.value.advice


def test_fragments_make_another_kernel_and_their_command(cache: Cache, tmp_path: Path) -> None:
    (tmp_path / "my.config").write_text("CONFIG_KASAN=y\n")
    with pytest.raises(Misuse, match="with these fragments") as failure:
        resolve_kernel(Spec(kconfig=(str(tmp_path / "my.config"),)), cache=cache)
    assert f"--kconfig {tmp_path / 'my.config'}" in failure.value.advice


def test_fragments_with_a_kernel_that_is_not_built_from_any_are_refused(cache: Cache) -> None:
    with pytest.raises(Misuse, match="fragments were given with the kernel 'debian'"):
        resolve_kernel(Spec(kernel="debian", kconfig=("x",)), cache=cache)


def test_a_missing_fragment_is_named(cache: Cache) -> None:
    with pytest.raises(Misuse, match=r"there is no Kconfig fragment nosuch\.config"):
        resolve_kernel(Spec(kconfig=("nosuch.config",)), cache=cache)


def test_a_wrong_line_in_a_fragment_is_named(cache: Cache, tmp_path: Path) -> None:
    (tmp_path / "my.config").write_text("CONFIG_KASAN y\n")
    with pytest.raises(Misuse, match=r"my.config:1: expected CONFIG_NAME=value"):
        resolve_kernel(Spec(kconfig=(str(tmp_path / "my.config"),)), cache=cache)


@pytest.mark.needs("binutils", "gcc")
def test_without_a_choice_the_kernel_of_the_modules_release_is_taken(cache: Cache, tmp_path: Path) -> None:
    put_kernel(cache, "one", "6.1.0-one")
    put_kernel(cache, "two", "6.1.0-two")
    for release in ("6.1.0-one", "6.1.0-two"):
        module = module_of(tmp_path / "my", release)
        assert resolve_kernel(Spec(), module=module, cache=cache).release == release
    assert [kernel.release for kernel in known_kernels(cache=cache)][:2] == ["6.1.0-two", "6.1.0-one"]


@pytest.mark.needs("binutils", "gcc")
def test_a_release_nobody_knows_means_minimal(cache: Cache, tmp_path: Path) -> None:
    with pytest.raises(KmodHarnessError, match="minimal kernel is not built"):
        resolve_kernel(Spec(), module=module_of(tmp_path / "my", "5.4.0-other"), cache=cache)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, "6.1.0 "),
        ({"SMP": "y", "MODULE_UNLOAD": "y"}, "6.1.0 SMP mod_unload "),
        (
            {"SMP": "y", "PREEMPT_BUILD": "y", "MODULE_UNLOAD": "y", "MODVERSIONS": "y"},
            "6.1.0 SMP preempt mod_unload modversions ",
        ),
        ({"PREEMPT_RT": "y"}, "6.1.0 preempt_rt "),
        ({"RANDSTRUCT": "y"}, None),
    ],
)
def test_a_kernels_vermagic_follows_from_its_configuration(
    config: dict[str, str], expected: str | None
) -> None:
    assert vermagic("6.1.0", config) == expected


def test_a_kernel_built_from_more_fragments_is_named_by_its_path(cache: Cache) -> None:
    """As --kernel it means the same kernel; `minimal` would mean another, with other modules."""
    put_kernel(cache, "abc", "6.1.0-debug")
    (kernel,) = known_kernels(cache=cache)[:1]
    assert kernel.name == str(cache.find("kernel", "abc")) + "/build"
    assert resolve_kernel(Spec(kernel=kernel.name), cache=cache).bzimage == kernel.bzimage


@pytest.mark.parametrize("name", ["a blank", "a:colon"])
def test_a_cache_that_kbuild_cannot_build_in_is_refused_before_anything_is_unpacked(
    name: str, tmp_path: Path
) -> None:
    cache = Cache(tmp_path / name)
    with pytest.raises(Misuse, match="spaces or colons") as told:
        resolve_kernel(Spec(kernel="minimal"), build=True, cache=cache)
    assert "XDG_CACHE_HOME" in told.value.advice
    assert not cache.root.exists()
