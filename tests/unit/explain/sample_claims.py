"""What the experiments measured on a chardev under KASLR, small and round, for the tests of the judges."""

from __future__ import annotations

import errno
from pathlib import Path

from kmod_harness.explain.observed.admission import Admission
from kmod_harness.explain.observed.observations import (
    AddressSpace,
    Attempt,
    ExecutedBlock,
    ExecutedCode,
    Frame,
    Linking,
    Loading,
    MachineInfo,
    ModulePage,
    ModuleSection,
    Observations,
    Opening,
    PageTableView,
    Privilege,
    Region,
    Sharing,
    ShownByGuest,
    Step,
    Stop,
    Unloading,
)
from kmod_harness.kmod.elf.module import KernelModule, Section
from kmod_harness.kmod.link.relocation import BoundRelocation, Relocation

BASE = 0xFFFFFFFFC0208000
SLIDE = 0xBA00000
IMAGE = 0xFFFFFFFF81000000 + SLIDE
DIRECT_MAP = 0xFFFF9253C0000000
STACK = Region("kernel stack", 0xFFFFB1EEC011C000, 0xFFFFB1EEC0120000)
USER_STACK = 0x7FFECD23E220
LOADER, OPENER, SECOND = 39, 41, 42
CORE = Region("core", BASE, BASE + 0x5000)
INIT = Region("init", BASE + 0x6000, BASE + 0xA000)
TEXT = Section(".text", 1, "SHT_PROGBITS", 6, 0, 0x4DC, 16, 0x40)


def block(offset: int, symbol: str, cpl: int = 0) -> ExecutedBlock:
    return ExecutedBlock(BASE + offset, cpl, 0, symbol)


def stop(function: str, *frames: str, pid: int = OPENER, cpl: int = 0, rsp: int = STACK.end - 0x368) -> Stop:
    shown = tuple(Frame(name, IMAGE + 0x1000, "fs/some.c", 1, "vmlinux") for name in frames)
    return Stop(
        function=function,
        rip=BASE + 0x14B,
        rsp=rsp,
        cpl=cpl,
        cr3=0xA28000,
        frames=(Frame(function, BASE + 0x14B, "fops.c", 30, "chardev"), *shown),
        task_pid=pid,
        task_comm="harness-worker",
        task_stack=STACK,
        user_stack_pointer=USER_STACK,
        raw="",
    )


def attempt(what: str, number: int = 0, log: str = "") -> Attempt:
    return Attempt(what, number, log)


def ran(what: str, *blocks: ExecutedBlock) -> ExecutedCode:
    return ExecutedCode(what, 1.2, blocks)


def bound(image: str, symbol: str = "_printk", kind: int = 4) -> BoundRelocation:
    what = Relocation(TEXT, 0x15B, kind, symbol, 3, -4)
    return BoundRelocation(BASE + 0x15B, what, 0x1234, 4, symbol, image, IMAGE + 0x2000)


def page(number: int, permissions: str, physical: int) -> ModulePage:
    alias = permissions.replace("x", "-")
    return ModulePage(BASE + 4096 * number, physical, permissions, DIRECT_MAP + physical, alias, ())


