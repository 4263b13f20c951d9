"""The isolation levels of a process's transactions, as the servers report them.

Options of the connection, the role, the database and the server all have a part in
it, and a statement may change it.  So the server is asked once for each connection,
and again after statements that may have changed its answer: in such a way that no
transaction is opened, no snapshot is taken and `SET TRANSACTION` stays possible.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from ..sessions import in_autocommit

if TYPE_CHECKING:
    from collections.abc import Collection

_MAY_CHANGE = re.compile(
    r"isolation|characteristics|set_config|\bset\s+transaction\b|\b(?:reset|discard|do|call)\b", re.IGNORECASE
)
_FOR_ONE = re.compile(r"\s*set\s+transaction\b", re.IGNORECASE)
_BEGINS = re.compile(r"\s*(?:begin|start\s+transaction)\b", re.IGNORECASE)
_ENDS = re.compile(r"\s*(?:commit|end|rollback|abort)\b(?!.*\bto\b)", re.IGNORECASE)
_UNDOES = re.compile(r"\s*rollback\b.*\bto\b", re.IGNORECASE)
_IN_SESSION = "SHOW SESSION VARIABLES WHERE variable_name IN ('transaction_isolation', 'tx_isolation')"


class _Status(IntEnum):
    """What libpq calls the state of a connection's transaction (postgresql.org/docs/current/libpq-status.html)."""

    IDLE = 0
    ACTIVE = 1
    IN_TRANSACTION = 2
    FAILED = 3


@dataclass
class _Session:
    """One connection.

    Attributes:
        driver: The driver's connection; kept, so that no other one gets its id.
        usual: The level of transactions that begin without a word about it; None if it has to be asked.
        current: The level of the open transaction, where it was asked for.
        is_doubtful: Something may have changed the level, of the open transaction or of those to come.
        is_begun: A BEGIN of the application was seen; for servers whose drivers do not tell.
        first: What `usual` was first of all.
    """

    driver: Any
    usual: str | None = None
    current: str | None = None
    is_doubtful: bool = False
    is_begun: bool = False
    first: str | None = None


class IsolationLevels:
    """What is known of the connections of this process."""

    def __init__(self) -> None:
        self._sessions: dict[int, _Session] = {}  # by the id of the driver's connection

    def of(self, connection: Any) -> str | None:
        """The level at which the next statement of an open connection runs; None where nobody can tell."""
        if connection.vendor not in ("postgresql", "mysql"):
            return None
        session = self._session(connection)
        with suppress(Exception):  # the connection is broken, as the statement will find as well
            level = _of_postgresql(session) if connection.vendor == "postgresql" else _of_mysql(session)
            session.first = session.first or session.usual
            return level
        return None

    def note(self, connection: Any, sql: str, *, ended: bool) -> None:
        """Take note of what a connection has run; `ended` says that its transaction has, without a text."""
        if connection.vendor not in ("postgresql", "mysql") or connection.connection is None:
            return
        session = self._session(connection)
        with suppress(Exception):  # as above
            if connection.vendor == "postgresql":
                _note_on_postgresql(session, sql)
            else:
                is_open = session.is_begun or connection.in_atomic_block or not connection.autocommit
                _note_on_mysql(session, sql, is_open=is_open, ended=ended or _ENDS.match(sql) is not None)

    def start_anew(self, drivers: Collection[int]) -> None:
        """Know of these connections, given by their ids, what was known when they were new; forget all others."""
        self._sessions = {
            number: _Session(session.driver, session.first, first=session.first)
            for number, session in self._sessions.items()
            if number in drivers
        }

    def has_begun(self, connection: Any) -> bool:
        """Whether the application has opened a transaction of which Django knows nothing."""
        if connection.vendor == "postgresql":
            return bool(connection.connection.info.transaction_status != _Status.IDLE)
        if connection.vendor == "sqlite":
            return bool(connection.connection.in_transaction)
        return connection.vendor == "mysql" and self._session(connection).is_begun

    def _session(self, connection: Any) -> _Session:
        driver = connection.connection
        return self._sessions.setdefault(id(driver), _Session(driver))


def _of_postgresql(session: _Session) -> str | None:
    status, driver = session.driver.info.transaction_status, session.driver
    if status == _Status.FAILED:
        return None
    if status == _Status.IDLE:
        _forget_transaction(session)
    if session.usual is None and status == _Status.IDLE:
        with in_autocommit(driver):
            session.usual = _shown(driver, "default_transaction_isolation")
    if session.usual is None and session.current is None:
        session.current = _shown(driver, "transaction_isolation")
    if session.current is None and not driver.autocommit and driver.isolation_level is not None:
        # said with the driver's BEGIN, and of no statement in autocommit
        from django.db.backends.postgresql.psycopg_any import IsolationLevel

        return _named(IsolationLevel(driver.isolation_level).name)
    return session.current or session.usual


def _note_on_postgresql(session: _Session, sql: str) -> None:
    changes = _MAY_CHANGE.search(sql) is not None
    status = session.driver.info.transaction_status
    session.is_doubtful |= changes  # ROLLBACK takes changes back, also those for transactions to come
    if status == _Status.IDLE:
        _forget_transaction(session)
    elif status == _Status.IN_TRANSACTION and (changes or (session.is_doubtful and _UNDOES.match(sql))):
        session.current = _shown(session.driver, "transaction_isolation")


def _forget_transaction(session: _Session) -> None:
    session.current = None
    if session.is_doubtful:
        session.usual, session.is_doubtful = None, False


def _shown(driver: Any, setting: str) -> str:
    with driver.cursor() as cursor:
        cursor.execute(f"SHOW {setting}")
        return _named(_text(cursor.fetchone()[0]))


def _of_mysql(session: _Session) -> str | None:
    if session.is_doubtful:
        return None
    if session.usual is None:
        with session.driver.cursor() as cursor:
            cursor.execute(_IN_SESSION)
            session.usual = _named(_text(cursor.fetchone()[1]))
    return session.usual


def _note_on_mysql(session: _Session, sql: str, *, is_open: bool, ended: bool) -> None:
    """The server does not tell the level of the open transaction, nor that of the next one alone."""
    if _MAY_CHANGE.search(sql):
        session.usual, session.is_doubtful = None, is_open or _FOR_ONE.match(sql) is not None
    elif _BEGINS.match(sql):
        session.is_begun = True
    elif ended or not is_open:
        session.is_begun = session.is_doubtful = False


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else bytes(value).decode()


def _named(level: str) -> str:
    return re.sub("[-_]", " ", level).lower()
