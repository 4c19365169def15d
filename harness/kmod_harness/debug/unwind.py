"""Runs inside gdb: unwinds from an exception or a system call to the interrupted code.

The kernel's assembler code has no unwind tables that gdb reads. A function that an entry calls finds `struct
pt_regs` at the stack pointer (arch/x86/entry/entry_64.S, 6.1: idtentry_body, entry_SYSCALL_64).
"""

from __future__ import annotations

import contextlib

import gdb
from gdb.unwinder import Unwinder, register_unwinder

#: Registers in the order of `struct pt_regs` (arch/x86/include/asm/ptrace.h); "" is orig_ax.
REGISTERS = (
    "r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8",
    "rax", "rcx", "rdx", "rsi", "rdi", "", "rip", "cs", "eflags", "rsp", "ss",
)  # fmt: skip
#: __KERNEL_CS, __USER_CS, __USER32_CS (arch/x86/include/asm/segment.h): anything else is no pt_regs.
CODE_SEGMENTS = (0x10, 0x33, 0x23)
#: gdb's addresses may be negative numbers.
MASK = (1 << 64) - 1


class FrameId:
    def __init__(self, sp, pc):
        self.sp = sp
        self.pc = pc


class EntryCodeUnwinder(Unwinder):
    """Unwinds frames of the kernel's entry code."""

    def __init__(self):
        super().__init__("kernel entry")
        self.start, self.end = map(address_of, ("__entry_text_start", "__entry_text_end"))

    def __call__(self, pending):
        try:
            return self.unwound(pending)
        except gdb.error:
            # no memory there, so this is not entry code
            return None

    def unwound(self, pending):
        pc, sp = pending.read_register("rip"), pending.read_register("rsp")
        # in its first instructions an entry has not pushed the registers yet
        if not self.start <= int(pc) & MASK < self.end or is_innermost(pending):
            return None
        words = gdb.selected_inferior().read_memory(int(sp) & MASK, 8 * len(REGISTERS))
        values = dict(zip(REGISTERS, memoryview(words.tobytes()).cast("Q"), strict=True))
        if values["cs"] not in CODE_SEGMENTS:
            return None
        unwound = pending.create_unwind_info(FrameId(sp, pc))
        for name, value in values.items():
            if name:
                kind = pending.read_register(name).type
                data = value.to_bytes(8, "little")[: kind.sizeof]
                unwound.add_saved_register(name, gdb.Value(data, kind))
        return unwound


def address_of(symbol):
    return int(gdb.parse_and_eval(f"(unsigned long)&{symbol}")) & MASK


def is_innermost(pending):
    """Returns whether a frame is where the CPU is; False in gdb before 13, which does not tell."""
    return hasattr(pending, "level") and pending.level() == 0


class InterruptStackUnwinder(Unwinder):
    """Unwinds the end of a CPU's interrupt stack, which holds the previous stack pointer.

    Inline assembler changes the stack there, which the unwind tables do not know (call_on_stack,
    arch/x86/include/asm/irq_stack.h). The function that does it appears on both stacks.
    """

    def __init__(self):
        super().__init__("interrupt stack")
        # per-CPU symbols are offsets, which gdb moves with the rest
        self.offset = address_of("hardirq_stack_ptr") - address_of("__per_cpu_start")

    def __call__(self, pending):
        pc, sp = pending.read_register("rip"), pending.read_register("rsp")
        try:
            end = word_at((int(pending.read_register("gs_base")) + self.offset) & MASK)
            if int(sp) & MASK != end:
                return None
            before = word_at(end)
        except gdb.error:
            return None
        unwound = pending.create_unwind_info(FrameId(sp, pc))
        for name in ("rip", "rbx", "rbp", "r12", "r13", "r14", "r15", "gs_base"):
            unwound.add_saved_register(name, pending.read_register(name))
        unwound.add_saved_register("rsp", gdb.Value(before.to_bytes(8, "little"), sp.type))
        return unwound


def word_at(address):
    return int.from_bytes(gdb.selected_inferior().read_memory(address, 8).tobytes(), "little")


register_unwinder(None, EntryCodeUnwinder(), replace=True)
# since 6.2 the pointer is a member of pcpu_hot
with contextlib.suppress(gdb.error):
    register_unwinder(None, InterruptStackUnwinder(), replace=True)
