"""Which rows a statement can touch, if their keys tell them apart.

That two statements touch different rows is a promise, as with a footprint: in doubt it is the
whole table.  A row is identified by the values of a primary or unique key in the text or the
parameters, provided that the database can never take two different values of the column's
type for equal.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from uuid import UUID

from ...base.trace import Operation, Step
from ...databases.schema import Catalogue, KeyKind, Keys, reached
from ...sql.statements import UNCLEAR, Condition, Given, Statement, Value, statement_of

Column = tuple[str, ...]  # the columns of a key, in order

# What parameters are recorded as that are no plain values, as `Jsonb('x')`, does not look like this.
# Spaces at the end are cut off where a text is too long.
_PLAIN_TEXT = re.compile(r"(?:[\w@.+:/ -]*[\w@.+:/-])?")
# Nor have these, which may be dates, times and decimals: as a text the database writes them otherwise.
_CONVERTED = re.compile(r"[+-]?[\d.]+E[+-]?\d+|-0[.0]*|\d+-\d\d-\d\d(?:[ T]\d\d:\d\d.*)?|\d\d:\d\d.*", re.IGNORECASE)
_LARGEST: dict[KeyKind | None, int] = {"integer": 2**31 - 1, "small integer": 2**7 - 1}  # stored as it is written
_MOST = 50  # rows of one statement


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table, by what is known of its keys; it may not exist.

    Attributes:
        table: Qualified as footprints have it.
        keys: The values of one or several keys; of rows that are only read, of any columns.
        is_new: It is inserted: all its keys are known, and looked for among those of all other rows.
        is_tried: Its INSERT failed or waited, as if another row had one of its keys.
        is_gone: It is deleted, so that its keys are free.
        values: Of a new row, those of columns that are no keys.
    """

    table: str
    keys: frozenset[tuple[Column, tuple[object, ...]]]
    is_new: bool = False
    is_tried: bool = False
    is_gone: bool = False
    values: frozenset[tuple[Column, tuple[object, ...]]] = frozenset()

    def is_apart(self, other: "Row") -> bool:
        """Whether these cannot be the same row, and neither can keep the other from being inserted."""
        mine, theirs = dict(self.keys | self.values), dict(other.keys | other.values)
        differ = {key for key in mine.keys() & theirs.keys() if mine[key] != theirs[key]}
        if self._looks_for(other) or other._looks_for(self):
            return all(differ >= dict(row.keys).keys() for row in (self, other) if row.is_new)
        return bool(differ)

    def _looks_for(self, other: "Row") -> bool:
        """Whether any key that they have in common may keep this one from being inserted, before or after.

        An INSERT that came through at once has met no row with a key of its own, and what changes or locks a row that
        was there gives it no other keys.
        """
        return self.is_new and (self.is_tried or other.is_new or other.is_gone)


