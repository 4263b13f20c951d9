"""Rows that no call of a run can have inserted: somebody else wrote them meanwhile.

In doubt a row is taken for a call's.  So a table counts only if every statement that may
have written to it is understood, and if it has more new rows than the calls can have
inserted.  The values of the rows tell which of them those are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..sql.accesses import accesses
from .facts import apart_from

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from ..base.trace import Step
    from ..databases.schema import Key
    from ..sql.accesses import Access

    Row = Mapping[str, Any]


def foreign_rows(
    rows: Mapping[str, Sequence[Row]],
    start: Mapping[str, Sequence[Row]],
    keys: Mapping[str, Key],
    steps: Sequence[Step],
    touched: Callable[[Step], Collection[str]],
) -> dict[str, list[Row]]:
    """Find them, by table.

    Args:
        rows: What was there after the run, by table.
        start: What was there before it.
        steps: All of the run, also what made the calls ready.
        touched: The tables that a step may have written to.
    """
    made = accesses(steps)
    found = {}
    for table, now in rows.items():
        columns = keys[table].columns if table in keys else ()
        new = _new(now, start.get(table, ()), columns) if columns else []
        if new and _are_understood(table, columns, made, steps, touched):
            inserted = _inserted(table, made)
            if len(new) > len(inserted):
                found[table] = _unmatched(new, inserted) or new[len(inserted) :]
    return found


def _new(now: Sequence[Row], start: Sequence[Row], columns: Sequence[str]) -> list[Row]:
    """The rows of which none at the start had the key."""
    others, gone = apart_from(now, start)
    known = {_key(row, columns) for row in gone}
    return [row for row in others if _key(row, columns) not in known]


def _inserted(table: str, made: Sequence[Access]) -> list[dict[str, Any]]:
    """The rows that calls inserted, less the columns that they may have changed afterwards."""
    written = [access for access in made if access.table == table]
    changed = {column for access in written if access.verb != "insert" for row in access.written for column in row}
    inserted = [row for access in written if access.verb == "insert" for row in access.written]
    return [{column: value for column, value in row.items() if column not in changed} for row in inserted]


def _key(row: Row, columns: Sequence[str]) -> tuple[str, ...]:
    return tuple(repr(row.get(column)) for column in columns)


def _are_understood(
    table: str,
    columns: Sequence[str],
    made: Sequence[Access],
    steps: Sequence[Step],
    touched: Callable[[Step], Collection[str]],
) -> bool:
    """Whether it is known of each statement that may have written to the table what it wrote.

    One that may have written elsewhere, too, has a trigger, which may have written to the table as well.
    """
    understood = {access.step for access in made if access.table == table and _is_plain(access, columns)}
    changed = {number: names for number, step in enumerate(steps) if table in (names := set(touched(step)))}
    return all(number in understood and names == {table} for number, names in changed.items())


def _is_plain(access: Access, columns: Sequence[str]) -> bool:
    if access.verb == "insert":
        return bool(access.written)
    return access.verb in ("update", "delete") and not any(
        column in row for row in access.written for column in columns
    )


def _unmatched(rows: Sequence[Row], inserted: list[dict[str, Any]]) -> list[Row]:
    """The rows that are left when each inserted row is paired with one that it can have become."""
    unmatched = []
    for row in rows:
        made = next((one for one in inserted if _may_become(one, row)), None)
        if made is None:
            unmatched.append(row)
        else:
            inserted.remove(made)
    return unmatched


def _may_become(written: Row, row: Row) -> bool:
    return all(_may_be(value, row[column]) for column, value in written.items() if column in row)


def _may_be(written: object, value: object) -> bool:
    """Only what is written and read alike can be told apart: numbers and plain words."""
    if isinstance(written, int) and isinstance(value, int):
        return written == value
    if isinstance(written, str) and isinstance(value, str) and not written.startswith(("{", "[")):
        return written.rstrip() == value.rstrip()
    return True
