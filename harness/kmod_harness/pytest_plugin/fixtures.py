"""The fixture chain: machine_spec -> machine -> pristine -> guest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from ..spec import Spec
from .markers import is_cold
from .options import SETTINGS
from .state import state_of

if TYPE_CHECKING:
    from ..guest import Guest
    from .testbed import Pristine, Testbed


@pytest.fixture(scope="session")
def machine_spec(pytestconfig: pytest.Config) -> Spec:
    """What to boot: the Spec that the --kh-... options describe. Override it for your own."""
    return pytestconfig.stash[SETTINGS].spec


@pytest.fixture(scope="session")
def machine(machine_spec: Spec, pytestconfig: pytest.Config) -> Iterator[Testbed]:
    """The machine under test; `with machine.guest() as other:` gives one more guest of it."""
    from .testbed import prepare_testbed

    with prepare_testbed(machine_spec, pytestconfig.stash[SETTINGS], state_of(pytestconfig)) as testbed:
        yield testbed


@pytest.fixture(scope="session")
def pristine(machine: Testbed) -> Iterator[Pristine]:
    """What each test's guest starts from; override it to return a `guest.checkpoint()`."""
    from .testbed import Pristine

    with Pristine(machine) as pristine:
        yield pristine


@pytest.fixture
def guest(machine: Testbed, pristine: Pristine, request: pytest.FixtureRequest) -> Iterator[Guest]:
    """A pristine guest: `load`, `open`, `run`, `shell`, `ssh`, `kernel_log`.

    At the test's end what it loaded is unloaded, the kernel log is completed and judged; the next
    test has another guest.
    """
    is_cold_test = request.config.stash[SETTINGS].cold or is_cold(request.node)
    with machine.guest(cold=True) if is_cold_test else pristine.guest() as guest:
        yield guest
