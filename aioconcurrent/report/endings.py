"""How a run ended beside how the serial orders of its calls do: only what differs."""

from __future__ import annotations

import functools
import operator
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

from .._text import clipped, error_named, shown
from ..base.trace import Endless, Run, call_name
from ..exceptions import error_of
from ..sql.accesses import accesses

Row = Mapping[str, Any]
Ended = tuple[tuple[int, ...], Run]
Made = Collection[tuple[str, str]]  # new rows, by table and what tells them apart

_ORDERS_SHOWN = 6
_LINES_SHOWN = 20
_LONGEST_CELL = 120


@dataclass(frozen=True, slots=True)
class Line:
    """Something that is not alike in all endings: what it is, and what it came to in each, the run's own last."""

    kind: Literal["call", "row"]
    name: str
    cells: tuple[str, ...]
    is_time: bool = False  # and nothing else: any two orders may do something at different times

    @property
    def is_unusual(self) -> bool:
        """Whether no serial order ends like the run in this place."""
        return self.cells[-1] not in self.cells[:-1]


@dataclass(frozen=True, slots=True)
class Endings:
    """What differs between the serial orders and the run, line by line."""

    orders: tuple[str, ...]
    lines: tuple[Line, ...]
    more: int


def compared(run: Run, calls: Sequence[str], serial: Sequence[Ended]) -> Endings | None:
    """Set a run beside the serial orders of its calls; None where nothing is to be seen.

    Args:
        calls: The text of each call.
        serial: Orders of the numbers of calls, and how they ended.
    """
    shown_orders = serial[:_ORDERS_SHOWN]
    ends = [*(end for _, end in shown_orders), run]
    inserts = [each for each in accesses(run.steps) if each.verb == "insert"]
    made = {(each.table, shown(value)) for each in inserts for row in each.rows for value in row.values()}
    told = [*_of_calls(ends, calls), *_of_tables(ends, made)]
    lines = [line for line in told if not line.is_time] or told
    if not serial or not lines:
        return None
    names = tuple(", then ".join(map(call_name, order)) for order, _ in shown_orders)
    return Endings(names, tuple(lines[:_LINES_SHOWN]), max(len(lines) - _LINES_SHOWN, 0))


def _of_calls(ends: Sequence[Run], calls: Sequence[str]) -> Iterator[Line]:
    for call, text in enumerate(calls):
        told = tuple(_outcome(end.outcomes[call]) if call < len(end.outcomes) else "" for end in ends)
        if len(set(told)) > 1:
            yield Line("call", f"{call_name(call)}: {text}", told)


def _outcome(outcome: object) -> str:
    if isinstance(outcome, Endless):
        return "never ends"
    if (error := error_of(outcome)) is not None:
        return f"raises {error_named(error, _LONGEST_CELL)}"
    return f"returns {shown(outcome, _LONGEST_CELL)}"


def _of_tables(ends: Sequence[Run], made: Made) -> Iterator[Line]:
    for table in sorted({name for end in ends for name in end.tables}):
        if all(table in end.tables for end in ends):  # else the rows of one are those at the start, and not known here
            yield from _of_table(table, [end.tables[table] for end in ends], made)


def _of_table(table: str, ends: Sequence[Sequence[Row]], made: Made) -> Iterator[Line]:
    key = _key(ends)
    by_key = [{shown(row.get(key)) if key else number: row for number, row in enumerate(rows)} for rows in ends]
    names = list(dict.fromkeys(name for rows in by_key for name in rows))
    lines = ([rows.get(name) for rows in by_key] for name in names)
    aligned = [line for line in lines if any(row != line[0] for row in line)]
    told = (_of_row(table, key, rows) for rows in _merged([*_unalike(aligned, key, table, made)], key))
    yield from (line for line in told if line is not None)


def _key(ends: Sequence[Sequence[Row]]) -> str:
    """The first column that tells the rows of each ending apart; a table of Django's begins with its primary key."""
    columns = next((list(row) for rows in ends for row in rows), [])
    for column in columns:
        values = [[shown(row.get(column)) for row in rows] for rows in ends]
        if all(len(set(each)) == len(each) for each in values):
            return column
    return ""


def _unalike(lines: Sequence[list[Row | None]], key: str, table: str, made: Made) -> Iterator[list[Row | None]]:
    """The lines without new rows that all endings have, under whatever number."""
    new = [line for line in lines if None in line or (table.lower(), shown(_without([line[0]], "").get(key))) in made]
    by_ending = [[row for row in rows if row is not None] for rows in zip(*new, strict=True)]
    shapes = [Counter(shown(_without([row], key)) for row in rows) for rows in by_ending]
    common = functools.reduce(operator.and_, shapes) if shapes else Counter[str]()
    left = [common.copy() for _ in shapes]
    for line in lines:
        kept = [*line]
        if line in new:
            for number, row in enumerate(line):
                shape = shown(_without([row], key))
                if row is not None and left[number][shape] > 0:
                    left[number][shape] -= 1
                    kept[number] = None
        if any(row is not None for row in kept):
            yield kept


def _merged(aligned: Sequence[list[Row | None]], key: str) -> Iterator[list[Row | None]]:
    """The lines, with those in one that are alike but for the number that a new row was given."""
    left = [*aligned]
    while left:
        line = left.pop(0)
        for other in [*left]:
            apart = not any(one is not None and two is not None for one, two in zip(line, other, strict=True))
            if apart and _without(line, key) == _without(other, key):
                line = [one if one is not None else two for one, two in zip(line, other, strict=True)]
                left.remove(other)
        yield line


def _without(rows: Sequence[Row | None], key: str) -> dict[str, Any]:
    """The columns of the first row that is there, but for the key."""
    first: Row = next((row for row in rows if row is not None), {})
    return {column: value for column, value in first.items() if column != key}


def _of_row(table: str, key: str, rows: Sequence[Row | None]) -> Line | None:
    there = [row for row in rows if row is not None]
    columns = [name for name in there[0] if len({shown(row.get(name)) for row in there}) > 1 and name != key]
    lasting = [name for name in columns if not _is_time(there, name)]
    is_time = len(there) == len(rows) and not lasting
    columns = lasting or columns
    if len(there) == len(rows) and not columns:
        return None
    told = columns if len(there) == len(rows) else [name for name in there[0] if name != key]
    steady = len({shown(row.get(key)) for row in there}) == 1 if key else False
    name = f"{table} {key}={shown(there[0].get(key))}" if steady else table
    return Line("row", name, tuple("no row" if row is None else _told(row, told) for row in rows), is_time)


def _is_time(rows: Sequence[Row], column: str) -> bool:
    """Whether a column says when something happened, which any two orders may do differently."""
    return all(isinstance(row.get(column), datetime | time) for row in rows)


def _told(row: Row, columns: Sequence[str]) -> str:
    return clipped(", ".join(f"{name}={_value(row.get(name))}" for name in columns), 2 * _LONGEST_CELL)


def _value(value: Any) -> str:
    return str(value) if isinstance(value, date | time | Decimal | UUID) else shown(value, _LONGEST_CELL)
