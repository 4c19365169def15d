"""One QEMU process seen from outside: accelerator, command line, launch, QMP, waiting, death."""

from .accelerator import Accelerator, choose_accelerator
from .argv import RamFile, kernel_command_line, qemu_argv
from .deadline import Clock, Deadline
from .machine import Machine, find_qemu
from .migration import StateNotSaved, StateRefused
from .watch import Watch

__all__ = [
    "Accelerator",
    "Clock",
    "Deadline",
    "Machine",
    "RamFile",
    "StateNotSaved",
    "StateRefused",
    "Watch",
    "choose_accelerator",
    "find_qemu",
    "kernel_command_line",
    "qemu_argv",
]
