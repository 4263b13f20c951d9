"""Reads that became outdated: what a call read, and what another call then changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ...sql.accesses import NEVER, Access, asks_whether
from ..judging.values import ABSENT, alike, as_time

Row = Mapping[str, object]
_AGGREGATES = ("COUNT(", "MAX(", "MIN(", "SUM(", "AVG(")


@dataclass(frozen=True, slots=True)
class Stale:
    """A read that a change of another call made outdated; `later` is what the reader did after reading."""

    read: Access
    change: Access
    later: tuple[Access, ...]

    @property
    def row(self) -> Row:
        """A row that was read and then changed."""
        return next((row for row in self.read.rows if self.change.touches(row)), {})

    @property
    def is_of_row(self) -> bool:
        """Whether the very row was read that was then changed, and not a number about it and others."""
        if not self.row or aggregated(self.read):
            return False
        return all(column in self.row or column in self.read.where for column in self.change.where)

    @property
    def is_open(self) -> bool:
        """Whether the change had been made when the read looked, and was not committed yet."""
        return self.change.done < self.read.seen < self.change.visible

    @property
    def writes(self) -> tuple[Access, ...]:
        """What the reader changed after reading."""
        return tuple(access for access in self.later if access.writes)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns whose value the change replaced; all that it wrote, if no row was read that it changed."""
        values, row = only(self.change.written), self.row
        changed = [c for c, value in values.items() if not alike(row.get(c, ABSENT), value)]
        return tuple(timeless(changed, values)) or tuple(values)


def stale_reads(accesses: Sequence[Access]) -> Iterator[Stale]:
    """Each read with each change of another call that came after it and would have altered its result."""
    for read in accesses:
        for change in accesses:
            if read.writes or not change.writes or change.call == read.call or change.table != read.table:
                continue
            # What became visible before the read was in it; what never became visible is no change.
            if read.seen < change.visible < NEVER and concerns(change, read) and not _changes_nothing(change, read):
                later = [a for a in accesses if a.call == read.call and a.done > read.done]
                yield Stale(read, change, tuple(later))


def concerns(change: Access, read: Access) -> bool:
    """Tell whether what was read would be something else after the change."""
    if change.verb == "insert":
        return not change.written or any(read.touches(row) for row in change.inserted)
    if not change.meets(read):
        return False
    return not read.rows or aggregated(read) or any(change.touches(row) for row in read.rows)


def _changes_nothing(change: Access, read: Access) -> bool:
    """Tell whether an update wrote what had been read."""
    values, seen = only(change.written), [row for row in read.rows if change.touches(row)]
    if change.verb != "update" or not seen or not values or aggregated(read):
        return False
    return all(c in row and alike(row[c], value) for row in seen for c, value in values.items())


def aggregated(read: Access) -> bool:
    """Tell whether the rows that were read are numbers about other rows, or say only that there is one."""
    return counts(read) or asks_whether(read.text)


def counts(read: Access) -> bool:
    """Tell whether it computes one value of many rows."""
    text = read.text.upper()
    return any(function in text for function in _AGGREGATES)


def only(rows: Sequence[Row]) -> Row:
    """The first row, or none."""
    return rows[0] if rows else {}


def timeless(columns: Sequence[str], values: Row) -> list[str]:
    """The columns less those of times, which differ whatever happens, if there are others."""
    return [column for column in columns if as_time(values.get(column)) is None] or list(columns)
