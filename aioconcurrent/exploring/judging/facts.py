"""An ending taken apart into facts that can be compared one by one.

A fact is a row that is not as it was at the start, or one place in what a call returned or
raised.  Keys of rows that the run made appear in it as `Ref`s: which number a sequence gave
means nothing, only that two places hold the same one does.

In a small table the key 2 may be any 2.  So counters of keys are moved to ranges of their
own: a number in such a range is the key of a row of that table wherever it stands, and every
other number is just a number.

Whether two sets of facts are the same except for the keys of new rows is graph isomorphism,
of a kind that is nearly always easy: the values around a key tell which key it is.  What
they leave open is tried, within a limit.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, Literal
from uuid import UUID

from ...databases.schema import Key
from ...exceptions import error_of
from .values import (
    CHANCE,
    Leaf,
    Position,
    Ref,
    Some,
    as_key,
    attributes,
    leaves,
    parsed,
    response_parts,
    scalar,
    whole_number,
    without_addresses,
)

Row = Mapping[str, Any]
Tables = Mapping[str, Sequence[Row]]
Place = tuple[Position, int, str]  # a position whatever the index in a list, the part of a text, and the type
Spot = tuple[Position, int]  # a position, whoever of the calls it is that returned it, and the part of a text
Cause = Literal["chance", "keys", "draws"]

WHOLE = -1  # the part of a text that is not taken apart
_WIDE = 8  # characters of a value that no chance makes twice
_FAR = 4157  # how far counters are moved: codes of four digits stay such, and keys of 16 bits keep room
_WIDTH = 211  # numbers of a range at least; like the other, nothing that people count in
_ROUNDS = 4  # how far what tells two keys apart may be from them: in rows, by way of foreign keys
_TRIALS = 200


@dataclass(frozen=True, slots=True)
class Numbers:
    """The numbers that the counter of a table's keys gives.

    Attributes:
        table: To whose rows.
        first: The first of them.
        end: The first that is none of them any more.
        moved_by: How much higher they are than where the counter was found.
    """

    table: str
    first: int
    end: int
    moved_by: int

    def __contains__(self, number: int) -> bool:
        return self.first <= number < self.end

    def would_give(self, number: int) -> bool:
        """Whether the counter would give this number where it was found."""
        return number + self.moved_by in self


def apart(table: str, first: int, count: int, taken: Sequence[Numbers]) -> Numbers:
    """Numbers for a counter that was found at `first` and gave `count` in a run, apart from those taken."""
    begin, width = first + _FAR, max(_WIDTH, 4 * count)
    while any(begin < other.end and other.first < begin + width for other in taken):
        begin += _WIDTH
    return Numbers(table, begin, begin + width, begin - first)


@dataclass(frozen=True, slots=True)
class Fact:
    """Values that belong together; `about` is ("row", table), ("gone", table) or ("outcome", call, path...)."""

    about: Position
    leaves: tuple[Leaf, ...]

    @property
    def shape(self) -> Hashable:
        """The fact less which keys of new rows are meant."""
        return self.about, tuple((leaf.position, leaf.part, nameless(leaf.value)) for leaf in self.leaves)


Facts = Counter[Fact]


def apart_from(rows: Sequence[Row], start: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """Leave out of both the objects that are in both."""
    ours, theirs = set(map(id, rows)), set(map(id, start))
    return [row for row in rows if id(row) not in theirs], [row for row in start if id(row) not in ours]


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
        self._same: dict[str, tuple[Sequence[Row], Sequence[Row], Counter[Hashable]]] = {}

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

    def compared(self, table: str, rows: Sequence[Row]) -> tuple[Sequence[Row], Counter[Hashable]]:
        """The rows that are not the very objects of the start, and how many rows of each identity those stand against.

        Of a large table nearly all rows are those objects, see `ExploredDatabases.rows`.
        """
        if table not in self._same or self._same[table][0] is not rows:
            start = self._tables.get(table, ())
            others, gone = apart_from(rows, start)
            left = self.counts(table) if len(gone) == len(start) else Counter(self.identity(table, row) for row in gone)
            self._same[table] = rows, others, left
        _, compared, against = self._same[table]
        return compared, Counter(against)

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
            found.update(_Outcome(self).of_outcome(call, outcome))
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
            if isinstance(leaf.value, str) and place_of_leaf(replace(leaf, part=WHOLE)) not in self.weak:
                yield from leaves(leaf.position, leaf.value)
            elif isinstance(leaf.value, str):
                yield replace(leaf, part=WHOLE)
            else:
                yield leaf

    def _read(self, leaf: Leaf) -> Leaf:
        if (number := whole_number(leaf.value)) is not None and (table := self._number(number)) is not None:
            return replace(leaf, value=Ref(table, number - 1 if spot_of(leaf) in self.after else number))
        cause = self.weak.get(place_of_leaf(leaf))
        if cause is None:
            return leaf
        if cause != "chance" or _is_wide(leaf.value):
            return replace(leaf, value=Ref(CHANCE, as_key(leaf.value)))
        return replace(leaf, value=Some(type(leaf.value).__name__))

    def _number(self, value: object) -> str | None:
        """The table whose counter gave this number."""
        number = whole_number(value)
        return None if number is None else next((each.table for each in self.numbers if number in each), None)

    def _of_table(self, table: str, rows: Sequence[Row]) -> Iterator[tuple[Fact, bool]]:
        others, left = self.start.compared(table, rows)
        for row in others:
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


def nameless(value: Hashable) -> Hashable:
    """A value less which key of a new row it is, if it is one."""
    return ("new", value.table) if isinstance(value, Ref) else value


def mapped(facts: Facts, change: Callable[[Hashable], Hashable]) -> Facts:
    """Put something else for values."""
    result: Facts = Counter()
    for fact, times in facts.items():
        changed = tuple(replace(leaf, value=change(leaf.value)) for leaf in fact.leaves)
        result[Fact(fact.about, changed)] += times
    return result


def place_of_leaf(leaf: Leaf) -> Place:
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


def _is_wide(value: Hashable) -> bool:
    """Tell whether chance would hardly make the value twice, so that two equal ones are one."""
    if isinstance(value, str):  # with letters other than those of times
        return len(value) >= _WIDE and any(each.isalpha() and each not in "TZ" for each in value)
    return isinstance(value, UUID) or (isinstance(value, bytes) and len(value) >= _WIDE)


_Context = tuple[Leaf, ...]


class _Outcome:
    """Walks through what one call returned; objects that contain themselves come to an end."""

    def __init__(self, scheme: Scheme) -> None:
        self._scheme = scheme
        self._open: set[int] = set()

    def of_outcome(self, call: int, outcome: Any) -> Iterator[Fact]:
        about = ("outcome", call)
        if (error := error_of(outcome)) is not None:
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
        elif (parts := response_parts(value) or attributes(value)) is not None:
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


_Colours = dict[Ref, int]


def same_but_for_keys(one: Facts, other: Facts) -> bool:
    """Tell whether some renaming of the `Ref`s of `one`, table by table, gives `other`.

    Among rows so alike that nothing tells them apart, those with the lower keys go
    together first.  After 200 trials the answer is no.
    """
    if one == other:
        return True
    shapes: list[Counter[Hashable]] = [Counter(fact.shape for fact in facts.elements()) for facts in (one, other)]
    return shapes[0] == shapes[1] and _search(one, other, {}, {}, count(1))


def _search(one: Facts, other: Facts, fixed: _Colours, partner: _Colours, trials: "count[int]") -> bool:
    trial = next(trials)
    if trial > _TRIALS:
        return False
    classes, partners = _classes(one, fixed), _classes(other, partner)
    if {c: len(refs) for c, refs in classes.items()} != {c: len(refs) for c, refs in partners.items()}:
        return False
    names = {ref: to for colour, refs in classes.items() for ref, to in zip(refs, partners[colour], strict=True)}
    if mapped(one, lambda value: names.get(value, value) if isinstance(value, Ref) else value) == other:
        return True
    open_ = [colour for colour, refs in classes.items() if len(refs) > 1]
    if not open_:
        return False
    colour = min(open_, key=lambda each: len(classes[each]))
    first = classes[colour][0]
    return any(
        _search(one, other, {**fixed, first: trial}, {**partner, candidate: trial}, trials)
        for candidate in partners[colour]
    )


def _classes(facts: Facts, fixed: _Colours) -> dict[int, list[Ref]]:
    """Group the keys by what surrounds them, each group in the order of the keys."""
    refs = refs_in(facts)
    colours = {ref: hash((ref.table, fixed.get(ref))) for ref in refs}
    for _ in range(_ROUNDS if refs else 0):
        around: dict[Ref, list[int]] = defaultdict(list)
        for fact, times in facts.items():
            seen = tuple(colours[leaf.value] if isinstance(leaf.value, Ref) else leaf.value for leaf in fact.leaves)
            places = hash((fact.about, times, seen))
            for index, leaf in enumerate(fact.leaves):
                if isinstance(leaf.value, Ref):
                    around[leaf.value].append(hash((index, places)))
        colours = {ref: hash((colours[ref], tuple(sorted(around[ref])))) for ref in refs}
    classes: dict[int, list[Ref]] = defaultdict(list)
    for ref in sorted(refs, key=_by_key):
        classes[colours[ref]].append(ref)
    return classes


def _by_key(ref: Ref) -> tuple[str, str, Any]:
    return ref.table, type(ref.key).__name__, ref.key if isinstance(ref.key, int | str) else repr(ref.key)
