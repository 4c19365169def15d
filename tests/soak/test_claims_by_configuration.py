"""Claims on other kernels, command lines and modules, each a real boot: only what depends on them changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kmod_harness.build.modules import build_modules
from kmod_harness.explain.claims.catalogue import judge_claims
from kmod_harness.explain.observe.crafted_modules import with_bytes_replaced
from kmod_harness.explain.observe.experiment import Subject, read_subject, set_up_experiment
from kmod_harness.explain.observe.refusals import load_with_symbol_renamed, unexported_symbol
from kmod_harness.explain.observed.observations import Observations
from kmod_harness.host.resources import data_directory
from kmod_harness.kmod.elf.module import read_module
from kmod_harness.kmod.symbols.symbol_files import AddressesHidden
from kmod_harness.lifecycle.boot import boot
from kmod_harness.lifecycle.prepare import prepare
from kmod_harness.spec.spec import Spec
from shared.checkout import ROOT
from shared.claim_observations import observed, usual_verdict, watched

CONFIG = ROOT / "kernel-config/no-kaslr.config"
pytestmark = pytest.mark.needs("gdb")
Observe = Callable[[Spec, Subject], Observations]


@pytest.fixture(scope="module")
def observe_on(tmp_path_factory: pytest.TempPathFactory) -> Observe:
    def make(spec: Spec, one: Subject) -> Observations:
        return observed(prepare(spec), one, tmp_path_factory.mktemp("observed"))

    return make


def verdicts(seen: Observations) -> dict[str, str]:
    return {claim.key: claim.verdict.value for claim in judge_claims(seen)}


def different(seen: Observations) -> dict[str, str]:
    """The verdicts that are not those of the usual machine."""
    return {key: verdict for key, verdict in verdicts(seen).items() if verdict != usual_verdict(key, seen)}


def test_without_kaslr_the_address_is_the_same_at_every_boot(
    observe_on: Observe, chardev_ko: Path, chardev_stats_ko: Path
) -> None:
    seen = observe_on(
        Spec(kernel="minimal", append=("nokaslr",)), read_subject(chardev_ko, dependent=chardev_stats_ko)
    )
    assert different(seen) == {"another-address": "false"}
    assert seen.space.slide == 0
    # the range is that of a kernel which could move, though this one did not
    assert seen.pages[0].virtual == seen.space.module_range.start == 0xFFFFFFFFC0000000


def test_a_module_with_a_thread_runs_unasked_and_exports_nothing(
    observe_on: Observe, faulty_ko: Path
) -> None:
    seen = observe_on(Spec(kernel="minimal"), read_subject(faulty_ko, parameters="fault=kthread when=init"))
    assert different(seen) == {
        "nothing-runs-until-open": "false",
        "part-of-the-kernel": "imprecise",
        # its device has no open function
        "open-is-a-syscall": "undecided",
        "private-names": "true",
    }
    assert {block.symbol.split("+")[0] for block in seen.opening.quiet.blocks} == {"faulty_thread"}
    assert "faulty_kthread" in seen.loading.tasks_after.values()


def test_a_module_that_exports_a_symbol_makes_it_one_that_others_can_have(
    chardev_ko: Path, faulty_ko: Path, tmp_path: Path
) -> None:
    prepared, log = watched(prepare(Spec(kernel="minimal")), tmp_path)
    faulty = read_module(faulty_ko)
    with boot(prepared) as guest:
        guest.write_file("/proc/sys/kernel/kptr_restrict", b"2")
        with pytest.raises(AddressesHidden):
            set_up_experiment(guest, prepared.kernel, log, Subject(faulty))
        guest.write_file("/proc/sys/kernel/kptr_restrict", b"0")
        experiment = set_up_experiment(guest, prepared.kernel, log, Subject(faulty))
        name = unexported_symbol(experiment.running)

        def try_it() -> int:
            # `panic` is called by nothing but fault=panic
            harmless = "fault=init_error when=write"
            return load_with_symbol_renamed(
                guest, faulty, name, instead_of="panic", parameters=harmless
            ).errno

        refused = try_it()
        exporter = with_bytes_replaced(
            chardev_ko.read_bytes(), b"chardev_sum_counters\0", name.encode() + b"\0"
        )
        (tmp_path / "chardev.ko").write_bytes(exporter)
        with guest.load(tmp_path / "chardev.ko", force=True):
            taken = try_it()
    assert (refused, taken) == (2, 0)


@pytest.mark.timeout(3600)  # compiles a kernel where the cache has none
def test_a_kernel_without_randomize_base_is_as_documented(observe_on: Observe, tmp_path: Path) -> None:
    spec = Spec(kernel="minimal", kconfig=(str(CONFIG),))
    prepared = prepare(spec, build=True)
    modules = build_modules(data_directory("modules"), prepared.kernel, tmp_path / "modules")
    chardev = next(path for path in modules if path.name == "chardev.ko")
    stats = next(path for path in modules if path.name == "chardev_stats.ko")

    seen = observe_on(spec, read_subject(chardev, dependent=stats))

    assert different(seen) == {"documented-range": "true", "another-address": "false"}
    assert seen.pages[0].virtual == 0xFFFFFFFFA0000000
