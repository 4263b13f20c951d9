"""A race: one call per wrapper, all released at the same moment, each with its own deadline.

Whatever happens to a wrapper, its call gets a `Report`, and nothing of it is
alive when the race is over.  A wrapper that ends before the barrier counts as
arrived, so that the others do not wait for it.
"""

from __future__ import annotations

import signal
import sys
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from ..base import own_clock as time
from ..base import pickling
from ..exceptions import ProtocolError
from .debugging import Pauses
from .protocol import Frame, FrameReader, Kind, Release

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .launch import Wrapper
    from .wrapper import Result


GRACE = 1.0  # seconds between SIGTERM and SIGKILL
_UNENDING = 5.0  # seconds after SIGKILL; a process in an uninterruptible wait outlives it
_HEADROOM = (0.0005, 0.0002)  # seconds from the release to the start: for any race, and for each wrapper
OUTPUT_KEPT = 64 * 1024  # bytes of a call's output, at its beginning and again at its end
MESSAGES_KEPT = 2 * 1024 * 1024  # bytes of a call's log records and warnings, likewise
_MESSAGE = 200  # bytes that keeping one costs, beside its payload


@dataclass
class Report:
    """What the engine knows of one call when it is over.

    Attributes:
        pid: The wrapper's process id; None if it could not be started.
        exit_status: As in `subprocess.Popen.returncode`; None if it is unknown.
        result: What the wrapper reported; None if it reported nothing.
        released: When it was told to start, in seconds of `time.monotonic`; None if it never was.
        timed_out: Whether it was ended because its time was over.
        limit: That time, in seconds.
        problem: What was wrong with it, as far as the engine can tell.
        silence: Why nothing more could be heard of it, if it was ended for that.
        messages: Log records and warnings in the order of their arrival, pickled.
        sessions: The outside sessions that it announced.
        mistakes: Errors that the test is to blame for, whatever the call made of them; by `dump_error`.
        recorded: What a recorded call told of its steps.
        output: What it printed.
    """

    pid: int | None = None
    exit_status: int | None = None
    result: Result | None = None
    released: float | None = None
    timed_out: bool = False
    limit: float = 0.0
    problem: str = ""
    silence: str = ""
    messages: Messages = field(default_factory=lambda: Messages())
    sessions: list[bytes] = field(default_factory=list)
    mistakes: list[bytes] = field(default_factory=list)
    recorded: list[bytes] = field(default_factory=list)
    output: Output = field(default_factory=lambda: Output())


class Output:
    """Keeps the beginning and the end of a stream of any length."""

    def __init__(self) -> None:
        self.noise = b""  # printed before the wrapper could keep its stream clean
        self._head = bytearray()
        self._tail = bytearray()
        self._skipped = 0

    def feed(self, data: bytes) -> None:
        room = OUTPUT_KEPT - len(self._head)
        self._head += data[:room]
        self._tail += data[max(room, 0) :]
        surplus = len(self._tail) - OUTPUT_KEPT
        if surplus > 0:
            del self._tail[:surplus]
            self._skipped += surplus

    def __str__(self) -> str:
        gap = f"\n[... {self._skipped:,} bytes of output left out ...]\n" if self._skipped else ""
        return (
            self.noise.decode(errors="replace")
            + self._head.decode(errors="replace")
            + gap
            + self._tail.decode(errors="replace")
        )


class Messages:
    """Keeps the first and the last of any number of messages of any size.

    Attributes:
        first: The beginning.
        last: The end.
        left_out: How many there were in between.
    """

    def __init__(self) -> None:
        self.first: list[Frame] = []
        self.last: deque[Frame] = deque()
        self.left_out = 0
        self._room = MESSAGES_KEPT  # bytes, for the beginning
        self._size = 0  # bytes, of the end

    def append(self, message: Frame) -> None:
        cost = len(message.payload) + _MESSAGE
        if cost <= self._room:
            self._room -= cost
            self.first.append(message)
            return
        self._room = 0  # what comes later is the end, however short it is
        self._size += cost
        self.last.append(message)
        while self._size > MESSAGES_KEPT:
            self._size -= len(self.last.popleft().payload) + _MESSAGE
            self.left_out += 1