PAGES = (
    page(0, "r-x", 0x9E4000),
    page(1, "r--", 0x9E3000),
    page(2, "r--", 0x9E2000),
    page(3, "rw-", 0x9E1000),
    page(4, "rw-", 0x9E0000),
)
MODULE = KernelModule(
    path=Path("chardev.ko"),
    name="chardev",
    vermagic="6.1.192-kmod-harness SMP mod_unload",
    depends=(),
    parameters={},
    parameter_descriptions={},
    license="GPL",
    description="",
    aliases=(),
    modinfo=(),
    sections=(TEXT,),
    symbols=(),
    undefined=(),
    exports={"chardev_sum_counters": True},
    versions={},
    has_debug_info=True,
    build_id="",
    data=b"",
)
MACHINE = MachineInfo("6.1.192-kmod-harness", "console=ttyS0 panic=-1", True, 1, "tcg", True)
SPACE = AddressSpace(
    slide=SLIDE,
    user=Region("user space", 0, 1 << 47),
    direct_map=Region("direct map", DIRECT_MAP, DIRECT_MAP + (256 << 20)),
    vmalloc=Region("vmalloc", 0xFFFFB1EEC0000000, 0xFFFFD1EEC0000000),
    vmemmap=Region("vmemmap", 0xFFFFEA0000000000, 0xFFFFEB0000000000),
    kernel_window=Region("window", 0xFFFFFFFF80000000, 0xFFFFFFFFC0000000),
    kernel_image=Region("kernel image", IMAGE, IMAGE + 0xE1C000),
    module_range=Region("module range", 0xFFFFFFFFC0000000, 0xFFFFFFFFFF000000),
    modules=(Region("chardev", CORE.start, CORE.end),),
    kernel_physical=0x4000000,
    lowest_in_module_range=BASE,
)
SYSCALL = ("do_syscall_64", "entry_SYSCALL_64")
LOADING = Loading(
    caller_pid=LOADER,
    caller_comm="harness-worker",
    log=f"chardev: loaded: major 252 (pid {LOADER} comm harness-worker)",
    init_function="chardev_init",
    init_address=INIT.start,
    init_stop=stop("chardev_init", "do_one_initcall", "do_init_module", *SYSCALL, pid=LOADER),
    resolve_stop=stop("find_symbol", "load_module", *SYSCALL, pid=LOADER),
    init_block=INIT,
    init_mapped_during=4,
    init_mapped_after=0,
    tasks_before={2: "kthreadd", 9: "kworker/0:1"},
    tasks_after={2: "kthreadd", 9: "kworker/0:1", 43: "kworker/u2:3"},
    maps_naming_it=(),
    executed=ran("load", block(0x6000, "chardev_init")),
    timeline=(
        Step(0, 11217, 0, "__x64_sys_finit_module", "", ""),
        Step(8, 300, 1, "resolve_symbol", "", "", 38),
    ),
    timeline_raw="5.0 | 0) harness-39 | 7.1 us | resolve_symbol();",
)
OPENING = Opening(
    device="/dev/chardev0",
    quiet=ran("left alone"),
    opened=ran("open", block(0x14B, "chardev_open")),
    traced_quiet=(),
    traced_open=("chardev_open", "chardev_release"),
    traced_raw="harness-worker-41 [000] ...1. 6.8: chardev_open <-chrdev_open",
    opener_pid=OPENER,
    stop=stop("chardev_open", "chrdev_open", "do_dentry_open", *SYSCALL),
    log="",
    function="chardev_open",
    user_stack="7ffecd21f000-7ffecd240000 rw-p [stack]",
    probe=f"stack: (chardev_open+0x0/0x9d) sp={STACK.end - 0x368:#x}",
    probed_stack_pointer=STACK.end - 0x368,
)
PRIVILEGE = Privilege(
    user_with=attempt("uid 1000 with CAP_SYS_MODULE"),
    user_with_status="Uid: 1000",
    user_executed=ran("by uid 1000", block(0x6000, "chardev_init")),
    root_without=attempt("root without it", errno.EPERM),
    root_without_status="Uid: 0",
    root_executed=ran("by root"),
    namespace_root=attempt("root of a namespace", errno.EPERM),
    namespace_root_status="Uid: 0",
)
LINKING = Linking(
    elf_header=(1, 0, 0),
    executable_type=attempt("e_type 2", errno.ENOEXEC, "Invalid ELF header type: 2 != 1"),
    relocations=(
        bound("vmlinux"),
        bound("chardev", "chardev_open", 11),
        bound("per-CPU", "current_task", 11),
    ),
    compared=3,
    differing=(),
    got_or_plt=(),
    system_map_files=(),
    unexported="do_one_initcall",
    unexported_line="System.map: ffffffff81000bfb T do_one_initcall",
    unexported_attempt=attempt("wanting it", errno.ENOENT, "Unknown symbol do_one_initcall (err -2)"),
    exports=("chardev_sum_counters",),
    dependent="chardev_stats",
    dependent_without=attempt("without chardev", errno.ENOENT),
    dependent_with=attempt("with chardev"),
    dependent_bound=(bound("vmlinux"), bound("chardev", "chardev_sum_counters")),
    private_attempt=attempt("wanting chardev_free", errno.ENOENT),
)
SHARING = Sharing(
    views=(
        PageTableView(LOADER, "worker", 0xA28000, 0x9E4000),
        PageTableView(OPENER, "worker", 0x962000, 0x9E4000),
    ),
    user_read="killed by SIGSEGV",
    pressure=64,
    pages_after=tuple((one.virtual, one.physical) for one in PAGES),
    page_flags={one.physical: () for one in PAGES},
    control_flags=("LRU", "ANON", "SWAPBACKED"),
    swaps="",
    seen_by_second="process 44 wrote b'x', process 45 read b'x'",
)
UNLOADING = Unloading(
    while_open=attempt("rmmod while open", errno.EWOULDBLOCK),
    done=attempt("rmmod"),
    caller_pid=46,
    log="chardev: unloaded",
    executed=ran("rmmod", block(0x512, "chardev_exit")),
    mapped_after=(),
    still_named=(),
)
ADMISSION = Admission(
    other_release=attempt("the file, built for 6.1.193", errno.ENOEXEC, "version magic '6.1.193' should be"),
    kernel_vermagic="6.1.192-kmod-harness SMP mod_unload ",
    taint_before=0,
    taint_loaded=1 << 12,
    taint_after=1 << 12,
    module_taint="O",
    checks_signatures=False,
    modprobe="/sbin/modprobe",
    modaliases=(("/sys/bus/virtio/devices/virtio0/modalias", "virtio:d00000003v00001AF4"),),
)
SEEN = Observations(
    machine=MACHINE,
    module=MODULE,
    space=SPACE,
    blocks=(CORE, INIT),
    sections=(ModuleSection(".text", BASE, 0x4DC, "core", "r-x"),),
    pages=PAGES,
    loading=LOADING,
    opening=OPENING,
    privilege=PRIVILEGE,
    linking=LINKING,
    sharing=SHARING,
    unloading=UNLOADING,
    admission=ADMISSION,
    shown=ShownByGuest(
        {".text": BASE}, IMAGE, ("__ksymtab_chardev_sum_counters",), "load_module+0x9e1 pages=5"
    ),
)
