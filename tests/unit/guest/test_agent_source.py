"""The agent's C code as a local program: the parsers of what the host sends, under sanitizers.

The agent has no C library; its system calls and string functions are replaced here, so that a
malformed frame that reaches further than it may is a report and not luck.
"""

from __future__ import annotations

import random
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kmod_harness.guest.agent.protocol import (
    MAX_CALLS,
    Call,
    InOut,
    Out,
    OutUpToResult,
    ResultOf,
    decode_results,
    encode_calls,
    encode_run,
)
from kmod_harness.host.resources import agent_sources

pytestmark = pytest.mark.needs("gcc")

SOURCE = agent_sources()[0].parent
GETPID = 39

# no system call is made: the agent's `sys` is defined away, and answers with its number
HARNESS = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define KMOD_HARNESS_SYS_H
#include <linux/types.h>
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <asm/unistd.h>
#include <stdbool.h>
#include <stdnoreturn.h>
#include <signal.h>
static long sys(unsigned long nr, unsigned long a, unsigned long b, unsigned long c,
                unsigned long d, unsigned long e, unsigned long f)
{
	(void)a; (void)b; (void)c; (void)d; (void)e; (void)f;
	return nr == 60000 ? -9 : (long)nr;
}
#define W(value) ((unsigned long)(value))
#define SYS0(nr) sys(nr, 0, 0, 0, 0, 0, 0)
#define SYS1(nr, a) sys(nr, W(a), 0, 0, 0, 0, 0)
#define SYS2(nr, a, b) sys(nr, W(a), W(b), 0, 0, 0, 0)
#define SYS3(nr, a, b, c) sys(nr, W(a), W(b), W(c), 0, 0, 0)
#define SYS4(nr, a, b, c, d) sys(nr, W(a), W(b), W(c), W(d), 0, 0)
#define SYS5(nr, a, b, c, d, e) sys(nr, W(a), W(b), W(c), W(d), W(e), 0)
static int open_file(const char *path, int flags) { (void)path; (void)flags; return 3; }
static void close_file(int fd) { (void)fd; }
static void set_oom_score(const char *adjustment) { (void)adjustment; }
static bool write_all(int fd, const void *data, unsigned long size)
{ (void)fd; (void)data; (void)size; return 1; }
static long fork_process(void) { return 1; }
static noreturn void exit_process(int status) { exit(status); }
#include "calls.c"
long list_names(const char *path, unsigned long depth, const char *skip, char *out, unsigned long room)
{ (void)path; (void)depth; (void)skip; (void)out; (void)room; return 0; }
#include "jobs.c"
void send_frame(int port, const struct frame *request, unsigned long kind,
		const void *payload, unsigned long size)
{ (void)port; (void)request; (void)kind; (void)payload; (void)size; }
void send_error(int port, const struct frame *request, long error)
{ (void)port; (void)request; (void)error; }

static void put(const void *data, unsigned long size)
{
	if (fwrite(data, 1, size, stdout) != size)
		exit(3);
}

static void answer_calls(unsigned char *request, unsigned long size)
{
	/* exactly as large as they claim to be: one byte further is a report */
	unsigned char *answer = malloc(8192), *scratch = malloc(4096);
	long result = carry_out_calls(request, size, answer, 8192, scratch, 4096);

	put(&result, sizeof(result));
	if (result > 0)
		put(answer, result);
	free(answer);
	free(scratch);
}

static void answer_program(char *payload, unsigned long size)
{
	struct program program = { 0 };
	long result = parse_program(payload, size, &program);
	char **word;

	put(&result, sizeof(result));
	if (!result)
		return;
	result = strlen(program.input) + strlen(program.directory);
	for (word = program.argv; *word; word++)
		result += strlen(*word);
	for (word = program.envp; *word; word++)
		result += strlen(*word);
	result += search_path(program.envp)[0] == 0;
	put(&result, sizeof(result));
}

