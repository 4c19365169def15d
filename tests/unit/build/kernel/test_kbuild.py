"""Running make: the log, the first error, progress, and no make left behind."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kmod_harness.build.kernel.kbuild import Progress, first_error, run_make
from kmod_harness.build.required_tools import require_tools
from kmod_harness.errors import BuildFailed, MissingTool

RECORDED = """\
make[1]: Entering directory '/cache/build'
  CC      kernel/fork.o
  CC      drivers/x/a.o
../drivers/x/a.c: In function 'probe':
../drivers/x/a.c:12:9: warning: unused variable 'i' [-Wunused-variable]
../drivers/x/a.c:14:2: error: implicit declaration of 'nosuch' [-Werror=implicit-function-declaration]
   14 |  nosuch();
      |  ^~~~~~
cc1: some warnings being treated as errors
  CC      kernel/exit.o
make[3]: *** [../scripts/Makefile.build:250: drivers/x/a.o] Error 1
make[3]: *** Waiting for unfinished jobs....
make: *** [Makefile:238: __sub-make] Error 2
"""

pytestmark = pytest.mark.needs("make")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def makefile(directory: Path, text: str) -> Path:
    (directory / "Makefile").write_text(text)
    return directory


def test_the_first_error_is_found_not_the_last_line() -> None:
    shown = first_error(RECORDED).splitlines()
    assert shown[2].endswith("[-Werror=implicit-function-declaration]")
    assert shown[3].strip() == "14 |  nosuch();"
    assert len(shown) == 9


@pytest.mark.parametrize(
    "line",
    [
        "ld: x.o: in function `f': undefined reference to `g'",
        "make[2]: *** No rule to make target 'nosuch.o', needed by 'x.ko'.  Stop.",
        'ERROR: modpost: "nosuch" [/m/x.ko] undefined!',
        "/bin/sh: 1: gcc-12: not found",
        "x.c:1:10: fatal error: nosuch.h: No such file or directory",
    ],
)
def test_every_kind_of_error_is_recognised(line: str) -> None:
    output = "\n".join([f"  CC      {number}.o" for number in range(30)] + [line] + ["  CC  y.o"] * 30)
    assert line in first_error(output)


def test_a_flag_that_names_errors_is_not_an_error() -> None:
    output = "gcc -Werror=date-time -Werror -c x.c\n" * 20 + "the end"
    assert first_error(output).endswith("the end")


def test_objects_are_counted_and_the_log_is_kept(tmp_path: Path) -> None:
    source = makefile(
        tmp_path, "all:\n\t@echo '  CC      a.o'; echo '  AS b.o'; echo '  LD      c.o'; echo done\n"
    )
    log = tmp_path / "log"
    assert run_make(["-C", str(source)], log=log, what="it") == 2
    assert "  AS b.o\n" in log.read_text()


def test_a_failed_build_shows_its_first_error_and_the_log(tmp_path: Path) -> None:
    source = makefile(tmp_path, "all:\n\t@echo 'x.c:1: error: first'; echo 'y.c:2: error: second'; false\n")
    log = tmp_path / "log"
    with pytest.raises(BuildFailed) as failure:
        run_make(["-C", str(source)], log=log, what="building x")
    assert failure.value.message == "building x failed: make ended with status 2"
    assert "x.c:1: error: first" in failure.value.evidence
    assert str(log) in failure.value.advice
    assert "y.c:2: error: second" in log.read_text()


def test_output_that_is_no_text_does_no_harm(tmp_path: Path) -> None:
    source = makefile(tmp_path, "all:\n\t@printf '\\377\\000 error: \\376\\n'; false\n")
    with pytest.raises(BuildFailed, match="it failed"):
        run_make(["-C", str(source)], log=tmp_path / "log", what="it")


def test_an_outer_make_does_not_reach_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAKEFLAGS", "n -- ARCH=arm")
    for name in ("ARCH", "LOCALVERSION", "KCFLAGS", "KBUILD_OUTPUT"):
        monkeypatch.setenv(name, "imposed")
    source = makefile(tmp_path, "all:\n\t@env; echo 'arch is $(ARCH).'\n")
    run_make(["-C", str(source)], log=tmp_path / "log", what="it")
    assert "arch is ." in (tmp_path / "log").read_text()
    assert "imposed" not in (tmp_path / "log").read_text()


def test_without_make_the_missing_program_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingTool, match="make is not installed"):
        run_make([], log=tmp_path / "log", what="it")


def test_missing_programs_are_named_with_their_packages() -> None:
    with pytest.raises(MissingTool) as failure:
        require_tools({"sh": "dash", "no-such-lexer": "flex", "no-such-parser": "bison"})
    assert failure.value.message.endswith("no-such-lexer, no-such-parser")
    assert "apt-get install --no-install-recommends flex bison" in failure.value.advice


def test_progress_on_a_terminal_is_one_line_redrawn() -> None:
    stream = Terminal()
    progress = Progress(expected=1300, stream=stream)
    progress._last_said = 0.0
    progress.line("  CC      kernel/fork.o")
    progress.end()
    assert stream.getvalue() == "\r\x1b[K  1/1300 CC      kernel/fork.o\r\x1b[K"


def test_progress_in_a_log_is_a_line_each_hundred_objects() -> None:
    stream = io.StringIO()
    progress = Progress(expected=250, stream=stream)
    for number in range(270):
        progress.line(f"  CC      {number}.o")
        progress.line("some other line")
    progress.end()
    assert stream.getvalue() == "  100/250 objects\n  200/250 objects\n"


_PARENT = """
import sys
from pathlib import Path
from kmod_harness.build.kernel.kbuild import run_make
run_make(["-C", sys.argv[1]], log=Path(sys.argv[1], "log"), what="it")
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_make_and_its_children_end_with_a_killed_parent(tmp_path: Path, how: signal.Signals) -> None:
    makefile(tmp_path, "all:\n\t@exec >fifo; echo started; exec sleep 600\n")
    os.mkfifo(tmp_path / "fifo")
    with (
        subprocess.Popen(
            [sys.executable, "-c", _PARENT, str(tmp_path)],
            stderr=subprocess.DEVNULL,
            # a suite that a shell without job control started by `&` ignores SIGINT, and its children would
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        ) as parent,
        open(tmp_path / "fifo") as fifo,
    ):
        assert fifo.readline() == "started\n"
        parent.send_signal(how)
        # the end of the file: nobody who could write, make's child, is left
        assert fifo.read() == ""


def test_what_makes_shells_have_started_ends_with_a_build_that_is_given_up(tmp_path: Path) -> None:
    makefile(tmp_path, "all:\n\t@sh -c '(exec >fifo; echo started; sleep 600; true); true'; true\n")
    os.mkfifo(tmp_path / "fifo")
    told = "import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(1))\n"
    with (
        subprocess.Popen([sys.executable, "-c", told + _PARENT, str(tmp_path)]) as parent,
        open(tmp_path / "fifo") as fifo,
    ):
        assert fifo.readline() == "started\n"
        parent.send_signal(signal.SIGTERM)
        assert fifo.read() == ""
