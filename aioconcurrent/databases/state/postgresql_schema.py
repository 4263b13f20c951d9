"""What PostgreSQL's catalogues say of the tables of a project (postgresql.org/docs/current/catalogs.html).

Of the project is what is in no schema of PostgreSQL's and belongs to no extension.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .schema import UNKNOWN, Reference, Schema, Table

if TYPE_CHECKING:
    from collections.abc import Iterable

# PostgreSQL's own objects have numbers below 16384 (src/include/access/transam.h)
_OURS = """{oid} >= 16384 AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' AND NOT EXISTS (
    SELECT FROM pg_depend e WHERE e.deptype = 'e' AND e.classid = '{catalogue}'::regclass AND e.objid = {oid})"""

_RELATIONS = f"""
SELECT c.oid::bigint, c.relkind::text, lower(c.relname), quote_ident(n.nspname) || '.' || quote_ident(c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'S') AND c.relpersistence <> 't'
    AND {_OURS.format(catalogue="pg_class", oid="c.oid")}
ORDER BY c.oid
"""
_COLUMNS = """
SELECT a.attrelid::bigint, a.attname::text, a.attgenerated::text <> '',
    array_position(i.indkey::int2[], a.attnum),
    a.attidentity::text <> '' OR coalesce(pg_get_expr(d.adbin, d.adrelid) LIKE 'nextval(%', false)
FROM pg_attribute a
JOIN pg_class c ON c.oid = a.attrelid AND c.relkind = 'r'
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
LEFT JOIN pg_index i ON i.indrelid = a.attrelid AND i.indisprimary
WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attrelid >= 16384
ORDER BY a.attrelid, a.attnum
"""
_UNIQUES = """
SELECT i.indrelid::bigint, array_agg(a.attname::text)
FROM pg_index i, unnest(i.indkey::int2[]) WITH ORDINALITY AS k (number, place), pg_attribute a
WHERE i.indrelid >= 16384 AND i.indisunique AND NOT i.indisprimary AND i.indisvalid AND i.indpred IS NULL
    AND i.indexprs IS NULL AND k.place <= i.indnkeyatts AND a.attrelid = i.indrelid AND a.attnum = k.number
GROUP BY i.indrelid, i.indexrelid
"""
_INHERITS = "SELECT inhparent::bigint, inhrelid::bigint FROM pg_inherits"
_REFERENCES = """
SELECT c.conrelid::bigint, a.attname::text, c.confrelid::bigint, p.attname::text,
    c.confdeltype IN ('c', 'n', 'd') OR c.confupdtype IN ('c', 'n', 'd'),
    NOT c.condeferrable OR c.confdeltype = 'r'
FROM pg_constraint c, unnest(c.conkey, c.confkey) AS k (own, other), pg_attribute a, pg_attribute p
WHERE c.contype = 'f' AND c.oid >= 16384 AND a.attrelid = c.conrelid AND a.attnum = k.own
    AND p.attrelid = c.confrelid AND p.attnum = k.other
ORDER BY c.oid, k.own
"""
_VIEWS = """
SELECT DISTINCT r.ev_class::bigint, d.refclassid::regclass::text, d.refobjid::bigint
FROM pg_rewrite r JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
JOIN pg_class c ON c.oid = r.ev_class AND c.relkind = 'v'
WHERE d.refclassid IN ('pg_class'::regclass, 'pg_proc'::regclass) AND d.refobjid <> r.ev_class
    AND r.ev_class >= 16384
"""
_SEQUENCES = """
SELECT d.objid::bigint, d.refobjid::bigint FROM pg_depend d
WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
    AND d.objid >= 16384