class Attendance:
    """The engine's dealings with one wrapper, from its start to its end."""

    def __init__(
        self,
        wrapper: Wrapper,
        hear: Callable[[bytes | None], None] | None = None,
        pauses: Pauses | None = None,
        *,
        keeps: bool = False,
        before: Attendance | None = None,
    ) -> None:
        """Begin to deal with a wrapper.

        Args:
            hear: Is told what a stepped call asks, and None when it will ask no more.
            pauses: Of a race, which its calls share.
            keeps: Whether the wrapper stays after its call, if it can make another.
            before: Of its last call, if it has stayed.
        """
        self.report = Report()
        self._keeps = keeps
        self._before = before is not None
        self._hear_asking = hear
        self.arrived = anyio.Event()  # at the barrier, or at an end before it
        self._wrapper = wrapper
        self._reader = FrameReader()
        self._is_ready = False
        self.is_set = False  # and has nothing to do before it begins
        self._is_over = False  # it has given its result, or can give none any more
        self._listening = anyio.CancelScope()  # is left as soon as all has been heard
        self._conversation = anyio.CancelScope()  # its deadline is set when the call is released
        self._pauses = pauses or Pauses()
        self._pauses.watch(self._conversation)
        self._draining = anyio.CancelScope(shield=True)  # a wrapper that cannot print cannot end
        self._printing = [self.report]  # the report that has what the wrapper prints
        if before is not None:
            self._reader, self._draining, self._printing = before._reader, before._draining, before._printing
            self._printing[:] = [self.report]
            before._keeps = False  # that is up to this one
            self.report.sessions += before.report.sessions

    @property
    def wrapper(self) -> Wrapper:
        """Whom it deals with."""
        return self._wrapper

    @property
    def pid(self) -> int | None:
        """The wrapper's process."""
        return self._wrapper.pid

    async def run(self, call: bytes) -> None:
        """Send the call, see it through, and end the wrapper whatever happens."""
        try:
            with self._conversation:
                await self._wrapper.send(Frame(Kind.CALL, call).encode())
                await self._listen()
                self._is_over = True
            self.report.timed_out = self._conversation.cancelled_caught
        finally:
            self.arrived.set()
            self._pauses.resume(self)
            self._tell_end()
            with anyio.CancelScope(shield=True):
                if self.stays:
                    self._conclude()
                else:
                    await self._see_gone()
                if self.report.result is not None and self.report.result.imported:
                    await self._wrapper.learn(self.report.result.imported)

    def _tell_end(self) -> None:
        hear, self._hear_asking = self._hear_asking, None
        if hear is not None:
            hear(None)

    @property
    def stays(self) -> bool:
        """Whether the wrapper waits for another call."""
        return self._keeps and self._is_waiting

    @property
    def has_been_used(self) -> bool:
        """Whether the wrapper had made a call before this one."""
        return self._before

    @property
    def _is_waiting(self) -> bool:
        return self._is_over and self.report.result is not None and self.report.result.leftover is None

    async def end(self) -> None:
        """End a wrapper that stays."""
        with anyio.CancelScope(shield=True):
            await self._see_gone()

    async def _see_gone(self) -> None:
        if self._is_waiting:
            await self._wrapper.send(Frame(Kind.CALL).encode())
        await self._end()
        self._draining.cancel()
        self._conclude()
        await self._wrapper.aclose()

    async def drain(self) -> None:
        """Take in what the wrapper prints, until it has ended."""
        if self._before:  # the first one of the wrapper does
            return
        with self._draining:
            while data := await self._wrapper.read_output():
                self._printing[0].output.feed(data)

    async def release(self, release: Release, timeout: float) -> None:
        """Let the call begin; a wrapper that is not ready has had its time."""
        if self._is_ready:
            self.report.released, self.report.limit = release.start, timeout
            self._conversation.deadline = anyio.current_time() + release.start - time.monotonic() + timeout
            await self._wrapper.send(Frame(Kind.START, pickling.dumps(release)).encode())
        else:
            self._conversation.cancel()

    async def dismiss(self) -> None:
        """Let a wrapper that waits for the release close its connections and end, without making its call."""
        if self._is_ready:
            await self._wrapper.send(Frame(Kind.START, pickling.dumps(None)).encode())
        else:
            self._conversation.cancel()

    async def answer(self, payload: bytes) -> None:
        """Answer what a stepped call has asked."""
        await self._wrapper.send(Frame(Kind.ANSWER, payload).encode())

    def give_up(self) -> None:
        """End the call, whatever it is doing."""
        self._conversation.cancel()

    @property
    def source(self) -> int | None:
        """The descriptor on which the wrapper is heard, as long as there is more to hear at once."""
        return None if self._is_heard_out else self._wrapper.source

    def hear_at_once(self) -> bool:
        """Hear what the wrapper has sent already, without a turn of the event loop; False if that was nothing."""
        data = self._wrapper.receive_at_once()
        if data:
            self._take_in(data)
            if self._is_heard_out:
                self._listening.cancel()
        return bool(data)

    async def _listen(self) -> None:
        """Hear the wrapper out, until its result or the end of its stream."""
        with self._listening:
            while not self._is_heard_out and (data := await self._wrapper.receive()):
                self._take_in(data)
        self.report.silence = self.report.silence or "closed the stream over which it is heard"

    @property
    def _is_heard_out(self) -> bool:
        return self.report.result is not None or bool(self.report.silence)

    def _take_in(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while (frame := self._reader.next_frame()) is not None:
                self._hear(frame)
        except ProtocolError as error:
            self.report.silence = f"sent what cannot be understood ({error})"

    def _hear(self, frame: Frame) -> None:
        match frame.kind:
            case Kind.STARTED:
                self._wrapper.pid = pickling.loads(frame.payload)
            case Kind.READY:
                self._is_ready = True
                self.is_set = bool(frame.payload)
                self.arrived.set()
            case Kind.RESULT:
                self.report.result = _read_result(frame.payload)
                self._tell_end()
            case Kind.OVER:
                self._tell_end()
            case Kind.LOG | Kind.WARNING:
                self.report.messages.append(frame)
            case Kind.SESSION:
                self.report.sessions.append(frame.payload)
            case Kind.MISTAKE:
                self.report.mistakes.append(frame.payload)
            case Kind.PAUSED:
                self._pauses.pause(self)
            case Kind.RESUMED:
                self._pauses.resume(self)
            case Kind.STEP:
                self.report.recorded.append(frame.payload)
            case Kind.ASK if self._hear_asking is not None:
                self._hear_asking(frame.payload)
            case _:
                raise ProtocolError(f"a wrapper sent {frame.kind.name}")

    async def _end(self) -> None:
        """See the wrapper's process group gone: by itself where it is done, else by signals."""
        if self._is_over and await self._ends_within(GRACE):
            self.report.silence = ""  # it was its end that silenced it
            return
        if has_ended(self._wrapper.pid):
            self.report.silence = ""  # as above, and the news of its end is late
        for number, patience in ((signal.SIGTERM, GRACE), (signal.SIGKILL, _UNENDING)):
            await self._wrapper.kill(number)
            if await self._ends_within(patience):
                return
        self.report.problem = f"process {self._wrapper.pid} outlived SIGKILL by {_UNENDING:g} s"

    async def _ends_within(self, seconds: float) -> bool:
        with anyio.move_on_after(seconds) as scope:
            self.report.exit_status = await self._wrapper.wait()
        return not scope.cancelled_caught

    def _conclude(self) -> None:
        self.report.output.feed(self._wrapper.rest_of_output())
        self.report.output.noise = self._reader.noise
        self.report.pid = self._wrapper.pid
        self.report.problem = self.report.problem or self._wrapper.problem


def has_ended(pid: int | None) -> bool:
    """Whether this process is known to have ended by itself, though whoever started it may not have noticed yet.

    Only Linux can tell (proc_pid_stat(5)); a signal would change nothing about such a process.
    """
    if pid is None or sys.platform != "linux":
        return False
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return state.rpartition(b")")[2].split()[0] in (b"Z", b"X")


def _read_result(payload: bytes) -> Result:
    try:
        result: Result = pickling.load_from_call(payload)
    except pickling.UnreadableError as problem:
        raise ProtocolError(f"a result that is none: {problem}") from None
    return result


async def race(
    wrappers: Sequence[Wrapper], calls: Sequence[bytes], reports: list[Report], *, start_up: float, timeout: float
) -> None:
    """Run one call in each wrapper; whoever is ready starts at the same moment.

    Args:
        wrappers: As many as there are calls.
        calls: Each a pickled `Task`.
        reports: Gets one report per call, at once; they are final when the race is over, or was cancelled.
        start_up: How long the wrappers may take until all are ready, in seconds.
        timeout: How long a call may take from the common start, in seconds.
    """
    pauses = Pauses()
    attendances = [Attendance(wrapper, pauses=pauses) for wrapper in wrappers]
    for attendance in attendances:
        attendance.report.limit = start_up
        reports.append(attendance.report)
    async with anyio.create_task_group() as group:
        for attendance, call in zip(attendances, calls, strict=True):
            group.start_soon(attendance.drain)
            group.start_soon(attendance.run, call)
        with anyio.move_on_after(start_up) as limit:
            pauses.watch(limit)
            for attendance in attendances:
                await attendance.arrived.wait()
        start = time.monotonic() + _HEADROOM[0] + _HEADROOM[1] * len(wrappers)
        for attendance in attendances:
            await attendance.release(Release(start), timeout)
