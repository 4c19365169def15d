"""`kmod-harness explain`: the claims about loading, tried on a real boot, written down as one HTML page."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kmod_harness.cli.machine_options import add_machine_options
from kmod_harness.cli.parameters import add_parameter_option
from kmod_harness.cli.repository_defaults import add_repository_option, with_repository

if TYPE_CHECKING:
    from kmod_harness.cli.explain.request import ExplainRequest
    from kmod_harness.explain.claims.claim import JudgedClaim
    from kmod_harness.explain.observed.observations import Observations
    from kmod_harness.explain.page.account import Account
    from kmod_harness.explain.page.render import Provenance
    from kmod_harness.klog.splats import Splat

_EPILOG = """\
Boots, loads and unloads the module several times, opens its device, reads it from inside and from outside,
and writes DIR/index.html: one file that needs no network, with the answer in plain words, the address space
to scale, every relocation, the way of one open(), and each claim with its evidence. DIR/relocations.csv
lists all relocations. Without MODULE: those that kmod-harness.toml names, where there is one, else the
sample driver; built if need be. Always under software emulation: only there QEMU logs which code ran.

exit status:
  0 the page is written
  1 it is, and part of the module in memory is unexplained (see `verify`)
  2 usage or set-up   3 kernel splat   4 panic   5 hang   6 boot failed
  7 QEMU died

examples:
  kmod-harness explain
  kmod-harness explain my.ko --param debug=1 -o /tmp/page
  kmod-harness explain loop --kernel debian
"""


@dataclass(frozen=True)
class ExperimentResults:
    """The results of the experiments: measurements, judged claims, account of bytes, splats."""

    seen: Observations
    judged: tuple[JudgedClaim, ...]
    account: Account
    splats: tuple[Splat, ...]


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "explain",
        help="show on one page how a module got into the kernel",
        usage="kmod-harness explain [MODULE ...] [-o DIR] [options]",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "modules",
        nargs="*",
        metavar="MODULE",
        help="a .ko, or a name of the kernel's own; the last one is explained, others before it are loaded",
    )
    parser.add_argument(
        "-o",
        "--out",
        default="build/explain",
        metavar="DIR",
        help="where the page goes (default: build/explain)",
    )
    parser.add_argument(
        "--picture",
        default="",
        metavar="URL",
        help="a picture to be shown with links to the page, where you publish it (og:image)",
    )
    add_parameter_option(parser)
    add_repository_option(parser)
    add_machine_options(parser)
    parser.set_defaults(execute=execute, parser=parser)


def execute(args: argparse.Namespace) -> int:
    """Runs the experiments, writes the page, prints its path and what it says; returns the exit status."""
    from kmod_harness.cli.explain.request import read_request  # lazy
    from kmod_harness.errors import ExitStatus  # lazy
    from kmod_harness.explain.page.render import write_page  # lazy
    from kmod_harness.klog.outcome import outcome_of  # lazy

    started = time.monotonic()
    args = with_repository(args)
    request = read_request(args)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)  # a place that cannot be written is known before the boot
    with tempfile.TemporaryDirectory(prefix="kh-explain-") as scratch:
        found = _experiments(request, Path(scratch) / "executed.log", args.boot_timeout)
    provenance = replace(_provenance(request, time.monotonic() - started), picture=args.picture)
    page = write_page(out, found.seen, found.judged, provenance, found.account)
    print(f"{page}\n\n{summary(found.seen, found.judged, found.account)}")
    for line in (*found.account.findings, *(splat.title for splat in found.splats)):
        print(f"  {line}")
    unexplained = ExitStatus.FAILED if found.account.findings else ExitStatus.PASSED
    return int(outcome_of(found.splats).exit_status or unexplained)


def summary(seen: Observations, judged: Sequence[JudgedClaim], account: Account) -> str:
    """Returns the page's summary, in one paragraph."""
    from kmod_harness.explain.page.render import verdict_counts  # lazy

    verdicts = ", ".join(f"{count} {verdict.value}" for verdict, count in verdict_counts(judged))
    changed = account.compared - account.equal
    rest = "not all of them explained" if account.findings else "each for a known reason"
    if account.limits and not account.findings:
        unknown = f" but {account.not_compared} that could not be judged" if account.not_compared else ""
        rest += f"{unknown}; what could not be compared, the page says"
    relocations, equal = len(seen.linking.relocations), f"{account.equal} are as the link makes them"
    kernel = f"Linux {seen.machine.release}"
    return (
        f"{len(judged)} claims about how {seen.module.name} gets into {kernel}, tried from"
        f" inside and outside: {verdicts}. Relocations: {relocations}. Of {account.compared} bytes in memory"
        f" {equal}; {changed} were changed later, {rest}."
    )


def _experiments(request: ExplainRequest, log: Path, boot_timeout: float | None) -> ExperimentResults:
    """One cold boot: the claims, before anything has tainted the kernel; then the module's bytes."""
    from kmod_harness.cli.run.report import say  # lazy
    from kmod_harness.explain.claims.catalogue import judge_claims  # lazy
    from kmod_harness.explain.observe.observe import observe  # lazy
    from kmod_harness.explain.observe.running_kernel import randomize_base  # lazy
    from kmod_harness.explain.page.account import account_of  # lazy
    from kmod_harness.explain.probes.execution_log import execution_log_arguments  # lazy
    from kmod_harness.lifecycle.boot import boot  # lazy
    from kmod_harness.verify.verify_modules import verify_modules  # lazy

    prepared, subject = request.prepared, request.subject
    kernel = prepared.kernel
    logged = (*prepared.spec.qemu_args, *execution_log_arguments(log, randomize_base(kernel)))
    machine = replace(prepared, spec=replace(prepared.spec, qemu_args=logged))
    say(f"booting Linux {kernel.release}, then a dozen loads of {subject.file.name}: about half a minute")
    with boot(machine, boot_timeout=boot_timeout) as guest:
        for module in request.before:
            guest.load(module.path)
        guest.check_before_loading(subject.file)
        seen = observe(guest, kernel, log, subject)
        with guest.load(subject.file.path, request.parameters):
            report = verify_modules(guest, kernel, [subject.file], subject.providers)
        splats = guest.judge(0)
    return ExperimentResults(seen, judge_claims(seen), account_of(report), splats)


def _provenance(request: ExplainRequest, seconds: float) -> Provenance:
    import hashlib  # lazy
    import subprocess  # lazy
    from datetime import UTC, datetime  # lazy

    from kmod_harness.explain.page.render import Provenance  # lazy
    from kmod_harness.host.version import __version__  # lazy

    prepared, file = request.prepared, request.subject.file
    said = subprocess.run([prepared.qemu, "--version"], capture_output=True, text=True, check=False).stdout
    return Provenance(
        when=datetime.now(UTC),
        accelerator="tcg: software emulation, since only there QEMU logs which code ran",
        qemu=said.splitlines()[0] if said else prepared.qemu,
        kernel=str(prepared.kernel.bzimage),
        ram_size=prepared.spec.memory_mib << 20,
        module_file=request.shown_path,
        module_digest=hashlib.sha256(file.data).hexdigest(),
        harness_version=__version__,
        commands=request.commands,
        seconds=seconds,
    )
