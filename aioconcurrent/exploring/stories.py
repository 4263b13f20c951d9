"""How one call's reading and another's writing are told, with their values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .._trace import call_name
from .accesses import Access, Computed, asks_whether
from .differences import ABSENT, contrasted, show
from .equality import alike, as_time, readable

_COLUMNS_TOLD = 3
_AGGREGATES = ("COUNT(", "MAX(", "MIN(", "SUM(", "AVG(")

Row = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Stale:
    """`read` saw what `change`, of another call, then changed; `later` is what the reader did after reading."""

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
    def writes(self) -> tuple[Access, ...]:
        """What the reader changed after reading."""
        return tuple(access for access in self.later if access.writes)


def aggregated(read: Access) -> bool:
    """Tell whether the rows that were read are numbers about other rows, or say only that there is one."""
    return counts(read) or looks_for_any(read)


def counts(read: Access) -> bool:
    """Tell whether it computes one value of many rows."""
    text = read.text.upper()
    return any(function in text for function in _AGGREGATES)


def looks_for_any(read: Access) -> bool:
    """Tell whether it was only asked whether there is a row, as Django's exists() does."""
    return asks_whether(read.text)


def only(rows: Sequence[Row]) -> Row:
    """The first row, or none."""
    return rows[0] if rows else {}


def named(rows: Sequence[Row], name: str) -> str:
    """One value of the first row."""
    return f"{name}={show(only(rows).get(name))}"


def altered(stale: Stale) -> tuple[str, ...]:
    """The columns to which the change gave another value than was read; all that it wrote if no such row was read."""
    values, row = only(stale.change.written), stale.row
    changed = [c for c, value in values.items() if not alike(row.get(c, ABSENT), value)]
    return tuple(telling(changed, values)) or tuple(values)


def telling(columns: Sequence[str], values: Row) -> list[str]:
    """The columns less those of times, which differ whatever happens, if there are others."""
    return [column for column in columns if as_time(values.get(column)) is None] or list(columns)


def place_of(stale: Stale) -> str:
    """The row that was read and changed, as "account id=1"; empty if it cannot be told which."""
    return named_place(stale.change) if stale.is_of_row else ""


def named_place(change: Access) -> str:
    """The row that a change was of, by its conditions."""
    known = {column: next(iter(allowed)) for column, allowed in change.where.items() if len(allowed) == 1}
    if "id" in known:
        known = {"id": known["id"]}
    return f"{change.table} {show(dict(list(known.items())[:_COLUMNS_TOLD]))}" if known else ""


def told_read(stale: Stale, columns: Sequence[str] = ()) -> str:
    """What was read, in the columns that matter, and of which row."""
    if stale.change.verb == "delete" and stale.is_of_row:
        return place_of(stale)
    told = told_rows(stale.read, stale.change, columns or altered(stale), only(stale.change.written))
    place = place_of(stale)
    return f"{told} in {place}" if place else told


def told_rows(read: Access, change: Access, columns: Sequence[str], beside: Row | None = None) -> str:
    """What was read of the row that was changed, if it can be told which, in the given columns if it has them.

    Args:
        beside: The values that are told as well: of long ones that part is shown in which they differ.
    """
    if not read.rows:
        return f"no row of {read.table}{_conditions(read)}"
    if looks_for_any(read):
        return f"a row of {read.table}{_conditions(read)}"
    row = next((row for row in read.rows if change.touches(row)), read.rows[0])
    shown = {column: row[column] for column in columns if column in row}
    return _told(shown or row, beside if shown else None)


def _conditions(read: Access) -> str:
    known = {column: next(iter(allowed)) for column, allowed in read.where.items() if len(allowed) == 1}
    return f" with {_told(known)}" if known else ""


def told_values(write: Access, columns: Sequence[str], beside: Row | None = None) -> str:
    """The values written, with the names of their columns where there are several."""
    values = only(write.written)
    shown = {column: values[column] for column in columns}
    return _one(shown, beside) if len(columns) == 1 else _told(shown, beside)


def told_change(stale: Stale, columns: Sequence[str] = ()) -> str:
    """What the other did, as "A's update to 20"."""
    change, row = stale.change, stale.row
    who, values = call_name(change.call), only(change.written)
    match change.verb:
        case "set":
            return f"{who} set it to {show(values.get(change.table))}" if values else f"{who} dropped it"
        case "delete":
            place = "it" if stale.is_of_row else (named_place(change) or f"rows of {change.table}")
            return f"{who} deleted {place}"
        case "insert":
            return f"{who} inserted a row of {change.table} ({_told(values)})"
    columns = columns or altered(stale)
    shown = {column: values[column] for column in columns}
    if len(columns) == 1 and columns[0] in row:
        return f"{who}'s update to {_one(shown, row)}"
    of = "" if stale.is_of_row else f" of {named_place(change) or change.table}"
    return f"{who}'s update{of} to {_told(shown, row)}"


def told_write(write: Access) -> str:
    """What was written, as "insert shop_ticket (show_id=7)"."""
    if write.verb == "set":
        return f"put {named(write.written, write.table)} into the cache" if write.written else "drop a key of the cache"
    values = only(write.written) or {column: min(allowed, key=repr) for column, allowed in write.where.items()}
    columns = telling(list(values), values)
    told = _told({column: values[column] for column in columns})
    return f"{write.verb} {write.table} ({told})" if values else f"{write.verb} {write.table}"


def _one(values: Row, beside: Row | None) -> str:
    column, value = next(iter(values.items()))
    return _shown(value, (beside or {}).get(column, ABSENT))


def _shown(value: object, beside: object) -> str:
    if isinstance(value, Computed):
        return value.text
    return contrasted(readable(value), readable(beside))


def _told(row: Row, beside: Row | None = None) -> str:
    """The first columns of a row."""
    shown = dict(list(row.items())[:_COLUMNS_TOLD])
    return ", ".join(
        f"{name.strip('_')}={_shown(value, (beside or {}).get(name, ABSENT))}" for name, value in shown.items()
    )
