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
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import anyio
import anyio.to_thread

from ...base import clock as time
from ...base import pickling
from ...base.loops import from_other_threads
from ...base.text import text_of
from ...databases.copies import Copy
from ...databases.identity import identify
from ...databases.memory import temporary_folder
from ...engine.surroundings import guard_descriptors
from ...exploring.databases import ExploredDatabases
from ...exploring.place import Maker, Place, Referee
from ...exploring.remote import RequestHandler
from ...exploring.stage import staging
from ...results.outcomes import Outcomes
from ..race import end_sessions, launching
from .actor import receive, send
from .assignment import Readiness

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping, Sequence

    from ...engine.attendance import Report
    from .assignment import Assignment

_FAREWELL = 30.0  # seconds for everything to end in order


class RefusedError(Exception):
    """No runs can be made here as they are made where the test is; the argument says why."""


def main() -> NoReturn:
    """Do what comes in over stdin, which is a socket; what is printed goes to stderr."""
    stream = socket.socket(fileno=os.dup(0))
    guard_descriptors(2)
    folder = os.getcwd()
    with temporary_folder() as copies:
        pickled = receive(stream)
        if pickled is not None:
            messages = _Messages(stream, copies)
            anyio.run(partial(_serve, messages, pickled, folder, copies))
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


async def _serve(messages: _Messages, pickled: bytes, folder: str, copies: Path) -> None:
    with anyio.CancelScope() as scope:
        messages.open(scope)
        try:
            async with _handler(pickling.loads(pickled), folder, copies) as handler:
                messages.answer(pickling.dumps(Readiness()))
                while True:
                    messages.answer(await handler.answer(await messages.next()))
        except Exception as error:  # it is told, and ends the place: what is wrong here may not be wrong elsewhere
            is_refused = isinstance(error, RefusedError)
            told = str(error) if is_refused else f"{type(error).__name__}: {text_of(error)}"
            messages.answer(pickling.dumps(Readiness(told, is_refused=is_refused)))


@asynccontextmanager
async def _handler(assignment: Assignment, folder: str, copies: Path) -> AsyncIterator[RequestHandler]:
    surroundings = assignment.fingerprint.settled(assignment.context.surroundings, folder)
    surroundings.apply()
    differences = assignment.fingerprint.differences(folder)
    if differences:
        raise RefusedError(f"the project is not the same there: {differences}")
    project, copy = _with_files(assignment, copies)
    context = replace(assignment.context, surroundings=surroundings, world=pickling.dumps(project))
    await anyio.to_thread.run_sync(_boot, project)
    await anyio.to_thread.run_sync(_compare, assignment, copy)
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


def _with_files(assignment: Assignment, copies: Path) -> tuple[Any, Copy]:
    """The project and the copy with the files that came along, on this machine."""
    project, copy = pickling.loads(assignment.context.world), assignment.copy
    moved: dict[str, str] = {}
    for number, (path, content) in enumerate(assignment.files.items()):
        moved[path] = str(copies / f"{number}.sqlite3")
        Path(moved[path]).write_bytes(content)

    def led(settings: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        return {
            name: {**values, "NAME": moved.get(str(values["NAME"]), values["NAME"])}
            for name, values in settings.items()
        }

    allowed = frozenset(moved.get(name, name) for name in copy.handoff.allowed or ())
    handoff = copy.handoff.changed(led(copy.handoff.settings()), allowed)
    return replace(project, databases=handoff), Copy(handoff, led(copy.settings))


def _boot(project: Any) -> None:
    """Start the project without opening any connection for its calls."""
    quiet = replace(project, stepped=False, databases=replace(project.databases, in_use=frozenset()))
    quiet.boot()
    quiet.leave()


def _compare(assignment: Assignment, copy: Copy) -> None:
    """See whether this machine reaches the copies on the servers that the test reaches."""
    for name, identity in assignment.identities.items():
        alias, settings = assignment.aliases[name], copy.settings[name]
        where = f"{settings.get('HOST') or 'localhost'}:{settings.get('PORT') or 'the usual port'}"
        try:
            found = identify(alias, settings)
        except Exception as error:
            problem = f"it cannot reach the copy of {alias!r} at {where}: {text_of(error)}"
            raise RefusedError(problem) from error
        if found != identity:
            raise RefusedError(
                f"it reaches another server than the test for the database {alias!r} at {where}. Workers need the "
                "test's own server: give HOST a name or an address that leads to one server from all machines"
            )


def _unjudged(reports: Sequence[Report], _: Collection[int]) -> Outcomes[Any]:
    """Nothing: what calls came to is known where the test is."""
    return Outcomes([None] * len(reports))
