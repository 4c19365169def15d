"""Instructions are told apart where the disassembler does not read all of one."""

from __future__ import annotations

import pytest

from kmod_harness.kmod.elf.disassembly import instructions

#: `ret`, behind the instruction in question.
RET = b"\xc3"


@pytest.mark.parametrize(
    "code",
    [
        "67480fb93a",  # ud1 (%edx),%rdi: WARN with a message, Linux 7.2 (arch/x86/include/asm/bug.h)
        "0fb9ff",  # ud1 %edi,%edi
        "0fb9442408",  # ud1 8(%rsp),%eax: SIB and 8 bits of displacement
        "0fb984c811223344",  # ud1 0x44332211(%rax,%rcx,8),%eax
        "0fb904c511223344",  # ud1 0x44332211(,%rax,8),%eax: SIB without a base
        "0fb90511223344",  # ud1 0x44332211(%rip),%eax
        "0fff00",  # ud0 (%rax),%eax
    ],
)
def test_an_operand_that_capstone_leaves_belongs_to_its_instruction(code: str) -> None:
    data = bytes.fromhex(code)
    found = list(instructions(data + RET, 0x1000))
    assert [(item.address, item.data) for item in found] == [(0x1000, data), (0x1000 + len(data), RET)]
    assert found[0].text.startswith("ud")


def test_an_operand_that_is_cut_off_is_none() -> None:
    (cut,) = instructions(bytes.fromhex("0fb905112233"), 0)
    assert cut.data == bytes.fromhex("0fb9")


def test_what_is_no_instruction_ends_it_or_is_data() -> None:
    code = bytes.fromhex("900fb9ff9006c3")
    assert [item.text for item in instructions(code, 0)] == ["nop", "ud1", "nop"]
    assert [item.text for item in instructions(code, 0, past_data=True)][-2:] == [".byte 0x06", "ret"]
