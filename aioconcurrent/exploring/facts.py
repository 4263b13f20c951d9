"""An ending taken apart into facts that can be compared one by one.

A fact is a row that is not as it was at the start, or one place in what a call
returned or raised.  Keys of rows that the run made are `Ref`s in it: which number
a sequence gave says nothing, only that two places hold the same one does.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import date, time, timedelta
from enum import Enum
from numbers import Number
from typing import Any
from uuid import UUID

from ..exceptions import WrappedError

Row = Mapping[str, Any]
Tables = Mapping[str, Sequence[Row]]
Position = tuple[Hashable, ...]
Place = tuple[Position, int]  # the position and the part of a leaf


@dataclass(frozen=True, slots=True)
class Key:
    """The primary key of a table, and what its columns refer to.

    Args:
        columns: Of the primary key.
        automatic: Whether the database numbers the rows.
        references: For each column with a foreign key, the table and column it points at.
    """

    columns: tuple[str, ...]
    automatic: bool = False
    references: Mapping[str, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ref:
    """The key of a row that was made during the run."""

    table: str
    key: Hashable


@dataclass(frozen=True, slots=True)
class Leaf:
    """A value and where it stands; `part` counts within a string that has numbers in it."""

    position: Position
    value: Hashable
    part: int = 0


@dataclass(frozen=True, slots=True)
class Fact:
    """Values that belong together; `about` is ("row", table), ("gone", table) or ("outcome", call, path...)."""

    about: Position
    leaves: tuple[Leaf, ...]


_NUMBERED = re.compile(r"([0-9a-fA-F]{8}(?:-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}|\d+)")
_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]+")
_UUID_DIGITS = 32
_LONGEST_SPLIT = 500


def as_key(value: object) -> Hashable:
    """Put one form for all in which a key may appear: a UUID is also a text, a number in a text is a number."""
    if isinstance(value, UUID):
        return value.hex
    if isinstance(value, str):
        digits = value.replace("-", "").lower()
        if len(digits) == _UUID_DIGITS and _NUMBERED.fullmatch(value):
            return digits
        return int(value) if value.isdecimal() and str(int(value)) == value else value
    return scalar(value)


@dataclass
class Scheme:
    """Which columns hold keys, and what is not to be compared.

    Args:
        keys: Per table.
        start: The rows from which every run begins.
        masked: Positions that differ between two runs of one order.
        opaque: Tables whose keys differ so, which makes them as good as automatic.
        proven: Values, by position and part, that hold keys of a table though no foreign key says so.
        refuted: Values that do not, though they may equal one by chance.
    """

    keys: Mapping[str, Key]
    start: Tables
    masked: set[Position] = field(default_factory=set)
    opaque: set[str] = field(default_factory=set)
    proven: dict[Place, str] = field(default_factory=dict)
    refuted: set[Place] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._rows = {table: {self.identity(table, row): row for row in rows} for table, rows in self.start.items()}
        self._counts = {table: Counter(self.identity(table, row) for row in rows) for table, rows in self.start.items()}
        self._old = {
            table: {as_key(row.get(key.columns[0])) for row in self.start.get(table, ())}
            for table, key in self.keys.items()
            if key.columns
        }

    def identity(self, table: str, row: Row) -> Hashable:
        """What tells the row from the others of its table."""
        key = self.keys.get(table)
        columns = key.columns if key and key.columns else tuple(row)
        return tuple(as_key(row.get(column)) for column in columns)

    def cell(self, table: str, column: str, value: Any) -> Hashable:
        """The value as it is compared: a `Ref` where it is the key of a row that was made during the run."""
        target = self._target(table, column)
        if target is not None and value is not None and as_key(value) not in self._old.get(target, ()):
            return Ref(target, as_key(value))
        return scalar(value)

    def _target(self, table: str, column: str) -> str | None:
        """The table whose automatic keys the column holds."""
        seen = set()
        while (key := self.keys.get(table)) is not None and (table, column) not in seen:
            seen.add((table, column))
            if column in key.references:
                table, column = key.references[column]
            elif key.columns == (column,):
                return table if key.automatic or table in self.opaque else None
            else:
                return None
        return None

    def facts(self, outcomes: Mapping[int, Any], tables: Tables, *, split: bool = True) -> Counter[Fact]:
        """Take an ending apart.

        Args:
            outcomes: Of the calls that count.
            tables: Those not in it are as at the start.
            split: Whether numbers in texts become leaves of their own, so that they can be keys.
        """
        found = Counter(fact for table, rows in tables.items() for fact in self._of_table(table, rows))
        for call, outcome in outcomes.items():
            found.update(_Values(self.cell).of_outcome(call, outcome))
        return Counter({self._masked(fact, split): count for fact, count in found.items()})

    def _of_table(self, table: str, rows: Iterable[Row]) -> Iterator[Fact]:
        left = Counter(self._counts.get(table, ()))
        for row in rows:
            identity = self.identity(table, row)
            before = self._rows[table][identity] if left[identity] > 0 else None
            left[identity] -= 1
            if row != before and (before is None or self._leaves(table, row) != self._leaves(table, before)):
                yield Fact(("row", table), self._leaves(table, row))
        for identity in (+left).elements():
            yield Fact(("gone", table), self._leaves(table, self._rows[table][identity]))

    def _leaves(self, table: str, row: Row) -> tuple[Leaf, ...]:
        return tuple(
            Leaf(("row", table, column), self.cell(table, column, value))
            for column, value in row.items()
            if ("row", table, column) not in self.masked
        )

    def _masked(self, fact: Fact, split: bool) -> Fact:
        leaves = [leaf for leaf in fact.leaves if leaf.position not in self.masked]
        if split:
            leaves = [self._proven(part) for leaf in leaves for part in _split(leaf)]
        return Fact(fact.about, tuple(leaves))

    def _proven(self, leaf: Leaf) -> Leaf:
        table = self.proven.get((leaf.position, leaf.part))
        if table is None or not may_be_key(leaf) or as_key(leaf.value) in self._old.get(table, ()):
            return leaf
        return Leaf(leaf.position, Ref(table, as_key(leaf.value)), leaf.part)


def may_be_key(leaf: Leaf) -> bool:
    """Tell whether the value is of a kind that keys are made of, and not known for one."""
    return isinstance(leaf.value, int | str | UUID) and not isinstance(leaf.value, bool)


def _split(leaf: Leaf) -> Iterator[Leaf]:
    """Make each number in a text a leaf."""
    if not isinstance(leaf.value, str) or len(leaf.value) > _LONGEST_SPLIT:
        yield leaf
        return
    for part, text in enumerate(_NUMBERED.split(leaf.value)):
        yield Leaf(leaf.position, text, part)


def scalar(value: Any) -> Hashable:
    """A value without parts, as something that equals only what it should."""
    if isinstance(value, float) and math.isnan(value):  # it does not equal itself
        return ("float", "nan")
    if value is None or isinstance(value, str | bytes | Number | date | time | timedelta | UUID | Enum):
        return value
    if type(value).__name__ == "__proxy__":  # Django's lazy texts
        return str(value)
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    return (type(value).__qualname__, _ADDRESS.sub("0x", repr(value)))


_Cell = Callable[[str, str, Any], Hashable]
_Keys = tuple[Leaf, ...]


class _Values:
    """Walks through what one call returned; objects that contain themselves come to an end."""

    def __init__(self, cell: _Cell) -> None:
        self._cell = cell
        self._open: set[int] = set()

    def of_outcome(self, call: int, outcome: Any) -> Iterator[Fact]:
        error = outcome.error if isinstance(outcome, WrappedError) else outcome
        about = ("outcome", call)
        if isinstance(error, BaseException):
            yield from self._of_error(about, error)
        else:
            yield from self._of(about, outcome, ())

    def _of_error(self, about: Position, error: BaseException) -> Iterator[Fact]:
        yield Fact((*about, "raises", type(error).__qualname__), ())
        yield Fact((*about, "message"), (Leaf((*about, "message"), _ADDRESS.sub("0x", str(error))),))
        if isinstance(error, BaseExceptionGroup):
            for index, inner in enumerate(error.exceptions):
                yield from self._of_error((*about, index), inner)

    def _of(self, about: Position, value: Any, keys: _Keys) -> Iterator[Fact]:
        if id(value) in self._open:
            yield Fact((*about, "itself"), keys)
            return
        self._open.add(id(value))
        yield from self._inside(about, value, keys)
        self._open.discard(id(value))

    def _inside(self, about: Position, value: Any, keys: _Keys) -> Iterator[Fact]:
        meta = getattr(type(value), "_meta", None)
        if hasattr(meta, "concrete_fields"):
            yield from self._of_model(about, value, keys)
        elif getattr(value, "_result_cache", None) is not None:  # a QuerySet that was evaluated
            yield from self._of(about, list(value._result_cache), keys)
        elif isinstance(value, Mapping):
            yield from self._of_mapping(about, value, keys)
        elif isinstance(value, set | frozenset):
            yield Fact((*about, "set of", len(value)), keys)
            for element in value:
                leaves = tuple(leaf for fact in self._of((*about, "any"), element, ()) for leaf in fact.leaves)
                yield Fact((*about, "any"), keys + leaves)
        elif isinstance(value, list | tuple):
            yield Fact((*about, type(value).__qualname__, len(value)), keys)
            for index, element in enumerate(value):
                yield from self._of((*about, index), element, keys)
        elif (attributes := _attributes(value)) is not None:
            yield Fact((*about, type(value).__qualname__), keys)
            for name, inner in attributes.items():
                yield from self._of((*about, name), inner, keys)
        else:
            yield Fact(about, (*keys, Leaf(about, scalar(value))))

    def _of_model(self, about: Position, value: Any, keys: _Keys) -> Iterator[Fact]:
        """A model instance: its concrete fields as far as they are loaded, compared like the cells of rows."""
        yield Fact((*about, type(value)._meta.label), keys)
        for column in type(value)._meta.concrete_fields:
            if column.attname in value.__dict__:
                table = column.model._meta.db_table
                cell = self._cell(table, column.column, value.__dict__[column.attname])
                yield Fact((*about, column.attname), (*keys, Leaf(("row", table, column.column), cell)))

    def _of_mapping(self, about: Position, value: Mapping[Any, Any], keys: _Keys) -> Iterator[Fact]:
        yield Fact((*about, "mapping of", len(value)), keys)
        for name, inner in value.items():
            if isinstance(name, str):
                yield from self._of((*about, name), inner, keys)
            else:
                inside = Leaf((*about, "key"), scalar(name))
                yield from self._of((*about, "value"), inner, (*keys, inside))


def _attributes(value: Any) -> Mapping[str, Any] | None:
    """What an object of some class of the project consists of."""
    if scalar(value) is value or type(value).__name__ == "__proxy__":
        return None
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: getattr(value, each.name, None) for each in fields(value)}
    if isinstance(value, type) or callable(value):
        return None
    return getattr(value, "__dict__", None)
