"""The starting rows of a PostgreSQL database, kept in temporary tables of our own session.

Nobody else sees them, and PostgreSQL drops them when the session ends.  Rows are put back in
one round trip and one transaction, by DELETE and INSERT: TRUNCATE takes five times as long, and
a lock that readers wait for.

Large tables are not copied, nor are their values read, before something in them has changed.  A
second session holds a snapshot of the start, from which they are copied then
(postgresql.org/docs/current/functions-admin.html, `pg_export_snapshot`).  A change shows in the
places of row versions and in the transactions that wrote them.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any

from ...exceptions import StateError
from ..sessions import connect_directly, is_ended
from .base import LARGE, PATIENCE, Advance, Row, State, among, as_rows, is_keyed, load_from_postgresql
from .postgresql_schema import PostgresSchema, read_schema

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from ..schema import Changes
    from .base import Keys
    from .postgresql_schema import Binding, Unproven
    from .tables import Table

_LARGE = 2**20  # bytes of a table that is left for later

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
    back together, in an order that suits them.  Where no order does, those are made
    deferrable within the transaction.

    Constraints that are NOT VALID are dropped within it and made again, for rows from
    before them could not be inserted.  Sequences that no table takes values from are put
    back every time.  The rows of foreign tables and materialized views are not put back.
    """

    schema: PostgresSchema

    def __init__(self, connection: Any) -> None:
        self.alias = connection.alias
        self._driver: Any = connection.connection
        self._error: type[Exception] = connection.Database.Error
        self._cursor: Any = self._driver.cursor()
        load_from_postgresql(self._cursor)
        self._run(_SESSION)
        self._is_replica = self._become_replica()
        super().__init__(connection.alias, self._read_schema())
        self._checked: set[Table] = set()
        self._copies: dict[Table, str] = {}
        self._bounds: dict[Table, str] = {}  # conditions on what is deleted
        self._later = {table for table, size in self.schema.sizes.items() if size > _LARGE}
        self._snapshot = _Snapshot.take(connection) if self._later else None
        if self._snapshot is None:
            self._later = set()
        try:
            self._marks = self._answers(map(_mark, self._later))
            self._start = self._answers(self._questions())
            filled = [table for table in self.schema.tables if self._start.get(table.quoted, (0, 0))[0]]
            self._copy(filled)
        except BaseException:
            self.close()
            raise
        self._counts = {sequence: self._start[sequence] for sequence in self.schema.sequences}  # to be put back

    def adopt(self, table: str, columns: Sequence[str], keys: Keys, others: Keys) -> None:
        for each in self.schema.named({table}):
            if each not in self._copies:
                self._copy([each], " WHERE false")
            self._run(f"DELETE FROM {self._copies[each]} c WHERE {_equal(columns)}", keys)
            source = f"ONLY {each.quoted} c WHERE {_equal(columns)}"
            self._run(f"INSERT INTO {self._copies[each]} SELECT {_listed(each.columns)} FROM {source}", keys)
            self._start |= self._answers([_digest(each, self._copies[each])])
            self._bound(each, columns, others)
        now = self._answers(self._questions())
        for sequence, users in self.schema.sequences.items():
            if table in users:
                self._start[sequence] = self._counts[sequence] = now[sequence]

    def _bound(self, table: Table, columns: Sequence[str], others: Keys) -> None:
        """Let nothing else be deleted in a table but what is there now."""
        seen, listed = f"{self._copies[table]}_seen", _listed(columns)
        self._run(f"DROP TABLE IF EXISTS {seen}")
        self._run(f"CREATE TEMPORARY TABLE {seen} AS SELECT {listed} FROM {self._copies[table]}")
        self._run(f"INSERT INTO {seen} SELECT {listed} FROM ONLY {table.quoted} c WHERE {_equal(columns)}", others)
        self._bounds[table] = f" WHERE ({listed}) IN (SELECT {listed} FROM {seen})"

    def is_lost(self) -> bool:
        return is_ended(self._driver) or (self._snapshot is not None and is_ended(self._snapshot.driver))

    def changed(self, *, large: bool = True) -> frozenset[str]:
        kept = self._kept([table for table in self.schema.tables if large or table not in self._later])
        now = self._answers(self._questions())
        tables = {table.name for table in kept if now[table.quoted] != self._start[table.quoted]}
        for sequence, users in self.schema.sequences.items():
            if now[sequence] != self._counts[sequence]:
                tables |= users
        return frozenset(tables)

    def check(self, tables: Collection[str] | None = None) -> None:
        for table in self.schema.tables if tables is None else self.schema.named(tables):
            if table in self._checked:
                continue
            plan = self._plan([table])
            foreign = [each for each in plan.altered if each not in self.schema.owned]
            if foreign:
                raise StateError(
                    self.alias,
                    f"the role does not own {foreign[0].quoted}, whose triggers or constraints have to be disabled "
                    "meanwhile. Let the role with which the tests connect own the tables, or make it a superuser.",
                )
            self._checked.add(table)

    def is_kept(self, tables: Collection[str] | None = None) -> bool:
        return not any(tables is None or table.name in tables for table in self._later)

    def keep(self, tables: Collection[str] | None = None) -> None:
        self._keep([table for table in self._later if tables is None or table.name in tables])

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
        if self._snapshot is not None:
            self._snapshot.close()
        self._driver.close()

    def _put_back(self, tables: list[Table], picked: Mapping[Table, Changes]) -> None:
        plan = self._plan([*picked, *self._kept([table for table in tables if table not in picked])])
        chosen = plan.tables
        self._keep([table for table in chosen if table in self._later])  # what cascades reach, too
        names = {table.name for table in (*tables, *chosen)}
        which = {
            table: f" WHERE {among(_listed(table.primary), picked[table].keys)}"
            if table in picked
            else self._bounds.get(table, "")
            for table in chosen
        }
        script = [
            *plan.before,
            *(["SET CONSTRAINTS ALL DEFERRED"] if not self._is_replica else []),
            *(f"DELETE FROM ONLY {table.quoted}{condition}" for table, condition in reversed(which.items())),
            *(
                _insert(table, self._copies[table], condition if table in picked else "")
                for table, condition in which.items()
                if table in self._copies
            ),
            *self._set_sequences(names),
            *(["SET CONSTRAINTS ALL IMMEDIATE"] if not self._is_replica else []),
            *plan.after,
        ]
        if script:
            self._run(";\n".join(script))  # without a BEGIN: one transaction, which an error ends

    def _can_pick(self, table: Table, changes: Changes) -> bool:
        """Not where foreign keys or constraints look at what is put back: that needs an order of its own.

        Small tables are whole again as soon, with each row at its place.
        """
        is_whole = table in self._bounds or self._hindering(table) or not self._is_large(table)
        return self._is_replica and is_keyed(table) and not is_whole

    def moves(self, table: str) -> bool:
        return any(map(self._is_large, self.schema.named({table})))

    def _is_large(self, table: Table) -> bool:
        return bool(self._start.get(table.quoted, (0, 0))[0] > LARGE)

    def _pick(self, table: Table, keys: Iterable[tuple[int | str, ...]]) -> tuple[list[Row], int]:
        self._run(f"SELECT count(*) FROM ONLY {table.quoted}")
        ((count,),) = self._cursor.fetchall()
        return self._select(table, f"ONLY {table.quoted} WHERE {among(_listed(table.primary), keys)}"), count

    def _rows(self, table: Table) -> Iterable[Row]:
        return self._select(table, f"ONLY {table.quoted}")

    def _start_rows(self, table: Table) -> Iterable[Row]:
        return self._select(table, self._copies[table]) if table in self._copies else []

    def _select(self, table: Table, source: str) -> list[Row]:
        order = f" ORDER BY {_listed(table.primary)}" if table.primary else ""
        self._run(f"SELECT {_listed(table.columns)} FROM {source}{order}")
        return as_rows(self._cursor)

    def _run(self, script: str, each: Iterable[Sequence[Any]] | None = None) -> None:
        try:
            if each is None:
                self._cursor.execute(script)
            else:
                self._cursor.executemany(script, each)
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

    def _questions(self) -> list[str]:
        """For the digest of every table that is not left for later, and the state of every sequence."""
        digests = [_digest(table, f"ONLY {table.quoted}") for table in self.schema.tables if table not in self._later]
        return digests + [
            f"SELECT '{literal(sequence)}', last_value::numeric, is_called::int::numeric FROM {sequence}"
            for sequence in self.schema.sequences
        ]

    def _answers(self, questions: Iterable[str]) -> dict[str, tuple[Any, Any]]:
        query = " UNION ALL ".join(questions)
        if not query:
            return {}
        self._run(query)
        return {name: (first, second) for name, first, second in self._cursor.fetchall()}

    def _kept(self, tables: list[Table]) -> list[Table]:
        marked = [table for table in tables if table in self._later]
        now = self._answers(map(_mark, marked))
        self._keep([table for table in marked if now[table.quoted] != self._marks[table.quoted]])
        return [table for table in tables if table not in self._later]

    def _keep(self, tables: list[Table]) -> None:
        """Copy tables as they were at the start, which were left for later."""
        if not tables:
            return
        assert self._snapshot is not None
        self._run("BEGIN ISOLATION LEVEL REPEATABLE READ")
        try:
            self._run(f"SET TRANSACTION SNAPSHOT '{self._snapshot.name}'")
            self._copy(tables)
            digests = self._answers(_digest(table, self._copies[table]) for table in tables)
        except StateError:
            self._run("ROLLBACK")
            raise
        self._run("COMMIT")
        for table in tables:
            if digests[table.quoted][0] != self._marks[table.quoted][0]:
                raise StateError(
                    self.alias,
                    f"{table.quoted} was emptied or rebuilt by a statement that was not seen, and it is too large to "
                    "be copied beforehand. Its rows are lost.",
                )
        self._start |= digests
        self._later.difference_update(tables)

    def _copy(self, tables: Iterable[Table], condition: str = "") -> None:
        script = []
        for table in tables:
            copy = self._copies[table] = f"pg_temp.aioconcurrent_{len(self._copies)}"
            source = f"ONLY {table.quoted}{condition}"
            script.append(f"CREATE TEMPORARY TABLE {copy} AS SELECT {_listed(table.columns)} FROM {source}")
            if is_keyed(table) and (table in self._later or self._is_large(table)):
                script.append(f"CREATE INDEX ON {copy} ({_listed(table.primary)})")
        if script:
            self._run(";\n".join(script))

    def _firing(self, table: Table) -> list[tuple[str, str, str]]:
        """What would fire in our session (postgresql.org/docs/current/sql-altertable.html, ENABLE REPLICA TRIGGER)."""
        modes = "AR" if self._is_replica else "OA"
        return [trigger for trigger in self.schema.triggers.get(table, ()) if trigger[2] in modes]

    def _hindering(self, table: Table) -> list[Unproven]:
        """Constraints that would refuse rows which are there."""
        kinds = "c" if self._is_replica else "cf"
        return [constraint for constraint in self.schema.unproven.get(table, ()) if constraint.kind in kinds]

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

    def _plan(self, tables: list[Table]) -> _Plan:
        """What has to be put back together, in an order that suits, and what has to be out of the way meanwhile."""
        chosen, deferred = (tables, []) if self._is_replica else self._in_order(tables)
        plan = _Plan(chosen)
        for table in chosen:
            for trigger in self._firing(table):
                plan.alter(table, _switch("DISABLE", trigger), _switch(_ENABLE[trigger[2]], trigger))
            for one in self._hindering(table):
                plan.alter(table, f"DROP CONSTRAINT {one.name}", f"ADD CONSTRAINT {one.name} {one.definition}")
        for key in deferred:
            change = f"ALTER CONSTRAINT {key.name}"
            plan.alter(key.child, f"{change} DEFERRABLE INITIALLY DEFERRED", f"{change} NOT DEFERRABLE")
        return plan

    def _in_order(self, tables: list[Table]) -> tuple[list[Table], list[Binding]]:
        """Parents first; with the tables whose foreign keys do not wait for a deleted row to come back.

        Returns:
            Besides, the foreign keys that have to be made to wait.
        """
        bound = {(one.child.name, one.parent) for one in self.schema.binding}
        bound |= {(one.child, one.parent) for one in self.schema.references if one.acts}
        names = {table.name for table in tables}
        while more := {child for child, parent in bound if parent in names} - names:
            names |= more
        keys = [key for key in self.schema.binding if {key.child.name, key.parent} <= names]
        order = _order(names, keys)
        if order is not None:
            return self._by_rank(order), []
        restricting = [key for key in keys if key.restricts]
        order = _order(names, restricting)
        if order is None:
            circle = ", ".join(sorted({key.parent for key in restricting}))
            raise StateError(
                self.alias,
                f"the foreign keys of {circle} point at each other and are ON DELETE RESTRICT. GRANT SET ON "
                "PARAMETER session_replication_role to the role, or make it a superuser.",
            )
        return self._by_rank(order), [key for key in keys if not key.restricts]

    def _by_rank(self, order: list[str]) -> list[Table]:
        return sorted(self.schema.named(order), key=lambda table: order.index(table.name))


