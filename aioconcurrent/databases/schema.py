"""What a database knows of its tables: which there are, their keys, and what changes with them."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Literal

NOTHING: frozenset[str] = frozenset()
CACHE = "cache "  # what the names of tables begin with that are none


@dataclass(frozen=True, slots=True)
class Key:
    """The primary key of a table, and what its columns refer to.

    Args:
        columns: Of the primary key.
        automatic: Whether the database numbers the rows.
        references: For each column with a foreign key, the table and column it points at.
        counted: Other columns that take numbers from a sequence.
    """

    columns: tuple[str, ...]
    automatic: bool = False
    references: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    counted: frozenset[str] = NOTHING

    @property
    def numbered(self) -> frozenset[str]:
        """All columns to which counters give numbers."""
        return self.counted | frozenset(self.columns if self.automatic else ())


@dataclass(frozen=True, slots=True)
class Changes:
    """All that may have been changed in a table, where that is known.

    Attributes:
        keys: The primary keys of the rows, of numbers and plain texts.
        assigned: The columns that were set, in lower case; None where rows may have been inserted or deleted.
    """

    keys: frozenset[tuple[int | str, ...]]
    assigned: frozenset[str] | None

    def and_also(self, other: Changes) -> Changes:
        """These and the others."""
        is_set = self.assigned is not None and other.assigned is not None
        assigned = (self.assigned or NOTHING) | (other.assigned or NOTHING) if is_set else None
        return Changes(self.keys | other.keys, assigned)


KeyKind = Literal["integer", "small integer", "uuid", "text"]


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one table.

    Attributes:
        kinds: The columns of which two values are equal exactly if they are the same, and of what kind they are.
        uniques: All keys, by their columns.
        is_closed: Nothing else keeps two rows from being together in the table.
        automatic: The column that the database numbers; rows that a run makes are told apart by their places among
            those, because their numbers are others when the counter was moved.
        counted: Columns besides a key of one column that take numbers from a sequence.
        references: The columns of foreign keys, with the table and the column that each points at.
    """

    kinds: Mapping[str, KeyKind] = field(default_factory=dict)
    uniques: frozenset[frozenset[str]] = frozenset()
    is_closed: bool = False
    automatic: str = ""
    counted: frozenset[str] = NOTHING
    references: tuple[tuple[str, str, str], ...] = ()

    @property
    def unique_columns(self) -> frozenset[str]:
        return frozenset().union(*self.uniques)


