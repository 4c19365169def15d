"""Every need of a test. What a group of harness/scripts/debian-packages.txt should bring says which one."""

from __future__ import annotations

from shared.checkout import ROOT

from .looking import (
    checkout,
    directory,
    environment,
    fonts,
    kernel_file,
    kernel_symbol,
    lacks_kernel_file,
    module,
    option,
    programs,
    root,
    user_namespaces,
)
from .need import Debian, Need, Otherwise

#: Logs of other people's kernels, beside the checkout where somebody has put them.
RECORDED_LOGS = ROOT.parent / "shared" / "data" / "kernel-logs"

_TOOLS = (
    Need("gcc", programs("gcc"), Debian("gcc", ("run",))),
    Need(
        "binutils",
        programs("as", "ld", "readelf", "strip", "addr2line", "objcopy"),
        Debian("binutils", ("run",)),
    ),
    Need("make", programs("make"), Debian("make", ("run",))),
    Need("QEMU", programs("qemu-system-x86_64"), Debian("qemu-system-x86", ("run",))),
    Need("qemu-img", programs("qemu-img"), Debian("qemu-utils", ("run",))),
    Need("bash", programs("bash"), Debian("bash")),
    Need("busybox", programs("busybox"), Debian("busybox-static", ("test",))),
    Need("cpio", programs("cpio"), Debian("cpio", ("test",))),
    Need("gdb", programs("gdb"), Debian("gdb", ("test",))),
    Need("chromium", programs("chromium"), Debian("chromium", ("test",))),
    Need("git", programs("git"), Debian("git", ("test",))),
    Need("patch", programs("patch"), Debian("patch", ("test",))),
    Need("python-magic", module("magic"), Debian("python3-magic")),
    # 400 MB, for one fragment
    Need("clang", programs("clang", "ld.lld", "llvm-ar"), Otherwise("apt-get install clang lld llvm")),
    Need("mke2fs", programs("mke2fs", "debugfs"), Debian("e2fsprogs", ("test",))),
)

_FONTS = (
    Need("DejaVu fonts", fonts("truetype/dejavu"), Debian("fonts-dejavu-core", ("test",))),
    Need("Liberation fonts", fonts("truetype/liberation"), Debian("fonts-liberation", ("test",))),
    Need("FreeFont fonts", fonts("truetype/freefont"), Debian("fonts-freefont-ttf", ("test",))),
)

_KERNEL = (
    Need("vmlinux", kernel_file("vmlinux"), Otherwise("KERNEL=minimal has it")),
    Need("System.map", kernel_file("system_map"), Otherwise("KERNEL=minimal has it")),
    Need("function tracer", kernel_symbol("FUNCTION_TRACER"), Otherwise("KERNEL=debian has it")),
    Need(
        "call depth tracking",
        kernel_symbol("MITIGATION_CALL_DEPTH_TRACKING"),
        Otherwise("Linux 6.12 has it, Debian 13's"),
    ),
    Need("KUnit", kernel_symbol("KUNIT"), Otherwise("make test-debug has it")),
    Need("a kernel without modules", lacks_kernel_file("modules_dir"), Otherwise("KERNEL=minimal is one")),
    Need("another kernel", option("kconfig"), Otherwise("--kh-kconfig FILE")),
)

_PLACE = (
    Need("user namespaces", user_namespaces, Otherwise("unshare --user is refused")),
    Need("root", root, Otherwise("run as root")),
    Need("git checkout", checkout(ROOT), Otherwise("this copy of the sources is none")),
    Need("recorded logs", directory(RECORDED_LOGS), Otherwise("../shared/data")),
    Need("a Buildroot tree", environment("BUILDROOT"), Otherwise("BUILDROOT=DIRECTORY")),
)

NEEDS = {need.name: need for need in (*_TOOLS, *_FONTS, *_KERNEL, *_PLACE)}