@dataclass
class _Snapshot:
    """A session that does nothing but keep what the database held at one moment."""

    driver: Any
    name: str

    @classmethod
    def take(cls, connection: Any) -> _Snapshot | None:
        """None where the server has no session left; then there is nothing but to copy all at once."""
        try:
            driver = connect_directly(connection.alias, connection.settings_dict).connection
        except Exception:
            return None
        cursor = driver.cursor()
        cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        cursor.execute("SELECT pg_export_snapshot()")
        return cls(driver, cursor.fetchone()[0])

    def close(self) -> None:
        with suppress(Exception):  # the server may have ended it
            self.driver.close()


class _Plan:
    """What a transaction that puts rows back has to do before and after.

    Attributes:
        tables: To be filled in this order.
        altered: Tables of which more than the rows changes meanwhile.
    """

    def __init__(self, tables: list[Table]) -> None:
        self.tables = tables
        self.altered: list[Table] = []
        self.before: list[str] = []
        self.after: list[str] = []

    def alter(self, table: Table, away: str, back: str) -> None:
        self.altered.append(table)
        self.before.append(f"ALTER TABLE {table.quoted} {away}")
        self.after.append(f"ALTER TABLE {table.quoted} {back}")


def _order(names: Collection[str], keys: Iterable[Binding]) -> list[str] | None:
    """Parents before their children; None where these point at each other in a circle."""
    graph: TopologicalSorter[str] = TopologicalSorter(dict.fromkeys(sorted(names), ()))
    for key in keys:
        if key.child.name != key.parent:
            graph.add(key.child.name, key.parent)
    try:
        return list(graph.static_order())
    except CycleError:
        return None


