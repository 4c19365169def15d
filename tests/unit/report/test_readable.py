"""A report as a person reads it: told once, in 80 columns; and its headline for a summary."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pytest

from kmod_harness.klog.frames import Frame
from kmod_harness.klog.reading import for_reading
from kmod_harness.klog.records import parse_console
from kmod_harness.klog.splats import Splat, find_splats
from kmod_harness.kmod.symbols.symbolizer import SourceLine
from kmod_harness.report.readable import headline, lines_of_report, readable
from kmod_harness.report.symbolized import FrameLines

OOPS = """\
<6>[    1.000000] my: hello
<15>[    1.100000] kmod-harness-nonce 98b4aa
<1>[    2.955727] BUG: kernel NULL pointer dereference, address: 0000000000000000
<1>[    2.955728] #PF: supervisor write access in kernel mode
<4>[    2.955729] Oops: 0002 [#1] SMP NOPTI
<4>[    2.955730] CPU: 0 PID: 30 Comm: sh Tainted: G           O       6.1.192-kmod-harness-of-somebody #1
<4>[    2.955731] RIP: 0010:my_write+0x5/0x17 [my]
<4>[    2.955732] Code: 3d de 2f 00 00 00 74 05 48 89 d8 eb 12 48 c7 c7 25 66 22 c0 e8 25 0c 00 00 85 c0 74 eb 48 98 5b c3 cc cc cc cc 0f 1f 44 00 00 <c7> 04 25 00 00 00 00 01 00 00 00 31 c0 c3 cc cc cc cc 0f 1f 44 00
<4>[    2.955733] RSP: 0018:ffff95da000ffdc0 EFLAGS: 00000246
<4>[    2.955734] RAX: ffffffffc0173041 RBX: 00000000fffffff4 RCX: 0000000000000003
<4>[    2.955735] CR2: 0000000000000000 CR3: 0000000000978000 CR4: 00000000003506b0
<4>[    2.955736] Call Trace:
<4>[    2.955737]  <TASK>
<4>[    2.955738]  vfs_write+0xb5/0x2b0
<4>[    2.955739]  do_syscall_64+0x39/0x46
<4>[    2.955740] RIP: 0033:0x401374
<4>[    2.955741] Code: da e8 3f 14 00 00 eb 25 4c 8b 94 24 b8 00 00 00 4c 8b 84 24 c0 00 00 00 48 89 da 4c 8b 8c
<4>[    2.955742] RSP: 002b:00007fff701c9620 EFLAGS: 00000283 ORIG_RAX: 0000000000000139
<4>[    2.955743] RAX: ffffffffffffffda RBX: 0000000000000001 RCX: 0000000000401374
<4>[    2.955744]  </TASK>
<4>[    2.955745] Modules linked in: my(O) another_module and_yet_another_one a_fourth_that_is_long a_fifth
<4>[    2.955746] ---[ end trace 0000000000000000 ]---
<4>[    2.955747] RIP: 0010:my_write+0x5/0x17 [my]
<4>[    2.955748] Code: 3d de 2f 00
<4>[    2.955749] RSP: 0018:ffff95da000ffdc0 EFLAGS: 00000246
<6>[    2.955750] note: sh[30] exited with irqs disabled
"""  # noqa: E501
FILE = "/home/somebody/a/deep/directory/of/a/module/src/my/main.c"


class Lines:
    """Source lines of functions, in place of what vmlinux and modules tell."""

    def __init__(self, file: str = FILE) -> None:
        self._file = file

    def of(self, frame: Frame, *, returns: bool) -> tuple[SourceLine, ...]:
        if frame.function == "my_write":
            return (SourceLine("inlined", self._file, 7), SourceLine("my_write", self._file, 123))
        return (SourceLine(frame.function, "fs/read_write.c", 589),) if frame.function == "vfs_write" else ()

    def code(self, frame: Frame) -> bytes:
        return b""

    def shown(self, place: SourceLine) -> str:
        return f"{place.path}:{place.line}"


def lines(file: str = FILE) -> FrameLines:
    return cast(FrameLines, Lines(file))


@pytest.fixture
def oops() -> Splat:
    (splat,) = find_splats(parse_console(OOPS))
    return splat


def test_priorities_and_times_are_left_out_but_for_the_first(oops: Splat) -> None:
    told = readable(oops, None)
    assert told[0] == "[    2.955727] BUG: kernel NULL pointer dereference, address: 0000000000000000"
    assert told[1] == "  #PF: supervisor write access in kernel mode"
    assert not any("<4>" in line or "2.9557" in line for line in told[1:])


def test_registers_are_told_once_and_those_of_user_space_not_at_all(oops: Splat) -> None:
    text = "\n".join(readable(oops, None))
    assert text.count("RAX: ") == text.count("RSP: ") == text.count("RIP: ") == 1
    assert "0033" not in text and "002b" not in text
    assert "</TASK>" in text and "Modules linked in" in text, "what comes after them stays"


def test_every_line_fits_where_its_words_do(oops: Splat) -> None:
    told = [line for line in readable(oops, lines()) if FILE not in line]
    assert [line for line in told if len(line) > 80] == []
    assert "  CPU: 0 PID: 30 Comm: sh Tainted: G O 6.1.192-kmod-harness-of-somebody #1" in told


def test_a_place_stands_behind_its_frame_or_where_it_has_no_room_below_it_whole(oops: Splat) -> None:
    told = readable(oops, lines())
    at = told.index("  RIP: 0010:my_write+0x5/0x17 [my]")
    assert told[at - 1] == f"     inlined at {FILE}:7 (inlined)"
    assert told[at + 1] == f"      at {FILE}:123"
    assert "   vfs_write+0xb5/0x2b0 at fs/read_write.c:589" in told


def test_the_code_bytes_give_way_to_their_instructions(oops: Splat) -> None:
    assert not any("Code: " in line for line in readable(oops, lines()))
    assert any("mov dword ptr [0], 1" in line for line in readable(oops, lines()))
    # without what disassembles them they are all there is
    assert any("Code: 3d de 2f" in line for line in readable(oops, None))


def test_of_a_long_report_beginning_and_end_are_shown() -> None:
    frames = "".join(f"[    3.{n:06}]  function_{n}+0x1/0x2\n" for n in range(200))
    log = f"[    2.0] WARNING: CPU: 0 PID: 1 at a.c:1 work+0x1/0x2\n[    2.1] Call Trace:\n{frames}"
    (splat,) = find_splats(parse_console(log.replace("[    2.0]", "[    2.000000]")))
    told = readable(splat, None)
    assert len(told) == 61
    assert "WARNING" in told[0] and told[-1].strip() == "function_199+0x1/0x2"
    assert any("lines left out" in line for line in told)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (lines(), "my_write (my/main.c:123): NULL pointer dereference"),
        (lines("fs/my/main.c"), "my_write (fs/my/main.c:123): NULL pointer dereference"),
        (None, "my_write: NULL pointer dereference"),
    ],
)
def test_a_headline_begins_with_the_function_and_has_room_for_it(
    oops: Splat, source: FrameLines | None, said: str
) -> None:
    assert headline(oops, source) == said


def test_a_headline_without_a_function_is_the_title() -> None:
    (splat,) = find_splats(parse_console("[    2.000000] Kernel panic - not syncing: no init found\n"))
    assert headline(splat, lines()) == splat.title == "kernel panic: no init found"


def test_what_the_kernel_says_again_behind_a_reports_end_belongs_to_it(oops: Splat) -> None:
    records = parse_console(OOPS)
    told = lines_of_report(records, oops)
    assert told[0].text.startswith("BUG: ") and told[-1].text.startswith("RSP: 0018")
    assert records[records.index(told[-1]) + 1].text.startswith("note: ")


def test_a_log_to_be_read_has_no_priorities_and_nothing_of_the_harness() -> None:
    told: Sequence[str] = for_reading(OOPS.splitlines())
    assert told[:2] == [
        "[    1.000000] my: hello",
        "[    2.955727] BUG: kernel NULL pointer dereference, address: 0000000000000000",
    ]
    assert not any("nonce" in line or line.startswith("<") for line in told)
    assert Path(FILE).name == "main.c"