UNION
SELECT d.refobjid::bigint, f.adrelid::bigint FROM pg_depend d JOIN pg_attrdef f ON f.oid = d.objid
WHERE d.classid = 'pg_attrdef'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid >= 16384
"""
_TRIGGERS = """
SELECT t.tgrelid::bigint, 'TRIGGER', quote_ident(t.tgname), t.tgenabled::text FROM pg_trigger t
WHERE NOT t.tgisinternal AND t.tgenabled <> 'D'
UNION ALL
SELECT r.ev_class::bigint, 'RULE', quote_ident(r.rulename), r.ev_enabled::text FROM pg_rewrite r
WHERE r.rulename <> '_RETURN' AND r.ev_enabled <> 'D'
"""
_ROUTINES = f"""
SELECT p.oid::bigint, lower(p.proname) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE {_OURS.format(catalogue="pg_proc", oid="p.oid")}
"""
# What a change of a row evaluates, and the functions and operators in it: those that PostgreSQL came with leave
# no row in pg_depend.
_EVALUATED = """
SELECT coalesce(f.adrelid, nullif(c.conrelid, 0), i.indrelid, l.polrelid, a.attrelid)::bigint,
    coalesce(o.oprcode, d.refobjid)::bigint
FROM pg_depend d
LEFT JOIN pg_operator o ON d.refclassid = 'pg_operator'::regclass AND o.oid = d.refobjid
LEFT JOIN pg_attrdef f ON d.classid = 'pg_attrdef'::regclass AND f.oid = d.objid
LEFT JOIN pg_constraint c ON d.classid = 'pg_constraint'::regclass AND c.oid = d.objid
LEFT JOIN pg_index i ON d.classid = 'pg_class'::regclass AND i.indexrelid = d.objid
LEFT JOIN pg_policy l ON d.classid = 'pg_policy'::regclass AND l.oid = d.objid
LEFT JOIN pg_attribute a ON c.contypid <> 0 AND a.atttypid = c.contypid
WHERE d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass) AND d.refobjid >= 16384
    AND coalesce(f.adrelid, nullif(c.conrelid, 0), i.indrelid, l.polrelid, a.attrelid) IS NOT NULL
"""


@dataclass(frozen=True)
class PostgresSchema(Schema):
    """What the state of a PostgreSQL database needs besides.

    Attributes:
        triggers: By table, what fires when its rows change: TRIGGER or RULE, quoted name, `pg_trigger.tgenabled`.
        sequences: By quoted name, the tables that take values from it; where there is none, its own name.
        binding: (child, parent) of the foreign keys that cannot wait for the end of the transaction.
    """

    triggers: dict[Table, list[tuple[str, str, str]]] = field(default_factory=dict)
    sequences: dict[str, frozenset[str]] = field(default_factory=dict)
    binding: frozenset[tuple[str, str]] = frozenset()


def read_schema(cursor: Any) -> PostgresSchema:
    """Read the catalogues of the database that a driver's cursor is connected to."""
    return _Reader(cursor).read()


