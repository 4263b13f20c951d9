"""Real SQLite behind the same face: one file, one connection a session, all in this process.

When a busy statement waits and when it fails at once is as in the gate: it waits
if its connection holds no lock yet, or if it is COMMIT.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from .host import Body, Change, DatabaseIsLockedError, Host, IntegrityError, Row, Schema, Session, Waiting

COLUMNS = ("id", "n", "name", "about", "parent")


@dataclass(eq=False, kw_only=True)
class Connection(Session):
    link: sqlite3.Connection
    holds: bool = False  # a statement ran in the open transaction


class File(Host):
    """A database file with its connections; `close` them before the next."""

    def __init__(self, schema: Schema, clients: int, path: Path, *, wal: bool) -> None:
        super().__init__()
        self.schema = schema
        for stale in path.parent.glob(f"{path.name}*"):
            stale.unlink()
        made = _made.setdefault(schema, {})
        if wal not in made:
            made[wal] = _make(schema, path, wal=wal)
        path.write_bytes(made[wal])
        self._admin = self._connect(path)
        self.sessions = [Connection(number=number, link=self._connect(path)) for number in range(clients)]

    def _connect(self, path: Path) -> sqlite3.Connection:
        link = sqlite3.connect(path, timeout=0, isolation_level=None)
        link.row_factory = sqlite3.Row
        link.execute("PRAGMA synchronous = OFF")
        link.execute("PRAGMA foreign_keys = ON")
        return link

    def contents(self) -> dict[str, list[Row]]:
        return {table: _rows(self._admin.execute(f"SELECT * FROM {table}").fetchall()) for table in self.schema.rows}

    def close(self) -> None:
        for session in self.sessions:
            session.link.close()
        self._admin.close()

    def disconnect(self, session: Connection) -> list[Session]:
        session.link.close()
        return self.woken()

    def select(self, session: Connection, table: str, where: Row) -> Body:
        rows = yield from self._run(session, f"SELECT * FROM {table}{_conditions(where)}", where)
        return _rows(rows)

    def lock(self, session: Connection, table: str, where: Row, *, exclusive: bool, busy: str) -> Body:
        return self.select(session, table, where)

    def update(self, session: Connection, table: str, where: Row, change: Change, counted: str) -> Body:
        def changed(n: int, count: int) -> Any:
            return change({"n": n, "count": count})["n"]

        session.link.create_function("changed", 2, changed)
        count = f"(SELECT COUNT(*) FROM {counted})" if counted else "0"
        yield from self._run(session, f"UPDATE {table} SET n = changed(n, {count}){_conditions(where)}", where)

    def update_first(self, session: Connection, table: str, where: Row, change: Change) -> Body:
        session.link.create_function("changed", 1, lambda n: change({"n": n})["n"])
        first = f"(SELECT min(id) FROM {table}{_conditions(where)})"
        yield from self._run(session, f"UPDATE {table} SET n = changed(n) WHERE id = {first}", where)

    def insert(self, session: Connection, table: str, values: Row, *, ignore: bool, missing: bool = False) -> Body:
        names, marks = ", ".join(values), ", ".join(f":{name}" for name in values)
        verb = "INSERT OR IGNORE" if ignore else "INSERT"
        given = f"VALUES ({marks})"
        if missing:
            given = f"SELECT {marks} WHERE NOT EXISTS (SELECT 1 FROM {table}{_conditions(values)})"
        rows = yield from self._run(session, f"{verb} INTO {table} ({names}) {given} RETURNING id", values)
        return rows[0]["id"] if rows else None

    def delete(self, session: Connection, table: str, where: Row) -> Body:
        rows = yield from self._run(session, f"DELETE FROM {table}{_conditions(where)} RETURNING id", where)
        return len(rows)

    def start(self, session: Connection, *, immediate: bool) -> Body:
        yield from self._run(session, "BEGIN IMMEDIATE" if immediate else "BEGIN", {})
        session.holds = immediate

    def commit(self, session: Connection) -> Body:
        yield from self._run(session, "COMMIT", {}, waits=lambda: True)
        session.holds = False

    def rollback(self, session: Connection) -> Body:
        with suppress(sqlite3.OperationalError):  # an error may have ended the transaction
            session.link.execute("ROLLBACK")
        session.holds = False
        yield from ()

    def savepoint(self, session: Connection, name: str) -> Body:
        return self._control(session, f"SAVEPOINT {name}")

    def release(self, session: Connection, name: str) -> Body:
        return self._control(session, f"RELEASE {name}")

    def rollback_to(self, session: Connection, name: str) -> Body:
        return self._control(session, f"ROLLBACK TO {name}")

    def _control(self, session: Connection, sql: str) -> Body:
        session.link.execute(sql)
        yield from ()

    def _run(self, session: Connection, sql: str, values: Row, waits: Callable[[], bool] | None = None) -> Body:
        if waits is None and not sql.startswith(("BEGIN", "SELECT")) and not session.link.in_transaction:
            return (yield from self._run_at_once(session, sql, values))
        while True:
            try:
                rows = session.link.execute(sql, values).fetchall()
            except sqlite3.IntegrityError as error:
                session.holds = session.link.in_transaction
                raise IntegrityError from error
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    raise
                if session.holds and waits is None:
                    raise DatabaseIsLockedError from error
            else:
                session.holds = session.link.in_transaction
                return rows
            yield Waiting()

    def _run_at_once(self, session: Connection, sql: str, values: Row) -> Body:
        """Run a statement in autocommit: it holds nothing while it waits to begin, and what it has at its COMMIT."""
        try:
            while True:
                yield from self._run(session, "BEGIN", {})
                try:
                    rows = session.link.execute(sql, values).fetchall()
                    break
                except sqlite3.IntegrityError as error:
                    raise IntegrityError from error
                except sqlite3.OperationalError as error:
                    if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                        raise
                session.link.execute("ROLLBACK")
                yield Waiting()
            yield from self._run(session, "COMMIT", {}, waits=lambda: True)
        finally:
            if session.link.in_transaction:
                session.link.execute("ROLLBACK")
            session.holds = False
        return rows


_made: WeakKeyDictionary[Schema, dict[bool, bytes]] = WeakKeyDictionary()


def _make(schema: Schema, path: Path, *, wal: bool) -> bytes:
    """Write a database file and read it as bytes."""
    with closing(sqlite3.connect(path, isolation_level=None)) as link:
        link.execute(f"PRAGMA journal_mode = {'WAL' if wal else 'DELETE'}")
        link.executescript(f"BEGIN; {_definition(schema)} COMMIT;")
        for table, rows in schema.rows.items():
            for row in rows:
                names, marks = ", ".join(row), ", ".join("?" * len(row))
                link.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(row.values()))
    return path.read_bytes()


def _definition(schema: Schema) -> str:
    """The tables as Django makes them, but all with the same columns."""
    script = ""
    for table in schema.rows:
        columns = ["id INTEGER PRIMARY KEY AUTOINCREMENT"]
        for column in COLUMNS[1:]:
            text = f"{column} UNIQUE" if schema.unique.get(table) == column else column
            if column == "parent" and table in schema.foreign:
                cascade = "ON DELETE CASCADE" if table in schema.cascading else ""
                text += f" REFERENCES {schema.foreign[table]} (id) {cascade} DEFERRABLE INITIALLY DEFERRED"
            columns.append(text)
        script += f"CREATE TABLE {table} ({', '.join(columns)});"
    for table, log in schema.triggers.items():
        for event in ("INSERT", "UPDATE", "DELETE"):
            body = f"INSERT INTO {log} (about) VALUES ('{table}');"
            script += f"CREATE TRIGGER {table}_{event} AFTER {event} ON {table} BEGIN {body} END;"
    return script


def _conditions(where: Row) -> str:
    return " WHERE " + " AND ".join(f"{column} = :{column}" for column in where) if where else ""


def _rows(rows: list[sqlite3.Row]) -> list[Row]:
    return [{key: row[key] for key in COLUMNS if row[key] is not None} for row in rows]
