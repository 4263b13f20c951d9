"""What the state of every kind of database can do.

Rows hold what a driver gives.  Values that a driver, or Django, cannot load come as the
server's text for them: `infinity` and dates before Christ on PostgreSQL, times of more than
24 hours on MariaDB, texts that are not UTF-8.  Comparing rows has to read them, whatever the
application does.  A value that is not equal to itself, such as NaN, would look like a change
in every row that has it, so it comes as text, too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from ..schema import Catalogue, Changes, Key
    from .tables import Schema, Table


PATIENCE = 5  # seconds for the locks of a session that is about to end; whole ones, for MySQL

NO_CHANGES: Mapping[str, Changes] = MappingProxyType({})
LARGE = 1000  # rows of a table that is not read as a whole when it is known what was changed

Row = dict[str, Any]
Keys = Sequence[Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Advance:
    """How far a counter has moved on.

    Attributes:
        name: Of the counter.
        table: To whose rows it gives keys.
        first: The next number that it gave at the start.
        next: The next number that it gives now.
        last: The highest that it may give; None where nothing is known of one.
    """

    name: str
    table: str
    first: int
    next: int
    last: int | None = None


class State(ABC):
    """The rows that one database had when this was made, and how to put them back.

    The methods may be called from any thread, with or without a running event loop,
    by one thread at a time, and while no other session has a transaction open: they
    wait `PATIENCE` seconds for locks.  Any of them raises `StateError`.

    Attributes:
        catalogue: What may happen to a table that a statement does not name.
        keys: Primary and foreign keys, by table.
        remarks: What people should know of how rows are put back, a sentence each.
    """

    def __init__(self, alias: str, schema: Schema) -> None:
        self.alias = alias
        self.schema = schema
        self.catalogue: Catalogue = schema.catalogue()
        self.keys: Mapping[str, Key] = schema.keys()
        self.remarks: list[str] = []

    def restore(self, tables: Collection[str] | None = None, changes: Mapping[str, Changes] = NO_CHANGES) -> None:
        """Put the rows of `tables` and the counters of their keys back, without a trigger firing.

        Args:
            tables: Names in lower case without schema; unknown ones are passed over.  By default all that differ.
            changes: Those of the tables in which nothing else was changed; of others any row may have been.
        """
        chosen = self.schema.named(self.changed() if tables is None else frozenset(tables))
        told = {table: changes[table.name] for table in chosen if table.name in changes}
        self._put_back(chosen, {table: each for table, each in told.items() if self._can_pick(table, each)})

    def check(self, tables: Collection[str] | None = None) -> None:  # noqa: B027 - there may be nothing that hinders
        """See whether rows of `tables` could be put back, before any of them is changed; by default of all.

        Raises:
            StateError: They could not; the text says why, and what to do.
        """

    def rows(self, tables: Collection[str]) -> dict[str, list[Row]]:
        """Return the rows that these tables have now, in the order of their primary keys.

        Values are what the driver gives, without Django's conversions.  Tables without a
        primary key, and those that share a name, come in the order of their values.  What the
        driver cannot load is the server's text.  Large tables in which nothing has moved are left out.
        """
        return self._by_name(self._kept(self.schema.named(tables)), self._rows)

    def start_rows(self, tables: Collection[str] | None = None) -> dict[str, list[Row]]:
        """Return the rows that these tables had at the start, as `rows` does; by default those of all."""
        return self._by_name(self._kept(self.schema.named(self.keys if tables is None else tables)), self._start_rows)

    def pick(self, table: str, keys: Collection[tuple[int | str, ...]]) -> tuple[list[Row], int] | None:
        """Return the rows of a large table that have these primary keys now, and how many rows it has in all.

        None for a table that is not large, or whose rows cannot be told by their keys: then `rows` is the way.
        """
        named = self.schema.named({table})
        if len(named) != 1 or not is_keyed(named[0]) or not self._is_large(named[0]):
            return None
        return self._pick(named[0], keys)

    def moves(self, table: str) -> bool:
        """Whether rows of this table that come back alone come to another place in it.

        A query that asks for no order then finds them in another one.
        """
        return False

    def is_kept(self, tables: Collection[str] | None = None) -> bool:
        """Whether nothing of these tables, by default of all, was left for later."""
        return True

    def keep(self, tables: Collection[str] | None = None) -> None:  # noqa: B027 - there may be nothing left
        """Copy those of these tables that were left for later, by default all, while they are as at the start."""

    def _is_large(self, table: Table) -> bool:
        """Whether many rows of it were counted at the start."""
        return False

    def _pick(self, table: Table, keys: Iterable[tuple[int | str, ...]]) -> tuple[list[Row], int]:
        raise NotImplementedError

    def _by_name(self, tables: Iterable[Table], read: Callable[[Table], Iterable[Row]]) -> dict[str, list[Row]]:
        found: dict[str, list[Row]] = {}
        for table in tables:
            rows = found.setdefault(table.name, [])
            mixed = bool(rows) or not table.primary
            rows += read(table)
            if mixed:
                rows.sort(key=lambda row: repr(list(row.items())))
        return found

    def _kept(self, tables: list[Table]) -> list[Table]:
        """Those of the tables whose rows are kept: all in which something may have moved."""
        return tables

    @abstractmethod
    def adopt(self, table: str, columns: Sequence[str], keys: Keys, others: Keys) -> None:
        """Take the rows with these primary keys, which are there now, for rows of the start.

        The counters of the table's keys stay as they are now.  Where the database allows, rows
        that come later are left in place, too, whenever the table is put back.

        Args:
            others: The keys of rows that are there now, and are neither these nor of the start.
        """

    def is_lost(self) -> bool:
        """Whether the server has ended the session that keeps the rows."""
        return False

    @abstractmethod
    def advances(self) -> list[Advance]:
        """Say which counters of keys have moved on since the start, and how far."""

    @abstractmethod
    def move_counters(self, begins: Mapping[str, int]) -> None:
        """Let these counters begin at other numbers from now on, also for `restore`; all others as they were found.

        Args:
            begins: By name, the next number that each gives.
        """

    @abstractmethod
    def changed(self, *, large: bool = True) -> frozenset[str]:
        """Return the tables whose rows, or whose keys' counters, are not those of the start.

        Args:
            large: Whether to look at those, too, that were left for later, where that takes a while.
        """

    @abstractmethod
    def close(self) -> None:
        """Forget the rows and leave nothing of ours in the database."""

    @abstractmethod
    def _put_back(self, tables: list[Table], picked: Mapping[Table, Changes]) -> None:
        """Put these tables back; of those that are picked only the rows that are."""

    def _can_pick(self, table: Table, changes: Changes) -> bool:
        """Whether these changes can be taken back alone."""
        return False

    @abstractmethod
    def _rows(self, table: Table) -> Iterable[Row]: ...

    @abstractmethod
    def _start_rows(self, table: Table) -> Iterable[Row]: ...


def is_keyed(table: Table) -> bool:
    """Whether the values of its primary key are equal exactly if they are the same."""
    return bool(table.primary) and {*table.primary} <= {column for column, _ in table.kinds}


def among(columns: str, keys: Iterable[tuple[int | str, ...]]) -> str:
    """The condition that a key, quoted and listed, is one of these."""
    listed = ", ".join(f"({', '.join(map(_written, key))})" for key in sorted(keys, key=repr))
    return f"({columns}) IN ({listed})"


def _written(value: int | str) -> str:
    return str(value) if isinstance(value, int) else f"'{value}'"  # such a text has nothing in it to be quoted


def as_rows(cursor: Any) -> list[Row]:
    """Return what a cursor of any driver has read, by column."""
    columns = [column[0] for column in cursor.description]
    return [dict(zip(columns, map(plain, values), strict=True)) for values in cursor.fetchall()]


# Numbers of types in src/include/catalog/pg_type.dat: texts, and times with their arrays.
_TEXTS = (19, 25, 1042, 1043)
_TIMES = {1082: 1182, 1083: 1183, 1114: 1115, 1184: 1185, 1186: 1187, 1266: 1270}
_MYSQL_TIMES = (7, 10, 11, 12)  # TIMESTAMP, DATE, TIME and DATETIME in the protocol


def load_from_postgresql(cursor: Any) -> None:
    """Let this cursor of either driver load every value."""
    if hasattr(cursor, "adapters"):
        _in_psycopg(cursor)
    else:
        _in_psycopg2(cursor)


def load_from_mysql(connection: Any) -> None:
    """Let this connection load every value; drivers keep functions by the number of a type, Django's among them."""
    converters: dict[int, Any] = connection.decoders if hasattr(connection, "decoders") else connection.converter
    for kind in _MYSQL_TIMES:
        if callable(converters.get(kind)):
            converters[kind] = partial(_converted, converters[kind])