class _Reader:
    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor
        self._relations = {oid: rest for oid, *rest in self._all(_RELATIONS)}
        self._names = {oid: name for oid, (_, name, _) in self._relations.items()}
        self._tables = self._read_tables()
        self._children: dict[int, list[int]] = {}
        for parent, child in self._all(_INHERITS):
            self._children.setdefault(parent, []).append(child)

    def read(self) -> PostgresSchema:
        routines = dict(self._all(_ROUTINES))
        found = list(self._read_references())
        sequences = self._read_sequences()
        triggers: dict[Table, list[tuple[str, str, str]]] = {}
        for oid, *trigger in self._all(_TRIGGERS):
            if oid in self._tables:
                triggers.setdefault(self._tables[oid], []).append(tuple(trigger))
        return PostgresSchema(
            tables=tuple(self._tables.values()),
            references=tuple(reference for reference, _ in found),
            views=self._read_views(routines),
            opaque=frozenset(table.name for table in triggers) | self._read_evaluating(routines) | _shared(sequences),
            routines=frozenset(routines.values()),
            triggers=triggers,
            sequences=sequences,
            binding=frozenset((reference.child, reference.parent) for reference, binds in found if binds),
        )

    def _all(self, query: str) -> list[Any]:
        self._cursor.execute(query)
        rows: list[Any] = self._cursor.fetchall()
        return rows

    def _read_tables(self) -> dict[int, Table]:
        columns: dict[int, list[Any]] = {}
        for oid, *column in self._all(_COLUMNS):
            columns.setdefault(oid, []).append(column)
        uniques: dict[int, list[list[str]]] = {}
        for oid, key in self._all(_UNIQUES):
            uniques.setdefault(oid, []).append(key)
        return {
            oid: _table(name, quoted, columns[oid], uniques.get(oid, []))
            for oid, (kind, name, quoted) in self._relations.items()
            if kind == "r" and oid in columns
        }

    def _leaves(self, oid: int) -> list[int]:
        """The tables that a name reads: its own, if it is not partitioned, and those that inherit from it."""
        below = [leaf for child in self._children.get(oid, ()) for leaf in self._leaves(child)]
        return [oid, *below] if oid in self._tables else below

    def _read_references(self) -> Iterable[tuple[Reference, bool]]:
        for child, column, parent, parent_column, acts, binds in self._all(_REFERENCES):
            for one in self._leaves(child):
                for other in self._leaves(parent):
                    names = self._names[one], column, self._names[other], parent_column
                    yield Reference(*names, acts), binds

    def _read_views(self, routines: dict[int, str]) -> dict[str, frozenset[str]]:
        """Views, partitioned tables, and tables that others inherit from, which stand for more than they can say."""
        views: dict[str, set[str]] = {name: set() for kind, name, _ in self._relations.values() if kind in ("v", "p")}
        for view, kind, oid in self._all(_VIEWS):
            if view in self._names and (kind == "pg_class" or oid in routines):
                views[self._names[view]].add(self._names.get(oid, UNKNOWN) if kind == "pg_class" else UNKNOWN)
        for oid in self._relations:
            if oid in self._tables and self._children.get(oid):
                views.setdefault(self._names[oid], set()).add(UNKNOWN)
            elif self._children.get(oid):
                views[self._names[oid]] |= {self._names[leaf] for leaf in self._leaves(oid)}
        return {view: frozenset(names) for view, names in views.items()}

    def _read_sequences(self) -> dict[str, frozenset[str]]:
        users: dict[int, set[str]] = {oid: set() for oid, (kind, _, _) in self._relations.items() if kind == "S"}
        for sequence, table in self._all(_SEQUENCES):
            if sequence in users and table in self._names:
                users[sequence] |= {self._names[leaf] for leaf in self._leaves(table)}
        return {self._relations[oid][2]: frozenset(tables or {self._names[oid]}) for oid, tables in users.items()}

    def _read_evaluating(self, routines: dict[int, str]) -> frozenset[str]:
        if not routines:  # and the query takes a while
            return frozenset()
        return frozenset(
            self._names[leaf]
            for oid, routine in self._all(_EVALUATED)
            if routine in routines
            for leaf in self._leaves(oid)
        )


def _table(name: str, quoted: str, columns: list[Any], uniques: Iterable[list[str]]) -> Table:
    keyed = sorted((place, column, automatic) for column, _, place, automatic in columns if place is not None)
    return Table(
        name=name,
        quoted=quoted,
        columns=tuple(column[0] for column in columns),
        generated=frozenset(column[0] for column in columns if column[1]),
        primary=tuple(column for _, column, _ in keyed),
        automatic=len(keyed) == 1 and keyed[0][2],
        uniques=frozenset(map(frozenset, uniques)),
    )


def _shared(sequences: dict[str, frozenset[str]]) -> frozenset[str]:
    """Tables that take values from a sequence that another table takes values from as well."""
    return frozenset().union(*(tables for tables in sequences.values() if len(tables) > 1))