@dataclass(frozen=True, eq=False)
class Catalogue:
    """What the database knows and SQL does not say; all names in lower case, without schema.

    Args:
        tables: The ordinary tables.  Any other name in a statement touches everything.
        views: The tables behind each view; a table with partitions counts as a view of them.
        parents: The tables that each table's foreign keys point at.
        cascades: The tables whose rows the database itself changes or deletes with a row of the key.
        opaque: Tables whose changing runs code of the project: triggers, rules, defaults that call functions.
        routines: Functions, procedures and operators that the project made in the database.
        uniques: The keys of each table: sets of columns that no two rows have in common.
        unseen: By the name of a table, a view or a routine: what exploring cannot see of its use, in a sentence.
        consulted: The tables that policies make the database read with each row of a table.
        locking: The tables that reading a view locks.
        moments: How many statements with a snapshot of their own a use of the routine, the view or the table runs
            inside of a statement, where it is one or more; 2 stands for any number.
        fires: The same of changes in a table, whose triggers run them.
        immediate: Tables of an engine without transactions: what is written to them all see at once, and for good.
        keys: What tells the rows of a table apart; rows of other tables are not.
    """

    tables: frozenset[str]
    views: Mapping[str, frozenset[str]] = field(default_factory=dict)
    parents: Mapping[str, frozenset[str]] = field(default_factory=dict)
    cascades: Mapping[str, frozenset[str]] = field(default_factory=dict)
    opaque: frozenset[str] = NOTHING
    routines: frozenset[str] = NOTHING
    uniques: Mapping[str, frozenset[frozenset[str]]] = field(default_factory=dict)
    unseen: Mapping[str, str] = field(default_factory=dict)
    consulted: Mapping[str, frozenset[str]] = field(default_factory=dict)
    locking: Mapping[str, frozenset[str]] = field(default_factory=dict)
    moments: Mapping[str, int] = field(default_factory=dict)
    fires: Mapping[str, int] = field(default_factory=dict)
    immediate: frozenset[str] = NOTHING
    keys: Mapping[str, Keys] = field(default_factory=dict)
    children: Mapping[str, frozenset[str]] = field(init=False)  # the inverse of `parents`

    def __post_init__(self) -> None:
        children: dict[str, set[str]] = {}
        for child, parents in self.parents.items():
            for parent in parents:
                children.setdefault(parent, set()).add(child)
        object.__setattr__(self, "children", {parent: frozenset(names) for parent, names in children.items()})

    @classmethod
    def merged(cls, catalogues: Sequence[Catalogue]) -> Catalogue:
        """One for several databases: what holds of a name in any of them may hold."""
        if len(catalogues) == 1:
            return catalogues[0]
        tables = NOTHING.union(*(one.tables for one in catalogues))
        views: Mapping[str, frozenset[str]] = reduce(_joined, (one.views for one in catalogues), {})
        twofold = tables & views.keys()  # a table here and a view there
        return cls(
            tables=tables - twofold,
            views={name: names for name, names in views.items() if name not in twofold},
            parents=reduce(_joined, (one.parents for one in catalogues), {}),
            cascades=reduce(_joined, (one.cascades for one in catalogues), {}),
            opaque=NOTHING.union(*(one.opaque for one in catalogues)),
            routines=NOTHING.union(*(one.routines for one in catalogues)),
            uniques=_common(catalogues),
            unseen=ChainMap(*(dict(one.unseen) for one in catalogues)),
            consulted=reduce(_joined, (one.consulted for one in catalogues), {}),
            locking=reduce(_joined, (one.locking for one in catalogues), {}),
            moments=reduce(_most, (one.moments for one in catalogues), {}),
            fires=reduce(_most, (one.fires for one in catalogues), {}),
            immediate=NOTHING.union(*(one.immediate for one in catalogues)),
            keys=_agreed(catalogues),
        )


def reached(names: Iterable[str], relation: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """These names, and all that a relation leads to from them, in however many steps."""
    found = set(names)
    left = list(found)
    while left:
        more = relation.get(left.pop(), NOTHING) - found
        found |= more
        left += more
    return frozenset(found)


def _agreed(catalogues: Sequence[Catalogue]) -> dict[str, Keys]:
    """What tells the rows of a table apart wherever there is one of its name."""
    found: dict[str, Keys] = {}
    for name in NOTHING.union(*(one.tables for one in catalogues)):
        keys = [one.keys.get(name) for one in catalogues if name in one.tables]
        if keys[0] is not None and all(each == keys[0] for each in keys):
            found[name] = keys[0]
    return found


def _joined(one: Mapping[str, frozenset[str]], other: Mapping[str, frozenset[str]]) -> dict[str, frozenset[str]]:
    return {name: one.get(name, NOTHING) | other.get(name, NOTHING) for name in (*one, *other)}


def _common(catalogues: Sequence[Catalogue]) -> dict[str, frozenset[frozenset[str]]]:
    """The keys that a table has wherever there is one of its name."""
    found: dict[str, frozenset[frozenset[str]]] = {}
    for one in catalogues:
        for name in one.tables:
            keys = one.uniques.get(name, frozenset())
            found[name] = found.get(name, keys) & keys
    return found


def _most(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {name: max(one.get(name, 0), other.get(name, 0)) for name in (*one, *other)}
