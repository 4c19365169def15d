"""The kernel's own trace, by ftrace: the timeline of a load, and the functions of a module that ran."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import replace

from kmod_harness.explain.observed.observations import Step
from kmod_harness.guest.guest import Guest
from kmod_harness.guest.process import Process

TRACING = "/sys/kernel/tracing"
#: Text of an empty filter (kernel/trace/ftrace.c, t_show, 6.1).
_ALL_FUNCTIONS = "#### all functions enabled ####"
_GRAPH_OPTIONS = ("funcgraph-abstime", "funcgraph-proc", "funcgraph-tail", "nofuncgraph-overhead")

#: Steps of a load that are functions of their own in 6.1 (the others are inlined into load_module), in plain
#: words, with their place in the source of CHECKED_RELEASE. Few: each name costs a walk over all traced
#: functions.
STEPS = {
    "__x64_sys_finit_module": ("the system call that insmod makes", "kernel/module/main.c:2954"),
    "kernel_read_file": ("the kernel reads the whole .ko into its own memory", "fs/kernel_read_file.c:35"),
    "load_module": ("check the file, then do everything below", "kernel/module/main.c:2709"),
    "layout_symtab": ("decide which symbols stay for kallsyms", "kernel/module/kallsyms.c:110"),
    "module_alloc": (
        "find room in the module range, once for each block",
        "arch/x86/kernel/module.c:68",
    ),
    "resolve_symbol": ("look an undefined symbol up in the exported symbols", "kernel/module/main.c:1059"),
    "apply_relocate_add": ("write the addresses into the code: relocation", "arch/x86/kernel/module.c:223"),
    "add_kallsyms": ("keep the symbol names for /proc/kallsyms", "kernel/module/kallsyms.c:166"),
    "module_finalize": (
        "adapt the code to this CPU: alternatives, return thunks",
        "arch/x86/kernel/module.c:251",
    ),
    "module_enable_x": (
        "make the text executable, after it was made read-only",
        "kernel/module/strict_rwx.c:82",
    ),
    "parse_args": ("set the module's parameters", "kernel/params.c:163"),
    "mod_sysfs_setup": ("make /sys/module/NAME", "kernel/module/sysfs.c:370"),
    "do_init_module": ("run init, then free what only init needed", "kernel/module/main.c:2463"),
    "do_one_initcall": ("call the module's init function", "init/main.c:1261"),
    "blocking_notifier_call_chain": ("tell the kernel that the module is live", "kernel/notifier.c:370"),
}

#: `    2.956372 |   0)   harness-35   |   123.4 us  |      name();` and its `{` and `} /* name */` forms
#: (kernel/trace/trace_functions_graph.c, 6.1).
_GRAPH_LINE = re.compile(
    r"^\s*(?P<at>\d+\.\d+) \|\s+\d+\)\s+(?P<comm>\S+)-(?P<pid>\d+)\s+\|[^|\d]*(?:(?P<took>[\d.]+) us)?[^|]*\|"
    r"(?P<indent>\s*)(?P<close>\} /\* )?(?P<name>[\w.]+)",
    re.MULTILINE,
)


def can_trace(guest: Guest) -> bool:
    """Returns whether this kernel can trace functions with their durations."""
    path = f"{TRACING}/available_tracers"
    return guest.exists(path) and "function_graph" in guest.read_text(path).split()


@contextlib.contextmanager
def traced(guest: Guest, tracer: str, functions: tuple[str, ...], *, pid: int = 0) -> Iterator[list[str]]:
    """Traces `functions` (names or `*:mod:NAME`) while the block runs; the list then holds the trace.

    `pid` 0 traces every process. The trace is "" where none of the functions can be traced. At the end the
    tracer is off and the kernel's text unchanged.
    """
    result: list[str] = []
    try:
        _set(guest, "tracing_on", "0")
        _set(guest, "set_ftrace_filter", "")
        for function in functions:
            with contextlib.suppress(OSError):  # a kernel that inlined it, or has none of that name
                _set(guest, "set_ftrace_filter", f"{function}\n", append=True)
        # without a filter every function of the kernel would be traced
        filtered = _ALL_FUNCTIONS not in guest.read_text(f"{TRACING}/set_ftrace_filter")
        if filtered:
            _set(guest, "set_ftrace_pid", str(pid) if pid else "")
            _set(guest, "current_tracer", tracer)
            if tracer == "function_graph":  # its options exist while it is the current one
                for option in _GRAPH_OPTIONS:
                    _set(guest, "trace_options", option)
            _set(guest, "tracing_on", "1")
        yield result
        _set(guest, "tracing_on", "0")
        result.append(guest.read_text(f"{TRACING}/trace") if filtered else "")
    finally:
        _set(guest, "current_tracer", "nop")
        _set(guest, "set_ftrace_pid", "")
        _set(guest, "set_ftrace_filter", "")


def trace_load(guest: Guest, process: Process) -> contextlib.AbstractContextManager[list[str]]:
    """Traces the steps of the next finit_module that `process` makes."""
    return traced(guest, "function_graph", tuple(STEPS), pid=process.pid)


def parse_timeline(trace: str, pid: int) -> tuple[Step, ...]:
    """Returns the steps of the first finit_module that process `pid` made, in order, () without one.

    Consecutive calls of one name and depth are one step with a count, such as 38 look-ups of symbols.
    """
    lines = [match for match in _GRAPH_LINE.finditer(trace) if int(match["pid"]) == pid]
    first = next((i for i, line in enumerate(lines) if line["name"] == "__x64_sys_finit_module"), None)
    if first is None:
        return ()
    base, margin = float(lines[first]["at"]), len(lines[first]["indent"])
    steps: list[Step] = []
    opened: list[int] = []
    for line in lines[first:]:
        depth = (len(line["indent"]) - margin) // 2
        took = float(line["took"] or 0)
        if line["close"]:
            at = opened.pop()
            steps[at] = replace(steps[at], took=took)
            if not opened:
                break
            continue
        meaning, source = STEPS.get(line["name"], ("", ""))
        step = Step(round((float(line["at"]) - base) * 1e6), took, depth, line["name"], meaning, source)
        if line["took"] is None:
            opened.append(len(steps))
        elif steps and (steps[-1].function, steps[-1].depth) == (step.function, depth):
            steps[-1] = _repeated(steps[-1], step)
            continue
        steps.append(step)
        if not opened:
            break
    return tuple(steps)


def _repeated(step: Step, again: Step) -> Step:
    until = again.at + again.took
    return replace(step, took=round(until - step.at, 3), count=step.count + 1)


def traced_functions(trace: str) -> tuple[str, ...]:
    """Returns the functions of a `function` trace, in order: `comm-pid [cpu] flags time: NAME <-CALLER`."""
    return tuple(re.findall(r"\d:\s+(\w[\w.]*)(?: \[\w+\])? <-", trace))


def entries(trace: str) -> str:
    """Returns a trace without its heading."""
    return "\n".join(line for line in trace.splitlines() if line and not line.startswith("#"))


@contextlib.contextmanager
def probed_stack(guest: Guest, module: str, function: str) -> Iterator[list[str]]:
    """Sets a kprobe on a function of the module while the block runs; the list then holds its log.

    Raises OSError on a kernel without kprobe events.
    """
    result: list[str] = []
    _set(guest, "kprobe_events", f"p:kh/stack {module}:{function} sp=%sp\n", append=True)
    _set(guest, "events/kh/stack/enable", "1")
    _set(guest, "tracing_on", "1")
    try:
        yield result
    finally:
        _set(guest, "events/kh/stack/enable", "0")
        lines = [line for line in guest.read_text(f"{TRACING}/trace").splitlines() if "stack: " in line]
        result.append("\n".join(lines))
        _set(guest, "tracing_on", "0")
        _set(guest, "kprobe_events", "-:kh/stack\n", append=True)


def parse_stack_pointer(trace: str) -> int:
    """Returns the first `sp=0x...` in the log of a kprobe, 0 without one."""
    found = re.search(r"sp=0x([0-9a-f]+)", trace)
    return int(found[1], 16) if found else 0


def _set(guest: Guest, name: str, text: str, *, append: bool = False) -> None:
    flags = os.O_WRONLY | (os.O_APPEND if append else os.O_TRUNC)
    with guest.open(f"{TRACING}/{name}", flags) as file:
        if text:
            file.write(text.encode())
