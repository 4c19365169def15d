"""A guest's registers, read from what QEMU's monitor prints."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmod_harness.machine.memory.cpu_registers import RegistersUnreadable, parse_registers
from unit.machine.memory.sample_registers import IDLE, RESET, USER


class TestRegisters:
    def test_of_each_cpu(self) -> None:
        kernel, user = parse_registers(IDLE + USER)
        assert (kernel.cpu, kernel.cpl, kernel.halted) == (0, 0, True)
        assert (user.cpu, user.cpl, user.halted) == (1, 3, False)
        assert (kernel.rip, kernel.rsp, kernel.rflags) == (0xFFFFFFFF89972C9B, 0xFFFFFFFF8A003EC8, 0x246)
        assert (kernel.cs, kernel.ss, kernel.gs_base) == (0x10, 0x18, 0xFFFF90634F200000)
        assert (kernel.cr2, kernel.cr3) == (0x7F92B9B70000, 0x14E000)
        assert kernel.general["r10"] == 0xFFFF906340A5C120
        assert kernel.general["r8"] == 4
        assert len(kernel.general) == 16
        assert (kernel.page_table_levels, user.page_table_levels) == (4, 5)
        assert kernel.honours_no_execute

    def test_of_the_only_cpu_where_qemu_does_not_number_it(self) -> None:
        assert parse_registers(IDLE.replace("CPU#0\n", "")) == parse_registers(IDLE)

    def test_before_the_kernel_has_set_up_paging(self) -> None:
        (cpu,) = parse_registers(RESET)
        assert cpu.rip == 0xFFF0
        with pytest.raises(RegistersUnreadable, match="not in 64-bit mode"):
            _ = cpu.page_table_levels

    @given(st.text(max_size=300))
    def test_of_any_other_text_are_refused(self, text: str) -> None:
        with pytest.raises(RegistersUnreadable):
            parse_registers(text)