/* Frames one after the other: u32 size, u8 kind, bytes. */
int main(void)
{
	unsigned int size;
	unsigned char kind;

	while (fread(&size, 4, 1, stdin) == 1 && fread(&kind, 1, 1, stdin) == 1) {
		void *data = malloc(size);

		if (size && fread(data, size, 1, stdin) != 1)
			return 4;
		if (kind == 0)
			answer_calls(data, size);
		else
			answer_program(data, size);
		free(data);
	}
	return 0;
}
"""


@pytest.fixture(scope="module")
def parsers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("agent")
    (directory / "harness.c").write_text(HARNESS)
    flags = ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-w"]
    # frames are byte streams: words in them lie where they lie, as the CPU allows
    flags += ["-fno-sanitize=alignment", f"-I{SOURCE}"]
    program = directory / "harness"
    subprocess.run(["gcc", *flags, "-o", program, directory / "harness.c"], check=True)
    return program


def feed(parsers: Path, kind: int, payloads: Sequence[bytes]) -> bytes:
    """Runs the parsers over all payloads in one process; a sanitizer's report fails the test."""
    data = b"".join(struct.pack("<IB", len(payload), kind) + payload for payload in payloads)
    done = subprocess.run([parsers], input=data, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")[:3000]
    return done.stdout


def results_of(parsers: Path, calls: Sequence[Call], *, stop_on_error: bool = False) -> bytes:
    out = feed(parsers, 0, [encode_calls(calls, stop_on_error=stop_on_error)])
    (size,) = struct.unpack_from("<q", out)
    assert size == len(out) - 8
    return out[8:]


def test_results_lie_where_the_host_looks_for_them(parsers: Path) -> None:
    calls = [
        Call(GETPID),
        Call(5, (Out(4), b"input", OutUpToResult(9), InOut(b"both"), -1, 7)),
        Call(60000, (OutUpToResult(9), ResultOf(0))),
    ]

    pid, mixed, failed = decode_results(results_of(parsers, calls), calls)

    assert pid.value == GETPID
    assert (mixed.value, mixed.buffers) == (5, (bytes(4), bytes(5), b"both"))
    assert (failed.errno, failed.buffers) == (9, (b"",))


def test_a_batch_stops_at_its_first_error_only_when_told_to(parsers: Path) -> None:
    calls = [Call(GETPID), Call(60000), Call(GETPID)]

    assert len(decode_results(results_of(parsers, calls), calls)) == 3
    assert len(decode_results(results_of(parsers, calls, stop_on_error=True), calls)) == 2


@pytest.mark.parametrize(
    ("payload", "number"),
    [
        (b"", 0),
        (struct.pack("<HH", 1, 0), -22),
        (struct.pack("<HH", MAX_CALLS + 1, 0), -7),
        (struct.pack("<HHHB", 1, 0, GETPID, 7), -22),
        (struct.pack("<HHHBB", 1, 0, GETPID, 1, 99), -22),
        (struct.pack("<HHHBBI", 1, 0, GETPID, 1, 1, 100) + b"short", -22),
        (struct.pack("<HHHBBI", 1, 0, GETPID, 1, 2, 0xFFFFFFFF), -22),
        (struct.pack("<HHHBBH", 1, 0, GETPID, 1, 5, 0), -22),
    ],
)
def test_a_malformed_frame_is_refused_with_an_errno(parsers: Path, payload: bytes, number: int) -> None:
    (result,) = struct.unpack("<q", feed(parsers, 0, [payload])[:8])

    assert result == number


def test_an_answer_that_does_not_fit_is_refused(parsers: Path) -> None:
    calls = [Call(GETPID, (Out(4096),))] * 3

    (result,) = struct.unpack("<q", feed(parsers, 0, [encode_calls(calls)]))

    assert result == -90


call_arguments = st.one_of(
    st.integers(0, (1 << 64) - 1),
    st.binary(max_size=30),
    st.builds(Out, st.integers(0, 5000)),
    st.builds(OutUpToResult, st.integers(0, 5000)),
    st.builds(InOut, st.binary(max_size=30)),
    st.builds(ResultOf, st.integers(0, 6)),
)
# PEEK and POKE go where they are told to: they are no parsers' business
numbers = st.integers(0, 0xF000)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.builds(Call, numbers, st.lists(call_arguments, max_size=6).map(tuple)), max_size=5),
    st.randoms(use_true_random=False),
)
def test_damaged_frames_never_reach_beyond_their_buffers(
    parsers: Path, calls: list[Call], rng: random.Random
) -> None:
    payload = encode_calls(calls)
    feed(parsers, 0, [payload, *(damaged(payload, rng) for _ in range(60))])


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.binary(max_size=12).map(lambda b: b.replace(b"\0", b"x")), min_size=1, max_size=5),
    st.randoms(use_true_random=False),
)
def test_damaged_programs_never_reach_beyond_their_frame(
    parsers: Path, argv: list[bytes], rng: random.Random
) -> None:
    payload = encode_run(argv, [b"PATH=/bin", b"PATH="], b"/tmp", b"")
    out = feed(parsers, 1, [payload])
    assert struct.unpack("<qq", out) == (1, len(b"/tmp" + b"".join(argv) + b"PATH=/binPATH="))
    feed(parsers, 1, [damaged(payload, rng) for _ in range(60)])


def damaged(payload: bytes, rng: random.Random) -> bytes:
    data = bytearray(payload)
    for _ in range(rng.randrange(1, 4)):
        if data:
            at = rng.randrange(len(data))
            data[at] = rng.choice((0, 1, 2, 3, 4, 5, 6, 0x7F, 0xFF, rng.randrange(256)))
    data = data[: rng.randrange(len(data) + 1)] if rng.random() < 0.3 else data
    # the two calls that are memory accesses by design
    return bytes(data).replace(b"\x01\xf0", b"\x01\x00").replace(b"\x02\xf0", b"\x02\x00")
