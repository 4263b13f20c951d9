"""The starting rows of a MariaDB or MySQL database, kept in temporary tables of our own session.

Nobody else sees them, and the server drops them when the session ends.  Rows are put back by
DELETE and INSERT in one transaction, with `foreign_key_checks` off, which keeps InnoDB from
checking and from cascading.

Triggers fire in every session: neither server can switch them off, and a trigger may write
anywhere, refuse, or change what is inserted.  So while rows are put back, each trigger is
replaced by one that does the same unless a session variable is set, as it is in ours.  A
process that is killed meanwhile leaves working triggers, and the next one restores their own
texts.  MariaDB replaces a trigger in one statement, which keeps its place among others.  MySQL
has no such statement: there it is dropped and created again, with nothing in between.

InnoDB leaves deleted rows in its indexes, marked as deleted, until no read view of the server
can need them.  Calls that insert other rows would sometimes wait for each other there.  So each
table is rebuilt, which takes a few milliseconds, like TRUNCATE, and loses no row if this
process is killed.

An AUTO_INCREMENT counter can be lowered by ALTER TABLE alone, so it is set at the same time.

Large tables of MariaDB are not copied, nor are their values read, before they are about to be
changed.  InnoDB counts changes by any session.  For tables that are changed unseen, our session
keeps a transaction open between two uses, which sees the rows of the start.
"""

from __future__ import annotations

from contextlib import closing, contextmanager, suppress
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ...exceptions import StateError
from ..sessions import connect_directly, is_ended
from .base import LARGE, PATIENCE, Advance, Row, State, among, as_rows, is_keyed, load_from_mysql
from .mysql_schema import MysqlSchema, quote, read_schema

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from ..schema import Changes
    from .base import Keys
    from .tables import Table

    Digests = dict[str, tuple[Any, Any]]
    from collections.abc import Callable

    from .mysql_schema import Trigger


