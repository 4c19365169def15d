"""A boot that never was, for the tests of the page: what an observed chardev would look like."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from kmod_harness.explain.claims.claim import Evidence, JudgedClaim, Verdict
from kmod_harness.explain.observed.observations import (
    AddressSpace,
    Attempt,
    ExecutedCode,
    Frame,
    Linking,
    Loading,
    MachineInfo,
    ModulePage,
    ModuleSection,
    Observations,
    Opening,
    Privilege,
    Region,
    Sharing,
    Step,
    Stop,
    Unloading,
)
from kmod_harness.explain.page.account import Account
from kmod_harness.explain.page.render import Provenance
from kmod_harness.kmod.elf.module import KernelModule, Section, Symbol
from kmod_harness.kmod.link.relocation import BoundRelocation, Relocation

BASE = 0xFFFFFFFFC00B7000
SLIDE = 0x1200000
DIRECT_MAP = 0xFFFF888000000000
_PRINTK = 0xFFFFFFFF822B1A40
_FRAMES = (0x2A31000, 0x2A2F000, 0x3184000, 0x2A30000, 0x31B7000)
_SECTIONS = (  # name, size, permissions
    (".text", 0x4DC, "r-x"),
    (".text.unlikely", 0x36, "r-x"),
    (".exit.text", 0x86, "r-x"),
    ("__ksymtab_gpl", 0xC, "r--"),
    (".rodata", 0x144, "r--"),
    (".rodata.str1.1", 0x1BC, "r--"),
    ("__param", 0x78, "r--"),
    (".orc_unwind", 0x210, "r--"),
    (".data..ro_after_init", 0xC, "r--"),
    (".data", 0x78, "rw-"),
    (".gnu.linkonce.this_module", 0x380, "rw-"),
    (".bss", 0x209, "rw-"),
)
_FUNCTIONS = (
    ("chardev_sum_counters", 0, 136),
    ("chardev_free", 0x88, 30),
    ("chardev_poll", 0xA6, 113),
    ("chardev_release", 0x117, 52),
    ("chardev_open", 0x14B, 157),
    ("chardev_write", 0x1E8, 260),
    ("chardev_read", 0x2EC, 192),
    ("chardev_llseek", 0x3AC, 31),
    ("chardev_ioctl", 0x3CB, 273),
)
#: Code around the relocations below: two calls, the running task's pointer, a string, a return.
CHARDEV_OPEN = bytes.fromhex(
    "e800000000 4157 4156 4155 4154 55 53 e800000000" + "31c0" * 7 + "65488b042500000000"
    + "90" * 39 + "48c7c700000000" + "c3" + "cc" * 67
)  # fmt: skip
_PAGE_OF = {"r-x": 0, "r--": 1, "rw-": 3}


def elf_section(name: str, index: int, size: int = 0x1000) -> Section:
    flags = 6 if name.startswith(".text") else 3
    return Section(name, index, "SHT_PROGBITS", flags, 0, size, 16, 0)


def module(
    name: str = "chardev", description: str = "character device that keeps what it is given"
) -> KernelModule:
    text = bytearray(0x4DC)
    text[0x14B:0x1E8] = CHARDEV_OPEN
    return KernelModule(
        path=Path(f"build/modules/{name}/{name}.ko"),
        name=name,
        vermagic="6.1.192-kmod-harness SMP mod_unload",
        depends=(),
        parameters={},
        parameter_descriptions={},
        license="GPL",
        description=description,
        aliases=(),
        modinfo=(),
        sections=tuple(elf_section(name, index, size) for index, (name, size, _) in enumerate(_SECTIONS)),
        symbols=tuple(Symbol(f, at, size, "FUNC", "LOCAL", ".text") for f, at, size in _FUNCTIONS),
        undefined=(),
        exports={},
        versions={},
        has_debug_info=True,
        build_id="",
        data=bytes(text),
    )


def sections() -> tuple[ModuleSection, ...]:
    used = {"r-x": 0, "r--": 0, "rw-": 0}
    found = []
    for name, size, permissions in _SECTIONS:
        address = BASE + 4096 * _PAGE_OF[permissions] + used[permissions]
        used[permissions] += -(-size // 32) * 32
        found.append(ModuleSection(name, address, size, "core", permissions))
    found.append(ModuleSection(".init.text", BASE + 0x6000, 0x3BE, "init", ""))
    return tuple(found)


def pages(count: int = 5) -> tuple[ModulePage, ...]:
    """The module's pages; with more than five, text first, then data."""
    found = []
    for number in range(count):
        permissions = "r-x" if number < count * 3 // 5 else "rw-"
        physical = _FRAMES[number] if count <= 5 else 0x2000000 + (number * 7919 % 4096) * 4096
        if count <= 5:
            permissions = ("r-x", "r--", "r--", "rw-", "rw-")[number]
        virtual = BASE + number * 4096
        names = tuple(s.name for s in sections() if s.address // 4096 == virtual // 4096)
        alias = permissions.replace("x", "-")
        found.append(ModulePage(virtual, physical, permissions, DIRECT_MAP + physical, alias, names))
    return tuple(found)


def bound(
    offset: int,
    symbol: str,
    target: int,
    image: str = "vmlinux",
    *,
    kind: int = 4,
    addend: int = -4,
    section: str = ".text",
) -> BoundRelocation:
    where = next(s.address for s in sections() if s.name == section) + offset
    relative = kind in (2, 4)
    value = target + addend - (where if relative else 0)
    size = 8 if kind == 1 else 4
    what = Relocation(elf_section(section, 1), offset, kind, symbol, 3, addend)
    return BoundRelocation(where, what, value & ((1 << 8 * size) - 1), size, symbol, image, target)


def relocations(count: int = 7) -> tuple[BoundRelocation, ...]:
    """Some of each kind, then calls until there are `count`."""
    few = [
        bound(0x14C, "__fentry__", 0xFFFFFFFF82265C10),
        bound(0x15B, "_printk", _PRINTK),
        bound(0x172, "current_task", 0x1FBC0, "per-CPU", kind=11, addend=0),
        bound(0x1A0, ".rodata.str1.1", BASE + 0x1180, "chardev", kind=11, addend=0x3A),
        bound(0x10, "chardev_open", BASE + 0x14B, "chardev", kind=1, addend=0, section=".rodata"),
        bound(0x18, "no_llseek", 0xFFFFFFFF8233D0A0, kind=1, addend=0, section=".rodata"),
        bound(0x20, "chardev_write", BASE + 0x1E8, "chardev", kind=1, addend=0, section=".rodata"),
    ]
    more = (
        bound(0x200 + 5 * n, f"kernel_function_{n % 97}", _PRINTK + 64 * n) for n in range(count - len(few))
    )
    return tuple([*few, *more][:count])


def stop(symbol: str = "chardev_open") -> Stop:
    frames = (
        Frame(symbol, BASE + 0x14B, "/work/modules/chardev/fops.c", 24, "chardev"),
        Frame("chrdev_open", 0xFFFFFFFF82343F21, "fs/char_dev.c", 414, "vmlinux"),
        Frame("do_dentry_open", 0xFFFFFFFF8233B8D3, "fs/open.c", 883, "vmlinux"),
        Frame("vfs_open", 0xFFFFFFFF8233CC10, "fs/open.c", 1014, "vmlinux"),
        Frame("do_open", 0xFFFFFFFF8234F6E7, "fs/namei.c", 3628, "vmlinux", inlined=True),
        Frame("path_openat", 0xFFFFFFFF8234F6E7, "fs/namei.c", 3785, "vmlinux"),
        Frame("do_filp_open", 0xFFFFFFFF823504B8, "fs/namei.c", 3812, "vmlinux"),
        Frame("do_sys_openat2", 0xFFFFFFFF8233CF05, "fs/open.c", 1330, "vmlinux"),
        Frame("__x64_sys_openat", 0xFFFFFFFF8233D342, "fs/open.c", 1357, "vmlinux"),
        Frame("do_syscall_64", 0xFFFFFFFF827F1B32, "arch/x86/entry/common.c", 81, "vmlinux"),
        Frame(
            "entry_SYSCALL_64_after_hwframe", 0xFFFFFFFF82800126, "arch/x86/entry/entry_64.S", 126, "vmlinux"
        ),
        Frame("", 0x4019F2, "", 0, "user"),
    )
    stack = Region("stack", 0xFFFFC900000C0000, 0xFFFFC900000C4000)
    return Stop(
        symbol, BASE + 0x14B, stack.end - 640, 0, 0x2B04000, frames, 29, "harness-worker", stack, 0x7FFD11F0,
        "#0  chardev_open (inode=0xffff888002b1c0a8, file=0xffff888002c51500) at fops.c:24\n#1 ...",
    )  # fmt: skip


def steps() -> tuple[Step, ...]:
    main = "kernel/module/main.c"
    return (
        Step(0, 2210, 0, "__x64_sys_finit_module", "the system call that insmod makes", f"{main}:2926"),
        Step(12, 610, 1, "kernel_read_file", "the kernel reads the whole .ko", "fs/kernel_read_file.c:33"),
        Step(640, 1560, 1, "load_module", "check the file, then do everything below", f"{main}:2714"),
        Step(652, 31, 2, "module_alloc", "find room in the module range", "arch/x86/kernel/module.c:66", 2),
        Step(700, 420, 2, "resolve_symbol", "look a symbol up in the exported ones", f"{main}:1177", 38),
        Step(1130, 22, 2, "apply_relocate_add", "write the addresses in", "arch/x86/kernel/module.c:213"),
        Step(1200, 160, 2, "mod_sysfs_setup", "make /sys/module/NAME", "kernel/module/sysfs.c:358"),
        Step(1380, 800, 2, "do_init_module", "run init, free what only init needed", f"{main}:2435"),
        Step(1384, 730, 3, "do_one_initcall", "call the module's init function", "init/main.c:1297"),
        Step(1386, 726, 4, "chardev_init", "the module's own init function", ""),
    )  # fmt: skip


def observations(
    *,
    name: str = "chardev",
    relocation_count: int = 7,
    page_count: int = 5,
    functions: int = 0,
    device: str = "/dev/chardev0",
    text: str = "",
    missing: Sequence[str] = (),
    with_vmlinux: bool = True,
) -> Observations:
    """`text` stands wherever a guest or a module's file can put its own words."""
    file = module(name, text or "character device that keeps what it is given")
    if functions:
        many = tuple(Symbol(f"function_{n}", n * 4, 4, "FUNC", "LOCAL", ".text") for n in range(functions))
        file = KernelModule(**{**file.__dict__, "symbols": many})
    block = Region("core", BASE, BASE + 4096 * page_count)
    space = AddressSpace(
        slide=SLIDE,
        user=Region("user", 0, 0x7FFFFFFFF000),
        direct_map=Region("direct map", DIRECT_MAP, DIRECT_MAP + (64 << 40)),
        vmalloc=Region("vmalloc", 0xFFFFC90000000000, 0xFFFFE90000000000),
        vmemmap=Region("vmemmap", 0xFFFFEA0000000000, 0xFFFFEB0000000000),
        kernel_window=Region("window", 0xFFFFFFFF80000000, 0xFFFFFFFFC0000000),
        kernel_image=Region("image", 0xFFFFFFFF82200000, 0xFFFFFFFF8301C000),
        module_range=Region("modules", 0xFFFFFFFFC0000000, 0xFFFFFFFFFF000000),
        modules=(
            Region("virtio_console", 0xFFFFFFFFC00A5000, 0xFFFFFFFFC00B0000),
            Region(name, block.start, block.end),
        ),
        kernel_physical=0x2200000,
    )
    done = Attempt("load", 0, "")
    nothing = ExecutedCode("nothing", 1.0, ())
    return Observations(
        machine=MachineInfo(
            "6.1.192-kmod-harness", f"console=ttyS0 panic=-1 {text}", True, 1, "tcg", with_vmlinux
        ),
        module=file,
        space=space,
        blocks=(block, Region("init", BASE + 0x6000, BASE + 0x8000)),
        sections=sections(),
        pages=pages(page_count),
        loading=Loading(
            caller_pid=28,
            caller_comm="harness-worker",
            log=text,
            init_function="chardev_init",
            init_address=BASE + 0x6000,
            init_stop=None,
            resolve_stop=None,
            init_block=None,
            init_mapped_during=2,
            init_mapped_after=0,
            tasks_before={},
            tasks_after={},
            maps_naming_it=(),
            executed=nothing,
            timeline=steps(),
            timeline_raw=f"# tracer: function_graph\n{text}",
        ),
        opening=Opening(
            device=device,
            quiet=nothing,
            opened=nothing,
            traced_quiet=(),
            traced_open=("chardev_open",),
            traced_raw="",
            opener_pid=29,
            stop=stop(text or "chardev_open") if with_vmlinux else None,
            log=text,
        ),
        privilege=Privilege(done, "", nothing, done, "", nothing, done, ""),
        linking=Linking(
            elf_header=(1, 0, 0),
            executable_type=done,
            relocations=relocations(relocation_count),
            compared=relocation_count,
            differing=(),
            got_or_plt=(),
            system_map_files=(),
            unexported="",
            unexported_line="",
            unexported_attempt=done,
            exports=(),
            dependent="",
            dependent_without=None,
            dependent_with=None,
            dependent_bound=(),
        ),
        sharing=Sharing((), "", 0, (), {}, (), ""),
        unloading=Unloading(None, done, 30, "", nothing, (), ()),
        missing=tuple(missing),
    )


def judged(text: str = "") -> tuple[JudgedClaim, ...]:
    inside = Evidence(
        "inside", "/proc/modules shows the address " + text, f"chardev 20480 0 - Live {BASE:#x}\n{text}"
    )
    outside = Evidence("outside", impossible="the kernel's own log is the only witness")
    said = (
        ("A .ko file is a relocatable executable.", Verdict.IMPRECISE, "It is an ELF object of type ET_REL."),
        ("A module is relocated into the top 2 GiB.", Verdict.TRUE, "So it is: a near call reaches 2 GiB."),
        ("insmod links it by System.map.", Verdict.FALSE, "The kernel does, by its exported symbols."),
        ("The module's memory may be swapped.", Verdict.OUTDATED, "Kernel memory is never swapped."),
    )
    source = "kernel/module/main.c:1684, Linux 6.1"
    return tuple(
        JudgedClaim(
            number=number,
            key=f"claim-{number}",
            statement=statement,
            usual_belief="People believe: " + statement,
            verdict=verdict,
            explanation=explanation + text,
            inside=inside,
            outside=outside,
            source=source,
        )
        for number, (statement, verdict, explanation) in enumerate(said, 1)
    )


def provenance(text: str = "") -> Provenance:
    return Provenance(
        when=datetime(2026, 11, 23, 0, 30, tzinfo=UTC),
        accelerator=f"tcg: software emulation, because KVM ran no instruction within 3 s {text}",
        qemu="QEMU 7.2.22",
        kernel="/home/me/.cache/kmod-harness/kernel/c257409935b910351c06/build/arch/x86/boot/bzImage",
        ram_size=256 << 20,
        module_file="build/modules/chardev/chardev.ko",
        module_digest="8d969eef6ecad3c29a3a629280e686cf0c3f5d5a86aff3ca12020c923adc6c92",
        harness_version="0.1.0",
        commands=("make explain", "kmod-harness explain build/modules/chardev/chardev.ko -o build/explain"),
        seconds=23.4,
    )


ACCOUNT = Account(9184, 9021, (("the tracer's hook, made to do nothing", 45), ("returns", 118)))
