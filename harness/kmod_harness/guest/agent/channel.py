"""The host's end of the agent's port: requests out, answers and events in, each by its tag."""

from __future__ import annotations

import threading
from collections import deque

from kmod_harness.errors import BootFailed, GuestHang, GuestRebooted, KernelPanic
from kmod_harness.guest.agent.protocol import PROTOCOL_VERSION, Frame, FrameReader, Kind, ProtocolError
from kmod_harness.guest.agent.transcript import Transcript
from kmod_harness.guest.boot_symptom import boot_advice, panic_advice
from kmod_harness.machine.deadline import Deadline
from kmod_harness.machine.machine import Machine

#: Seconds: the port closes before a killed QEMU is gone, which gives back its memory first.
END_SECONDS = 10.0
#: Lines of the kernel log in which the reason of a failed boot is looked for.
_BOOT_LINES = 400


class AgentChannel:
    """Frames to and from one machine's agent, for any number of threads.

    Whoever waits for one answer also takes in what arrives for others: every
    frame lies in its tag's mailbox until its owner asks. Of several threads that wait, one looks at the port.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._socket = machine.agent
        self._socket.setblocking(False)
        self._reader = FrameReader()
        self._mailboxes: dict[int, deque[Frame]] = {0: deque()}
        self._next_tag = 1
        self._unsent = bytearray()
        #: held while anything here is changed; told of when frames have arrived or nobody looks at the port
        self._changed = threading.Condition(threading.RLock())
        self._is_watched = False
        self.epoch = 0
        self.transcript = Transcript()
        #: how many workers had this number until now: the agent uses numbers again
        self.lives: dict[int, int] = {}
        #: wait statuses of workers that died, by (number, life)
        self.deaths: dict[tuple[int, int], int] = {}

    def await_hello(self, deadline: Deadline, why_so_long: str = "") -> int:
        """Returns the agent's pid once it has opened its port. Raises BootFailed, QemuDied.

        why_so_long: what the deadline's length comes from, told when it passes; "" for nothing to tell.
        """
        try:
            frame = self.receive(0, deadline)
        except GuestHang as hang:
            raise BootFailed(
                f"the guest was not ready within {deadline.seconds:g} s"
                + (f" ({why_so_long})" if why_so_long else ""),
                evidence=hang.evidence,
                advice=boot_advice(self._machine.console.tail(_BOOT_LINES)),
            ) from hang
        except (KernelPanic, GuestRebooted) as end:
            raise BootFailed(
                f"{end.message} before it was ready",
                evidence=end.evidence,
                advice=panic_advice(self._machine.console.tail(_BOOT_LINES)),
            ) from end
        version = int.from_bytes(frame.payload[:4], "little")
        if frame.kind != Kind.HELLO or version != PROTOCOL_VERSION:
            raise ProtocolError(f"the agent speaks version {version}, not {PROTOCOL_VERSION}")
        return int.from_bytes(frame.payload[4:8], "little")

    @property
    def requests(self) -> int:
        """How many requests were sent, in this process."""
        return self._next_tag - 1

    def begin_greeting(self, epoch: int, deadline: Deadline) -> int:
        """Greets the agent of a restored guest; returns the tag of its answer, the first frame of this life.

        Older frames are dropped from here on. Raises what Watch.wait raises.
        """
        self.epoch = epoch
        return self.send(Kind.HELLO, deadline=deadline)

    def reserve(self) -> int:
        """Returns the tag of a request to come, whose mailbox is open from now on."""
        with self._changed:
            tag = self._next_tag
            self._next_tag = self._next_tag % 0xFFFFFFFF + 1
            self._mailboxes[tag] = deque()
            return tag

    def send(
        self,
        kind: Kind,
        payload: bytes = b"",
        *,
        worker: int = 0,
        deadline: Deadline,
        tag: int | None = None,
    ) -> int:
        """Sends a request; returns its tag, a new one unless it was reserved.

        Of what a deadline cuts off the rest is sent before the next request: it is answered all the same.
        """
        with self._changed:
            return self._send(self.reserve() if tag is None else tag, kind, payload, worker, deadline)

    def _send(self, tag: int, kind: Kind, payload: bytes, worker: int, deadline: Deadline) -> int:
        self.transcript.sent(kind, tag, worker, payload)
        # behind what a deadline cut off: half a frame would put the agent out of step
        self._unsent += Frame(kind, tag, payload, worker, self.epoch).encode()
        while self._unsent:
            try:
                del self._unsent[: self._socket.send(self._unsent)]
            except BlockingIOError:
                # takes in meanwhile: an agent that is writing to us does not read
                fd = self._socket.fileno()
                if fd in self._machine.watch.wait([fd], deadline, writable=[fd]):
                    self.take_in()
            except OSError:
                self._machine.watch.wait_for_end(END_SECONDS)
                raise
        return tag

    def receive(self, tag: int, deadline: Deadline) -> Frame:
        """Returns the next frame of this tag. Raises what Watch.wait raises."""
        with self._changed:
            mailbox = self._mailboxes[tag]
            while not mailbox:
                if self._is_watched:
                    self._await_another(deadline)
                else:
                    self._watch_port(deadline)
            return mailbox.popleft()

    def _watch_port(self, deadline: Deadline) -> None:
        """Takes in what arrives next, for whomever; other threads may ask something meanwhile."""
        self._is_watched = True
        self._changed.release()
        try:
            self._machine.watch.wait([self._socket.fileno()], deadline)
        finally:
            self._changed.acquire()
            self._is_watched = False
            self._changed.notify_all()
        self.take_in()

    def _await_another(self, deadline: Deadline) -> None:
        """Waits until the thread that looks at the port has seen something. Raises what Watch.wait raises."""
        self._changed.wait(deadline.remaining)
        if deadline.passed:
            self._machine.watch.wait([], deadline)

    def has_frame(self, tag: int) -> bool:
        """True when `receive` would return without waiting."""
        return bool(self._mailboxes.get(tag))

    def forget(self, tag: int) -> None:
        """Closes the tag's mailbox: what still comes for it is dropped."""
        self._mailboxes.pop(tag, None)

    def ask(self, kind: Kind, payload: bytes = b"", *, worker: int = 0, deadline: Deadline) -> Frame:
        """Sends a request and returns its single answer."""
        tag = self.send(kind, payload, worker=worker, deadline=deadline)
        try:
            return self.receive(tag, deadline)
        finally:
            self.forget(tag)

    def is_between_frames(self) -> bool:
        """Takes in all that has arrived; True when no frame, in either direction, is cut in its middle."""
        while self.take_in():
            pass
        return not self._unsent and self._reader.is_between_frames

    def take_in(self) -> bool:
        """Takes in what has arrived, without waiting; False when that is nothing.

        Raises what ended the machine, ProtocolError.
        """
        with self._changed:
            return self._take_in()

    def _take_in(self) -> bool:
        try:
            data = self._socket.recv(1 << 18)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._machine.watch.wait_for_end(END_SECONDS)
            raise ProtocolError("the agent's channel was closed, though QEMU runs")
        self._changed.notify_all()
        for frame in self._reader.feed(data):
            self._note_life(frame)
            self.transcript.received(frame)
            # an answer to what was asked before this guest was saved is nobody's
            if frame.epoch != self.epoch and frame.tag:
                continue
            if frame.tag in self._mailboxes:
                self._mailboxes[frame.tag].append(frame)
        return True

    def _note_life(self, frame: Frame) -> None:
        """Keeps who lives and who died; a death carries the tag of what its worker did last."""
        word = int.from_bytes(frame.payload[:4], "little", signed=True)
        if frame.kind == Kind.START:
            self.lives[word] = self.lives.get(word, 0) + 1
        elif frame.kind == Kind.DIED:
            self.deaths[frame.worker, self.lives.get(frame.worker, 0)] = word
