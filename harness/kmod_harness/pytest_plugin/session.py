"""The state of one pytest process: made when a fixture is first used."""

from __future__ import annotations

import pytest

from kmod_harness.pytest_plugin.state import CASE, RUNNING, STATE, State


def state_of(config: pytest.Config) -> State:
    """Returns the process's state."""
    if STATE not in config.stash:
        from kmod_harness.klog.expected.expectation import kinds_of  # lazy
        from kmod_harness.lifecycle.oops_trap import KINDS_OF_OOPS  # lazy
        from kmod_harness.machine.deadline import Clock  # lazy
        from kmod_harness.pytest_plugin.bundles import keeps_bundles, leave_bundle  # lazy

        def keeps_oops() -> bool:
            item = running()
            expected = item is not None and kinds_of(item.stash[CASE].expected) & KINDS_OF_OOPS
            return keeps_bundles(config) and not expected and config.stash[STATE].guests_to_keep > 0

        def running() -> pytest.Item | None:
            return config.stash.get(RUNNING, None)

        def leave_bundle_of_test(state: State, failure: BaseException) -> None:
            item = running()
            if item is not None:
                leave_bundle(item, state, item.stash[CASE], failure)

        config.stash[STATE] = State(Clock(), running, keeps_oops, leave_bundle_of_test)
    return config.stash[STATE]
