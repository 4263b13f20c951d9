"""Wrappers that are forked from the template: the caller's side.

The caller keeps one template from one race to the next.  The template outlives event loops, so it
is tied to none: between races there are just a socket, a pipe and a file.

In a race the template is asked over a socket of that race, and each wrapper talks through a pair of
descriptors that are sent over it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel

from ..base import pickling
from ..exceptions import ProcessDiedError, TerminatedProcessError
from .launch import python_command, serving, with_hash_seed
from .lifeline import Lifeline
from .protocol import Frame, FrameReader, Kind
from .threads import QUIET

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from anyio.abc import UNIXSocketStream

    from .launch import Launcher, Wrapper
    from .world import Context


_PIECE = 256 * 1024  # bytes
_BATCH = 100  # wrappers a message; each takes two descriptors, and unix(7) allows 253
_TEMPLATE, _STARTING = "The process that processes are forked from", "starting the project"
_REST = 1024 * 1024  # bytes read after a wrapper's end; a pipe holds less, unless an escaped descendant fills it


class UnfitError(Exception):
    """Wrappers cannot be forked from the template; the arguments say why, and what to do about it."""


class BootFailedError(Exception):
    """The project did not start in the template; the argument is the exception that it raised."""


class _TemplateLostError(Exception):
    """The template ended before it answered."""


@asynccontextmanager
async def forking(context: Context, key: object) -> AsyncIterator[Launcher]:
    """Start wrappers by forking the template; those still alive when the block is left are killed.

    Args:
        key: Names the project; a template serves one project only.

    Raises:
        UnfitError: They have to be started in another way.
        BootFailedError: The project does not start.
    """
    limit, printed = context.start_timeout, bytearray()
    try:
        with anyio.fail_after(limit):
            race = await _open_race(context, key, printed)
    except TimeoutError:
        late = TerminatedProcessError(_TEMPLATE, None, limit, _STARTING, printed.decode(errors="replace"))
        raise BootFailedError(late) from None
    async with serving() as group:
        group.start_soon(race.listen)
        try:
            yield race
        finally:
            with anyio.CancelScope(shield=True):
                await race.aclose()


async def _open_race(context: Context, key: object, printed: bytearray) -> _Conversation:
    """Open a race on the template, or on a new one where the old one turns out to be gone.

    Args:
        printed: Gets what a template printed that was given up before it had answered.
    """
    while True:
        template, is_new = keeper.get(key)
        try:
            if is_new:
                await template.start()
            return await _try_to_open_race(template, context)
        except (_TemplateLostError, OSError):
            output = template.read_output().decode(errors="replace")
            keeper.discard(template)
            if is_new and context.modules:  # one of them may have ended it; then it will end the wrappers of its calls
                context = replace(context, modules=())
            elif is_new:
                raise BootFailedError(ProcessDiedError(_TEMPLATE, None, None, _STARTING, output)) from None
        except BaseException:
            if not template.is_up:  # whoever waits for it too starts another one
                printed += template.read_output()
                keeper.discard(template)
            raise


async def _try_to_open_race(template: TemplateProcess, context: Context) -> _Conversation:
    race = _Conversation(await anyio.abc.UNIXSocketStream.from_socket(template.open_race()))
    try:
        await race.tell(Kind.CONTEXT, context)
        answer = await race.next_frame()
        sys.stdout.write(template.read_output().decode(errors="replace"))
        template.is_up = answer.kind is not Kind.BOOT_FAILED
        _check(answer)
    except BaseException:
        with anyio.CancelScope(shield=True):
            await race.aclose()
        raise
    return race


def _check(answer: Frame) -> None:
    if answer.kind is Kind.BOOT_FAILED:
        raise BootFailedError(pickling.load_error(pickling.loads(answer.payload)))
    if answer.kind is Kind.UNFIT:
        raise UnfitError(*pickling.loads(answer.payload))


class _Conversation:
    """One race's conversation with the template."""

    def __init__(self, link: UNIXSocketStream) -> None:
        self._link = link
        self._reader = FrameReader(greeting=False)
        self._wrappers: dict[int, ForkedWrapper] = {}  # those that are in use
        self._count = 0  # of all that there ever were
        self._is_lost = False
        self._telling = anyio.Lock()
        self._listening = anyio.CancelScope(shield=True)  # ends with the race, not with the caller

    async def tell(self, kind: Kind, value: object) -> None:
        async with self._telling:
            with contextlib.suppress(anyio.BrokenResourceError):  # the end of its stream says it too
                await self._link.send(Frame(kind, pickling.dumps(value)).encode())

    async def next_frame(self) -> Frame:
        while (frame := self._reader.next_frame()) is None:
            try:
                self._reader.feed(await self._link.receive(_PIECE))
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                raise _TemplateLostError from None
        return frame

    async def launch(self, count: int) -> list[Wrapper]:
        """Ask for `count` wrappers; what is sent to one waits for it to come into being."""
        launched: list[Wrapper] = []
        while len(launched) < count:
            launched += await self._ask_for(min(_BATCH, count - len(launched)))
        return launched

    async def _ask_for(self, count: int) -> list[ForkedWrapper]:
        theirs: list[int] = []
        asked: list[ForkedWrapper] = []
        try:
            for _ in range(count):
                channel, channel_end = socket.socketpair()
                theirs.append(channel_end.detach())
                output, output_end = os.pipe()
                theirs.append(output_end)
                asked.append(ForkedWrapper(self, self._count, channel, output))
                self._wrappers[self._count] = asked[-1]
                self._count += 1
            message = b"".join(Frame(Kind.FORK, pickling.dumps(wrapper.index)).encode() for wrapper in asked)
            async with self._telling:
                with contextlib.suppress(anyio.BrokenResourceError):
                    await self._link.send_fds(message, theirs)
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        if self._is_lost:
            self._lose()
        return asked

    def _lose(self) -> None:
        self._is_lost = True
        for wrapper in self._wrappers.values():
            wrapper.lose()

    def forget(self, wrapper: ForkedWrapper) -> None:
        self._wrappers.pop(wrapper.index, None)

    async def listen(self) -> None:
        """Pass on what the template tells of its forks, until the race is closed or the template gone."""
        with self._listening:
            try:
                while True:
                    self._hear(await self.next_frame())
            except _TemplateLostError:
                self._lose()

    def _hear(self, frame: Frame) -> None:
        index, *news = pickling.loads(frame.payload)
        wrapper = self._wrappers.get(index)
        if wrapper is not None and frame.kind is Kind.FORKED:
            wrapper.begin(*news)
        elif wrapper is not None and frame.kind is Kind.EXITED:
            wrapper.end(*news)

    async def aclose(self) -> None:
        """Close the race: the template kills what is left of it."""
        self._listening.cancel()
        await self._link.aclose()
        for wrapper in list(self._wrappers.values()):
            await wrapper.aclose()


