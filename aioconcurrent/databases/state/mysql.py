"""The starting rows of a MariaDB or MySQL database, kept in temporary tables of our own session.

Nobody else sees them, and the server drops them when the session ends.  Rows are
put back by DELETE and INSERT in one transaction, with `foreign_key_checks` off,
which keeps InnoDB from checking and from cascading.

InnoDB leaves deleted rows in its indexes, as marked ones, until no read view of the
server can need them; calls that insert other rows would wait for each other at them,
and not always.  So each table is built anew, which takes a few milliseconds, as
TRUNCATE does, and loses no row if this process is killed.

Nothing in either server keeps triggers from firing, and a trigger may write
anywhere, refuse, or change what is inserted.  So those of the tables that are put
back are dropped before and made again after, in the order in which they fired.
That costs milliseconds, and only tables with triggers.

An AUTO_INCREMENT counter can be lowered by ALTER TABLE alone, and is set on that way.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from .base import PATIENCE, Advance, Row, State, StateError, as_rows
from .mysql_schema import MysqlSchema, quote, read_schema

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from .schema import Table

# A zero in an AUTO_INCREMENT column stays one, and values that a strict mode would refuse today stay as they are.
_SESSION = f"""
SET SESSION foreign_key_checks = 0, sql_mode = 'NO_AUTO_VALUE_ON_ZERO', time_zone = '+00:00',
    innodb_lock_wait_timeout = {PATIENCE}, lock_wait_timeout = {PATIENCE}
