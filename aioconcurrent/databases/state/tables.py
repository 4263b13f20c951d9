"""What the state of a database needs to know about its tables, independent of the kind of database.

Names of tables are in lower case and without schema, as SQL texts mention them.  Two tables may
share such a name.  Then `Schema.named` gives both and the catalogue neither, so that a statement
with that name is taken to touch everything.

For routines and triggers, it has to know how many statements in a body take a snapshot of their
own.  Under READ COMMITTED others can commit between two of them.  In an exploration they are
parts of one step, and nobody can.  So the number that counts is 0, 1, or more; in doubt it is
more.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from ..schema import NOTHING, Catalogue, Key, KeyKind, Keys, reached

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    Bodies = Mapping[str, Sequence[str | None]]


K = TypeVar("K")
V = TypeVar("V")
UNKNOWN_TABLE = ""  # no table's name


@dataclass(frozen=True, slots=True)
class Table:
    """One table that holds rows."""

    name: str
    quoted: str  # with its schema, as SQL takes it; no two tables have the same
    columns: tuple[str, ...]
    generated: frozenset[str] = NOTHING  # columns that the database alone writes
    primary: tuple[str, ...] = ()
    automatic: bool = False
    uniques: frozenset[frozenset[str]] = frozenset()  # the columns of each other key
    kinds: tuple[tuple[str, KeyKind], ...] = ()  # of columns of which different values are never equal
    is_closed: bool = False  # no row is kept out of it but by those keys
    counted: frozenset[str] = NOTHING  # columns that take numbers from a sequence, but for an automatic key


@dataclass(frozen=True, slots=True)
class Reference:
    """One column of a foreign key; `acts` says that the database changes or deletes rows of `child` by itself."""

    child: str
    column: str
    parent: str
    parent_column: str
    acts: bool


@dataclass(frozen=True)
class Schema:
    """All tables of a database, and what may change them behind a statement's back.

    Attributes:
        views: What each name that stands for other tables reads: names of tables and of views, and
            `UNKNOWN` for anything else.
        locking: Views that lock what they read.
        policies: What policies make the database read, besides, with each row of a table; names as in `views`.
        moments: As `Catalogue` has them; so are `fires` and `unseen`.
        immediate: Tables of an engine without transactions.
    """

    tables: tuple[Table, ...]
    references: tuple[Reference, ...] = ()
    views: Mapping[str, frozenset[str]] = field(default_factory=dict)
    opaque: frozenset[str] = NOTHING
    routines: frozenset[str] = NOTHING
    immediate: frozenset[str] = NOTHING
    locking: frozenset[str] = NOTHING
    policies: Mapping[str, frozenset[str]] = field(default_factory=dict)
    moments: Mapping[str, int] = field(default_factory=dict)
    fires: Mapping[str, int] = field(default_factory=dict)
    unseen: Mapping[str, str] = field(default_factory=dict)

    def named(self, names: Collection[str]) -> list[Table]:
        """The tables of these names; other names are left out."""
        return [table for table in self.tables if table.name in names]

    def catalogue(self) -> Catalogue:
        """What the footprints of statements are widened by."""
        times = Counter(table.name for table in self.tables)
        views = {view: names for view, names in self.views.items() if view not in times}
        tables = frozenset(name for name in times if times[name] == 1 and name not in self.views)
        reads = _Reads({**self.policies, **views}, tables)
        known = frozenset(name for name in tables if name not in self.policies or reads.are_known(name))
        return Catalogue(
            tables=known,
            views={view: reads.tables(view) for view in views if reads.are_known(view)},
            consulted={name: reads.tables(name) - {name} for name in known & self.policies.keys()},
            locking={
                view: locked
                for view in views
                if (locked := frozenset().union(*map(reads.tables, reads.names(view) & self.locking)))
            },
            moments=self.moments,
            fires=self.fires,
            unseen=self.unseen,
            parents=_grouped((reference.child, reference.parent) for reference in self.references),
            cascades=_grouped((reference.parent, reference.child) for reference in self.references if reference.acts),
            opaque=self.opaque,
            routines=self.routines,
            immediate=self.immediate,
            uniques={table.name: _keys(table) for table in self.tables},
            keys={
                table.name: self._told_apart(table)
                for table in self.tables
                if table.name in known - self.policies.keys() - self.opaque - self.immediate and table.kinds
            },
        )

    def _told_apart(self, table: Table) -> Keys:
        names = Counter(column.casefold() for column in table.columns)
        return Keys(
            kinds={column.casefold(): kind for column, kind in table.kinds if names[column.casefold()] == 1},
            uniques=_keys(table),
            is_closed=table.is_closed and max(names.values()) == 1,
            automatic=table.primary[0].casefold() if table.automatic else "",
            counted=frozenset(column.casefold() for column in table.counted),
            references=tuple(
                (reference.column.casefold(), reference.parent, reference.parent_column.casefold())
                for reference in self.references
                if reference.child == table.name
            ),
        )

    def keys(self) -> dict[str, Key]:
        """The key of each table, by name."""
        references: dict[str, dict[str, tuple[str, str]]] = {}
        for reference in self.references:
            pointed = references.setdefault(reference.child, {})
            pointed.setdefault(reference.column, (reference.parent, reference.parent_column))
        return {
            table.name: Key(table.primary, table.automatic, references.get(table.name, {}), table.counted)
            for table in self.tables
        }


def _keys(table: Table) -> frozenset[frozenset[str]]:
    keys = table.uniques | {frozenset(table.primary)}
    return frozenset(frozenset(column.casefold() for column in key) for key in keys if key)


class _Reads:
    """What reading a table or a view comes to, through views and policies."""

    def __init__(self, graph: Mapping[str, frozenset[str]], tables: frozenset[str]) -> None:
        self._graph = graph
        self._tables = tables

    def names(self, name: str) -> frozenset[str]:
        """All names that are read, this one too."""
        return reached([name], self._graph)

    def tables(self, name: str) -> frozenset[str]:
        return self.names(name) & self._tables

    def are_known(self, name: str) -> bool:
        return self.names(name) <= self._tables | self._graph.keys()


def listed(pairs: Iterable[tuple[K, V]]) -> dict[K, list[V]]:
    """The second parts of pairs, by the first."""
    found: dict[K, list[V]] = {}
    for key, value in pairs:
        found.setdefault(key, []).append(value)
    return found


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, frozenset[str]]:
    return {key: frozenset(values) for key, values in listed(pairs).items()}


MANY = 2
_NO_CODE = re.compile(r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'", re.DOTALL)
_READS = re.compile(r"\b(?:select|perform|update|delete|merge|execute|call|copy)\b")
_REPEATS = re.compile(r"\b(?:loop|while|repeat)\b")
_WORDS = re.compile(r"\w+")


def moments(body: str | None, routines: Bodies, within: frozenset[str] = frozenset()) -> int:
    """Count them in a body, up to `MANY`; an INSERT of plain values is none.

    Args:
        body: None where nobody can read it.
        routines: The bodies of what may be called in it, by name in lower case: several where names are overloaded.
        within: The routines whose bodies are being read.
    """
    if body is None:
        return MANY
    text = _NO_CODE.sub(" ", body).casefold()
    found = sum(1 for piece in text.split(";") if _READS.search(piece))
    for name in _WORDS.findall(text):
        if name in routines:
            found += MANY if name in within else of_routine(name, routines, within)
    return MANY if found and _REPEATS.search(text) else min(found, MANY)


def of_routine(name: str, routines: Bodies, within: frozenset[str] = frozenset()) -> int:
    """Count them in a routine; the most of those that share its name."""
    return max(moments(body, routines, within | {name}) for body in routines[name])
