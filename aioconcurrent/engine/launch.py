"""Starting wrappers: what the engine sees of one, and the start method that works anywhere.

Whatever the start method, a wrapper is something to send bytes to and receive
bytes from, with an output to drain, a process group to signal and an exit
status to wait for.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from contextlib import asynccontextmanager
from signal import Signals
from typing import TYPE_CHECKING, Protocol

import anyio

from ..base import pickling
from .lifeline import Lifeline
from .protocol import Frame, Kind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from .world import Context


_PIECE = 256 * 1024  # bytes
_LINGER = 1.0  # seconds after a wrapper's end for its last words, whose stream an escaped descendant may keep open
_UNENDING = 5.0  # seconds; a process in an uninterruptible wait outlives even SIGKILL


class Wrapper(Protocol):
    """A process that performs one call.

    Attributes:
        pid: Its process id, also that of its process group; None if there is none, or not yet.
        problem: Why it could not be started.
    """

    pid: int | None
    problem: str

    async def send(self, data: bytes) -> None:
        """Pass bytes to it; nothing happens if it is gone."""

    async def receive(self) -> bytes:
        """Wait for bytes from it; empty when it will send no more."""

    @property
    def source(self) -> int | None:
        """The descriptor on which bytes from it arrive, where `receive_at_once` can be used."""

    def receive_at_once(self) -> bytes:
        """Take the bytes from it that are there already; empty if there are none, or if it will send no more."""

    async def read_output(self) -> bytes:
        """Wait for what it prints; empty when it will print no more."""

    def rest_of_output(self) -> bytes:
        """What it printed before its end and nobody has read yet."""

    async def wait(self) -> int | None:
        """Wait for its end and that of its process group.

        Returns:
            The exit status as `subprocess` gives it; None if it is lost.
        """

    async def kill(self, number: Signals) -> None:
        """Send a signal to its process group."""

    async def learn(self, modules: Sequence[str]) -> None:
        """Have these modules, which its call has imported, ahead of the calls of later wrappers, where that can be."""

    async def aclose(self) -> None:
        """Let go of it, when it has ended."""


class Launcher(Protocol):
    """Starts wrappers in one way."""

    async def launch(self, count: int) -> list[Wrapper]:
        """Start that many wrappers."""


def python_command(program: str, *arguments: object) -> list[str]:
    """An interpreter like this one, with our import path, that runs `program`."""
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # as multiprocessing does
    return [sys.executable, *flags, "-c", with_path(sys.path, program), *map(str, arguments)]


class SpawnedWrapper:
    """A wrapper that is a new interpreter, or the fork of one that stays above it (`reaper.py`)."""

    problem = ""

    def __init__(self, process: anyio.abc.Process, life: Lifeline, preface: bytes) -> None:
        self._process = process
        self._life = life
        self._preface = preface  # goes ahead of the first thing sent
        self._is_silent = anyio.Event()
        self.pid: int | None = process.pid

    async def send(self, data: bytes) -> None:
        assert self._process.stdin is not None
        preface, self._preface = self._preface, b""
        with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            await self._process.stdin.send(preface + data)

    async def receive(self) -> bytes:
        return await _receive(self._process.stdout)

    @property
    def source(self) -> int | None:
        return None

    def receive_at_once(self) -> bytes:
        return b""  # the event loop has them

    async def read_output(self) -> bytes:
        data = await _receive(self._process.stderr)
        if not data:
            self._is_silent.set()
        return data

    def rest_of_output(self) -> bytes:
        return b""  # `wait` has waited for it

    async def wait(self) -> int | None:
        status = await self._process.wait()
        if sys.platform != "win32":
            self._signal_group(self._process.pid, Signals.SIGKILL)
        with anyio.move_on_after(_LINGER):
            await self._is_silent.wait()
        return status

    async def watch(self) -> None:
        """See that its stream ends when it does, even where a descendant keeps the other end open."""
        await self._process.wait()
        await anyio.sleep(_LINGER)
        assert self._process.stdout is not None
        await self._process.stdout.aclose()

    async def kill(self, number: Signals) -> None:
        if self._process.returncode is None:
            if sys.platform != "win32" and number == Signals.SIGKILL and self.pid != self._process.pid:
                from .reaper import KILL

                number = KILL
            self._signal_group(self._process.pid, number)

    def _signal_group(self, group: int, number: Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if sys.platform == "win32":
                self._process.send_signal(number)
            else:
                os.killpg(group, number)

    async def learn(self, modules: Sequence[str]) -> None:
        """Every interpreter imports anew."""

    def cut(self) -> None:
        """Let the kernel end its process group."""
        self._life.close()

    async def aclose(self) -> None:
        self.cut()
        with anyio.move_on_after(_UNENDING) as scope:
            await self._process.wait()
        if not scope.cancelled_caught:  # else aclose() would wait without limit
            await self._process.aclose()


def with_hash_seed(environment: Mapping[str, str]) -> Mapping[str, str]:
    """Let sets of texts have one order in all interpreters, and in forks of all templates."""
    known = environment.get("PYTHONHASHSEED", "random")
    return {**environment, "PYTHONHASHSEED": "0" if known == "random" else known}


async def _receive(stream: anyio.abc.ByteReceiveStream | None) -> bytes:
    assert stream is not None
    try:
        return await stream.receive(_PIECE)
    except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
        return b""


class _Spawner:
    """Starts each wrapper as a new interpreter."""

    def __init__(self, context: Context, group: anyio.abc.TaskGroup) -> None:
        self._preface = Frame(Kind.CONTEXT, pickling.dumps(context)).encode()
        self._group = group
        self.wrappers: list[SpawnedWrapper] = []

    async def launch(self, count: int) -> list[Wrapper]:
        launched: list[Wrapper] = []
        problems: list[OSError] = []

        async def start() -> None:
            with anyio.CancelScope(shield=True):  # a cancelled start would leave a process nobody knows of
                try:
                    wrapper = await self._open()
                except OSError as problem:  # raised below, outside of the group, which would wrap it
                    problems.append(problem)
                    return
                self.wrappers.append(wrapper)
            launched.append(wrapper)
            self._group.start_soon(wrapper.watch)

        async with anyio.create_task_group() as group:
            for _ in range(count):
                group.start_soon(start)
        if problems:
            raise problems[0]
        return launched

    async def _open(self) -> SpawnedWrapper:
        program = "from aioconcurrent.engine.spawned import main; main()"
        life = Lifeline()  # of its own: the kernel signals one process group a pipe
        try:
            process = await anyio.open_process(
                python_command(program, *life.inherited),
                env=with_hash_seed(os.environ),
                start_new_session=sys.platform != "win32",
                pass_fds=life.inherited,
            )
        except BaseException:
            life.close()
            raise
        return SpawnedWrapper(process, life, self._preface)

    async def aclose(self) -> None:
        for wrapper in self.wrappers:
            wrapper.cut()
        for wrapper in self.wrappers:
            await wrapper.aclose()


@asynccontextmanager
async def spawning(context: Context) -> AsyncIterator[Launcher]:
    """Start each wrapper as a new interpreter; those still alive when the block is left are killed."""
    async with serving() as group:
        spawner = _Spawner(context, group)
        try:
            yield spawner
        finally:
            group.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await spawner.aclose()


@asynccontextmanager
async def serving() -> AsyncIterator[anyio.abc.TaskGroup]:
    """A task group for what serves the block, whose own errors leave it as they are, not in a group."""
    failure: Exception | None = None
    async with anyio.create_task_group() as group:
        try:
            yield group
        except Exception as error:
            failure = error
    if failure is not None:
        raise failure


def with_path(path: Sequence[str], program: str) -> str:
    """The text of a program with an import path: without it, nothing of ours could be imported there."""
    return f"import sys; sys.path[:] = {list(path)!r}; {program}"