class ForkedWrapper:
    """A wrapper that the template forked."""

    def __init__(self, race: _Conversation, index: int, channel: socket.socket, output: int) -> None:
        self._race = race
        self.index = index
        self._channel = channel  # anyio's stream around it would take two rounds of the event loop a message
        self._output = output
        channel.setblocking(False)
        os.set_blocking(output, False)
        self._ended = anyio.Event()
        self._status: int | None = None
        self.pid: int | None = None
        self.problem = ""

    def begin(self, pid: int | None, problem: str) -> None:
        self.pid, self.problem = pid, problem
        if pid is None:
            self.end(None)

    def end(self, status: int | None) -> None:
        self._status = status
        self._ended.set()
        # what it sent can still be received, and then the end, whoever holds the other end of the stream
        with contextlib.suppress(OSError):
            self._channel.shutdown(socket.SHUT_RD)

    def lose(self) -> None:
        """The template is gone, which ends its forks too; their own children it can no longer kill."""
        if not self._ended.is_set() and self.pid is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        self.end(self._status)

    async def send(self, data: bytes) -> None:
        await anyio.lowlevel.checkpoint_if_cancelled()  # a caller who was cancelled releases nobody any more
        left = memoryview(data)
        with contextlib.suppress(OSError, anyio.ClosedResourceError):
            while left:
                try:
                    left = left[self._channel.send(left) :]
                except BlockingIOError:
                    await anyio.wait_writable(self._channel)

    async def receive(self) -> bytes:
        while True:
            try:
                await anyio.wait_readable(self._channel)  # always, or a flood would leave nobody else a turn
                return self._channel.recv(_PIECE)
            except BlockingIOError:
                continue
            except (OSError, anyio.ClosedResourceError):
                return b""

    @property
    def source(self) -> int | None:
        return self._channel.fileno() if self._output >= 0 else None

    def receive_at_once(self) -> bytes:
        try:
            return self._channel.recv(_PIECE)
        except OSError:  # there is nothing, or it is over; whoever waits in `receive` finds out
            return b""

    async def read_output(self) -> bytes:
        while True:
            try:
                return os.read(self._output, _PIECE)
            except BlockingIOError:
                with contextlib.suppress(anyio.ClosedResourceError):
                    await anyio.wait_readable(self._output)
            except OSError:  # it was closed meanwhile
                return b""

    def rest_of_output(self) -> bytes:
        rest = b""
        with contextlib.suppress(BlockingIOError):
            while len(rest) < _REST and (data := os.read(self._output, _PIECE)):
                rest += data
        return rest

    async def wait(self) -> int | None:
        await self._ended.wait()
        return self._status

    async def kill(self, number: signal.Signals) -> None:
        await self._race.tell(Kind.SIGNAL, (self.index, int(number)))

    async def learn(self, modules: Sequence[str]) -> None:
        await self._race.tell(Kind.LEARN, tuple(modules))

    async def aclose(self) -> None:
        self._race.forget(self)
        if self._output >= 0:
            for source in (self._channel, self._output):
                anyio.notify_closing(source)  # whoever still waits for it must not wait for its successor
            self._channel.close()
            os.close(self._output)
        self._output = -1