"""
_COUNTERS = "SELECT table_name, auto_increment FROM information_schema.tables WHERE table_schema = DATABASE()"
_REFUSED = (1142, 1205)  # to rebuild a table: the role may not, or somebody's open transaction has used it
_SPATIAL = (
    *("geometry", "point", "linestring", "polygon"),
    *("multipoint", "multilinestring", "multipolygon", "geometrycollection", "geomcollection"),
)


class MysqlState(State):
    """Puts rows back in one transaction, and counters and triggers after it."""

    schema: MysqlSchema

    def __init__(self, connection: Any) -> None:
        self.alias = connection.alias
        self._driver: Any = connection.connection
        self._error: type[Exception] = connection.Database.Error
        self._cursor: Any = self._driver.cursor()
        with self._named():
            self._prepare()
            super().__init__(connection.alias, read_schema(self._cursor))
            self._asked = " UNION ALL ".join(_question(table, self.schema.types[table]) for table in self.schema.tables)
            self._start = self._digests()
            self._found = self._counters(self.schema.counted)
            self._counts = dict(self._found)  # to be put back
            self._copies = self._copy_rows()
        self._rebuilds = True

    def changed(self) -> frozenset[str]:
        with self._named():
            now, counts = self._digests(), self._counters(self.schema.counted)
        rows = {table.name for table in self.schema.tables if now[table.quoted] != self._start[table.quoted]}
        return frozenset(rows | {self.schema.counted[name].name for name in self._moved(counts)})

    def advances(self) -> list[Advance]:
        with self._named():
            now = self._counters(self.schema.counted)
        return [
            Advance(name, self.schema.counted[name].name, first, now[name])
            for name, first in self._found.items()
            if now[name] != first
        ]

    def move_counters(self, begins: Mapping[str, int]) -> None:
        counts = {**self._found, **begins}
        moved = [name for name, count in counts.items() if count != self._counts[name]]
        self._counts = counts
        with self._named():
            for name in moved:
                self._run(f"ALTER TABLE {quote(name)} AUTO_INCREMENT = {counts[name]}")

    def _filled(self) -> Collection[str]:
        return {table.name for table in self._copies}

    def close(self) -> None:
        with suppress(self._error):  # it was closed
            self._driver.close()

    def _put_back(self, tables: list[Table]) -> None:
        if not tables:
            return
        with self._named(), self._without_triggers(tables):
            self._put_rows_back(tables)
            counters = {table: self._counts[name] for name, table in self.schema.counted.items() if table in tables}
            left = [table for table in tables if not self._rebuild(table, counters.get(table))]
            for name in self._moved(
                self._counters(name for name, table in self.schema.counted.items() if table in left)
            ):
                self._run(f"ALTER TABLE {quote(name)} AUTO_INCREMENT = {self._counts[name]}")

    def _rebuild(self, table: Table, counter: int | None) -> bool:
        """Leave nothing of deleted rows, and set the counter; False where there is no need to, or no leave."""
        if not self._rebuilds or table not in self.schema.marking:
            return False
        try:
            self._run(f"ALTER TABLE {table.quoted} FORCE" + (f", AUTO_INCREMENT = {counter}" if counter else ""))
        except self._error as error:
            if error.args[0] not in _REFUSED:
                raise
            self._rebuilds = False
            self.remarks.append(
                f"Tables of database {self.alias!r} could not be rebuilt after a run ({error.args[1]}); calls may wait "
                "for each other at rows in their indexes that are deleted."
            )
        return self._rebuilds

    def _put_rows_back(self, tables: list[Table]) -> None:
        self._run("BEGIN")
        try:
            for table in tables:
                self._run(f"DELETE FROM {table.quoted}")
                if table in self._copies:
                    columns = _written(table)
                    self._run(f"INSERT INTO {table.quoted} ({columns}) SELECT {columns} FROM {self._copies[table]}")
        except self._error:
            self._run("ROLLBACK")
            raise
        self._run("COMMIT")

    def _rows(self, table: Table) -> Iterable[Row]:
        order = f" ORDER BY {', '.join(map(quote, table.primary))}" if table.primary else ""
        with self._named():
            self._run(f"SELECT {', '.join(map(quote, table.columns))} FROM {table.quoted}{order}")
            return as_rows(self._cursor)

    def _prepare(self) -> None:
        self._run(_SESSION)
        self._run("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
        (version,) = self._all("SELECT VERSION()")[0]
        if "MariaDB" not in version:
            self._run("SET SESSION information_schema_stats_expiry = 0")  # else counters may be a day old

    def _run(self, statement: str) -> None:
        self._cursor.execute(statement)

    def _all(self, query: str) -> list[Any]:
        self._run(query)
        return list(self._cursor.fetchall())

    def _digests(self) -> dict[str, tuple[Any, Any]]:
        if not self._asked:
            return {}
        return {name: (count, digest) for name, count, digest in self._all(self._asked)}

    def _counters(self, names: Iterable[str]) -> dict[str, int]:
        chosen = ", ".join(f"'{literal(name)}'" for name in names)
        return dict(self._all(f"{_COUNTERS} AND table_name IN ({chosen})")) if chosen else {}

    def _moved(self, counters: dict[str, int]) -> list[str]:
        return [name for name, counter in counters.items() if counter != self._counts[name]]

    def _copy_rows(self) -> dict[Table, str]:
        """Copy the tables that have rows; returns the names of the copies."""
        filled = [table for table in self.schema.tables if self._start[table.quoted][0]]
        copies = {table: f"aioconcurrent_{number}" for number, table in enumerate(filled)}
        for table, copy in copies.items():
            self._run(f"CREATE TEMPORARY TABLE {copy} AS SELECT {_written(table)} FROM {table.quoted}")
        return copies

    @contextmanager
    def _without_triggers(self, tables: list[Table]) -> Iterator[None]:
        names = [name for table in tables for name in self.schema.triggers.get(table, ())]
        made = [self._all(f"SHOW CREATE TRIGGER {quote(name)}")[0] for name in names]
        dropped: list[Any] = []
        try:
            for trigger in made:
                self._run(f"DROP TRIGGER {quote(trigger[0])}")
                dropped.append(trigger)
            yield
        finally:
            for trigger in dropped:
                self._make_trigger(*trigger[1:6])

    def _make_trigger(self, mode: str, statement: str, charset: str, collation: str, *_: str) -> None:
        """Under the settings that it was first made under, as mysqldump does."""
        names = "sql_mode, character_set_client, collation_connection"
        ((ours, *rest),) = self._all(f"SELECT @@{names.replace(', ', ', @@')}")
        try:
            self._settings(mode, charset, collation)
            self._run(statement)
        finally:
            self._settings(ours, *rest)

    def _settings(self, mode: str, charset: str, collation: str) -> None:
        self._run(f"SET sql_mode = '{mode}', character_set_client = {charset}, collation_connection = {collation}")

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except self._error as error:
            raise StateError(self.alias, str(error)) from error


def literal(text: str) -> str:
    """Escape what stands between single quotes."""
    return text.replace("\\", "\\\\").replace("'", "''")


def _question(table: Table, types: dict[str, str]) -> str:
    """A query for the table's digest, whatever the order of the rows.

    CHECKSUM TABLE will not do: it adds CRCs, which two values that change places often leave as they were.
    """
    values = ", ".join(f"QUOTE({_exact(name, types[name])})" for name in table.columns)
    number = f"CAST(CONV(LEFT(MD5(CONCAT_WS(',', {values})), 15), 16, 10) AS UNSIGNED)"
    return f"SELECT '{literal(table.quoted)}', COUNT(*), SUM({number}) FROM {table.quoted}"


def _exact(column: str, kind: str) -> str:
    """The column as bytes: FLOAT would be rounded on the way, and spatial types cannot be cast."""
    if kind in _SPATIAL:
        return f"HEX({quote(column)})"
    return f"CAST({quote(column)}{' + 0e0' if kind == 'float' else ''} AS BINARY)"


def _written(table: Table) -> str:
    return ", ".join(quote(column) for column in table.columns if column not in table.generated)
