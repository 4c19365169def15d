"""Which kernel a module was built for, where several here have its release."""

from __future__ import annotations

from pathlib import Path

import pytest

from kmod_harness.build.kernel.kernel import Kernel
from kmod_harness.build.kernel.kernel_of_module import kernel_of_module
from kmod_harness.errors import Misuse
from unit.build.kernel.sample_module import module_of

pytestmark = pytest.mark.needs("binutils", "gcc")

RELEASE = "6.1.192-kmod-harness"


def kernel(
    directory: Path, config: str = "CONFIG_SMP=y\n", release: str = RELEASE, source: str = "linux"
) -> Kernel:
    directory.mkdir()
    (directory.parent / source).mkdir(exist_ok=True)
    (directory / "source").symlink_to(directory.parent / source)
    (directory / ".config").write_text(config)
    return Kernel(str(directory), release, directory / "bzImage", directory, config=directory / ".config")


def test_the_one_kernel_of_its_release_is_taken(tmp_path: Path) -> None:
    kernels = [kernel(tmp_path / "other", release="6.12.1"), kernel(tmp_path / "its")]
    assert kernel_of_module(module_of(tmp_path / "my", RELEASE), kernels) is kernels[1]
    assert kernel_of_module(module_of(tmp_path / "my", "5.4.0"), kernels) is None


def test_kernels_of_one_source_and_configuration_are_the_same_to_it(tmp_path: Path) -> None:
    kernels = [kernel(tmp_path / "new", "# made today\nCONFIG_SMP=y\n"), kernel(tmp_path / "old")]
    assert kernel_of_module(module_of(tmp_path / "my", RELEASE), kernels) is kernels[0]


@pytest.mark.parametrize("source", ["linux", "linux-patched"])
def test_of_two_of_one_configuration_the_one_it_was_compiled_in_is_taken(tmp_path: Path, source: str) -> None:
    kernels = [kernel(tmp_path / "one"), kernel(tmp_path / "other", source=source)]
    for one in kernels:
        assert one.build_dir is not None
        assert kernel_of_module(module_of(one.build_dir, RELEASE, "-g"), kernels) is one


def test_two_sources_of_one_configuration_are_two_kernels(tmp_path: Path) -> None:
    kernels = [kernel(tmp_path / "one"), kernel(tmp_path / "other", source="linux-patched")]
    with pytest.raises(Misuse, match="2 different kernels here have that release"):
        kernel_of_module(module_of(tmp_path / "my", RELEASE), kernels)


def test_of_two_that_differ_the_one_it_was_compiled_in_is_taken(tmp_path: Path) -> None:
    kernels = [kernel(tmp_path / "plain"), kernel(tmp_path / "fragment", "CONFIG_FS_POSIX_ACL=y\n")]
    for one in kernels:
        assert one.build_dir is not None
        assert kernel_of_module(module_of(one.build_dir, RELEASE, "-g"), kernels) is one


def test_where_nothing_settles_it_both_are_named_and_none_is_taken(tmp_path: Path) -> None:
    kernels = [kernel(tmp_path / "plain"), kernel(tmp_path / "fragment", "CONFIG_FS_POSIX_ACL=y\n")]
    module = module_of(tmp_path / "my", RELEASE)
    with pytest.raises(Misuse, match="2 different kernels here have that release") as refused:
        kernel_of_module(module, kernels)
    assert str(tmp_path / "plain") in str(refused.value)
    assert str(tmp_path / "fragment") in str(refused.value)
    assert f"--kernel {tmp_path / 'plain'}, or --kernel {tmp_path / 'fragment'}" in refused.value.advice
