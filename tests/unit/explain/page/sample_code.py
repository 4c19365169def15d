"""A short function, as in the sample driver, in the states that a load brings it through."""

from __future__ import annotations

from dataclasses import replace

from kmod_harness.explain.observed.code_history import CodeAtMoment, CodeHistory, CodePatch, Moment
from kmod_harness.explain.observed.observations import Observations
from kmod_harness.kmod.elf.module import Symbol
from kmod_harness.kmod.link.relocation import BoundRelocation
from kmod_harness.verify.mechanism import Mechanism
from unit.explain.page import sample

START, SIZE = 0x88, 30
#: call __fentry__; push rbx; mov rbx, rdi; mov rdi, [rdi+0x270]; call kvfree; mov rdi, rbx; pop rbx;
#: jmp kfree
FILE = bytes.fromhex("e800000000 53 4889fb 488bbf70020000 e800000000 4889df 5b e900000000")
BOUND = (
    sample.bound(START + 1, "__fentry__", 0xFFFFFFFF82265C10),
    sample.bound(START + 17, "kvfree", 0xFFFFFFFF82300000),
    sample.bound(START + 26, "kfree", 0xFFFFFFFF82310000),
    sample.bound(0x30, "chardev_free", sample.BASE + START, "chardev", kind=1, addend=0, section=".rodata"),
)
NOP = bytes.fromhex("0f1f440000")


def linked(text: bytes, bound: tuple[BoundRelocation, ...]) -> bytes:
    """What a linker makes of `.text`."""
    code = bytearray(text)
    for one in bound:
        if one.what.section.name == ".text" and one.what.offset + one.size <= len(text):
            code[one.what.offset : one.what.offset + one.size] = one.value.to_bytes(one.size, "little")
    return bytes(code)


def history(text: bytes, bound: tuple[BoundRelocation, ...], hook: int) -> CodeHistory:
    """All four moments; at the end the tracer's hook, at that offset, has become a no-op."""
    filled = linked(text, bound)
    running = filled[:hook] + NOP + filled[hook + 5 :]
    return CodeHistory(
        moments=(
            CodeAtMoment(Moment.COPIED, "apply_relocate_add", "rw-", text),
            CodeAtMoment(Moment.LINKED, "module_finalize", "rw-", filled),
            CodeAtMoment(Moment.SEALED, "do_init_module", "r-x", running),
            CodeAtMoment(Moment.RUNNING, "", "r-x", running),
        ),
        patches=(CodePatch(sample.BASE + hook, 5, Mechanism.FENTRY),),
        compared=len(bound),
    )


def observations() -> Observations:
    """A module whose one function is the short one."""
    seen = sample.observations()
    data = bytearray(seen.module.data)
    data[START : START + SIZE] = FILE
    only = Symbol("chardev_free", START, SIZE, "FUNC", "LOCAL", ".text")
    module = replace(seen.module, data=bytes(data), symbols=(only,))
    linking = replace(seen.linking, relocations=BOUND)
    return replace(seen, module=module, linking=linking, code=history(bytes(data), BOUND, START))
