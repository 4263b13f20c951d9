"""The order in which rows stand in their tables, which a query without ORDER BY shows.

Where a row that is put back alone comes to another place than it had, such a query finds
another order in the next run.  So each row that has ever come back alone comes back after
every run, changed or not.  The runs until then do not count.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ...databases.state.base import LARGE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ...databases.schema import Changes, Key
    from ...databases.state import Row

    Keys = frozenset[tuple[int | str, ...]]


class RowOrder:
    """Knows of the rows at the start where they stood, and which of them stand elsewhere now.

    Args:
        start: The rows at the start, by table; more tables may come to it.
        keys: Primary and foreign keys, by table; likewise.

    Attributes:
        matters: Whether queries without an order have to find the same one in each run; with runs on several copies,
            they cannot.
        whole: Tables that are always put back as a whole, because ever more of their rows would come back alone.
    """

    def __init__(self, start: Mapping[str, list[Row]], keys: Mapping[str, Key]) -> None:
        self._start, self._keys = start, keys
        self._places: dict[str, dict[object, int]] = {}  # of the rows at the start, by their keys
        self._moved: dict[str, Keys] = {}  # the keys of rows that stand elsewhere now
        self._is_news = False
        self.matters = True
        self.whole: set[str] = set()

    def with_changes(self, table: str, rows: Iterable[Row], keys: Iterable[tuple[Any, ...]]) -> list[Row]:
        """The rows at the start, with these in place of those that have any of these keys."""
        places, (column,) = self._places_in(table), self._keys[table].columns
        now: list[Row | None] = list(self._start[table])
        for (key,) in keys:
            if key in places:
                now[places[key]] = None
        for row in rows:
            if row[column] in places:
                now[places[row[column]]] = row
            else:
                now.append(row)
        return [row for row in now if row is not None]

    def with_known(self, table: str, rows: list[Row]) -> list[Row]:
        """The rows of a large table; for those that are as at the start its objects, which nobody compares again."""
        start = self._start[table]
        if len(start) <= LARGE or not self._keys[table].automatic or len(self._places_in(table)) < len(start):
            return rows
        (column,), places = self._keys[table].columns, self._places_in(table)
        olds = [start[places[row[column]]] if row[column] in places else None for row in rows]
        return [row if old is None or row != old else old for row, old in zip(rows, olds, strict=True)]

    def _places_in(self, table: str) -> Mapping[object, int]:
        if table not in self._places:
            (column,) = self._keys[table].columns
            self._places[table] = {row[column]: place for place, row in enumerate(self._start[table])}
        return self._places[table]

    def come_back(
        self, tables: Mapping[str, Changes | None] | None, moves: Callable[[str], bool]
    ) -> dict[str, Changes]:
        """Take note that these tables are put back; return what of them comes back alone, the others as a whole.

        Args:
            tables: With all that was changed in them, where that is known; None for all tables that differ.
            moves: Tells of a table whether rows that come back alone come to other places.
        """
        alone = {table: each for table, each in (tables or {}).items() if each is not None}
        for table in filter(moves, [*alone]):
            changes = self._alone_with(table, alone.pop(table))
            if changes is not None:
                alone[table] = changes
        whole = self._moved.keys() if tables is None else tables.keys() - alone.keys()
        self._moved = {table: keys for table, keys in self._moved.items() if table not in whole}
        return alone

    def _alone_with(self, table: str, changes: Changes) -> Changes | None:
        """What has to come back of a table in which this was changed; None for all of it."""
        if not self.matters or table not in self._start or not are_numbers(changes.keys):
            return None
        keys = frozenset(key for key in changes.keys if key[0] in self._places_in(table))
        is_first = not self._moved.get(table)
        known = keys if is_first else self._moved[table]
        self._is_news |= bool(keys) and (is_first or not keys <= known)
        if not keys <= known:  # there may be no end of them
            self.whole.add(table)
            return None
        self._moved[table] = known
        return replace(changes, keys=changes.keys | known)

    def is_news(self) -> bool:
        """Whether rows have come to other places than they had in the runs before, since this was asked last."""
        news, self._is_news = self._is_news, False
        return news


def are_numbers(keys: Iterable[tuple[int | str, ...]]) -> bool:
    """Whether these keys are of one column of whole numbers."""
    return all(len(key) == 1 and isinstance(key[0], int) for key in keys)
