"""The starting rows of a PostgreSQL database, kept in temporary tables of our own session.

Nobody else sees them, and PostgreSQL drops them when the session ends.  Rows are
put back in one round trip and one transaction, by DELETE and INSERT: TRUNCATE
takes five times as long and a lock that readers wait for.
"""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any

from .base import PATIENCE, Advance, Row, State, StateError, as_rows
from .postgresql_schema import PostgresSchema, read_schema

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from .schema import Table

# postgresql.org/docs/current/runtime-config-client.html; the rows need not outlive a crash of the server, and with
# row_security off a policy that hides rows is an error instead
_SESSION = f"""
SET synchronous_commit = off;
SET row_security = off;
SET extra_float_digits = 1;
SET statement_timeout = 0;
SET lock_timeout = '{PATIENCE}s';
SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE
"""
_ENABLE = {"O": "ENABLE", "A": "ENABLE ALWAYS", "R": "ENABLE REPLICA"}


class PostgresState(State):
    """Keeps triggers and foreign keys from firing by `session_replication_role`, where the role may set it.

    Where it may not, which is the rule for a role that is no superuser, the tables'
    triggers are disabled within the transaction, foreign keys that can be deferred
    are looked at once all rows are back, and tables whose foreign keys cannot be are put
    back together, in an order that suits them.

    Sequences that no table takes values from are put back every time.  The rows of
    foreign tables and materialized views are not put back.
    """

    schema: PostgresSchema

    def __init__(self, connection: Any) -> None:
        self.alias = connection.alias
        self._driver: Any = connection.connection
        self._error: type[Exception] = connection.Database.Error
        self._cursor: Any = self._driver.cursor()
        self._run(_SESSION)
        self._is_replica = self._become_replica()
        super().__init__(connection.alias, self._read_schema())
        self._asked = _questions(self.schema)
        self._start = self._answers()
        self._counts = {sequence: self._start[sequence] for sequence in self.schema.sequences}  # to be put back
        self._copies = self._copy_rows()

    def changed(self) -> frozenset[str]:
        now = self._answers()
        tables = {table.name for table in self.schema.tables if now[table.quoted] != self._start[table.quoted]}
        for sequence, users in self.schema.sequences.items():
            if now[sequence] != self._counts[sequence]:
                tables |= users
        return frozenset(tables)

    def advances(self) -> list[Advance]:
        users = {name: min(tables & self.keys.keys(), default="") for name, tables in self.schema.sequences.items()}
        parts = [
            f"SELECT '{literal(name)}', last_value, is_called::int, seqincrement, seqmax "
            f"FROM pg_sequence, {name} WHERE seqrelid = '{literal(name)}'::regclass AND seqincrement > 0"
            for name, user in users.items()
            if user
        ]
        if not parts:
            return []
        self._run(" UNION ALL ".join(parts))
        found = []
        for name, value, is_called, increment, last in self._cursor.fetchall():
            start, was_called = map(int, self._start[name])
            if (value, is_called) != (start, was_called):
                first, following = start + increment * was_called, value + increment * is_called
                found.append(Advance(name, users[name], first, following, last))
        return found

    def move_counters(self, begins: Mapping[str, int]) -> None:
        counts = {sequence: self._start[sequence] for sequence in self.schema.sequences}
        counts |= {sequence: (begin, 0) for sequence, begin in begins.items()}
        moved = [sequence for sequence, count in counts.items() if count != self._counts[sequence]]
        self._counts = counts
        if moved:
            self._run(f"SELECT {', '.join(map(self._setting, moved))}")

    def close(self) -> None:
        self._driver.close()

    def _filled(self) -> Collection[str]:
        return {table.name for table in self._copies}

    def _put_back(self, tables: list[Table]) -> None:
        chosen = tables if self._is_replica else self._in_order(tables)
        names = {table.name for table in chosen}
        triggers = [(table, trigger) for table in chosen for trigger in self._firing(table)]
        script = [
            *(_switch(table, "DISABLE", trigger) for table, trigger in triggers),
            *(["SET CONSTRAINTS ALL DEFERRED"] if not self._is_replica else []),
            *(f"DELETE FROM ONLY {table.quoted}" for table in reversed(chosen)),
            *(_insert(table, self._copies[table]) for table in chosen if table in self._copies),
            *self._set_sequences(names),
            *(["SET CONSTRAINTS ALL IMMEDIATE"] if not self._is_replica else []),
            *(_switch(table, _ENABLE[trigger[2]], trigger) for table, trigger in triggers),
        ]
        if script:
            self._run(";\n".join(script))  # without a BEGIN: one transaction, which an error ends

    def _rows(self, table: Table) -> Iterable[Row]:
        order = f" ORDER BY {_listed(table.primary)}" if table.primary else ""
        self._run(f"SELECT {_listed(table.columns)} FROM ONLY {table.quoted}{order}")
        return as_rows(self._cursor)

    def _run(self, script: str) -> None:
        try:
            self._cursor.execute(script)
        except self._error as error:
            raise StateError(self.alias, str(error)) from error

    def _become_replica(self) -> bool:
        try:
            self._cursor.execute("SET session_replication_role = replica")
        except self._error:
            return False
        return True

    def _read_schema(self) -> PostgresSchema:
        try:
            return read_schema(self._cursor)
        except self._error as error:
            raise StateError(self.alias, str(error)) from error

    def _answers(self) -> dict[str, tuple[Any, Any]]:
        if not self._asked:
            return {}
        self._run(self._asked)
        return {name: (first, second) for name, first, second in self._cursor.fetchall()}

    def _copy_rows(self) -> dict[Table, str]:
        """Copy the tables that have rows; returns the names of the copies."""
        filled = [table for table in self.schema.tables if self._start[table.quoted][0]]
        copies = {table: f"pg_temp.aioconcurrent_{number}" for number, table in enumerate(filled)}
        script = [
            f"CREATE TEMPORARY TABLE {copy} AS SELECT {_listed(_written(table))} FROM ONLY {table.quoted}"
            for table, copy in copies.items()
        ]
        if script:
            self._run(";\n".join(script))
        return copies

    def _firing(self, table: Table) -> list[tuple[str, str, str]]:
        """What would fire in our session (postgresql.org/docs/current/sql-altertable.html, ENABLE REPLICA TRIGGER)."""
        modes = "AR" if self._is_replica else "OA"
        return [trigger for trigger in self.schema.triggers.get(table, ()) if trigger[2] in modes]

    def _set_sequences(self, names: set[str]) -> Sequence[str]:
        """Set the sequences of these tables, and those of no table, in one statement."""
        calls = [
            self._setting(sequence)
            for sequence, users in self.schema.sequences.items()
            if users & names or users.isdisjoint(self.keys)
        ]
        return [f"SELECT {', '.join(calls)}"] if calls else []

    def _setting(self, sequence: str) -> str:
        value, is_called = self._counts[sequence]
        return f"setval('{literal(sequence)}', {value}, {is_called}::int::bool)"

    def _in_order(self, tables: list[Table]) -> list[Table]:
        """Parents first; with the tables whose foreign keys do not wait for a deleted row to come back."""
        binding = self.schema.binding | {(one.child, one.parent) for one in self.schema.references if one.acts}
        names = {table.name for table in tables}
        while more := {child for child, parent in binding if parent in names} - names:
            names |= more
        graph: TopologicalSorter[str] = TopologicalSorter(dict.fromkeys(sorted(names), ()))
        for child, parent in binding:
            if child != parent and {child, parent} <= names:
                graph.add(child, parent)
        try:
            order = list(graph.static_order())
        except CycleError as error:
            raise StateError(
                self.alias,
                f"the foreign keys of {', '.join(sorted(set(error.args[1])))} point at each other and cannot be "
                "deferred. GRANT SET ON PARAMETER session_replication_role to the role, or make it a superuser.",
            ) from error
        return sorted(self.schema.named(names), key=lambda table: order.index(table.name))


def literal(text: str) -> str:
    """Escape what stands between single quotes."""
    return text.replace("'", "''")


def _questions(schema: PostgresSchema) -> str:
    """One query for the digest of every table and the state of every sequence."""
    parts = [
        f"SELECT '{literal(table.quoted)}', count(*)::numeric, sum(hashtextextended((t.*)::text, 0)) "
        f"FROM ONLY {table.quoted} t"
        for table in schema.tables
    ]
    parts += [
        f"SELECT '{literal(sequence)}', last_value::numeric, is_called::int::numeric FROM {sequence}"
        for sequence in schema.sequences
    ]
    return " UNION ALL ".join(parts)


def _insert(table: Table, copy: str) -> str:
    columns = _listed(_written(table))
    return f"INSERT INTO {table.quoted} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM {copy}"


def _switch(table: Table, how: str, trigger: tuple[str, str, str]) -> str:
    kind, name, _ = trigger
    return f"ALTER TABLE {table.quoted} {how} {kind} {name}"


def _written(table: Table) -> list[str]:
    return [column for column in table.columns if column not in table.generated]


def _listed(columns: Iterable[str]) -> str:
    return ", ".join('"' + column.replace('"', '""') + '"' for column in columns)
