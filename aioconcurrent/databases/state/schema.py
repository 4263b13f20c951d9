"""What the state of a database needs to know of its tables, however its catalogues say it.

Names of tables are in lower case and without schema, as SQL texts mention them.
Two tables may share such a name: `Schema.named` gives both, and the catalogue
neither, so that a statement that says the name is taken to touch everything.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ...exploring.facts import Key
from ...exploring.footprint import NOTHING, Catalogue

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping


UNKNOWN = ""  # no table's name


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
        immediate: Tables of an engine without transactions.
    """

    tables: tuple[Table, ...]
    references: tuple[Reference, ...] = ()
    views: Mapping[str, frozenset[str]] = field(default_factory=dict)
    opaque: frozenset[str] = NOTHING
    routines: frozenset[str] = NOTHING
    immediate: frozenset[str] = NOTHING

    def named(self, names: Collection[str]) -> list[Table]:
        """The tables of these names; other names are left out."""
        return [table for table in self.tables if table.name in names]

    def catalogue(self) -> Catalogue:
        """What the footprints of statements are widened by."""
        times = Counter(table.name for table in self.tables)
        tables = frozenset(name for name in times if times[name] == 1 and name not in self.views)
        return Catalogue(
            tables=tables,
            views=_behind({view: names for view, names in self.views.items() if view not in times}, tables),
            parents=_grouped((reference.child, reference.parent) for reference in self.references),
            cascades=_grouped((reference.parent, reference.child) for reference in self.references if reference.acts),
            opaque=self.opaque,
            routines=self.routines,
            immediate=self.immediate,
            uniques={table.name: _keys(table) for table in self.tables},
        )

    def keys(self) -> dict[str, Key]:
        """The key of each table, by name."""
        references: dict[str, dict[str, tuple[str, str]]] = {}
        for reference in self.references:
            pointed = references.setdefault(reference.child, {})
            pointed.setdefault(reference.column, (reference.parent, reference.parent_column))
        return {
            table.name: Key(table.primary, table.automatic, references.get(table.name, {})) for table in self.tables
        }


def _keys(table: Table) -> frozenset[frozenset[str]]:
    keys = table.uniques | {frozenset(table.primary)}
    return frozenset(frozenset(column.casefold() for column in key) for key in keys if key)


def _behind(views: Mapping[str, frozenset[str]], tables: Collection[str]) -> dict[str, frozenset[str]]:
    """The tables behind each view, through other views; a view over anything else is left out."""
    found = {name: frozenset({name}) for name in tables}
    left = dict(views)
    while ready := [view for view, names in left.items() if names <= found.keys()]:
        for view in ready:
            found[view] = frozenset().union(*(found[name] for name in left.pop(view)))
    return {view: found[view] for view in views if view in found}


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, frozenset[str]]:
    groups: dict[str, set[str]] = {}
    for key, value in pairs:
        groups.setdefault(key, set()).add(value)
    return {key: frozenset(values) for key, values in groups.items()}
