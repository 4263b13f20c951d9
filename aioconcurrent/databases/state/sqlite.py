"""The starting rows of an SQLite file, kept in a temporary file without a name.

Saving and putting back both use SQLite's online backup (sqlite.org/backup.html), page by page:
no trigger fires, no foreign key is checked, `sqlite_sequence` is included, and the file keeps its
journal mode.
"""

from __future__ import annotations

import hashlib
import marshal
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ...base import own_clock as time
from ...exceptions import StateError
from .base import PATIENCE, Advance, Row, State, as_rows, decoded
from .tables import UNKNOWN_TABLE, Reference, Schema, Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ..schema import Changes
    from .base import Keys

_LAST = 2**63 - 1  # of a rowid
_PIECE = 1000  # rows that are compared at once
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_ACTIONS = ("CASCADE", "SET NULL", "SET DEFAULT")


class SqliteState(State):
    """Puts back all tables at once, whichever are asked for."""

    def __init__(self, connection: Any) -> None:
        self._file: sqlite3.Connection = connection.connection
        self._copy = sqlite3.connect("", check_same_thread=False, isolation_level=None)  # gone when it is closed
        with _named(connection.alias):
            self._file.execute(f"PRAGMA busy_timeout = {PATIENCE * 1000}")
            self._file.execute("PRAGMA synchronous = OFF")  # of this connection; the rows need not outlive a power cut
            self._file.text_factory = self._copy.text_factory = decoded
            self._seen = self._version()
            self._file.backup(self._copy, progress=_deadline(), sleep=0.001)
            super().__init__(connection.alias, read_schema(self._file))
            self._found = self._counters = self._read_counters()
            self._moved: set[str] = set()

    def changed(self, *, large: bool = True) -> frozenset[str]:
        with _named(self.alias):
            if self._version() == self._seen:
                return frozenset()
            counters, rewritten = self._read_counters(), self._rewritten()
            return frozenset(
                table.name
                for table in self.schema.tables
                if counters.get(table.quoted) != self._counters.get(table.quoted)
                or (table.name in rewritten and self._rows_differ(table))
            )

    def adopt(self, table: str, columns: Sequence[str], keys: Keys, others: Keys) -> None:
        condition = " AND ".join(f"{quote(column)} = ?" for column in columns)
        with _named(self.alias):
            for each in self.schema.named({table}):
                listed = ", ".join(quote(name) for name in each.columns)
                marks = ", ".join("?" for _ in each.columns)
                for key in keys:
                    rows = self._file.execute(f"SELECT {listed} FROM {each.quoted} WHERE {condition}", list(key))
                    self._copy.execute(f"DELETE FROM {each.quoted} WHERE {condition}", list(key))
                    self._copy.executemany(f"INSERT INTO {each.quoted} ({listed}) VALUES ({marks})", rows.fetchall())
                if each.quoted in (now := self._read_counters()):
                    last = now[each.quoted]
                    self._found = {**self._found, each.quoted: last}
                    self._counters = {**self._counters, each.quoted: last}
                    name = each.quoted[1:-1].replace('""', '"')
                    self._copy.execute("DELETE FROM sqlite_sequence WHERE name = ?", (name,))
                    self._copy.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (name, last))

    def advances(self) -> list[Advance]:
        """Those that SQLite keeps: of columns declared AUTOINCREMENT (sqlite.org/autoinc.html)."""
        with _named(self.alias):
            now = self._read_counters()
        names = {table.quoted: table.name for table in self.schema.tables}
        return [
            Advance(quoted, names[quoted], self._found.get(quoted, 0) + 1, last + 1, _LAST)
            for quoted, last in now.items()
            if quoted in names and last != self._found.get(quoted, 0)
        ]

    def move_counters(self, begins: Mapping[str, int]) -> None:
        counters = {**self._found, **{name: begin - 1 for name, begin in begins.items()}}
        with _named(self.alias):
            for quoted in {*self._moved, *begins}:
                name = quoted[1:-1].replace('""', '"')
                for database in (self._file, self._copy):  # what is put back is the copy, counters and all
                    database.execute("DELETE FROM sqlite_sequence WHERE name = ?", (name,))
                    if quoted in counters:
                        row = (name, counters[quoted])
                        database.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", row)
        self._moved = set(begins)
        self._counters = counters

    def close(self) -> None:
        self._copy.close()
        self._file.close()

    def _put_back(self, tables: list[Table], picked: Mapping[Table, Changes]) -> None:
        with _named(self.alias):
            if tables:
                self._copy.backup(self._file, progress=_deadline(), sleep=0.001)
                self._seen = self._version()

    def _rows(self, table: Table) -> list[Row]:
        return self._in_order(table, self._file)

    def _start_rows(self, table: Table) -> list[Row]:
        return self._in_order(table, self._copy)

    def _in_order(self, table: Table, database: sqlite3.Connection) -> list[Row]:
        with _named(self.alias):
            return as_rows(database.execute(f"{_select(table)} ORDER BY {_key(table)}"))

    def _version(self) -> int:
        """Another number whenever another connection has changed the file (sqlite.org/pragma.html, data_version)."""
        return int(self._file.execute("PRAGMA data_version").fetchone()[0])

    def _rewritten(self) -> set[str]:
        """The tables of which some page is not as in the copy; all where SQLite does not tell whose pages are.

        The copy has every page at the same place (sqlite.org/dbstat.html).
        """
        everything = {table.name for table in self.schema.tables}
        try:
            owners = self._file.execute("SELECT pageno, lower(name) FROM dbstat").fetchall()
            before = _page_digests(self._copy)
            now = _page_digests(self._file)
        except (sqlite3.Error, AttributeError):  # this SQLite was built without
            return everything
        return {name for page, name in owners if now[page - 1 : page] != before[page - 1 : page]} & everything

    def _rows_differ(self, table: Table) -> bool:
        if not table.primary:
            return _digest(table, self._file) != _digest(table, self._copy)
        query = f"{_select(table)} ORDER BY {_key(table)}"
        return any(
            now != before for now, before in zip(_pieces(self._file, query), _pieces(self._copy, query), strict=False)
        )

    def _read_counters(self) -> dict[str, int]:
        """By quoted name of the table."""
        if not self._file.execute("SELECT 1 FROM sqlite_master WHERE name = 'sqlite_sequence'").fetchone():
            return {}
        return {quote(name): counter for name, counter in self._file.execute("SELECT name, seq FROM sqlite_sequence")}


