"""The parts of the sentences that tell what happened: what was read, and what was written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...base.trace import call_name
from ...sql.accesses import Access, asks_whether
from ...sql.statements import Computed
from ..judging.values import ABSENT, readable, show
from .outdated import Row, Stale, only, timeless

_COLUMNS_TOLD = 3


def overtaken(each: Stale, columns: Sequence[str] = ()) -> str:
    """The reading and the change after it, as "A read balance=100 in account id=1 before B's update to 20"."""
    how = "inserted" if each.read.verb == "insert" else "read"
    seen = f"{call_name(each.read.call)} {how} {read_told(each, columns)}{as_of(each)}"
    before = f"{seen} before {change_told(each, columns)}"
    is_told = each.is_open and each.read.verb == "select" and each.change.verb == "update"
    return f"{before} was committed" if is_told else before


def as_of(each: Stale) -> str:
    """Of a read that came after the change, from a snapshot that came before it: which step had chosen that."""
    return f" (as of step {int(each.read.seen) + 1})" if each.change.visible < each.read.step else ""


def insert_told(each: Stale, what: str) -> str:
    """What the other inserted, as "A inserted it", or as not committed yet if it was so when the reader looked."""
    who = call_name(each.change.call)
    return f"{who}'s insert of {what} was committed" if each.is_open else f"{who} inserted {what}"


def read_told(stale: Stale, columns: Sequence[str] = ()) -> str:
    """What was read, in the columns that matter, and of which row."""
    if stale.change.verb == "delete" and stale.is_of_row:
        return row_told(stale)
    told = rows_told(stale.read, stale.change, columns or stale.columns, only(stale.change.written))
    place = row_told(stale)
    return f"{told} in {place}" if place else told


def rows_told(read: Access, change: Access, columns: Sequence[str], beside: Row | None = None) -> str:
    """What was read of the row that was changed, if it can be told which, in the given columns if it has them.

    Args:
        beside: The values that are told as well: of long ones that part is shown in which they differ.
    """
    if not read.rows or asks_whether(read.text):
        known = _single(read.where)
        which = f" with {columns_told(known)}" if known else ""
        return f"{'a' if read.rows else 'no'} row of {read.table}{which}"
    row = next((row for row in read.rows if change.touches(row)), read.rows[0])
    shown = {column: row[column] for column in columns if column in row}
    return columns_told(shown or row, beside if shown else None)


def values_told(write: Access, columns: Sequence[str], beside: Row | None = None) -> str:
    """The values written, with the names of their columns where there are several."""
    values = only(write.written)
    if len(columns) == 1:
        return _value_told(values[columns[0]], (beside or {}).get(columns[0], ABSENT))
    return columns_told({column: values[column] for column in columns}, beside)


def change_told(stale: Stale, columns: Sequence[str] = ()) -> str:
    """What the other did, as "A's update to 20"."""
    change, row = stale.change, stale.row
    who, values = call_name(change.call), only(change.written)
    match change.verb:
        case "set":
            return f"{who} set it to {show(values.get(change.table))}" if values else f"{who} dropped it"
        case "delete":
            what = "it" if stale.is_of_row else place_told(change) or f"rows of {change.table}"
            return f"{who}'s deletion of {what} was committed" if stale.is_open else f"{who} deleted {what}"
        case "insert":
            told = f"a row of {change.table} ({columns_told(values)})" if values else f"rows of {change.table}"
            return insert_told(stale, told)
    columns = columns or stale.columns
    if len(columns) == 1 and columns[0] in row:
        return f"{who}'s update to {values_told(change, columns, row)}"
    of = "" if stale.is_of_row else f" of {place_told(change) or change.table}"
    return f"{who}'s update{of} to {columns_told({column: values[column] for column in columns}, row)}"


def write_told(write: Access) -> str:
    """What was written, as "insert shop_ticket (show_id=7)"."""
    if write.verb == "set":
        if not write.written:
            return "drop a key of the cache"
        return f"put {cache_told(write, write.written)} into the cache"
    values = only(write.written) or {column: min(allowed, key=repr) for column, allowed in write.where.items()}
    told = columns_told({column: values[column] for column in timeless(list(values), values)})
    return f"{write.verb} {write.table} ({told})" if values else f"{write.verb} {write.table}"


def place_told(change: Access) -> str:
    """The row that a change was of, by its conditions."""
    known = _single(change.where)
    if "id" in known:
        known = {"id": known["id"]}
    return f"{change.table} {show(dict(list(known.items())[:_COLUMNS_TOLD]))}" if known else ""


def row_told(stale: Stale) -> str:
    """The row that was read and changed, as "account id=1"; empty if it cannot be told which."""
    if not stale.is_of_row:
        return ""
    return f"{stale.change.table} id={show(stale.row['id'])}" if "id" in stale.row else place_told(stale.change)


def _single(where: Mapping[str, frozenset[object]]) -> Row:
    """The columns of which conditions leave one value."""
    return {column: next(iter(allowed)) for column, allowed in where.items() if len(allowed) == 1}


def cache_told(access: Access, rows: Sequence[Row]) -> str:
    """A key of the cache and its value."""
    return f"{access.table}={show(only(rows).get(access.table))}"


def columns_told(row: Row, beside: Row | None = None) -> str:
    """The first columns of a row."""
    shown = list(row.items())[:_COLUMNS_TOLD]
    return ", ".join(f"{n.strip('_')}={_value_told(v, (beside or {}).get(n, ABSENT))}" for n, v in shown)


def _value_told(value: object, beside: object) -> str:
    return value.text if isinstance(value, Computed) else show(readable(value), readable(beside))
