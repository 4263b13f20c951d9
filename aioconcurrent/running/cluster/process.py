"""The process on another machine in which the runs of one place are made.

It starts the project, has a stage on a copy of the databases, and does what it is asked over a
stream (`actor.py`).  When the stream ends, it ends, and so does all that it has started.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import threading
from collections import deque
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import anyio
import anyio.to_thread

from ..._text import text_of
from ...base import own_clock as time
from ...base import pickling
from ...base.loops import from_other_threads
from ...databases.in_memory import temporary_folder
from ...engine.surroundings import guard_descriptors
from ...exploring.stepping.maker import Maker, Place, Referee
from ...exploring.stepping.remote import RequestHandler
from ...exploring.stepping.stage import staging
from ...exploring.stepping.stepped_databases import ExploredDatabases
from ...results.outcomes import Outcomes
from ..race import end_sessions, launching
from .actor import receive, send
from .assignment import Readiness
from .keeper import Answer, Inquiry, Keeper, KeptError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence

    from ...databases.copies import Copy
    from ...engine.attendance import Report
    from ...engine.surroundings import Surroundings
    from ...engine.world import Context
    from ..project import Project
    from .assignment import Assignment

_FAREWELL = 30.0  # seconds for everything to end in order


class RefusedError(Exception):
    """No runs can be made here as they are made where the test is; the argument says why."""


@dataclass(frozen=True)
class Machine:
    """What this process was started with.

    Attributes:
        folder: In which.
    """

    folder: str
    environment: Mapping[str, str]


def main() -> NoReturn:
    """Do what comes in over stdin, which is a socket; what is printed goes to stderr."""
    stream = socket.socket(fileno=os.dup(0))
    guard_descriptors(2)
    machine = Machine(os.getcwd(), dict(os.environ))
    with temporary_folder() as copies:
        pickled = receive(stream)
        if pickled is not None:
            messages = _Messages(stream, copies)
            anyio.run(partial(_serve, messages, pickled, machine, copies))
    os._exit(0)  # whatever threads the project has


class _Messages:
    """What comes in, and the end of it.

    Args:
        copies: The folder that is removed if all else does not end.
    """

    def __init__(self, stream: socket.socket, copies: Path) -> None:
        self._stream, self._copies = stream, copies
        self._arrived: deque[bytes] = deque()

    def open(self, scope: anyio.CancelScope) -> None:
        """Begin to listen; the scope is cancelled when nothing more will come."""
        self._scope, self._news, self._in_loop = scope, anyio.Event(), from_other_threads()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while (message := _heard(self._stream)) is not None:
            self._arrived.append(message)
            self._in_loop(self._tell)
        self._in_loop(self._scope.cancel)
        time.sleep(_FAREWELL)
        shutil.rmtree(self._copies, ignore_errors=True)
        os.killpg(0, signal.SIGKILL)

    def _tell(self) -> None:
        self._news.set()
        self._news = anyio.Event()

    async def next(self) -> bytes:
        while not self._arrived:
            await self._news.wait()
        return self._arrived.popleft()

    def answer(self, answer: bytes) -> None:
        """Send an answer; that nobody reads it any more shows in `next`."""
        try:
            send(self._stream, answer)
        except OSError:
            self._scope.cancel()


def _heard(stream: socket.socket) -> bytes | None:
    try:
        return receive(stream)
    except OSError:
        return None


async def _serve(messages: _Messages, pickled: bytes, machine: Machine, copies: Path) -> None:
    with anyio.CancelScope() as scope:
        messages.open(scope)
        try:
            async with _handler(pickling.loads(pickled), machine, copies, messages) as handler:
                messages.answer(pickling.dumps(Readiness()))
                while True:
                    messages.answer(await handler.answer(await messages.next()))
        except Exception as error:  # it is told, and ends the place: what is wrong here may not be wrong elsewhere
            is_refused = isinstance(error, RefusedError)
            told = str(error) if is_refused else f"{type(error).__name__}: {text_of(error)}"
            messages.answer(pickling.dumps(Readiness(told, is_refused=is_refused)))


@asynccontextmanager
async def _handler(
    assignment: Assignment, machine: Machine, copies: Path, messages: _Messages
) -> AsyncIterator[RequestHandler]:
    surroundings = assignment.fingerprint.settled(assignment.context.surroundings, machine.folder)
    surroundings.apply()
    differences = assignment.fingerprint.differences(machine.folder)
    if differences:
        raise RefusedError(f"the project is not the same there: {differences}")
    project = pickling.loads(assignment.context.world)
    async with _on_servers(assignment, project, surroundings, machine, messages) as places:
        copy = assignment.copy.led({**places, **_with_files(assignment, copies)})
        project = replace(project, databases=copy.handoff)
        context = replace(assignment.context, surroundings=surroundings, world=pickling.dumps(project))
        await anyio.to_thread.run_sync(_boot, project)
        async with _staged(assignment, context, copy) as handler:
            yield handler


@asynccontextmanager
async def _on_servers(
    assignment: Assignment, project: Project, surroundings: Surroundings, machine: Machine, messages: _Messages
) -> AsyncIterator[dict[str, Mapping[str, Any]]]:
    """What is otherwise here in the settings of the copies on servers; the dumps that are needed are asked for.

    Raises:
        RefusedError: There is no copy that this machine could use.
    """
    if not assignment.sources:
        yield {}
        return
    keeper = await anyio.to_thread.run_sync(Keeper, surroundings, machine.environment)

    async def ask(message: bytes) -> Answer:
        return await anyio.to_thread.run_sync(keeper.ask, message, abandon_on_cancel=True)

    try:
        try:
            yield await _kept(assignment, project, surroundings, messages, ask)
        except KeptError as error:
            raise RefusedError(str(error)) from error
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(keeper.close)


async def _kept(
    assignment: Assignment,
    project: Project,
    surroundings: Surroundings,
    messages: _Messages,
    ask: Callable[[bytes], Awaitable[Answer]],
) -> dict[str, Mapping[str, Any]]:
    inquiry = Inquiry(
        assignment.sources,
        project.module,
        assignment.addresses,
        surroundings.files,
        tuple(surroundings.arguments),
        project.drivers,
    )
    found = await ask(pickling.dumps(inquiry))
    places = dict(found.places)
    for name in found.wanted:
        piece = b"-"
        while piece:
            messages.answer(pickling.dumps(Readiness(wanted=name)))
            piece = await messages.next()
            answer = await ask(piece)
        places |= answer.places
    return places


@asynccontextmanager
async def _staged(assignment: Assignment, context: Context, copy: Copy) -> AsyncIterator[RequestHandler]:
    options = assignment.options
    async with AsyncExitStack() as stack:
        databases = stack.enter_context(ExploredDatabases.copied(copy, assignment.names, assignment.aliases))
        for identity in assignment.opened:
            await anyio.to_thread.run_sync(databases.open, identity)
        launcher, start_up = await stack.enter_async_context(
            launching(context, assignment.key, options, len(assignment.tasks))
        )
        limits = {"start_up": start_up, "limit": options.step_limit}
        stage = await stack.enter_async_context(
            staging(launcher, assignment.tasks, databases, **limits, deliveries=options.deliveries)
        )
        databases.order.matters = stage.is_alone = False
        place = Place(stage, databases)

        def make_maker(seconds: float) -> Maker:
            return Maker(Referee(_unjudged), end_sessions, anyio.current_time() + seconds)

        try:
            yield RequestHandler(place, make_maker)
        finally:
            with anyio.CancelScope(shield=True):
                await stage.aclose(in_order=False)
                await end_sessions(stage.reports)


def _with_files(assignment: Assignment, copies: Path) -> dict[str, Mapping[str, Any]]:
    """Where the files that came along are on this machine, by the names of their originals."""
    places: dict[str, Mapping[str, Any]] = {}
    for number, (name, content) in enumerate(assignment.files.items()):
        path = copies / f"{number}.sqlite3"
        path.write_bytes(content)
        places[name] = {"NAME": str(path)}
    return places


def _boot(project: Any) -> None:
    """Start the project without opening any connection for its calls."""
    quiet = replace(project, stepped=False, databases=replace(project.databases, in_use=frozenset()))
    quiet.boot()
    quiet.leave()


def _unjudged(reports: Sequence[Report], _: Collection[int]) -> Outcomes[Any]:
    """Nothing: what calls came to is known where the test is."""
    return Outcomes([None] * len(reports))
