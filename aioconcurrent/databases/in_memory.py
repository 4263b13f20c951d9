"""Databases in memory, Django's default for tests: lent to the wrappers as files, and copied back.

Copies are made with SQLite's online backup (sqlite.org/backup.html), which keeps
everything, so that the caller's open connection finds the new content in place.

A killed process leaves its folder of files behind.  The kernel releases the folder's lock
(flock(2)), so that the next process can tell it from one in use, whatever process or container
that is in, and removes it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import tempfile
import threading
from contextlib import ExitStack, asynccontextmanager, closing
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from ..base import own_clock as time
from ..exceptions import DatabaseInMemoryChangedError, DatabaseInMemoryLockedError
from .handoff import is_in_memory, uncommitted_names

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Mapping

    from .handoff import View


_lending = threading.Lock()  # two races would take back each other's changes
_PATIENCE = 5.0  # seconds for a lock on the database in memory
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


class _Lent:
    """One database in memory and its file."""

    def __init__(self, name: str, source: sqlite3.Connection, file: sqlite3.Connection) -> None:
        self._name, self._source, self._file = name, source, file
        file.execute("PRAGMA synchronous = OFF")
        self._ours = _version(source)  # before the copy, which may lack what comes after
        _copy(name, source, file)
        self._theirs = _version(file)

    def take_back(self) -> None:
        ours, theirs = _version(self._source), _version(self._file)
        if theirs == self._theirs:
            return
        if ours != self._ours:
            raise DatabaseInMemoryChangedError(self._name)
        _copy(self._name, self._file, self._source)
        self._theirs = theirs


class Loan(dict[str, str]):
    """The files of databases in memory that are lent, by database name."""

    def __init__(self, files: Mapping[str, str], lent: Iterable[_Lent]) -> None:
        super().__init__(files)
        self._lent = list(lent)

    def take_back(self) -> None:
        """Let the databases in memory have what is in the files now; where nothing is new they stay as they are.

        Raises:
            DatabaseInMemoryLockedError: One is locked.
            DatabaseInMemoryChangedError: One was changed on both sides.
        """
        for lent in self._lent:
            lent.take_back()


@asynccontextmanager
async def lent(views: Iterable[View]) -> AsyncIterator[Loan]:
    """Lend the caller's databases in memory.

    Raises:
        DatabaseInMemoryLockedError: One is locked, before or after.
        DatabaseInMemoryChangedError: One was changed by the calls and by this process.
    """
    with ExitStack() as stack:
        sources = _sources(views, stack)
        if not sources:
            yield Loan({}, [])
            return
        while not _lending.acquire(blocking=False):  # noqa: ASYNC110 - the other race may be another thread's
            await anyio.sleep(0.01)
        stack.callback(_lending.release)
        folder = stack.enter_context(temporary_folder())
        files = {name: str(folder / f"{number}.sqlite3") for number, name in enumerate(sources)}
        opened = {name: stack.enter_context(closing(_open(file))) for name, file in files.items()}
        loan = Loan(files, [_Lent(name, source, opened[name]) for name, source in sources.items()])
        try:
            yield loan
        finally:
            loan.take_back()


def is_lent(settings: Mapping[str, Any]) -> bool:
    """Whether these connection settings are of a file that stands for a database in memory."""
    return Path(str(settings["NAME"])).parent.name.startswith(PREFIX)


def remove_lent(settings: Iterable[Mapping[str, Any]]) -> None:
    """Remove files that were lent by a process which is gone."""
    for values in settings:
        if is_lent(values):
            shutil.rmtree(Path(str(values["NAME"])).parent, ignore_errors=True)


def _sources(views: Iterable[View], stack: ExitStack) -> dict[str, sqlite3.Connection]:
    """A connection to each database in memory that holds anything, by its name."""
    found: dict[str, sqlite3.Connection] = {}
    views = list(views)
    uncommitted = uncommitted_names(views)  # nobody may connect to those, and they are locked
    for view in views:
        for alias, settings in view.settings.items():
            name = str(settings["NAME"])
            if not is_in_memory(settings) or name in found or name in uncommitted:
                continue
            # one that has a name is shared by the connections of all threads, the other is its connection's own
            connection = (
                view.opened.get(alias) if name == ":memory:" else stack.enter_context(closing(_open(name, uri=True)))
            )
            if connection is not None and connection.execute("SELECT 1 FROM sqlite_master").fetchone():
                found[name] = connection
    return found


def _open(name: str, *, uri: bool = False) -> sqlite3.Connection:
    # for any thread, one at a time: an exploration takes back between its runs
    return sqlite3.connect(name, uri=uri, isolation_level=None, check_same_thread=False)


def _version(connection: sqlite3.Connection) -> int:
    """A number that changes when others, in whatever process, change the database (sqlite.org/pragma.html)."""
    return int(connection.execute("PRAGMA data_version").fetchone()[0])


def _copy(name: str, source: sqlite3.Connection, target: sqlite3.Connection) -> None:
    deadline = time.monotonic() + _PATIENCE

    def check(status: int, remaining: int, total: int) -> None:
        if status in _BUSY and time.monotonic() > deadline:  # the backup would try for ever
            raise DatabaseInMemoryLockedError(name)

    try:
        source.backup(target, progress=check, sleep=0.01)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF not in _BUSY:  # the low byte is the primary result code
            raise
        raise DatabaseInMemoryLockedError(name) from error


PREFIX = "aioconcurrent-lent-"
_NEW = "."  # before the name of one that is not locked yet


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder for the block; the first one of a process takes those away that killed processes have left."""
    _sweep(tempfile.gettempdir())
    new = Path(tempfile.mkdtemp(prefix=_NEW + PREFIX))
    folder = new.with_name(new.name.removeprefix(_NEW))
    descriptor = _lock(new)
    try:
        new.rename(folder)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if descriptor is not None:
            os.close(descriptor)


@cache
def _sweep(parent: str) -> None:
    with contextlib.suppress(OSError):
        for path in Path(parent).glob(f"{PREFIX}*"):
            with contextlib.suppress(OSError):  # it is in use, or somebody else's
                descriptor = _lock(path)
                if descriptor is not None:
                    shutil.rmtree(path, ignore_errors=True)
                    os.close(descriptor)


def _lock(folder: Path) -> int | None:
    """Lock a folder for as long as the descriptor is open; None where that is not to be had.

    Raises:
        OSError: Somebody else has it locked.
    """
    try:
        import fcntl
    except ImportError:  # on Windows
        return None
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
