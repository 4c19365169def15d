"""What a command says, passed on as it says it."""

from __future__ import annotations

import sys

from kmod_harness.cli.streams import drop_output
from kmod_harness.host.visible import visible_bytes
from kmod_harness.machine.deadline import Clock


class LiveOutput:
    """Writes each piece to the stream it is of; a reader that is slow costs the command none of its time.

    On a terminal what a program of the guest says for it is shown, and not obeyed.

    clock: the machine's, once there is one. trouble: why stdout was lost, None where it was not.
    """

    def __init__(self) -> None:
        self.clock = Clock()
        self.trouble: Exception | None = None

    def __call__(self, data: bytes, *, is_stderr: bool) -> None:
        stream = sys.stderr.buffer if is_stderr else sys.stdout.buffer
        if self.trouble is not None and not is_stderr:
            return
        self.clock.pause()
        try:
            stream.write(visible_bytes(data) if stream.isatty() else data)
            stream.flush()
        except BrokenPipeError:
            # whoever read stdout has gone: the verdict stands
            drop_output()
        except Exception as error:
            self.trouble = error
        finally:
            self.clock.resume()
