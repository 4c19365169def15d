"""Why a module did not load: the kernel's own words decide, and without them its init."""

from __future__ import annotations

import errno

import pytest

from kmod_harness.kmod.loading.refusal import error_name, refusal_advice

INIT = "the errno is the one its init returned"


@pytest.mark.parametrize(
    "number", [errno.ENOENT, errno.EBUSY, errno.EEXIST, errno.EINVAL, errno.ENOEXEC, 517]
)
def test_what_the_kernel_did_not_refuse_its_init_returned(number: int) -> None:
    assert refusal_advice(number, "[    1.0] my: no device here", is_listed=False) == INIT


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (
            "b: module uses symbol (b_x) from namespace MY_NS, but does not import it.\nb: Unknown symbol b",
            "MODULE_IMPORT_NS(MY_NS)",
        ),
        ("b: Unknown symbol a_value (err -2)", "not exported by this kernel (a_value)"),
        ("b: version magic '6.1.0 SMP ' should be '6.1.1 SMP '", "another kernel"),
        ("b: disagrees about version of symbol module_layout", "another configuration"),
        ("b: `x' invalid for parameter `minors'", "parameter was refused"),
        ("b: `xxxxx' too large for parameter `name'", "parameter was refused"),
        ("Loading of unsigned module is rejected", "sig_enforce"),
        ("harness-worker: vmalloc error: size 9, page order 0, failed to allocate pages", "--memory 1G"),
        ("sysfs: cannot create duplicate filename '/module/b'", "left behind"),
    ],
)
def test_the_kernels_refusal_is_explained(log: str, said: str) -> None:
    assert said in refusal_advice(errno.EINVAL, log, is_listed=False)


@pytest.mark.parametrize(("number", "said"), [(errno.EEXIST, "loaded already"), (errno.EBUSY, "under way")])
def test_a_module_of_its_name_that_is_there_is_told(number: int, said: str) -> None:
    assert said in refusal_advice(number, "", is_listed=True)


def test_an_error_of_the_kernels_own_has_its_name() -> None:
    assert error_name(517) == "EPROBE_DEFER"
    assert error_name(errno.EINVAL) == "EINVAL (Invalid argument)"


@pytest.mark.parametrize(("number", "is_meant"), [(errno.ENOENT, True), (errno.EINVAL, False)])
def test_a_signature_that_the_kernel_could_not_check_is_thought_of(number: int, is_meant: bool) -> None:
    assert ("signature" in refusal_advice(number, "", is_listed=False, is_signed=True)) == is_meant
    assert "signature" not in refusal_advice(number, "", is_listed=False)
