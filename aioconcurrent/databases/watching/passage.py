"""What every operation on shared data passes in a watched wrapper: a gate, or a recorder.

The hooks (`hooks.py`, `caches.py`) hand each operation to the passage of this process.
This module describes the operation and what it has read.
"""

from __future__ import annotations

import re
import threading
from abc import ABC, abstractmethod
from datetime import date, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

from ...base.trace import Operation
from ..handoff import database_identity
from .isolation import IsolationLevels

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from ...base.trace import Kind, Primitive

    Row = tuple[Primitive, ...]
    Tell = Callable[[Any], tuple[int | None, tuple[str, ...], tuple[Row, ...]]]  # rowcount, columns, rows

# A variable of an application's own, which PostgreSQL empties and does not forget.
_OF_APPLICATION = re.compile(r"\bset_config\b|^\s*set\s+(?:session\s+|local\s+)?\w+\.\w", re.IGNORECASE)
_NAMED = re.compile(r"%\((\w+)\)s")


class Passage(ABC):
    """What the hooks are given to call.

    Attributes:
        dirty: Ids of connections that ran something since their last COMMIT.
        isolation: The levels of their transactions.
        unresettable: Ids of connections to whose sessions something was given that the server cannot take away.
        unshared: Which caches were used that no other process sees, a sentence each.
        unseen: What was done that passes unseen, a sentence each.
    """

    def __init__(self) -> None:
        self._local = threading.local()
        self._connections: list[object] = []  # driver connections in the order in which they were first seen
        self.dirty: set[int] = set()
        self.unresettable: set[int] = set()
        self.isolation = IsolationLevels()
        self.unshared: dict[int, str] = {}  # by the cache's id
        self.unseen: set[str] = set()

    @abstractmethod
    def is_closed(self) -> bool:
        """Whether operations of this thread have to pass now."""

    @abstractmethod
    def pass_through(self, operation: Operation, run: Callable[[], Any], tell: Tell | None = None) -> Any:
        """Run something that is no database round trip: a step of the application, or an operation of a cache.

        Args:
            tell: Says what came of it.
        """

    @abstractmethod
    def pass_database(
        self, connection: Any, kind: Kind, sql: str, parameters: object, run: Callable[[], Any], cursor: Any = None
    ) -> Any:
        """Run one round trip of a connection.

        Args:
            cursor: Django's, if it is one of a cursor.
        """

    def pass_fetch(self, connection: Any, sql: str, parameters: object, run: Callable[[], Any]) -> Any:
        """Fetch rows of a query that are still on the server."""
        return run()

    @abstractmethod
    def fetched(self, cursor: Any, rows: Iterable[Any]) -> None:
        """Take note of rows that the application has read."""

    def pass_step(self, name: str) -> None:
        """Stop at a point of the application."""
        if self.is_closed():
            self.pass_through(Operation("step", name), lambda: None)

    def start_anew(self, drivers: Collection[int]) -> None:
        """Know nothing of any call: the next one is about to be made, with these connections open, given by ids."""
        self._connections.clear()
        self.dirty.clear()
        self.unresettable.clear()
        self.unshared.clear()
        self.unseen.clear()
        self.isolation.start_anew(drivers)

    def while_connecting(self, connect: Callable[[], None]) -> None:
        """Leave open what opening a connection runs: it takes no locks, and would only multiply the orders."""
        self._local.connecting = True
        try:
            connect()
        finally:
            self._local.connecting = False

    def _is_connecting(self) -> bool:
        return getattr(self._local, "connecting", False)

    def _describe(self, connection: Any, kind: Kind, sql: str, parameters: object) -> Operation:
        in_transaction = connection.in_atomic_block or not connection.autocommit
        return Operation(
            kind,
            sql,
            None if parameters is None else tuple(map(primitive, in_order(sql, parameters))),
            connection.vendor,
            database=database_identity(connection.settings_dict),
            connection=self._number(connection),
            in_transaction=in_transaction or self.isolation.has_begun(connection),
            isolation=self.isolation.of(connection),
        )

    def _number(self, connection: Any) -> int:
        for number, known in enumerate(self._connections):
            if known is connection.connection:
                return number
        self._connections.append(connection.connection)
        return len(self._connections) - 1

    def _track(self, connection: Any, kind: Kind, sql: str) -> None:
        if _OF_APPLICATION.search(sql):
            self.unresettable.add(id(connection.connection))
        ended = kind in ("commit", "rollback", "close")
        (self.dirty.discard if ended else self.dirty.add)(id(connection.connection))
        self.isolation.note(connection, sql, ended=ended)


def told_columns(cursor: Any) -> tuple[str, ...]:
    """The names of a result's columns."""
    return tuple(str(column[0]) for column in cursor.description or ())


def told_rows(rows: Iterable[Any], room: int) -> list[Row]:
    """The first rows of a result, as plain values."""
    return [tuple(map(primitive, row)) for _, row in zip(range(room), rows, strict=False)]


def primitive(value: object) -> Primitive:
    """Drivers wrap plain values in classes of their own, whose repr would make equal values differ."""
    if isinstance(value, str):
        return str.__str__(value)  # a member of an enumeration calls itself by its name
    for kind in (bool, int, float, bytes):
        if isinstance(value, kind):
            return value if type(value) is kind else kind(value)  # type: ignore[arg-type]  # each takes its own kind
    if isinstance(value, date | time | Decimal | UUID):
        return str(value)
    return None if value is None else repr(value)


def told_error(error: BaseException) -> str:
    """The class and text of an error."""
    return f"{type(error).__name__}: {error}"


def in_order(sql: str, parameters: Any) -> Iterable[Any]:
    """The values of one set of parameters; those with names come as their names do in the text, each once."""
    if not isinstance(parameters, dict):
        return parameters  # type: ignore[no-any-return]  # a sequence, by the DB API
    return [parameters[name] for name in dict.fromkeys(_NAMED.findall(sql)) if name in parameters]
