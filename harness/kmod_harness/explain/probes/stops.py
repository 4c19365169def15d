"""A load under gdb, and opens afterwards, with the CPU stopped in the module's functions."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping

from kmod_harness.explain.observed.code_history import Moment
from kmod_harness.explain.observed.function_names import FunctionNames
from kmod_harness.explain.observed.observations import Frame, PageTableView, Region, Stop
from kmod_harness.explain.probes.attempts import as_file, open_call
from kmod_harness.explain.probes.backtrace import parse_backtrace, without_directories
from kmod_harness.explain.probes.load_stops import LoadPlan, LoadStops, ModuleMemory, StoppedKernel
from kmod_harness.explain.probes.stack_scan import TextNames, scan_stack
from kmod_harness.guest.agent.calls import check
from kmod_harness.guest.agent.protocol import Call
from kmod_harness.guest.agent.syscall_table import NUMBERS
from kmod_harness.guest.guest import Guest
from kmod_harness.guest.process import Process
from kmod_harness.kmod.elf.for_gdb import without_section_addresses
from kmod_harness.kmod.link.relocation import relocations_of
from kmod_harness.machine.gdb.gdb_process import Gdb
from kmod_harness.machine.memory.cpu_registers import Registers
from kmod_harness.machine.memory.guest_memory import GuestMemory
from kmod_harness.verify.outside.struct_module import anchors_of

#: struct pt_regs lies at the stack's very top and ends with ip, cs, flags, sp, ss
#: (arch/x86/include/asm/ptrace.h, 6.1).
_SAVED_IP, _SAVED_SP = 40, 16
#: A function that every open of a character device calls, and a device that every kernel has
#: (fs/char_dev.c, 6.1).
_ANY_OPEN = ("chrdev_open", "/dev/null")
#: Functions that the loader calls between copying and linking, and after linking; `struct module *` is the
#: fifth argument of the first, the third of the second (arch/x86/kernel/module.c, 6.1).
_LINK_STOPS = ((Moment.COPIED, "apply_relocate_add", "$r8"), (Moment.LINKED, "module_finalize", "$rdx"))
_ADDRESS_MASK = (1 << 64) - 1
#: TASK_COMM_LEN
_COMM = 16


def stop_in_load(guest: Guest, debugger: Gdb, kernel: StoppedKernel, plan: LoadPlan) -> LoadStops:
    """Loads and opens as planned. The module stays loaded; the openers' files are closed with them.

    Each call is sent before the guest runs on, so that no breakpoint can be missed.
    """
    recorder = _StopRecorder(guest, debugger, kernel, plan)
    resolve = None
    with as_file(guest, plan.data) as path:
        module = plan.loader.open(path)
        with debugger:
            arguments = (module.fd, plan.parameters.encode() + b"\0", 0)
            pending = plan.loader.begin([Call(NUMBERS["finit_module"], arguments)])
            if "find_symbol" in kernel.symbols:
                recorder.go_to(kernel.symbols["find_symbol"])
                resolve = recorder.stop("find_symbol", plan.loader)
            recorder.link_stops()
            recorder.go_to(kernel.symbols["do_init_module"])
            recorder.learn_places()
            recorder.read_module(Moment.SEALED, "do_init_module", recorder.bases)
            init = recorder.at_init()
            opens: list[Stop] = []
            function, device = (plan.open_function, plan.device) if plan.open_function else _ANY_OPEN
            recorder.go_to(recorder.address_of(function), wait=False)
            check(pending.results()[0], plan.file.name)
            for number, opener in enumerate(plan.openers):
                if number:
                    # QEMU's stub can lose an interrupt in a step from a breakpoint: none is made
                    debugger.delete_breakpoints()
                    debugger.resume()
                    check(pending.results()[0], device)
                    debugger.interrupt()
                    recorder.go_to(recorder.address_of(function), wait=False)
                pending = opener.begin([open_call(device)])
                debugger.await_stop()
                opens.append(recorder.stop(function, opener))
        check(pending.results()[0], device)
        module.close()
    return LoadStops(
        recorder.bases,
        resolve,
        recorder.init_address,
        init,
        recorder.init_mapped,
        tuple(opens) if plan.open_function else (),
        tuple(recorder.views),
        tuple(recorder.memory),
    )


class _StopRecorder:
    """gdb during one load, and what it has found out so far."""

    def __init__(self, guest: Guest, debugger: Gdb, kernel: StoppedKernel, plan: LoadPlan) -> None:
        self._guest = guest
        self._debugger = debugger
        self._kernel = kernel
        self._plan = plan
        self._sections: dict[str, int] = {}
        self._offsets: dict[str, int] = {}
        self.bases: dict[str, int] = {}
        self.init_address = 0
        self.init_mapped = 0
        self.views: list[PageTableView] = []
        self.memory: list[ModuleMemory] = []

    def go_to(self, address: int, *, wait: bool = True) -> None:
        """Runs the guest to a breakpoint, which is the only one."""
        self._debugger.delete_breakpoints()
        self._debugger.ask(f"hbreak *{address:#x}")
        self._debugger.resume()
        if wait:
            self._debugger.await_stop()

    def address_of(self, function: str) -> int:
        """Returns the address of a function of the module, else of the kernel."""
        for symbol in self._plan.file.symbols:
            if symbol.name == function and symbol.section in self._sections:
                return self._sections[symbol.section] + symbol.value
        return self._kernel.symbols[function]

    def link_stops(self) -> None:
        """Stops before the first relocation and after the last one; reads the module's memory each time."""
        relocated = any(True for _ in relocations_of(self._plan.file, self._plan.layout))
        for moment, function, register in _LINK_STOPS if relocated else ():
            if function in self._kernel.symbols:
                self.go_to(self._kernel.symbols[function])
                self.read_module(moment, function, self._bases(register))

    def read_module(self, moment: Moment, function: str, bases: Mapping[str, int]) -> None:
        """Notes what the module's blocks hold now."""
        sizes = self._plan.layout.blocks
        with GuestMemory(self._guest.machine) as memory:
            blocks = {block: memory.read_virtual(base, sizes[block]) for block, base in bases.items()}
            permissions = {block: memory.tables.page(base).permissions for block, base in bases.items()}
        self.memory.append(ModuleMemory(moment, function, dict(bases), blocks, permissions))

    def learn_places(self) -> None:
        """Reads the blocks' addresses from do_init_module's argument; they give all other addresses."""
        plan = self._plan
        self.bases = self._bases("$rdi")
        addresses = plan.layout.addresses(self.bases)
        names = {section.index: section.name for section in plan.file.sections}
        for index, address in addresses.items():
            self._sections.setdefault(names[index], address)
        if any(symbol.name == "init_module" for symbol in plan.file.symbols):
            self.init_address = self.address_of("init_module")
        # gdb takes no compressed module, and this directory is private and goes with the machine
        path = self._guest.machine.directory / f"{plan.file.name}.ko"
        path.write_bytes(without_section_addresses(plan.data))
        allocated = {section.name for section in plan.file.sections if section.allocated and section.size}
        placed = [f" -s {name} {at:#x}" for name, at in self._sections.items() if name in allocated]
        self._debugger.ask(f"add-symbol-file {path}{''.join(placed)}")

    def _bases(self, register: str) -> dict[str, int]:
        """Returns the blocks' addresses, by the `struct module` that a register points to."""
        plan, debugger = self._plan, self._debugger
        if not self._kernel.has_debug_info:
            with GuestMemory(self._guest.machine) as memory:
                return anchors_of(plan.file, plan.layout, debugger.value(register), memory.read_virtual)
        module = f"((struct module *){register})"
        return {
            block: debugger.value(
                f"{module}->{block}_layout.base"
                if block in ("core", "init")
                else f"{module}->mem[{number}].base"
            )
            for number, block in enumerate(plan.layout.blocks)
            if plan.layout.blocks[block]
        }

    def _blocks(self) -> list[tuple[str, range]]:
        sizes = self._plan.layout.blocks
        return [(block, range(base, base + sizes[block])) for block, base in self.bases.items()]

    def at_init(self) -> Stop | None:
        """Runs to init's first instruction; returns None for a module without init."""
        if not self.init_address:
            return None
        self.go_to(self.init_address)
        blocks = [span for block, span in self._blocks() if block.startswith("init")]
        with GuestMemory(self._guest.machine) as memory:
            self.init_mapped = sum(1 for one in blocks for _ in memory.tables.walk(one.start, one.stop))
        names = FunctionNames(self._plan.file, self._sections)
        return self.stop(names.label(self.init_address), self._plan.loader)

    def stop(self, function: str, process: Process) -> Stop:
        """Returns the stopped CPU: registers from QEMU, the stack from gdb, the task from memory."""
        debugger, kernel = self._debugger, self._kernel
        rip = debugger.value("$rip")
        with GuestMemory(self._guest.machine) as memory:
            registers = next(one for one in memory.registers if one.rip == rip)
            pid, comm, stack = self._task(memory, registers)
            top = stack + kernel.stack_size
            frames, raw = self._frames(memory, function, registers, top)
            user_ip, user_sp = _word(memory, top - _SAVED_IP), _word(memory, top - _SAVED_SP)
            self._note_view(memory, process.pid, comm, registers)
        user = Frame("the program, at its system call", user_ip, "", 0, "user")
        return Stop(
            function=function,
            rip=rip,
            rsp=registers.rsp,
            cpl=registers.cpl,
            cr3=registers.cr3,
            frames=(*frames, user),
            task_pid=pid,
            task_comm=comm,
            task_stack=Region(f"kernel stack of {comm}" if comm else "kernel stack", stack, top),
            user_stack_pointer=user_sp,
            raw=raw,
            unwound=kernel.has_debug_info,
        )

    def _frames(
        self, memory: GuestMemory, function: str, registers: Registers, top: int
    ) -> tuple[tuple[Frame, ...], str]:
        kernel, name = self._kernel, self._plan.file.name
        if kernel.has_debug_info:
            raw = without_directories(self._debugger.ask("bt"), kernel.source)
            images = [(kernel.image, "vmlinux"), *((span, name) for _, span in self._blocks())]
            return parse_backtrace(raw, images, kernel.source), raw
        stack = memory.read_virtual(registers.rsp, top - registers.rsp)
        names = {"vmlinux": TextNames(kernel.symbols, kernel.text)}
        callers = scan_stack(stack, memory.read_virtual, names)
        image = "vmlinux" if registers.rip in kernel.image else name
        return (Frame(function, registers.rip, "", 0, image), *callers), stack.hex(" ", 8)

    def _task(self, memory: GuestMemory, registers: Registers) -> tuple[int, str, int]:
        """Returns pid, comm and stack of the running task.

        Without debug information they are 0, "" and the stack around the stack pointer.
        """
        offset = self._kernel.current_offset
        if not self._kernel.has_debug_info or offset is None:
            # stacks are aligned to their size (THREAD_ALIGN, include/linux/thread_info.h, 6.1)
            return 0, "", registers.rsp & -self._kernel.stack_size
        # both may be addresses, whose sum wraps
        current = _word(memory, (registers.gs_base + offset) & _ADDRESS_MASK)
        fields = self._task_offsets()
        comm = memory.read_virtual(current + fields["comm"], _COMM).split(b"\0")[0]
        pid = _word(memory, current + fields["pid"]) & 0xFFFFFFFF
        return pid, comm.decode(errors="replace"), _word(memory, current + fields["stack"])

    def _task_offsets(self) -> dict[str, int]:
        """Returns offsets in struct task_struct, by init_task's type, which gdb finds fast."""
        if not self._offsets:
            fields = "gdb.lookup_global_symbol('init_task').type.fields()"
            shown = self._debugger.ask(
                f"python print(*(f'{{f.name}}={{f.bitpos // 8}}' for f in {fields} if f.name))"
            )
            self._offsets = {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", shown)}
        return self._offsets

    def _note_view(self, memory: GuestMemory, pid: int, comm: str, registers: Registers) -> None:
        core = next(iter(self.bases.values()), 0)
        if core and all(view.pid != pid for view in self.views):
            tables = memory.tables_of(registers)
            page = tables.find(core)
            self.views.append(PageTableView(pid, comm, tables.root, page.physical_of(core) if page else None))


def _word(memory: GuestMemory, address: int) -> int:
    return int(struct.unpack("<Q", memory.read_virtual(address, 8))[0])
