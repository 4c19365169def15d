"""The CPUs' registers, by QEMU's `info registers -a`: a pure function and its result."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from kmod_harness.errors import MachineFailure

#: Intel SDM volume 3, 2.5 and 2.2.1: paging, 5-level paging, EFER's no-execute and long mode active.
_CR0_PG, _CR4_LA57, _EFER_NXE, _EFER_LMA = 1 << 31, 1 << 12, 1 << 11, 1 << 10

_CPU = re.compile(r"^CPU#(\d+)\s*$", re.MULTILINE)
#: `RIP=ffffffff81234567`, `R8 =0000000000000004`; of a segment the selector and the base.
_VALUE = re.compile(r"\b([A-Z][A-Z0-9]{1,3}) ?= *([0-9a-f]+)\b")
_SEGMENT = re.compile(r"^([CDEFGS]S) ?=([0-9a-f]{4}) ([0-9a-f]+) ", re.MULTILINE)
_GENERAL = ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", *(f"r{n}" for n in range(8, 16)))


class RegistersUnreadable(MachineFailure):
    """QEMU's `info registers` does not show a CPU in 64-bit mode."""


@dataclass(frozen=True)
class Registers:
    """The registers of one stopped CPU.

    cpu: number of the CPU
    cpl: privilege level, 0 in the kernel, 3 in user mode
    halted: whether it waits for an interrupt
    rip, rsp, rflags: instruction pointer, stack pointer, flags
    cs, ss: selectors
    fs_base, gs_base: bases of the hidden descriptors
    cr0, cr2, cr3, cr4: control registers
    efer: EFER
    general: name -> value of the general registers
    """

    cpu: int
    cpl: int
    halted: bool
    rip: int
    rsp: int
    rflags: int
    cs: int
    ss: int
    fs_base: int
    gs_base: int
    cr0: int
    cr2: int
    cr3: int
    cr4: int
    efer: int
    general: Mapping[str, int] = field(repr=False)

    @property
    def page_table_levels(self) -> int:
        """4, or 5 with LA57. Raises RegistersUnreadable for a CPU without 64-bit paging."""
        if not (self.cr0 & _CR0_PG and self.efer & _EFER_LMA):
            raise RegistersUnreadable(
                f"CPU {self.cpu} is not in 64-bit mode with paging",
                evidence=f"CR0={self.cr0:#x} CR4={self.cr4:#x} EFER={self.efer:#x}",
                advice="the guest's kernel has not switched to it yet; let it boot first",
            )
        return 5 if self.cr4 & _CR4_LA57 else 4

    @property
    def honours_no_execute(self) -> bool:
        """Whether bit 63 of a page-table entry forbids execution (EFER.NXE)."""
        return bool(self.efer & _EFER_NXE)


def parse_registers(text: str) -> tuple[Registers, ...]:
    """Returns the registers of each CPU, in QEMU's order (QEMU target/i386/cpu-dump.c, 7.2 to 10.0).

    Raises RegistersUnreadable for a text of another form, such as that of a CPU that is not in 64-bit mode.
    """
    parts = _CPU.split(text)
    if len(parts) < 3:
        # one CPU, and a QEMU that does not number it
        parts = ["", "0", text]
    return tuple(
        _parse_cpu(int(number), block) for number, block in zip(parts[1::2], parts[2::2], strict=True)
    )


def _parse_cpu(number: int, block: str) -> Registers:
    values = {name: int(value, 16) for name, value in reversed(_VALUE.findall(block))}
    segments = {name: (int(sel, 16), int(base, 16)) for name, sel, base in _SEGMENT.findall(block)}
    try:
        return Registers(
            cpu=number,
            cpl=values["CPL"],
            halted=bool(values["HLT"]),
            rip=values["RIP"] if "RIP" in values else values["EIP"],
            rsp=values["RSP"] if "RSP" in values else values["ESP"],
            rflags=values["RFL"] if "RFL" in values else values["EFL"],
            cs=segments["CS"][0],
            ss=segments["SS"][0],
            fs_base=segments["FS"][1],
            gs_base=segments["GS"][1],
            cr0=values["CR0"],
            cr2=values["CR2"],
            cr3=values["CR3"],
            cr4=values["CR4"],
            efer=values["EFER"],
            general={name: values[name.upper()] for name in _GENERAL if name.upper() in values},
        )
    except KeyError as missing:
        raise RegistersUnreadable(
            f"QEMU's `info registers` shows no {missing.args[0]} for CPU {number}", evidence=block[:2000]
        ) from None