def decoded(text: bytes) -> str:
    """The text; bytes that are no UTF-8 are told as escapes."""
    return text.decode(errors="backslashreplace")


def plain(value: object) -> object:
    """The value itself, or its text where it is not equal to itself."""
    return str(value) if value != value else value  # noqa: PLR0124 - that is how NaN shows


def _in_psycopg(cursor: Any) -> None:
    from psycopg.adapt import Loader
    from psycopg.pq import Format

    def lenient(strict: type[Any]) -> type[Loader]:
        class Lenient(Loader):
            def __init__(self, oid: int, context: Any = None) -> None:
                super().__init__(oid, context)
                self._strict = strict(oid, context)

            def load(self, data: Any) -> Any:
                try:
                    return self._strict.load(data)
                except Exception:  # whatever keeps it from being one of Python's
                    return decoded(bytes(data))

        return Lenient

    for oid in (*_TEXTS, *_TIMES):
        cursor.adapters.register_loader(oid, lenient(cursor.adapters.get_loader(oid, Format.TEXT)))


def _in_psycopg2(cursor: Any) -> None:
    psycopg2 = import_module("psycopg2.extensions")
    for oid, array in _TIMES.items():
        kind = psycopg2.new_type((oid,), f"LENIENT{oid}", partial(_cast, psycopg2.string_types[oid]))
        psycopg2.register_type(kind, cursor)
        psycopg2.register_type(psycopg2.new_array_type((array,), f"LENIENT{array}", kind), cursor)


def _cast(strict: Callable[[Any, Any], Any], text: str | None, cursor: Any) -> Any:
    try:
        return strict(text, cursor)
    except Exception:  # as above
        return text


def _converted(strict: Callable[[Any], Any], value: Any) -> Any:
    text = decoded(value) if isinstance(value, bytes) else value
    try:
        found = strict(value)
    except Exception:  # as above
        return text
    return text if found is None else found  # MySQLdb takes a date that is none for NULL
