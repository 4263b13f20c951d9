"""What every database's state can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .values import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from ..schema import Catalogue, Key
    from .schema import Schema, Table

PATIENCE = 5  # seconds for the locks of a session that is about to end; whole ones, for MySQL

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

    def restore(self, tables: Collection[str] | None = None) -> None:
        """Put the rows of `tables` and the counters of their keys back, without a trigger firing.

        Args:
            tables: Names in lower case without schema; unknown ones are passed over.  By default all that differ.
        """
        chosen = self.schema.named(self.changed() if tables is None else frozenset(tables))
        self._put_back(chosen)

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

    def is_kept(self, tables: Collection[str] | None = None) -> bool:
        """Whether nothing of these tables, by default of all, was left for later."""
        return True

    def keep(self, tables: Collection[str] | None = None) -> None:  # noqa: B027 - there may be nothing left
        """Copy those of these tables that were left for later, by default all, while they are as at the start."""

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
    def _put_back(self, tables: list[Table]) -> None: ...

    @abstractmethod
    def _rows(self, table: Table) -> Iterable[Row]: ...

    @abstractmethod
    def _start_rows(self, table: Table) -> Iterable[Row]: ...


def as_rows(cursor: Any) -> list[Row]:
    """Return what a cursor of any driver has read, by column."""
    columns = [column[0] for column in cursor.description]
    return [dict(zip(columns, map(plain, values), strict=True)) for values in cursor.fetchall()]
