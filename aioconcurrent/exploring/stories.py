"""How one call's reading and another's writing are told, with their values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .accesses import Access
from .differences import ABSENT, show
from .trace import call_name

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
    def writes(self) -> tuple[Access, ...]:
        """What the reader changed after reading."""
        return tuple(access for access in self.later if access.writes)


def aggregated(read: Access) -> bool:
    """Tell whether the rows that were read are numbers about other rows."""
    text = read.text.upper()
    return any(function in text for function in _AGGREGATES)


def only(rows: Sequence[Row]) -> Row:
    """The first row, or none."""
    return rows[0] if rows else {}


def named(rows: Sequence[Row], name: str) -> str:
    """One value of the first row."""
    return f"{name}={show(only(rows).get(name))}"


def altered(stale: Stale) -> tuple[str, ...]:
    """The columns to which the change gave another value than was read; all that it wrote if no such row was read."""
    values, row = only(stale.change.written), stale.row
    return tuple(c for c, value in values.items() if row.get(c, ABSENT) != value) or tuple(values)


def told_read(stale: Stale, columns: Sequence[str] = ()) -> str:
    """What was read, in the columns that matter."""
    return told_rows(stale.read, stale.change, columns or altered(stale))


def told_rows(read: Access, change: Access, columns: Sequence[str]) -> str:
    """What was read of the row that was changed, if it can be told which, in the given columns if it has them."""
    if not read.rows:
        return f"no row of {read.table}"
    row = next((row for row in read.rows if change.touches(row)), read.rows[0])
    return _told({column: row[column] for column in columns if column in row} or row)


def told_values(write: Access, columns: Sequence[str]) -> str:
    """The values written, with the names of their columns where there are several."""
    values = only(write.written)
    return show(values[columns[0]]) if len(columns) == 1 else _told({column: values[column] for column in columns})


def told_change(stale: Stale, columns: Sequence[str] = ()) -> str:
    """What the other did, as "A's update to 20"."""
    change, row = stale.change, stale.row
    who, values = call_name(change.call), only(change.written)
    match change.verb:
        case "set":
            return f"{who} set it to {show(values.get(change.table))}"
        case "delete":
            return f"{who} deleted it"
        case "insert":
            return f"{who} inserted a row of {change.table} ({_told(values)})"
    columns = columns or altered(stale)
    if len(columns) == 1 and columns[0] in row:
        return f"{who}'s update to {show(values[columns[0]])}"
    return f"{who}'s update to {_told({column: values[column] for column in columns})}"


def told_write(write: Access) -> str:
    """What was written, as "insert shop_ticket (show_id=7)"."""
    values = only(write.written) or {column: min(allowed, key=repr) for column, allowed in write.where.items()}
    return f"{write.verb} {write.table} ({_told(values)})" if values else f"{write.verb} {write.table}"


def _told(row: Row) -> str:
    """The first columns of a row."""
    shown = dict(list(row.items())[:_COLUMNS_TOLD])
    return show({name.strip("_"): value for name, value in shown.items()})