# A zero in an AUTO_INCREMENT column stays one, and values that a strict mode would refuse today stay as they are.
_SESSION = f"""
SET SESSION foreign_key_checks = 0, sql_mode = 'NO_AUTO_VALUE_ON_ZERO', time_zone = '+00:00',
    innodb_lock_wait_timeout = {PATIENCE}, lock_wait_timeout = {PATIENCE}
"""
_COUNTERS = "SELECT table_name, auto_increment FROM information_schema.tables WHERE table_schema = DATABASE()"
_REFUSED = (1142, 1205)  # to rebuild a table: the role may not, or somebody's open transaction has used it
_LARGE = 5000  # rows of a table that is left for later
# What InnoDB has counted since it last looked at the values of a table, which it does when a tenth has changed
# (storage/innobase/dict/dict0stats_bg.cc); the names are as in the file system.
_MOVES = "SELECT name, modified_counter, num_rows FROM information_schema.innodb_sys_tablestats"
_SNAPSHOT = ("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "START TRANSACTION WITH CONSISTENT SNAPSHOT")
_HIGHEST = {"tinyint": 127, "smallint": 32_767, "mediumint": 8_388_607, "int": 2_147_483_647, "bigint": 2**63 - 1}
_LONG = (
    *("tinytext", "text", "mediumtext", "longtext", "json"),
    *("tinyblob", "blob", "mediumblob", "longblob"),
)
_SHOWN = 2**20  # bytes of a value that is read; a row of longer ones may be more than the server can send
_SPATIAL = (
    *("geometry", "point", "linestring", "polygon"),
    *("multipoint", "multilinestring", "multipolygon", "geometrycollection", "geomcollection"),
)


class MysqlState(State):
    """Puts rows back in one transaction, and counters after it."""

    schema: MysqlSchema

    def __init__(self, connection: Any) -> None:
        self.alias = connection.alias
        self._driver: Any = connection.connection
        self._error: type[Exception] = connection.Database.Error
        self._cursor: Any = self._driver.cursor()
        load_from_mysql(self._driver)
        self._later: dict[Table, str] = {}  # the names that InnoDB has for tables
        self._moves: dict[str, tuple[int, int]] = {}
        self._is_watching = False
        self._copies: dict[Table, str] = {}
        self._bounds: dict[Table, str] = {}  # conditions on what is deleted
        self._rebuilds = True
        self._settings: Mapping[str, Any] = connection.settings_dict
        with self._named():
            is_mariadb = self._prepare()
            self._triggers = Triggers(connection.alias, self._all, replaces=is_mariadb)
            self._triggers.mend()
            super().__init__(connection.alias, read_schema(self._cursor))
            if is_mariadb:
                self._put_off()
            self._start = self._digests(table for table in self.schema.tables if table not in self._later)
            self._found = self._counters(self.schema.counted)
            self._counts = dict(self._found)  # to be put back
            for table in self.schema.tables:
                if self._start.get(table.quoted, (0, 0))[0]:
                    self._copy(table)
            self._watch()

    def adopt(self, table: str, columns: Sequence[str], keys: Keys, others: Keys) -> None:
        condition = " AND ".join(f"{quote(column)} = %s" for column in columns)
        with self._looking():
            for each in self.schema.named({table}):
                copy, listed = self._copies.get(each), _listed(each.columns)
                if copy is None:
                    copy = self._copy(each, " LIMIT 0")
                self._cursor.executemany(f"DELETE FROM {copy} WHERE {condition}", keys)
                for key in keys:
                    self._cursor.execute(
                        f"INSERT INTO {copy} SELECT {listed} FROM {each.quoted} WHERE {condition}", list(key)
                    )
                self._start |= self._digests([each], self._copies)
                self._bound(each, columns, others)
            names = [name for name, each in self.schema.counted.items() if each.name == table]
            now = self._counters(names)
            self._found |= now
            self._counts |= now

    def _bound(self, table: Table, columns: Sequence[str], others: Keys) -> None:
        """Let nothing else be deleted in a table but what is there now."""
        seen, listed = f"{self._copies[table]}_seen", _listed(columns)
        condition = " AND ".join(f"{quote(column)} = %s" for column in columns)
        self._run(f"DROP TEMPORARY TABLE IF EXISTS {seen}")
        self._run(f"CREATE TEMPORARY TABLE {seen} AS SELECT {listed} FROM {self._copies[table]}")
        for key in others:
            self._cursor.execute(f"INSERT INTO {seen} SELECT {listed} FROM {table.quoted} WHERE {condition}", list(key))
        self._bounds[table] = f" WHERE ({listed}) IN (SELECT {listed} FROM {seen})"

    def is_lost(self) -> bool:
        return is_ended(self._driver)

    def changed(self, *, large: bool = True) -> frozenset[str]:
        with self._looking():
            kept = self._kept(list(self.schema.tables))
            now, counts = self._digests(kept), self._counters(self.schema.counted)
        rows = {table.name for table in kept if now[table.quoted] != self._start[table.quoted]}
        return frozenset(rows | {self.schema.counted[name].name for name in self._moved(counts)})

    def check(self, tables: Collection[str] | None = None) -> None:
        with self._named():
            for table in self.schema.tables if tables is None else self.schema.named(tables):
                for trigger in self.schema.triggers.get(table, ()):
                    self._triggers.check(trigger)

    def is_kept(self, tables: Collection[str] | None = None) -> bool:
        return not any(tables is None or table.name in tables for table in self._later)

    def keep(self, tables: Collection[str] | None = None) -> None:
        with self._looking():
            self._keep([table for table in self._later if tables is None or table.name in tables])

    def advances(self) -> list[Advance]:
        with self._named():
            now = self._counters(self.schema.counted)
        return [
            Advance(name, self.schema.counted[name].name, first, now[name], self._last(self.schema.counted[name]))
            for name, first in self._found.items()
            if now[name] != first
        ]

    def _last(self, table: Table) -> int | None:
        """The highest number that a column of the key's type holds, whether it is signed or not."""
        return _HIGHEST.get(self.schema.types[table][table.primary[0]]) if table.primary else None

    def move_counters(self, begins: Mapping[str, int]) -> None:
        counts = {**self._found, **begins}
        moved = [name for name, count in counts.items() if count != self._counts[name]]
        self._counts = counts
        with self._looking():
            for name in moved:
                self._run(f"ALTER TABLE {quote(name)} AUTO_INCREMENT = {counts[name]}")

    def close(self) -> None:
        with suppress(self._error):  # it was closed
            self._driver.close()

    def _can_pick(self, table: Table, changes: Changes) -> bool:
        """Only rows that were changed and nothing that is in an index: then no deleted one is left in any."""
        is_whole = table not in self._copies or table in self._later or table in self._bounds
        is_plain = table in self.schema.marking and is_keyed(table) and not table.generated
        is_unmarked = changes.assigned is not None and changes.assigned.isdisjoint(self.schema.indexed[table])
        return is_plain and is_unmarked and not is_whole

    def _is_large(self, table: Table) -> bool:
        return bool(self._start.get(table.quoted, (0, 0))[0] > LARGE)

    def _pick(self, table: Table, keys: Iterable[tuple[int | str, ...]]) -> tuple[list[Row], int]:
        with self._looking():
            ((count,),) = self._all(f"SELECT COUNT(*) FROM {table.quoted}")
            return self._select(table, f"{table.quoted} WHERE {among(_listed(table.primary), keys)}"), count

    def _put_back(self, tables: list[Table], picked: Mapping[Table, Changes]) -> None:
        if not tables:
            return
        with self._looking():
            for table, changes in picked.items():
                self._change_back(table, changes)
            tables = [table for table in tables if table not in picked]
            kept = self._kept(tables)
            with self._triggers.silent([self.schema.triggers.get(table, []) for table in kept]):
                self._put_rows_back(kept)
            counters = {table: self._counts[name] for name, table in self.schema.counted.items() if table in tables}
            rebuilt = {table for table in kept if self._rebuild(table, counters.get(table))}
            left = [table for table in tables if table not in rebuilt]
            for name in self._moved(
                self._counters(name for name, table in self.schema.counted.items() if table in left)
            ):
                self._run(f"ALTER TABLE {quote(name)} AUTO_INCREMENT = {self._counts[name]}")

    def _change_back(self, table: Table, changes: Changes) -> None:
        """Give rows the values that they had, in place."""
        copy, key = self._copies[table], {*table.primary}
        values = ", ".join(f"t.{quote(name)} = c.{quote(name)}" for name in table.columns if name not in key)
        same = " AND ".join(f"t.{quote(name)} = c.{quote(name)}" for name in table.primary)
        which = among(", ".join(f"t.{quote(name)}" for name in table.primary), changes.keys)
        self._run(f"UPDATE {table.quoted} t JOIN {copy} c ON {same} SET {values} WHERE {which}")

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
                self._run(f"DELETE FROM {table.quoted}{self._bounds.get(table, '')}")
                if table in self._copies:
                    columns = _listed(column for column in table.columns if column not in table.generated)
                    self._run(f"INSERT INTO {table.quoted} ({columns}) SELECT {columns} FROM {self._copies[table]}")
        except self._error:
            self._run("ROLLBACK")
            raise
        self._run("COMMIT")

    def rows(self, tables: Collection[str]) -> dict[str, list[Row]]:
        with self._looking():
            return super().rows(tables)

    def start_rows(self, tables: Collection[str] | None = None) -> dict[str, list[Row]]:
        with self._looking():
            return super().start_rows(tables)

    def _rows(self, table: Table) -> Iterable[Row]:
        return self._select(table, table.quoted)

    def _start_rows(self, table: Table) -> Iterable[Row]:
        return self._select(table, self._copies[table]) if table in self._copies else []

    def _select(self, table: Table, source: str) -> list[Row]:
        columns = ", ".join(_shown(name, self.schema.types[table][name]) for name in table.columns)
        order = f" ORDER BY {_listed(table.primary)}" if table.primary else ""
        self._run(f"SELECT {columns} FROM {source}{order}")
        return as_rows(self._cursor)

    def _prepare(self) -> bool:
        """Make the session ours; returns whether the server is a MariaDB."""
        self._run(_SESSION)
        self._run("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
        self._run(SILENCE)
        (version,) = self._all("SELECT VERSION()")[0]
        is_mariadb = "MariaDB" in version
        if not is_mariadb:
            self._run("SET SESSION information_schema_stats_expiry = 0")  # else counters may be a day old
        return is_mariadb

    def _put_off(self) -> None:
        """Leave large tables for later whose changes InnoDB counts, if the role may know of that."""
        tables = [table for table in self.schema.tables if table in self.schema.marking]
        large = {
            name
            for (name,) in self._all(
                " UNION ALL ".join(
                    f"(SELECT '{literal(table.quoted)}' FROM {table.quoted} LIMIT 1 OFFSET {_LARGE})"
                    for table in tables
                )
                or "SELECT 1 LIMIT 0"
            )
        }
        if large:
            ((database,),) = self._all("SELECT DATABASE()")
            with suppress(self._error):  # it needs the privilege PROCESS
                self._moves = self._read_moves()
            names = {table: f"{database}/{table.quoted[1:-1]}" for table in tables if table.quoted in large}
            self._later = {table: name for table, name in names.items() if name in self._moves}

    def _read_moves(self) -> dict[str, tuple[int, int]]:
        return {name: (moves, rows) for name, moves, rows in self._all(_MOVES)}

    def _watch(self) -> None:
        """Keep what there is now in sight, for those tables that are left for later."""
        if self._later and not self._is_watching:
            for statement in _SNAPSHOT:
                self._run(statement)
            self._is_watching = True

    def _settle(self) -> None:
        """Copy those tables that were changed unseen, while they are in sight, and see what there is now."""
        if not self._is_watching:
            return
        moves = self._read_moves()
        moved = [table for table, name in self._later.items() if moves.get(name) != self._moves[name]]
        for table in moved:
            self._moves[self._later[table]] = moves.get(self._later[table], (0, 0))
        changed = [table for table in moved if self._is_other(table)]
        for table in changed:
            self._rescue(table)
        self._run("COMMIT")
        self._is_watching = False
        self._note_copied(changed)

    def _is_other(self, table: Table) -> bool:
        """Whether more than the counts has changed, which InnoDB sets back when it has looked at the values."""
        question = f"CHECKSUM TABLE {table.quoted}"
        with closing(connect_directly(self.alias, self._settings).connection) as driver, driver.cursor() as cursor:
            cursor.execute(question)
            return list(cursor.fetchall()) != self._all(question)

    def _rescue(self, table: Table) -> None:
        """Copy a table as it was at the start: a cursor sees that, where any INSERT ... SELECT sees what there is."""
        copy = self._copy(table, " LIMIT 0")
        columns = [quote(column) for column in table.columns]
        self._run(
            f"""BEGIN NOT ATOMIC
            DECLARE one ROW TYPE OF {copy};
            DECLARE rows_of_start CURSOR FOR SELECT {", ".join(columns)} FROM {table.quoted};
            DECLARE EXIT HANDLER FOR NOT FOUND BEGIN END;
            OPEN rows_of_start;
            LOOP
                FETCH rows_of_start INTO one;
                INSERT INTO {copy} VALUES ({", ".join(f"one.{column}" for column in columns)});
            END LOOP;
            END"""
        )

    def _keep(self, tables: Iterable[Table]) -> None:
        for table in (tables := list(tables)):
            self._copy(table)
        self._note_copied(tables)

    def _copy(self, table: Table, condition: str = "") -> str:
        copy = self._copies.setdefault(table, f"aioconcurrent_{len(self._copies)}")
        key = f" (PRIMARY KEY ({_listed(table.primary)}))" if is_keyed(table) else ""
        self._run(
            f"CREATE TEMPORARY TABLE {copy}{key} AS SELECT {_listed(table.columns)} FROM {table.quoted}{condition}"
        )
        return copy

    def _note_copied(self, tables: Iterable[Table]) -> None:
        for table in (tables := list(tables)):
            self._later.pop(table, None)
        self._start |= self._digests(tables, self._copies)

    def _kept(self, tables: list[Table]) -> list[Table]:
        return [table for table in tables if table not in self._later]

    def _run(self, statement: str) -> None:
        self._cursor.execute(statement)

    def _all(self, query: str) -> list[Any]:
        self._run(query)
        return list(self._cursor.fetchall())

    def _digests(self, tables: Iterable[Table], sources: Mapping[Table, str] = MappingProxyType({})) -> Digests:
        query = " UNION ALL ".join(
            _question(table, self.schema.types[table], sources.get(table, table.quoted)) for table in tables
        )
        return {name: (count, digest) for name, count, digest in self._all(query)} if query else {}

    def _counters(self, names: Iterable[str]) -> dict[str, int]:
        chosen = ", ".join(f"'{literal(name)}'" for name in names)
        return dict(self._all(f"{_COUNTERS} AND table_name IN ({chosen})")) if chosen else {}

    def _moved(self, counters: dict[str, int]) -> list[str]:
        return [name for name, counter in counters.items() if counter != self._counts[name]]

    @contextmanager
    def _looking(self) -> Iterator[None]:
        """See what there is now in a block."""
        with self._named():
            self._settle()
            try:
                yield
            finally:
                self._watch()

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except self._error as error:
            raise StateError(self.alias, str(error)) from error


def literal(text: str) -> str:
    """Escape what stands between single quotes."""
    return text.replace("\\", "\\\\").replace("'", "''")


def _question(table: Table, types: dict[str, str], source: str) -> str:
    """A query for the table's digest, whatever the order of the rows.

    CHECKSUM TABLE will not do: it adds CRCs, which two values that change places often leave as they were.
    """
    values = ", ".join(_exact(name, types[name]) for name in table.columns)
    number = f"CAST(CONV(LEFT(MD5(CONCAT_WS(',', {values})), 15), 16, 10) AS UNSIGNED)"
    return f"SELECT '{literal(table.quoted)}', COUNT(*), SUM({number}) FROM {source}"


def _exact(column: str, kind: str) -> str:
    """What tells the column's bytes: FLOAT would be rounded on the way, and spatial types cannot be cast.

    What may be long is told by its own digest: a text over `max_allowed_packet` would be NULL.
    """
    if kind in _SPATIAL:
        return f"COALESCE(MD5(HEX({quote(column)})), '-')"
    if kind in _LONG:
        return f"COALESCE(MD5(CAST({quote(column)} AS BINARY)), '-')"
    return f"QUOTE(CAST({quote(column)}{' + 0e0' if kind == 'float' else ''} AS BINARY))"


def _shown(column: str, kind: str) -> str:
    """The column as it is read; a row of values that are too long could not be sent."""
    name = quote(column)
    if kind not in _LONG:
        return name
    return f"IF(OCTET_LENGTH({name}) > {_SHOWN}, CONCAT(LEFT({name}, 100), ' ... MD5 ', MD5({name})), {name}) AS {name}"


def _listed(columns: Iterable[str]) -> str:
    return ", ".join(map(quote, columns))


SILENCE = "SET @aioconcurrent_puts_back = 1"
_BEGIN, _END = "IF @aioconcurrent_puts_back IS NULL THEN ", "\n; END IF"
_TRIGGERS = """
SELECT event_object_table, event_manipulation, action_timing, trigger_name, action_statement
FROM information_schema.triggers WHERE trigger_schema = DATABASE() ORDER BY 1, 2, 3, action_order
"""
# Any of them lets a user make a trigger that is somebody else's.
_PRIVILEGES = "'SUPER', 'SET USER', 'SET_USER_ID', 'SET_ANY_DEFINER'"
_MAY_IMPERSONATE = f"SELECT COUNT(*) FROM information_schema.user_privileges WHERE privilege_type IN ({_PRIVILEGES})"


class Triggers:
    """The triggers of one database.

    Args:
        ask: Runs a query and returns its rows.
        replaces: Whether the server knows CREATE OR REPLACE TRIGGER.
    """

    def __init__(self, alias: str, ask: Callable[[str], list[Any]], *, replaces: bool) -> None:
        self._alias = alias
        self._ask = ask
        self._replaces = replaces
        self._user = ""
        self._may_impersonate = False

    def mend(self) -> None:
        """Give those their own texts that a killed process has left guarded."""
        found = self._ask(_TRIGGERS)
        for number, (*moment, name, body) in enumerate(found):
            if body.startswith(_BEGIN):
                behind = [other[3] for other in found[number + 1 :] if list(other[:3]) == moment]
                self._make(name, body, body.removeprefix(_BEGIN).removesuffix(_END), _before(behind))

    def check(self, trigger: Trigger) -> None:
        """See whether a trigger can be replaced.

        Raises:
            StateError: It is another user's, and ours may not make such.
        """
        if not self._user:
            ((self._user,),) = self._ask("SELECT CURRENT_USER()")
            self._may_impersonate = bool(self._ask(_MAY_IMPERSONATE)[0][0])
        if trigger.definer != self._user and not self._may_impersonate:
            raise StateError(
                self._alias,
                f"the trigger {trigger.name} belongs to {trigger.definer}, so {self._user} cannot keep it from firing "
                f"while rows are put back. GRANT SET USER ON *.* TO {self._user} (SET_USER_ID on MySQL), or create "
                "the triggers as the user with which the tests connect.",
            )

    @contextmanager
    def silent(self, groups: list[list[Trigger]]) -> Iterator[None]:
        """Keep triggers from firing in this session for the length of a block.

        Args:
            groups: Those of each table, in the order in which they fire.
        """
        guarded: list[tuple[Trigger, str]] = []
        try:
            for group in groups:
                for number, trigger in enumerate(group):
                    behind = [other.name for other in group[number + 1 :] if other.moment == trigger.moment]
                    place = _before(behind)
                    guarded.append((trigger, place))
                    self._make(trigger.name, trigger.body, f"{_BEGIN}{trigger.body}{_END}", place)
            yield
        finally:
            for trigger, place in guarded:
                self._make(trigger.name, f"{_BEGIN}{trigger.body}{_END}", trigger.body, place)

    def _make(self, name: str, old: str, new: str, place: str = "") -> None:
        """Make a trigger anew with another body, under the settings that it was first made under, as mysqldump does."""
        _, mode, statement, charset, collation, *_ = self._ask(f"SHOW CREATE TRIGGER {quote(name)}")[0]
        if not statement.endswith(old):  # it has the new one
            return
        names = "sql_mode, character_set_client, collation_connection"
        ours = self._ask(f"SELECT @@{names.replace(', ', ', @@')}")[0]
        begin = statement.removesuffix(old).removeprefix("CREATE ")
        try:
            self._settings(mode, charset, collation)
            if not self._replaces:
                self._ask(f"DROP TRIGGER {quote(name)}")
            self._ask(f"CREATE {'OR REPLACE ' if self._replaces else ''}{begin}{place}{new}")
        finally:
            self._settings(*ours)

    def _settings(self, mode: str, charset: str, collation: str) -> None:
        self._ask(f"SET sql_mode = '{mode}', character_set_client = {charset}, collation_connection = {collation}")


def _before(names: list[str]) -> str:
    """The clause that gives a trigger its place before the first of these."""
    return f"PRECEDES {quote(names[0])} " if names else ""