_LOG_KEPT = 64 * 1024  # bytes of the template's output


class TemplateProcess:
    """A template as its caller holds it.

    Attributes:
        is_up: Whether it has ever answered.
    """

    def __init__(self) -> None:
        self._control, self._theirs = socket.socketpair()
        self._life = Lifeline()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the template
        self._read = 0
        self.is_up = False

    async def start(self) -> None:
        """Start the process; races may be opened before it is up."""
        control = self._theirs
        with anyio.CancelScope(shield=True):  # a cancelled start would leave a process nobody knows of
            launcher = await anyio.open_process(
                python_command(
                    "from aioconcurrent.engine.template import main; main(*map(int, sys.argv[1:]))",
                    *self._life.inherited,
                    control.fileno(),
                ),
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                start_new_session=True,
                env=with_hash_seed({**os.environ, **QUIET}),  # agents may start with the interpreter
                pass_fds=(*self._life.inherited, control.fileno()),
            )
            control.close()
            await launcher.wait()

    def open_race(self) -> socket.socket:
        """Return a socket to the template for one race.

        Raises:
            OSError: The template is gone.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                socket.send_fds(self._control, [b"r"], [theirs.fileno()])
            except OSError:
                ours.close()
                raise
        return ours

    def read_output(self) -> bytes:
        """What the template printed since this was asked last, the end of it."""
        if self._log.closed:  # given up by another race
            return b""
        end = os.fstat(self._log.fileno()).st_size
        start, self._read = max(self._read, end - _LOG_KEPT), end
        return os.pread(self._log.fileno(), end - start, start)

    def close(self) -> None:
        """Let the template end, and with it all that it forked."""
        self._control.close()
        self._theirs.close()
        self._life.close()
        self._log.close()


class TemplateKeeper:
    """Holds at most one template, for the project that was asked for last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._key: object = None
        self._template: TemplateProcess | None = None

    def get(self, key: object) -> tuple[TemplateProcess, bool]:
        """Return the template for `key`, and whether it is new and has to be started by the caller."""
        with self._lock:
            if self._template is not None and self._key == key:
                return self._template, False
            self._forget()
            self._key, self._template = key, TemplateProcess()
            return self._template, True

    def discard(self, template: TemplateProcess) -> None:
        """Give up a template that is of no use any more."""
        with self._lock:
            if self._template is template:
                self._forget()

    def forget(self) -> None:
        """Give up whatever template there is."""
        with self._lock:
            self._forget()

    def _forget(self) -> None:
        if self._template is not None:
            self._template.close()
        self._template = None

    def reset_in_fork(self) -> None:
        """A fork of this process is a process of its own: it starts its own template."""
        self._lock = threading.Lock()
        self._forget()


keeper = TemplateKeeper()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=keeper.reset_in_fork)


def close_template() -> None:
    """End the template of this process; the next race starts another one."""
    keeper.forget()
