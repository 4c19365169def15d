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
def machine(machine_spec: Spec, pytestconfig: pytest.Config) -> Testbed:
    """The machine under test; `with machine.guest() as other:` boots one more guest of it."""
    from .testbed import prepare_testbed

    return prepare_testbed(machine_spec, pytestconfig.stash[SETTINGS], state_of(pytestconfig))


@pytest.fixture(scope="session")
def pristine(machine: Testbed) -> Iterator[Pristine]:
    """What each test's guest starts from."""
    from .testbed import Pristine

    with Pristine(machine) as pristine:
        yield pristine


@pytest.fixture
def guest(machine: Testbed, pristine: Pristine, request: pytest.FixtureRequest) -> Iterator[Guest]:
    """A booted guest: `load`, `open`, `run`, `shell`, `ssh`, `kernel_log`.

    What the test loads is unloaded and its processes are ended; a guest that was damaged is replaced.
    """
    is_cold_test = request.config.stash[SETTINGS].cold or is_cold(request.node)
    with machine.guest() if is_cold_test else pristine.guest() as guest:
        yield guest