class NamedLock(str):
    """The name of a lock that is no table's."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Fresh:
    """A number that the database gave to a row in this run, counted from the first that the table gave in it."""

    place: int


@dataclass(frozen=True, slots=True)
class Untold:
    """The number of a row that is about to be inserted."""


Thing = str | Row  # a whole table, a key of a cache, a `Lock`; or a row


def meet(one: frozenset[Thing], other: frozenset[Thing]) -> bool:
    """Tell whether anything may be in both."""
    if not one.isdisjoint(other):
        return True
    return _meet(one, other) or any(each.table in one for each in other if isinstance(each, Row))


def _meet(one: frozenset[Thing], other: frozenset[Thing]) -> bool:
    rows = [each for each in one if isinstance(each, Row)]
    if not rows:
        return False
    others = [each for each in other if isinstance(each, Row)]
    return any(
        row.table in other or any(row.table == each.table and not row.is_apart(each) for each in others) for row in rows
    )


Number = tuple[str, object]  # a table, qualified, and the number that the database gave to a row of it


def rows_of(
    operation: Operation, statement: Statement, catalogue: Catalogue, new: AbstractSet[Number] = frozenset()
) -> dict[str, frozenset[Row]]:
    """By table, all rows of it that a statement can touch; tables of which that is not known are left out.

    The rules are PostgreSQL's below SERIALIZABLE, and InnoDB's for statements that have found the row they
    were to lock, or made it: on others it locks the gap where the row would be.

    Args:
        new: Rows that were made in this run.
    """
    if operation.vendor not in ("postgresql", "mysql") or operation.kind not in ("sql", "fetch"):
        return {}
    if statement.places != len(operation.parameters or ()):
        return {}
    teller = _Teller(operation, statement, catalogue, new)
    if statement.changes or statement.removals:
        return teller.of_change()
    return teller.of_query()


class _Teller:
    def __init__(
        self, operation: Operation, statement: Statement, catalogue: Catalogue, new: AbstractSet[Number]
    ) -> None:
        self._operation = operation
        self._statement = statement
        self._catalogue = catalogue
        self._new = new
        self._on_mysql = operation.vendor == "mysql"

    def of_query(self) -> dict[str, frozenset[Row]]:
        locks = self._statement.locks or self._statement.shares
        found = {
            name: self._found(name, condition) or (frozenset() if locks else self._alike(name, condition))
            for name, condition in self._statement.found.items()
        }
        if self._on_mysql and locks:
            found = {name: rows for name, rows in found.items() if self._is_one_lookup(rows, name)}
        return {self._qualified(name): rows for name, rows in found.items() if rows}

    def of_change(self) -> dict[str, frozenset[Row]]:
        statement, catalogue = self._statement, self._catalogue
        targets = statement.changes | statement.removals
        if not statement.plain or len(targets) != 1:
            return {}
        (name,) = targets
        keys = catalogue.keys.get(name)
        if keys is None or not keys.is_closed:
            return {}
        match statement.verb:
            case "UPDATE":
                rows, parents = self._updated(name, keys), self._pointed(keys, [statement.assigned or ()])
                untouched = self._unmoved(name)
            case "INSERT" if not statement.removals:
                rows, parents = self._inserted(name, keys), self._pointed(keys, statement.given, all_said=False)
                untouched = frozenset()
            case "DELETE" if not self._on_mysql:
                if name in catalogue.children.get(name, ()) or name in catalogue.cascades:
                    return {}
                gone = self._found(name, statement.found.get(name))
                rows, parents, untouched = frozenset(replace(row, is_gone=True) for row in gone), {}, frozenset()
            case _:
                return {}
        if not rows:
            return {}
        told: dict[str, frozenset[Row] | None] = {name: rows}
        for table in untouched - {name}:
            told.setdefault(table, frozenset())
        for table in catalogue.parents.get(name, frozenset()) if statement.verb != "DELETE" else ():
            known, more = told.get(table, frozenset()), parents.get(table)
            told[table] = None if known is None or more is None else known | more
        return {self._qualified(table): found for table, found in told.items() if found is not None}

    def _unmoved(self, name: str) -> frozenset[str]:
        """The tables that the database would look at if a row lost its key."""
        changed = reached([name], self._catalogue.cascades)
        return changed.union(*(self._catalogue.children.get(each, ()) for each in changed))

    def _updated(self, name: str, keys: Keys) -> frozenset[Row]:
        if self._statement.assigned is None:
            return frozenset()
        assigned = {column for column, _ in self._statement.assigned}
        pointed = {  # InnoDB lets a foreign key point at a column that is no key
            other for each in self._catalogue.keys.values() for _, parent, other in each.references if parent == name
        }
        if assigned & (keys.unique_columns | pointed | keys.counted):
            return frozenset()
        rows = self._found(name, self._statement.found.get(name))
        return rows if not self._on_mysql or self._is_one_lookup(rows, name) else frozenset()

    def _inserted(self, name: str, keys: Keys) -> frozenset[Row]:
        if keys.counted:  # who is first gets the lower number, whatever else is known of the row
            return frozenset()
        found: set[Row] = set()
        own = frozenset({keys.automatic})
        is_numbered = bool(keys.automatic) and len(self._statement.given) == 1
        # where InnoDB finds another key taken, even if only by a row that was deleted, it locks the gap beside it
        for values in map(dict, self._statement.given):
            if self._on_mysql and not (is_numbered and keys.uniques == {own} and keys.automatic not in values):
                return frozenset()
            known = frozenset(
                (tuple(sorted(key)), told)
                for key in keys.uniques
                if (told := self._stored(name, sorted(key), [values.get(column) for column in sorted(key)])) is not None
            )
            if is_numbered and keys.automatic not in values and own in keys.uniques:
                known |= {((keys.automatic,), (Untold(),))}
            if not known or len(known) != len(keys.uniques):
                return frozenset()
            others = frozenset(
                ((column,), told)
                for column in values
                if (told := self._stored(name, [column], [values[column]])) is not None
            )
            found.add(Row(self._qualified(name), known, is_new=True, values=others - known))
        return frozenset(found) if len(found) <= _MOST else frozenset()

    def _found(self, name: str, condition: Condition | None) -> frozenset[Row]:
        """The rows that a condition leaves; nothing where it does not name them."""
        keys = self._catalogue.keys.get(name)
        if keys is None or condition is None:
            return frozenset()
        values = dict(condition.values)
        for key in sorted(map(sorted, keys.uniques), key=lambda key: (key != ["id"], key)):
            if not all(column in values for column in key):
                continue
            rows = list(product(*(values[column] for column in key)))
            told = [self._told(name, key, row) for row in rows]
            if len(rows) <= _MOST and None not in told:
                return frozenset(
                    Row(self._qualified(name), frozenset({(tuple(key), each)})) for each in told if each is not None
                )
        return frozenset()

    def _alike(self, name: str, condition: Condition) -> frozenset[Row]:
        """The rows that have some values in columns that are no keys; nothing where they are not known."""
        if name not in self._catalogue.keys:
            return frozenset()
        told = [
            (column, [self._told(name, [column], [value]) for value in values]) for column, values in condition.values
        ]
        known = [(column, values) for column, values in told if None not in values]
        if not known or prod(len(values) for _, values in known) > _MOST:
            return frozenset()
        columns = [(column,) for column, _ in known]
        rows = product(*(values for _, values in known))
        found = (
            frozenset((column, value) for column, value in zip(columns, row, strict=True) if value) for row in rows
        )
        return frozenset(Row(self._qualified(name), keys) for keys in found)

    def _pointed(
        self, keys: Keys, rows: Iterable[Iterable[tuple[str, Value]]], *, all_said: bool = True
    ) -> dict[str, frozenset[Row] | None]:
        """The rows that foreign keys of new values point at, by table; None for all rows of it.

        Args:
            all_said: Whether a column that is not mentioned stays as it is.
        """
        found: dict[str, frozenset[Row] | None] = {}
        for column, parent, other in keys.references:
            for values in map(dict, rows):
                known, more = found.get(parent, frozenset()), self._parent(values, column, parent, other, all_said)
                found[parent] = None if known is None or more is None else known | more
        return found

    def _parent(
        self, values: Mapping[str, Value], column: str, parent: str, other: str, all_said: bool
    ) -> frozenset[Row] | None:
        if column not in values:
            return frozenset() if all_said else None
        keys = self._catalogue.keys.get(parent)
        if self._filled(values[column]) is None:
            return frozenset()
        if keys is None or frozenset({other}) not in keys.uniques:
            return None
        told = self._stored(parent, [other], [values[column]])
        return None if told is None else frozenset({Row(self._qualified(parent), frozenset({((other,), told)}))})

    def _is_one_lookup(self, rows: Iterable[Row], name: str) -> bool:
        """Whether InnoDB can only look one row up: for several, or other conditions, it may go through others."""
        condition = self._statement.found[name]
        return condition.alone and len(list(rows)) == 1 and len(condition.values) == 1

    def _stored(self, name: str, columns: list[str], values: Iterable[Value]) -> tuple[object, ...] | None:
        """Values that are written; MariaDB may be told to write the nearest number that there is room for."""
        given = list(values)
        for column, value in zip(columns, map(self._filled, given), strict=True):
            largest = _LARGEST.get(self._catalogue.keys[name].kinds.get(column))
            if self._on_mysql and largest is not None and not (isinstance(value, int) and 0 <= value <= largest):
                return None
        return self._told(name, columns, given)

    def _told(self, name: str, columns: list[str], values: Iterable[Value]) -> tuple[object, ...] | None:
        told = tuple(self._value(name, *each) for each in zip(columns, values, strict=True))
        return None if None in told else told

    def _value(self, name: str, column: str, value: Value) -> object:
        """The value of a column as it is the same in each run; None where that is not known.

        The number of a row that this run made is another one after the counter was moved.
        """
        found = _canonical(self._catalogue.keys[name].kinds.get(column), self._filled(value))
        table = numbering(name, column, self._catalogue)
        if table is None:
            return found
        first = first_number(self._qualified(table), self._new)
        return Fresh(found - first) if isinstance(found, int) and first is not None and found >= first else found

    def _filled(self, value: Value) -> object:
        return _filled(value, self._operation)

    def _qualified(self, table: str) -> str:
        return f"{self._operation.database}.{table}"


def primary_keys(rows: Iterable[Row], columns: Sequence[str]) -> frozenset[tuple[int | str, ...]]:
    """The primary keys of these rows; none if that of any is not known.

    Args:
        columns: Of the primary key, in its order.
    """
    found: set[tuple[int | str, ...]] = set()
    for row in rows:
        values = {column: value for key, told in row.keys for column, value in zip(key, told, strict=True)}
        key = tuple(values.get(column.casefold()) for column in columns)
        if not all(isinstance(value, int | str) for value in key):
            return frozenset()
        found.add(key)  # type: ignore[arg-type]  # as has just been seen
    return frozenset(found)


def made_keys(
    step: Step, statement: Statement, columns: Sequence[str], catalogue: Catalogue
) -> frozenset[tuple[int | str, ...]]:
    """The primary keys of all rows that an INSERT has made, where it has returned the numbers that they have."""
    numbers = _returned(step.operation, step.columns, step.rows, catalogue)
    is_all = step.error is None and step.rowcount == len(step.rows) == len(numbers) and not statement.removals
    if statement.verb != "INSERT" or not is_all or len(columns) != 1 or columns[0] not in step.columns:
        return frozenset()
    return frozenset((number,) for _, number in numbers if isinstance(number, int))


def numbers_of(
    operation: Operation, columns: Sequence[str], rows: Sequence[Sequence[object]], catalogue: Catalogue
) -> set[Number]:
    """The numbers that the database has given to the rows that an INSERT has made, and returned.

    A key that the INSERT says is none of them on PostgreSQL, where it moves no sequence.  InnoDB counts on from the
    highest key that there ever was.
    """
    if operation.vendor == "postgresql" and says_numbers(operation, catalogue):
        return set()
    return _returned(operation, columns, rows, catalogue)


def says_numbers(operation: Operation, catalogue: Catalogue) -> bool:
    """Whether an INSERT into a table whose rows the database numbers says the keys of all its rows."""
    found, given = numbered(operation, catalogue), statement_of(operation).given if operation.text else ()
    return found is not None and bool(given) and all(_is_said(dict(row).get(found[1]), operation) for row in given)


def said_numbers(step: Step, column: str, *, or_returned: bool) -> set[int]:
    """The numbers that an INSERT has said for a column, or has returned."""
    operation, statement = step.operation, statement_of(step.operation)
    found: set[object] = set()
    for value in (dict(row).get(column) for row in statement.given):
        if isinstance(value, Given) and value != UNCLEAR:
            given = (operation.parameters or ())[value.number :]
            found.update(given[:: statement.places] if operation.kind == "many" else given[:1])
        else:
            found.add(value)
    columns = [name.casefold() for name in step.columns]
    if or_returned and column in columns:
        found.update(row[columns.index(column)] for row in step.rows)
    return {number for number in found if type(number) is int}


def _is_said(value: Value, operation: Operation) -> bool:
    """Whether a value is a key: where it is worked out, NULL or, on MariaDB, 0, the database may give a number."""
    if value == UNCLEAR or operation.kind != "sql":
        return value not in (UNCLEAR, None)
    filled = _filled(value, operation)
    return filled is not None and (operation.vendor != "mysql" or filled not in (0, "0"))


def _returned(
    operation: Operation, columns: Sequence[str], rows: Sequence[Sequence[object]], catalogue: Catalogue
) -> set[Number]:
    """The keys of the rows that an INSERT has made and returned, where the database may number them."""
    found = numbered(operation, catalogue)
    if found is None or found[1] not in columns:
        return set()
    name, column = found
    return {(f"{operation.database}.{name}", row[columns.index(column)]) for row in rows}


def numbered(operation: Operation, catalogue: Catalogue) -> tuple[str, str] | None:
    """The table that an operation inserts into, and its column that the database numbers, if it has one."""
    if not operation.text:
        return None
    statement = statement_of(operation)
    if statement.verb not in ("INSERT", "REPLACE", "WITH") or len(statement.changes) != 1:
        return None
    (name,) = statement.changes
    keys = catalogue.keys.get(name)
    return (name, keys.automatic) if keys is not None and keys.automatic else None


def numbering(name: str, column: str, catalogue: Catalogue) -> str | None:
    """The table whose numbers a column holds; None if it is none of these."""
    keys = catalogue.keys.get(name)
    if keys is None or column == keys.automatic:
        return name if keys is not None else None
    for reference, parent, other in keys.references:
        pointed = catalogue.keys.get(parent)
        if reference == column and pointed is not None and other == pointed.automatic:
            return parent
    return None


def first_number(table: str, new: AbstractSet[Number]) -> int | None:
    """The first number that a table, qualified, gave in this run."""
    return min((number for name, number in new if name == table and isinstance(number, int)), default=None)


def with_number(rows: Mapping[str, frozenset[Row]], number: Fresh | None) -> Mapping[str, frozenset[Row]]:
    """Put the number that a row was given where it was not told yet; nothing is known of any row without it."""
    if not any(is_untold(row) for each in rows.values() for row in each):
        return rows
    if number is None:
        return {}
    return {table: frozenset(_numbered_row(row, number) for row in each) for table, each in rows.items()}


def with_doubt(rows: Mapping[str, frozenset[Row]]) -> Mapping[str, frozenset[Row]]:
    """The same where the new ones were not inserted at once."""
    if not any(row.is_new for each in rows.values() for row in each):
        return rows
    return {table: frozenset(replace(row, is_tried=row.is_new) for row in each) for table, each in rows.items()}


def is_untold(row: Row) -> bool:
    return any(value == Untold() for _, values in row.keys for value in values)


def _numbered_row(row: Row, number: Fresh) -> Row:
    keys = ((columns, tuple(number if each == Untold() else each for each in values)) for columns, values in row.keys)
    return replace(row, keys=frozenset(keys))


def known_numbers(rows: Iterable[Row], catalogue: Catalogue) -> Iterator[tuple[str, int]]:
    """The numbers of rows that were not made in this run, as far as that was known, with the tables that gave them."""
    for row in rows:
        lead, _, name = row.table.rpartition(".")
        for columns, values in row.keys:
            for column, value in zip(columns, values, strict=True):
                table = numbering(name, column, catalogue) if isinstance(value, int) else None
                if table is not None and isinstance(value, int):
                    yield f"{lead}.{table}", value


_UNCLEAR = object()


def _filled(value: Value, operation: Operation) -> object:
    """A value with its parameter put in."""
    if not isinstance(value, Given):
        return value
    parameters = operation.parameters or ()
    return parameters[value.number] if 0 <= value.number < len(parameters) else _UNCLEAR


def _canonical(kind: KeyKind | None, value: object) -> object:
    """The value as it equals itself alone; None where that is not known."""
    match kind:
        case "integer" | "small integer" if type(value) is int:
            return value
        case "text" if isinstance(value, str) and _PLAIN_TEXT.fullmatch(value) and not _CONVERTED.fullmatch(value):
            return value
        case "uuid" if isinstance(value, str):
            try:
                return UUID(value).hex
            except ValueError:
                return None
    return None
