"""What every database's state can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...exceptions import AioconcurrentError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from ...exploring.facts import Key
    from ...exploring.footprint import Catalogue
    from .schema import Schema, Table

PATIENCE = 5  # seconds for the locks of a session that is about to end; whole ones, for MySQL

Row = dict[str, Any]


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


class StateError(AioconcurrentError):
    """The starting rows of a database could not be read or put back."""

    def __init__(self, alias: str, reason: str) -> None:
        super().__init__(alias, reason)
        self.alias = alias
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"The rows of database {self.alias!r} could not be read or put back: {self.reason.strip()}\n"
            "If it waited for a lock, end the transaction that is still open on that database, such as one of the "
            "test itself; what the calls did before may still be in the tables."
        )


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

    def rows(self, tables: Collection[str]) -> dict[str, list[Row]]:
        """Return the rows that these tables have now, in the order of their primary keys.

        Values are what the driver gives, without Django's conversions.  Tables without a
        primary key, and those that share a name, come in the order of their values.
        """
        found: dict[str, list[Row]] = {}
        for table in self.schema.named(tables):
            rows = found.setdefault(table.name, [])
            mixed = bool(rows) or not table.primary
            rows += self._rows(table)
            if mixed:
                rows.sort(key=lambda row: repr(list(row.items())))
        return found

    def start_rows(self) -> dict[str, list[Row]]:
        """Return the rows of all tables that have any; to be called while they are those of the start."""
        return self.rows(self._filled())

    def _filled(self) -> Collection[str]:
        """The tables that had rows at the start, or more."""
        return self.keys

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
    def changed(self) -> frozenset[str]:
        """Return the tables whose rows, or whose keys' counters, are not those of the start."""

    @abstractmethod
    def close(self) -> None:
        """Forget the rows and leave nothing of ours in the database."""

    @abstractmethod
    def _put_back(self, tables: list[Table]) -> None: ...

    @abstractmethod
    def _rows(self, table: Table) -> Iterable[Row]: ...


def as_rows(cursor: Any) -> list[Row]:
    """Return what a cursor of any driver has read, by column."""
    columns = [column[0] for column in cursor.description]
    return [dict(zip(columns, values, strict=True)) for values in cursor.fetchall()]