def _pieces(database: sqlite3.Connection, query: str) -> Iterator[bytes]:
    """What a query finds, in pieces that differ where anything does, and an empty one at the end."""
    cursor = database.execute(query)
    while rows := cursor.fetchmany(_PIECE):
        yield marshal.dumps(rows, 2)  # a version that does not tell equal values from the same ones
    yield b""


def _page_digests(database: sqlite3.Connection) -> list[bytes]:
    content = memoryview(database.serialize())
    ((size,),) = database.execute("PRAGMA page_size")
    return [
        hashlib.blake2b(content[start : start + size], digest_size=8).digest() for start in range(0, len(content), size)
    ]


def _digest(table: Table, database: sqlite3.Connection) -> int:
    """Made here: SQLite has no hash function.  The order of the rows does not count."""
    return sum(
        int.from_bytes(hashlib.blake2b(repr(row).encode(), digest_size=16).digest())
        for row in database.execute(_select(table))
    )


def read_schema(connection: sqlite3.Connection) -> Schema:
    """Read what there is in the main database of an open connection.

    Virtual tables are left out, so that a statement on one touches everything; the
    ordinary tables that hold their rows are there.
    """
    objects = connection.execute("SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_master").fetchall()
    tables = [
        _table(connection, name)
        for kind, name, _, sql in objects
        if kind == "table" and not name.startswith("sqlite_") and not sql.upper().startswith("CREATE VIRTUAL")
    ]
    primaries = {table.name: table.primary for table in tables}
    views = {name.lower(): _mentioned(connection, name) for kind, name, _, _ in objects if kind == "view"}
    return Schema(
        tables=tuple(tables),
        references=tuple(reference for table in tables for reference in _references(connection, table, primaries)),
        views=views,
        opaque=frozenset(on.lower() for kind, _, on, _ in objects if kind == "trigger"),
    )


def quote(name: str) -> str:
    """Quote an identifier."""
    return '"' + name.replace('"', '""') + '"'


def _table(connection: sqlite3.Connection, name: str) -> Table:
    """SQLite makes the values of a primary key that is one column declared INTEGER (sqlite.org/rowidtable.html)."""
    columns = connection.execute(f"PRAGMA table_xinfo({quote(name)})").fetchall()
    keyed = sorted((place, column, declared) for _, column, declared, _, _, place, _ in columns if place)
    return Table(
        name=name.lower(),
        quoted=quote(name),
        columns=tuple(column[1] for column in columns),
        primary=tuple(column for _, column, _ in keyed),
        automatic=len(keyed) == 1 and keyed[0][2].upper() == "INTEGER",
    )


def _references(
    connection: sqlite3.Connection, table: Table, primaries: dict[str, tuple[str, ...]]
) -> Iterator[Reference]:
    for _, place, parent, column, target, *actions in connection.execute(f"PRAGMA foreign_key_list({table.quoted})"):
        if parent.lower() in primaries:
            name = parent.lower()
            acts = any(action.upper() in _ACTIONS for action in actions[:2])
            yield Reference(table.name, column, name, target or primaries[name][place], acts)


def _mentioned(connection: sqlite3.Connection, view: str) -> frozenset[str]:
    """The tables and views that SQLite asks leave to read when it compiles a query of the view."""
    read: set[str] = set()

    def note(action: int, name: str | None, *_: str | None) -> int:
        if action == sqlite3.SQLITE_READ and name and name.lower() != view.lower():
            read.add(name.lower())
        return sqlite3.SQLITE_OK

    connection.set_authorizer(note)
    try:
        connection.execute(f"EXPLAIN SELECT * FROM {quote(view)}").fetchall()
    except sqlite3.Error:  # a broken view, which nobody can read either
        return frozenset({UNKNOWN_TABLE})
    finally:
        connection.set_authorizer(None)
    return frozenset(read)


def _key(table: Table) -> str:
    return ", ".join(map(quote, table.primary)) or "1"


def _select(table: Table) -> str:
    """The plus makes an expression of each column, which Django's converters leave alone."""
    return f"SELECT {', '.join(f'+{quote(name)} AS {quote(name)}' for name in table.columns)} FROM {table.quoted}"


def _deadline() -> Any:
    deadline = time.monotonic() + PATIENCE

    def check(status: int, _remaining: int, _total: int) -> None:
        if status in _BUSY and time.monotonic() > deadline:  # the backup would try for ever
            raise sqlite3.OperationalError("database is locked")

    return check


@contextmanager
def _named(alias: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StateError(alias, str(error)) from error
