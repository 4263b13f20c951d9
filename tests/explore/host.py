"""What the databases of these tests have in common: sessions, waiting, waking, and errors.

A statement is a generator: it yields while it has to wait, and is asked again
whenever another statement has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from random import Random
from typing import Any

Row = dict[str, Any]
Key = tuple[Any, ...]
Body = Generator["Waiting", None, Any]
Change = Callable[[Row], Row]


class DatabaseError(Exception):
    """An error that the database raises in a statement."""


class IntegrityError(DatabaseError):
    pass


class DeadlockError(DatabaseError):
    pass


class SerializationError(DatabaseError):
    pass


class LockNotAvailableError(DatabaseError):
    pass


class InFailedTransactionError(DatabaseError):
    pass


class DatabaseIsLockedError(DatabaseError):
    pass


@dataclass(frozen=True, eq=False)
class Schema:
    """The tables of a scenario and what ties them together.

    A row has a key "id" and any of the columns "n", "name", "about" and "parent".
    """

    rows: dict[str, list[Row]]
    unique: dict[str, str] = field(default_factory=dict)  # table: column
    foreign: dict[str, str] = field(default_factory=dict)  # child: the table that its column "parent" points at
    cascading: frozenset[str] = frozenset()  # children that the database deletes with their parent
    triggers: dict[str, str] = field(default_factory=dict)  # table: where its trigger writes

    def keys(self, table: str) -> list[set[str]]:
        return [{"id"}, *({self.unique[table]} for name in self.unique if name == table)]

    def children(self, parent: str) -> list[str]:
        return [child for child, name in self.foreign.items() if name == parent]


@dataclass(frozen=True)
class Waiting:
    """What a statement waits for; without a key, for anything to happen."""

    key: Key = ()
    exclusive: bool = True
    rivals: frozenset[Session] = frozenset()


@dataclass(eq=False)
class Session:
    """One connection."""

    number: int
    body: Body | None = None
    waiting: Waiting | None = None
    result: tuple[str, Any] | None = None


class Host:
    """Runs the statements of several sessions, one at a time."""

    def __init__(self, wake: Random | None = None) -> None:
        self.wake = wake  # in what order waiters are woken; None: as they came
        self.queue: list[Session] = []
        self.cache: dict[str, Any] = {}

    def begin(self, session: Session, body: Body) -> list[Session]:
        """Let a statement go; return the sessions whose statement ended, this one first."""
        session.body, session.result = body, None
        done = [session] if self._resume(session) else []
        return done + self.woken()

    def give_up(self) -> list[Session]:
        """Fail the statement that has waited longest, as its time limit would where nobody can go on."""
        session = self.queue[0]
        self._resume(session, DatabaseIsLockedError())
        return [session, *self.woken()]

    def woken(self) -> list[Session]:
        """Ask everyone who waits again; return those whose statement ended."""
        done: list[Session] = []
        while True:
            order = self.queue[:]
            if self.wake:
                self.wake.shuffle(order)
            session = next((session for session in order if self._resume(session)), None)
            if session is None:
                return done
            done.append(session)

    def is_deadlock(self, session: Session) -> bool:
        """Tell whether a session that has begun to wait waits for itself."""
        seen: set[Session] = set()
        left = list(session.waiting.rivals) if session.waiting else []
        while left:
            rival = left.pop()
            if rival is session:
                return True
            if rival not in seen and rival.waiting:
                left += rival.waiting.rivals
            seen.add(rival)
        return False

    def _resume(self, session: Session, error: DatabaseError | None = None) -> bool:
        """Go on with a statement until it ends (True) or waits (False)."""
        assert session.body is not None
        try:
            session.waiting = session.body.throw(error) if error else next(session.body)
        except StopIteration as stop:
            session.result = ("value", stop.value)
        except DatabaseError as caught:
            session.result = ("error", caught)
        else:
            if session not in self.queue:
                self.queue.append(session)
            return self.is_deadlock(session) and self._resume(session, DeadlockError())
        session.waiting = session.body = None
        if session in self.queue:
            self.queue.remove(session)
        return True
