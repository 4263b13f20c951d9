"""An ending taken apart into facts that can be compared one by one.

A fact is a row that is not as it was at the start, or one place in what a call
returned or raised.  Keys of rows that the run made are `Ref`s in it: which number
a sequence gave says nothing, only that two places hold the same one does.
"""

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

from ..exceptions import WrappedError
from .numbers import Numbers
from .parts import Leaf, Position, answer, as_key, attributes, leaves, parsed, scalar, without_addresses

Row = Mapping[str, Any]
Tables = Mapping[str, Sequence[Row]]
Place = tuple[Position, int, str]  # a position whatever the index in a list, the part of a text, and the type
Spot = tuple[Position, int]  # a position, whoever of the calls it is that returned it, and the part of a text
Cause = Literal["chance", "keys", "draws"]

CHANCE = "made by chance"  # no table's name
CACHE = "cache "  # what the names of tables begin with that are none
WHOLE = -1  # the part of a text that is not taken apart
_LONGEST = 19  # digits of a number that may be a key, and one more
_WIDE = 8  # characters of a value that no chance makes twice


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
    """The key of a row that was made during the run; or, of the table `CHANCE`, a value that only equals itself."""

    table: str
    key: Hashable


@dataclass(frozen=True, slots=True)
class Some:
    """A value of which nothing but its type can be compared."""

    kind: str


@dataclass(frozen=True, slots=True)
class Fact:
    """Values that belong together; `about` is ("row", table), ("gone", table) or ("outcome", call, path...)."""

    about: Position
    leaves: tuple[Leaf, ...]


Facts = Counter[Fact]


class Start:
    """The rows from which every run begins, and which columns hold keys.

    Args:
        tables: Rows by table; those of a table may come to it later, before they are asked for.
        is_untouched: Says of a table that nothing has ever changed it, so that all keys which are seen of it are old.
    """

    def __init__(
        self, keys: Mapping[str, Key], tables: Tables, is_untouched: Callable[[str], bool] = lambda _: False
    ) -> None:
        self.keys = keys
        self._tables = tables
        self._is_untouched = is_untouched
        self._rows: dict[str, dict[Hashable, Row]] = {}
        self._counts: dict[str, Counter[Hashable]] = {}
        self._old: dict[str, set[Hashable]] = {}

    def row(self, table: str, identity: Hashable) -> Row:
        """The row of this identity; of several the last."""
        if table not in self._rows:
            self._rows[table] = {self.identity(table, row): row for row in self._tables.get(table, ())}
        return self._rows[table][identity]

    def counts(self, table: str) -> Counter[Hashable]:
        """How many rows there are of each identity."""
        if table not in self._counts:
            self._counts[table] = Counter(self.identity(table, row) for row in self._tables.get(table, ()))
        return self._counts[table]

    def is_old(self, table: str, value: Any) -> bool:
        """Whether a row had this key at the start."""
        if self._is_untouched(table):
            return True
        if table not in self._old:
            column = self.keys[table].columns[0]
            self._old[table] = {as_key(row.get(column)) for row in self._tables.get(table, ())}
        return as_key(value) in self._old[table]

    def identity(self, table: str, row: Row) -> Hashable:
        """What tells the row from the others of its table."""
        key = self.keys.get(table)
        columns = key.columns if key and key.columns else tuple(row)
        return tuple(as_key(row.get(column)) for column in columns)

    def new_key(self, table: str, column: str, value: Any) -> str | None:
        """The table of whose new rows the value is the key, as far as the column tells."""
        target = self._target(table, column)
        return None if target is None or value is None or self.is_old(target, value) else target

    def is_key(self, position: Position) -> bool:
        """Whether what stands in a column is always a key that the database gave."""
        return len(position) == 3 and position[0] == "row" and self._target(*map(str, position[1:])) is not None

    def _target(self, table: str, column: str) -> str | None:
        """The table whose automatic keys the column holds."""
        seen = set()
        while (key := self.keys.get(table)) is not None and (table, column) not in seen:
            seen.add((table, column))
            if column in key.references:
                table, column = key.references[column]
            elif key.columns == (column,):
                return table if key.automatic else None
            else:
                return None
        return None


