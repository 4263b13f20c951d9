"""The process that keeps copies on a worker's own database server, and drops them when they are not used any more.

It is asked first where the databases of a copy are for this machine, and then given the dumps
of those that its own settings place on another server than the test's.  It is a process of its
own, in the environment of the machine: it needs no project, and it drops the copies also when
the process that uses them is killed.
"""

from __future__ import annotations

import importlib
import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from ..._text import text_of
from ...base import pickling
from ...databases.dumps import DumpError, Load, is_at, room
from ...engine.launch import with_path
from .actor import receive, send
from .addresses import UnreadError, addresses, differences

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ...databases.dumps import Source
    from ...engine.surroundings import Surroundings
    from .addresses import Address

_FAREWELL = 25.0  # seconds for it to drop what it keeps
_PROGRAM = "from aioconcurrent.running.cluster.keeper import main; main()"


@dataclass(frozen=True)
class Inquiry:
    """What the process is asked.

    Attributes:
        sources: The copies on the server of the test, by the names of their originals.
        module: Of the settings, if there is one.
        theirs: Where the settings say that the databases are on the machine of the test, by alias.
        files: Of modules that are not found otherwise, by name.
        arguments: Of the test's command line.
        drivers: Modules that are there under the name of another.
    """

    sources: Mapping[str, Source]
    module: str | None
    theirs: Mapping[str, Address]
    files: Mapping[str, str]
    arguments: tuple[str, ...]
    drivers: Mapping[str, str]


@dataclass(frozen=True)
class Answer:
    """What it answers.

    Attributes:
        problem: Why the databases cannot be used here; empty if they can.
        places: What is otherwise in their settings, by the names of their originals.
        wanted: Those that are on another server.
    """

    problem: str = ""
    places: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    wanted: tuple[str, ...] = ()


class KeptError(Exception):
    """A copy cannot be had; the argument says why."""


class Keeper:
    """The process, as the one that uses the copies has it; all of this blocks.

    Args:
        surroundings: Of the calls, on this machine.
        environment: That this process was started with.
    """

    def __init__(self, surroundings: Surroundings, environment: Mapping[str, str]) -> None:
        self._stream, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", with_path(surroundings.path, _PROGRAM)],
                stdin=theirs.fileno(),
                cwd=surroundings.directory,
                env={**surroundings.environment, **environment},
                start_new_session=True,  # what ends the process that uses the copies is a reason to drop them
            )

    def ask(self, message: bytes) -> Answer:
        """Ask it, or give it the next piece of a dump.

        Raises:
            KeptError: The copies cannot be had.
            EOFError: It has ended.
        """
        answer = None
        with suppress(OSError):
            send(self._stream, message)
            answer = receive(self._stream)
        if answer is None:
            raise EOFError("the process that keeps the copies of databases there has ended")
        found: Answer = pickling.loads(answer)
        if found.problem:
            raise KeptError(found.problem)
        return found

    def close(self) -> None:
        """Have the copies dropped, and wait for that."""
        with suppress(OSError):
            self._stream.shutdown(socket.SHUT_RDWR)
        with suppress(subprocess.TimeoutExpired):  # it goes on alone
            self._process.wait(_FAREWELL)
        self._stream.close()


def main() -> NoReturn:
    """Do what comes in over stdin, which is a socket; what is printed goes to stderr."""
    stream = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(2, 1)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with closing(stream), ExitStack() as kept:
        message = receive(stream)
        if message is not None:
            _serve(stream, pickling.loads(message), kept)
    sys.exit(0)


def _serve(stream: socket.socket, inquiry: Inquiry, kept: ExitStack) -> None:
    """Answer, load the dumps that come then, and wait for the end; what is loaded is dropped when `kept` is closed."""
    try:
        _set_django_up(inquiry.drivers)
        changes = _own_addresses(inquiry)
        settings = {name: _settings(source, changes[name]) for name, source in inquiry.sources.items()}
        wanted = tuple(name for name, source in inquiry.sources.items() if not is_at(source, settings[name]))
        send(stream, pickling.dumps(Answer(places=changes, wanted=wanted)))
        for name in wanted:
            made = _loaded(stream, inquiry.sources[name], settings[name], kept)
            send(stream, pickling.dumps(Answer(places={name: {**changes[name], "NAME": made}})))
    except _GoneError:
        return
    except Exception as error:
        told = str(error) if isinstance(error, DumpError) else f"{type(error).__name__}: {text_of(error)}"
        send(stream, pickling.dumps(Answer(told)))
    receive(stream)


class _GoneError(Exception):
    """Nobody wants the copies any more."""


def _set_django_up(drivers: Mapping[str, str]) -> None:
    from django.conf import settings

    for name, real in drivers.items():
        sys.modules[name] = importlib.import_module(real)
    settings.configure()


def _own_addresses(inquiry: Inquiry) -> dict[str, Mapping[str, Any]]:
    """What is otherwise for this machine in the settings of databases, by the names of their originals."""
    sources, theirs = inquiry.sources, inquiry.theirs
    try:
        own = addresses(inquiry.module, inquiry.files, inquiry.arguments) if inquiry.module and theirs else {}
    except UnreadError as error:  # then they are where the test says
        print(f"The settings cannot be read with the environment of this machine: {error}")
        own = {}
    known = {name: source.alias for name, source in sources.items() if source.alias in own.keys() & theirs.keys()}
    found = {name: differences(own[alias], theirs[alias], sources[name].settings) for name, alias in known.items()}
    return {name: found.get(name, {}) for name in sources}


def _settings(source: Source, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Where a database is for this machine; the project's own engine, if it has one, may need the project."""
    return {**source.settings, **changes, "ENGINE": f"django.db.backends.{source.vendor}"}


def _loaded(stream: socket.socket, source: Source, settings: Mapping[str, Any], kept: ExitStack) -> str:
    """Load the dump that comes now; return the name of the copy."""
    where = f"{settings.get('HOST') or 'localhost'}:{settings.get('PORT') or 'the usual port'}"
    try:
        made = kept.enter_context(room(source, settings))
        with closing(Load(source, made)) as load:
            while piece := _next(stream):
                load.write(piece)
                send(stream, pickling.dumps(Answer()))
            load.finish()
    except DumpError as error:
        raise DumpError(f"it cannot have a copy of {source.alias!r} at {where}, because {error}") from error
    return str(made["NAME"])


def _next(stream: socket.socket) -> bytes:
    piece = receive(stream)
    if piece is None:
        raise _GoneError
    return piece
