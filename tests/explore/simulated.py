"""A small PostgreSQL, or MySQL, in memory, so that schedules can be run by the thousand without processes.

It has what the dependence rules are about: row versions and snapshots, row locks
with waiting, gap locks, unique keys, foreign keys (checked at COMMIT as Django has
them on PostgreSQL, at once as InnoDB does), sequences, savepoints, triggers,
advisory locks, deadlocks, and errors that release locks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random

from .host import (
    Body,
    Change,
    DatabaseError,
    DeadlockError,
    Host,
    InFailedTransactionError,
    IntegrityError,
    Key,
    LockNotAvailableError,
    Row,
    Schema,
    SerializationError,
    Session,
    Waiting,
)


@dataclass
class Transaction:
    explicit: bool
    snapshot: int | None = None
    changes: list[tuple[str, int, Row | None]] = field(default_factory=list)
    locks: list[tuple[Key, str | None]] = field(default_factory=list)  # key, and how it was held before
    savepoints: list[tuple[str, int, int]] = field(default_factory=list)
    reads: set[str] = field(default_factory=set)
    failed: bool = False

    @property
    def written(self) -> set[str]:
        return {table for table, _, _ in self.changes}


@dataclass(eq=False)
class Connection(Session):
    transaction: Transaction | None = None
    advisory: list[Key] = field(default_factory=list)

    @property
    def open(self) -> Transaction:
        assert self.transaction is not None
        return self.transaction


def matches(row: Row, where: Row) -> bool:
    return all(row.get(column) == value for column, value in where.items())


class Server(Host):
    """One database server; `vendor` is Django's name of what it imitates."""

    def __init__(self, schema: Schema, clients: int, vendor: str, isolation: str, wake: Random | None) -> None:
        super().__init__(wake)
        self.schema = schema
        self.sessions = [Connection(number) for number in range(clients)]
        self.vendor = vendor
        self.isolation = isolation
        self.now = 0
        self.versions: dict[str, dict[int, list[tuple[int, Row | None]]]] = {
            table: {row["id"]: [(0, row)] for row in rows} for table, rows in schema.rows.items()
        }
        self.sequences = {table: max([row["id"] for row in rows], default=0) for table, rows in schema.rows.items()}
        self.held: dict[Key, dict[Session, str]] = {}
        self.committed: list[tuple[Transaction, int]] = []

    def contents(self) -> dict[str, list[Row]]:
        return {table: list(self._view(table, None).values()) for table in self.versions}

    def disconnect(self, session: Connection) -> list[Session]:
        """Close a connection; return the sessions that this set free."""
        self._end(session)
        for key in set(session.advisory):
            del self.held[key][session]
        session.advisory.clear()
        return self.woken()

    # Statements

    def select(self, session: Connection, table: str, where: Row) -> Body:
        def body() -> Body:
            yield from ()
            return [row for row in self._seen(session, table).values() if matches(row, where)]

        return self._statement(session, body())

    def lock(self, session: Connection, table: str, where: Row, *, exclusive: bool, busy: str) -> Body:
        """SELECT ... FOR UPDATE or FOR SHARE; `busy` is "nowait", "skip locked" or empty."""
        return self._statement(session, self._claim(session, table, where, exclusive=exclusive, busy=busy))

    def update(self, session: Connection, table: str, where: Row, change: Change, counted: str) -> Body:
        """Change rows; `counted` names a table of which a subquery counts the rows into "count" for `change`."""

        def body() -> Body:
            count = {"count": len(self._seen(session, counted))} if counted else {}
            rows: list[Row] = yield from self._claim(session, table, where)
            for row in rows:
                new = {**row, **change({**row, **count})}
                self._write(session, table, row["id"], new)
                if self.vendor != "postgresql" and new.get("parent") != row.get("parent"):
                    yield from self._check_parent(session, table, new)
            return len(rows)

        return self._statement(session, body())

    def update_first(self, session: Connection, table: str, where: Row, change: Change) -> Body:
        """Change the row that is the first to match in what the statement sees."""

        def body() -> Body:
            found = [pk for pk, row in self._seen(session, table).items() if matches(row, where)]
            rows: list[Row] = yield from self._claim(session, table, {"id": min(found, default=0)})
            for row in rows:
                self._write(session, table, row["id"], {**row, **change(row)})
            return len(rows)

        return self._statement(session, body())

    def insert(self, session: Connection, table: str, values: Row, *, ignore: bool, missing: bool = False) -> Body:
        """Insert a row, if it is `missing`; gives its key, or None where a unique key is taken and that is ignored."""

        def body() -> Body:
            if missing and any(matches(row, values) for row in self._seen(session, table).values()):
                return None
            return (yield from self._insert(session, table, values, ignore))

        return self._statement(session, body())

    def delete(self, session: Connection, table: str, where: Row) -> Body:
        return self._statement(session, self._delete(session, table, where))

    def advisory(self, session: Connection, number: int, *, unlock: bool) -> Body:
        """Take or give back a lock of the session, which no transaction ends."""
        key = ("advisory", number)

        def body() -> Body:
            if unlock:
                session.advisory.remove(key)
                if key not in session.advisory:  # it may have been taken more than once
                    del self.held[key][session]
                return
            yield from self._acquire(session, key, hold=False)
            self.held.setdefault(key, {})[session] = "x"
            session.advisory.append(key)

        return self._statement(session, body())

    # Transactions

    def start(self, session: Connection) -> None:
        """Begin without a round trip, as drivers do."""
        session.transaction = Transaction(explicit=True)

    def commit(self, session: Connection) -> Body:
        """End a transaction and show what it wrote."""
        transaction = session.transaction
        if transaction is None:  # a deadlock has ended it
            return
        try:
            if self.vendor == "postgresql":
                yield from self._check_deferred(session, transaction)
            if self.isolation == "serializable":
                self._refuse_pivot(transaction)
        except DatabaseError:
            self._end(session)
            raise
        self.now += 1
        for table, pk, row in transaction.changes:
            self.versions[table].setdefault(pk, []).append((self.now, row))
        self.committed.append((transaction, self.now))
        self._end(session)

    def rollback(self, session: Connection) -> Body:
        self._end(session)
        yield from ()

    def savepoint(self, session: Connection, name: str) -> Body:
        if session.transaction is not None:
            marks = len(session.transaction.changes), len(session.transaction.locks)
            session.transaction.savepoints.append((name, *marks))
        yield from ()

    def release(self, session: Connection, name: str) -> Body:
        self._savepoint(session, name)
        yield from ()

    def rollback_to(self, session: Connection, name: str) -> Body:
        """Undo what came after a savepoint; InnoDB keeps the locks."""
        transaction, (_, changes, locks) = self._savepoint(session, name)
        self._undo(session, transaction, changes, locks if self.vendor == "postgresql" else None)
        transaction.failed = False
        yield from ()

    def _savepoint(self, session: Connection, name: str) -> tuple[Transaction, tuple[str, int, int]]:
        if session.transaction is None or session.transaction.savepoints[-1][0] != name:
            raise DatabaseError
        return session.transaction, session.transaction.savepoints.pop()

    def _statement(self, session: Connection, body: Body) -> Body:
        """Wrap a statement in what every statement does: a snapshot, and the end of what it opened."""
        transaction = session.transaction = session.transaction or Transaction(explicit=False)
        if transaction.failed:
            raise InFailedTransactionError
        marks = len(transaction.changes), len(transaction.locks)
        if self.vendor == "postgresql":
            self._look(transaction)
        try:
            result = yield from body
            if not transaction.explicit:
                yield from self.commit(session)
        except DatabaseError as error:
            self._fail(session, transaction, error, marks)
            raise
        return result

    def _fail(
        self, session: Connection, transaction: Transaction, error: DatabaseError, marks: tuple[int, int]
    ) -> None:
        if not transaction.explicit or (self.vendor == "mysql" and isinstance(error, DeadlockError)):
            self._end(session)
        elif self.vendor == "mysql":
            del transaction.changes[marks[0] :]
        else:
            changes, locks = transaction.savepoints[-1][1:] if transaction.savepoints else (0, 0)
            self._undo(session, transaction, changes, locks)
            transaction.failed = True

    def _undo(self, session: Session, transaction: Transaction, changes: int, locks: int | None) -> None:
        del transaction.changes[changes:]
        for key, before in reversed(transaction.locks[locks:] if locks is not None else []):
            if before is None:
                del self.held[key][session]
            else:
                self.held[key][session] = before
        if locks is not None:
            del transaction.locks[locks:]

    def _end(self, session: Connection) -> None:
        if session.transaction is not None:
            self._undo(session, session.transaction, 0, 0)
            session.transaction = None

    def _refuse_pivot(self, transaction: Transaction) -> None:
        """Roughly SSI: what it read was overwritten by a committed one, and what it wrote was read by another."""
        others = [other for other, when in self.committed if when > (transaction.snapshot or 0)]
        active = [s.transaction for s in self.sessions if s.transaction and s.transaction is not transaction]
        overwritten = any(other.written & transaction.reads for other in others)
        if overwritten and any(other.reads & transaction.written for other in others + active):
            raise SerializationError

    # Locks

    def _acquire(
        self, session: Connection, key: Key, exclusive: bool = True, *, wait: bool = True, hold: bool = True
    ) -> Body:
        """Take a lock; gives True if it could be had."""
        while rivals := self._rivals(session, key, exclusive):
            if not wait:
                return False
            yield Waiting(key, exclusive, rivals)
        if hold:
            before = self.held.setdefault(key, {}).get(session)
            if before != "x":
                self.held[key][session] = "x" if exclusive else "s"
                session.open.locks.append((key, before))
        return True

    def _rivals(self, session: Session, key: Key, exclusive: bool) -> frozenset[Session]:
        held = self.held.get(key, {})
        rivals = {other for other, mode in held.items() if other is not session and (exclusive or mode == "x")}
        if self.vendor == "mysql" and session not in held:  # InnoDB grants in the order of asking
            before = self.queue[: self.queue.index(session)] if session in self.queue else self.queue
            for other in before:
                if other.waiting and other.waiting.key == key and (exclusive or other.waiting.exclusive):
                    rivals.add(other)
        return frozenset(rivals)

    # Rows

    def _look(self, transaction: Transaction) -> int:
        """Take the snapshot for a statement."""
        stable = self.isolation in ("repeatable read", "serializable")
        if transaction.snapshot is None or not stable:
            transaction.snapshot = self.now
        return transaction.snapshot

    def _view(self, table: str, transaction: Transaction | None, at: int | None = None) -> dict[int, Row]:
        """The rows that a transaction sees, by primary key; the latest without `at`."""
        rows: dict[int, Row | None] = {}
        for pk, versions in self.versions[table].items():
            rows[pk] = next((row for when, row in reversed(versions) if at is None or when <= at), None)
        for name, pk, row in transaction.changes if transaction else ():
            if name == table:
                rows |= {pk: row}
        return {pk: row for pk, row in sorted(rows.items()) if row is not None}

    def _seen(self, session: Connection, table: str) -> dict[int, Row]:
        """What a plain SELECT of this statement sees."""
        transaction = session.open
        transaction.reads.add(table)
        at = self._look(transaction) if self.vendor == "mysql" else transaction.snapshot
        return self._view(table, transaction, at)

    def _claim(self, session: Connection, table: str, where: Row, *, exclusive: bool = True, busy: str = "") -> Body:
        """Lock the rows that match; gives them as they are then."""
        transaction = session.open
        transaction.reads.add(table)
        is_found = where.get("id") in self._view(table, transaction)
        if self.vendor == "mysql" and self.isolation != "read committed" and not is_found:
            yield from self._acquire(session, (table, "gap"), exclusive=False)
        seen = self._view(table, transaction, transaction.snapshot if self.vendor == "postgresql" else None)
        claimed: list[Row] = []
        for pk in [pk for pk, row in seen.items() if matches(row, where)]:
            if not (yield from self._acquire(session, (table, pk), exclusive, wait=not busy)):
                if busy == "nowait":
                    raise LockNotAvailableError
                continue
            self._refuse_newer(transaction, table, pk)
            row = self._view(table, transaction).get(pk)
            if row is not None and matches(row, where):
                claimed.append(row)
        return claimed

    def _refuse_newer(self, transaction: Transaction, table: str, pk: int) -> None:
        stable = self.vendor == "postgresql" and self.isolation != "read committed"
        if stable and any(when > (transaction.snapshot or 0) for when, _ in self.versions[table].get(pk, [])):
            raise SerializationError

    def _write(self, session: Connection, table: str, pk: int, row: Row | None) -> None:
        session.open.changes.append((table, pk, row))
        if log := self.schema.triggers.get(table):
            number = self._next(log)
            session.open.changes.append((log, number, {"id": number, "about": table}))

    def _next(self, table: str) -> int:
        self.sequences[table] += 1
        return self.sequences[table]

    def _insert(self, session: Connection, table: str, values: Row, ignore: bool) -> Body:
        if self.vendor == "mysql" and self.isolation != "read committed":
            yield from self._acquire(session, (table, "gap"), hold=False)
        row = {"id": self._next(table), **values}
        if column := self.schema.unique.get(table):
            yield from self._acquire(session, ("unique", table, row[column]))
            if any(other[column] == row[column] for other in self._view(table, session.open).values()):
                if ignore:
                    return None
                raise IntegrityError
        yield from self._acquire(session, (table, row["id"]))
        if row["id"] in self._view(table, session.open):
            if ignore:
                return None
            raise IntegrityError
        self._write(session, table, row["id"], row)
        if self.vendor != "postgresql":
            yield from self._check_parent(session, table, row)
        return row["id"]

    def _delete(self, session: Connection, table: str, where: Row) -> Body:
        rows: list[Row] = yield from self._claim(session, table, where)
        for row in rows:
            if column := self.schema.unique.get(table):
                yield from self._acquire(session, ("unique", table, row[column]))
            self._write(session, table, row["id"], None)
            for child in set(self.schema.children(table)) & self.schema.cascading:
                yield from self._delete(session, child, {"parent": row["id"]})
            if self.vendor != "postgresql":
                yield from self._check_children(session, table, row["id"])
        return len(rows)

    # Foreign keys

    def _check_deferred(self, session: Connection, transaction: Transaction) -> Iterable[Waiting]:
        for table, pk, row in list(transaction.changes):
            if row is None:
                yield from self._check_children(session, table, pk)
            elif self._view(table, transaction).get(pk) == row:
                before = self._view(table, None).get(pk)
                if before is None or before.get("parent") != row.get("parent"):
                    yield from self._check_parent(session, table, row)

    def _check_parent(self, session: Connection, child: str, row: Row) -> Body:
        if child in self.schema.foreign:
            parent = self.schema.foreign[child]
            yield from self._acquire(session, (parent, row["parent"]), exclusive=False)
            if row["parent"] not in self._view(parent, session.open):
                raise IntegrityError

    def _check_children(self, session: Connection, parent: str, pk: int) -> Body:
        for child in self.schema.children(parent):
            for row in self._view(child, session.open).values():
                if row["parent"] == pk:
                    yield from self._acquire(session, (child, row["id"]), exclusive=False)
            if any(row["parent"] == pk for row in self._view(child, session.open).values()):
                raise IntegrityError