@dataclass(frozen=True)
class Scheme:
    """How values are read.

    Args:
        ignored: Tables, and columns of tables, that are left out; None stands for all columns.
        numbers: Where the counters of keys were moved to.
        weak: Places whose values differ between two runs of one order, and why.
        after: Spots that hold the number after a key, and not a key.
    """

    start: Start
    ignored: Collection[tuple[str, str | None]] = ()
    numbers: Sequence[Numbers] = ()
    weak: Mapping[Place, Cause] = field(default_factory=dict)
    after: Collection[Spot] = ()

    @property
    def moved(self) -> set[str]:
        """The tables whose new keys are told by value."""
        return {numbers.table for numbers in self.numbers}

    def facts(self, outcomes: Mapping[int, Any], tables: Tables) -> Facts:
        """Take an ending apart.

        Args:
            outcomes: Of the calls that count.
            tables: Those not in it are as at the start.
        """
        found = Counter(fact for fact, _ in self.rows(tables))
        for call, outcome in outcomes.items():
            found.update(_Values(self).of_outcome(call, outcome))
        return self._spread(found)

    def rows(self, tables: Tables) -> Iterator[tuple[Fact, bool]]:
        """The facts of rows, and whether each was there at the start."""
        for table, rows in tables.items():
            if not self.is_ignored(table):
                yield from self._of_table(table, rows)

    def row(self, table: str, row: Row) -> tuple[Leaf, ...]:
        """The values of a row as it is at the start."""
        return self._of_row(table, row, row)

    def is_ignored(self, table: str, column: str | None = None) -> bool:
        """Whether a table or a column is left out; the tables of a second database begin with its alias."""
        bare = table.rpartition(".")[2]
        return (bare, None) in self.ignored or (column is not None and (bare, column) in self.ignored)

    def cell(self, table: str, column: str, value: Any, before: Row | None = None) -> Iterator[Leaf]:
        """The value of a column as it is compared.

        Args:
            before: The row at the start: what is as it was there is no work of chance.
        """
        position = ("row", table, column)
        target = self.start.new_key(table, column, value)
        if target is not None and (target not in self.moved or self._number(value) is not None):
            yield Leaf(position, Ref(target, as_key(value)))
            return
        old = set() if before is None else set(self._leaves(position, before.get(column)))
        for leaf in self._leaves(position, value):
            yield leaf if leaf in old else self._read(leaf)

    def either(self, facts: Facts) -> set[Spot]:
        """The spots of numbers that equal the key of one new row and are one more than that of another."""
        keys = refs_in(facts)
        return {
            spot_of(leaf)
            for fact in facts
            for leaf in fact.leaves
            if isinstance(leaf.value, Ref)
            and isinstance(leaf.value.key, int)
            and leaf.value.table in self.moved
            and Ref(leaf.value.table, leaf.value.key - 1) in keys
            and not self.start.is_key(leaf.position)
        }

    def leaves(self, position: Position, value: Any) -> Iterator[Leaf]:
        """The parts of a value that stands in no column."""
        return map(self._read, self._leaves(position, value))

    def _leaves(self, position: Position, value: Any) -> Iterator[Leaf]:
        for leaf in leaves(position, value, whole=True):
            if isinstance(leaf.value, str) and whole_place(leaf.position) not in self.weak:
                yield from leaves(leaf.position, leaf.value)
            elif isinstance(leaf.value, str):
                yield replace(leaf, part=WHOLE)
            else:
                yield leaf

    def _read(self, leaf: Leaf) -> Leaf:
        if (number := as_number(leaf.value)) is not None and (table := self._number(number)) is not None:
            return replace(leaf, value=Ref(table, number - 1 if spot_of(leaf) in self.after else number))
        cause = self.weak.get(place_of(leaf))
        if cause is None:
            return leaf
        if cause != "chance" or _is_wide(leaf.value):
            return replace(leaf, value=Ref(CHANCE, as_key(leaf.value)))
        return replace(leaf, value=Some(type(leaf.value).__name__))

    def _number(self, value: object) -> str | None:
        """The table whose counter gave this number."""
        number = as_number(value)
        return None if number is None else next((each.table for each in self.numbers if number in each), None)

    def _of_table(self, table: str, rows: Iterable[Row]) -> Iterator[tuple[Fact, bool]]:
        left = Counter(self.start.counts(table))
        for row in rows:
            identity = self.start.identity(table, row)
            before = self.start.row(table, identity) if left[identity] > 0 else None
            left[identity] -= 1
            if row != before:
                now = self._of_row(table, row, before)
                if before is None or now != self._of_row(table, before, before):
                    yield Fact(("row", table), now), before is not None
        for identity in (+left).elements():
            row = self.start.row(table, identity)
            yield Fact(("gone", table), self._of_row(table, row, row)), True

    def _of_row(self, table: str, row: Row, before: Row | None) -> tuple[Leaf, ...]:
        cells = ((name, value) for name, value in row.items() if not self.is_ignored(table, name))
        return tuple(leaf for name, value in cells for leaf in self.cell(table, name, value, before))

    def _spread(self, facts: Facts) -> Facts:
        """Know a value that chance made wherever it stands."""
        known = {ref.key for ref in refs_in(facts) if ref.table == CHANCE and _is_wide(ref.key)}
        if not known:
            return facts
        return mapped(facts, lambda value: Ref(CHANCE, as_key(value)) if as_key(value) in known else value)


def refs_in(facts: Facts) -> set[Ref]:
    """The keys of new rows that the facts mention."""
    return {leaf.value for fact in facts for leaf in fact.leaves if isinstance(leaf.value, Ref)}