def literal(text: str) -> str:
    """Escape what stands between single quotes."""
    return text.replace("'", "''")


def _digest(table: Table, source: str) -> str:
    return f"SELECT '{literal(table.quoted)}', count(*)::numeric, sum(hashtextextended((t.*)::text, 0)) FROM {source} t"


def _mark(table: Table) -> str:
    """What is another as soon as a row is inserted, updated or deleted; no value is read for it."""
    return (
        f"SELECT '{literal(table.quoted)}', count(*)::numeric, "
        f"sum((hashtid(ctid)::bigint << 31) # xmin::text::bigint) FROM ONLY {table.quoted}"
    )


def _insert(table: Table, copy: str, condition: str) -> str:
    columns = _listed(column for column in table.columns if column not in table.generated)
    order = f" ORDER BY {_listed(table.primary)}" if condition else ""
    values = f"SELECT {columns} FROM {copy}{condition}{order}"
    return f"INSERT INTO {table.quoted} ({columns}) OVERRIDING SYSTEM VALUE {values}"


def _switch(how: str, trigger: tuple[str, str, str]) -> str:
    kind, name, _ = trigger
    return f"{how} {kind} {name}"


def _equal(columns: Iterable[str]) -> str:
    return " AND ".join(f"c.{_listed([column])} = %s" for column in columns)


def _listed(columns: Iterable[str]) -> str:
    return ", ".join('"' + column.replace('"', '""') + '"' for column in columns)