def mapped(facts: Facts, change: Callable[[Hashable], Hashable]) -> Facts:
    """Put something else for values."""
    result: Facts = Counter()
    for fact, times in facts.items():
        changed = tuple(replace(leaf, value=change(leaf.value)) for leaf in fact.leaves)
        result[Fact(fact.about, changed)] += times
    return result


def as_number(value: object) -> int | None:
    """The whole number that a value is or writes, also with zeros before it."""
    if isinstance(value, str):
        return int(value) if value.isdecimal() and len(value) < _LONGEST else None
    if isinstance(value, Decimal):
        return int(value) if value.is_finite() and value == int(value) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def place_of(leaf: Leaf) -> Place:
    """Where the leaf stands, whatever the index in a list."""
    begin = 2 if leaf.position[:1] == ("outcome",) else 1  # behind the number of the call
    position = tuple("*" if isinstance(each, int) else each for each in leaf.position[begin:])
    return (*leaf.position[:begin], *position), leaf.part, type(leaf.value).__name__


def spot_of(leaf: Leaf) -> Spot:
    """Where the leaf stands, whatever the call."""
    position = leaf.position
    return ("outcome", "*", *position[2:]) if position[:1] == ("outcome",) else position, leaf.part


def is_weak(leaf: Leaf) -> bool:
    """Tell whether nothing but a part of what the value says can be compared."""
    return isinstance(leaf.value, Some) or (isinstance(leaf.value, Ref) and leaf.value.table == CHANCE)


def whole_place(position: Position) -> Place:
    """That of a text that is not taken apart."""
    return place_of(Leaf(position, "", WHOLE))


def _is_wide(value: Hashable) -> bool:
    """Tell whether chance would hardly make the value twice, so that two equal ones are one."""
    if isinstance(value, str):  # with letters other than those of times
        return len(value) >= _WIDE and any(each.isalpha() and each not in "TZ" for each in value)
    return isinstance(value, UUID) or (isinstance(value, bytes) and len(value) >= _WIDE)


_Context = tuple[Leaf, ...]


class _Values:
    """Walks through what one call returned; objects that contain themselves come to an end."""

    def __init__(self, scheme: Scheme) -> None:
        self._scheme = scheme
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
        message = (*about, "message")
        yield Fact(message, tuple(self._scheme.leaves(message, without_addresses(str(error)))))
        if isinstance(error, BaseExceptionGroup):
            for index, inner in enumerate(error.exceptions):
                yield from self._of_error((*about, index), inner)

    def _of(self, about: Position, value: Any, context: _Context) -> Iterator[Fact]:
        if id(value) in self._open:
            yield Fact((*about, "itself"), context)
            return
        self._open.add(id(value))
        yield from self._inside(about, value, context)
        self._open.discard(id(value))

    def _inside(self, about: Position, value: Any, context: _Context) -> Iterator[Fact]:
        meta = getattr(type(value), "_meta", None)
        if hasattr(meta, "concrete_fields"):
            yield from self._of_model(about, value, context)
        elif getattr(value, "_result_cache", None) is not None:  # a QuerySet that was evaluated
            yield from self._of(about, list(value._result_cache), context)
        elif isinstance(value, Mapping):
            yield from self._of_mapping(about, value, context)
        elif isinstance(value, set | frozenset):
            yield Fact((*about, "set of", len(value)), context)
            for element in value:
                inside = tuple(leaf for fact in self._of((*about, "any"), element, ()) for leaf in fact.leaves)
                yield Fact((*about, "any"), context + inside)
        elif isinstance(value, list | tuple):
            yield Fact((*about, type(value).__qualname__, len(value)), context)
            for index, element in enumerate(value):
                yield from self._of((*about, index), element, context)
        elif (data := parsed(value)) is not value:
            yield from self._of(about, data, context)
        elif (parts := answer(value) or attributes(value)) is not None:
            yield Fact((*about, type(value).__qualname__), context)
            for name, inner in parts.items():
                yield from self._of((*about, name), inner, context)
        else:
            yield Fact(about, (*context, *self._scheme.leaves(about, value)))

    def _of_model(self, about: Position, value: Any, context: _Context) -> Iterator[Fact]:
        """A model instance: its concrete fields as far as they are loaded, compared like the cells of rows."""
        yield Fact((*about, type(value)._meta.label), context)
        for column in type(value)._meta.concrete_fields:
            table = column.model._meta.db_table
            if column.attname in value.__dict__ and not self._scheme.is_ignored(table.lower(), column.column):
                cell = self._scheme.cell(table, column.column, value.__dict__[column.attname])
                yield Fact((*about, column.attname), (*context, *cell))

    def _of_mapping(self, about: Position, value: Mapping[Any, Any], context: _Context) -> Iterator[Fact]:
        yield Fact((*about, "mapping of", len(value)), context)
        for name, inner in value.items():
            if isinstance(name, str):
                yield from self._of((*about, name), inner, context)
            else:
                inside = Leaf((*about, "key"), scalar(name))
                yield from self._of((*about, "value"), inner, (*context, inside))
