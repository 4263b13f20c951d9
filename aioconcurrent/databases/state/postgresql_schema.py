"""What PostgreSQL's catalogues say of the tables of a project (postgresql.org/docs/current/catalogs.html).

A table belongs to the project if it is in no schema of PostgreSQL's and in no extension.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .tables import UNKNOWN_TABLE, Reference, Schema, Table, listed, of_routine

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# PostgreSQL's own objects have numbers below 16384 (src/include/access/transam.h)
_OURS = """{oid} >= 16384 AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' AND NOT EXISTS (
    SELECT FROM pg_depend e WHERE e.deptype = 'e' AND e.classid = '{catalogue}'::regclass AND e.objid = {oid})"""

_RELATIONS = f"""
SELECT c.oid::bigint, c.relkind::text, lower(c.relname), quote_ident(n.nspname) || '.' || quote_ident(c.relname),
    CASE WHEN c.relkind = 'r' THEN pg_table_size(c.oid) END, pg_has_role(c.relowner, 'USAGE')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'S', 'm', 'f') AND c.relpersistence <> 't'
    AND {_OURS.format(catalogue="pg_class", oid="c.oid")}
ORDER BY c.oid
"""
_COLUMNS = """
SELECT a.attrelid::bigint, a.attname::text, a.attgenerated::text <> '',
    array_position((i.indkey::int2[])[:i.indnkeyatts - 1], a.attnum),
    a.attidentity::text <> '' OR coalesce(pg_get_expr(d.adbin, d.adrelid) LIKE 'nextval(%', false),
    a.attidentity::text <> '' OR coalesce(pg_get_expr(d.adbin, d.adrelid), y.typdefault, '') LIKE '%nextval(%',
    CASE WHEN a.atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype) THEN 'integer'
        WHEN a.atttypid = 'uuid'::regtype THEN 'uuid'
        WHEN a.atttypid IN ('text'::regtype, 'varchar'::regtype) AND o.collisdeterministic THEN 'text' END
FROM pg_attribute a
JOIN pg_class c ON c.oid = a.attrelid AND c.relkind = 'r'
JOIN pg_type y ON y.oid = a.atttypid
LEFT JOIN pg_collation o ON o.oid = a.attcollation
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
# What keeps rows out of a table besides plain keys: parts of it, expressions, rows that only overlap, or texts that an
# index takes for equal.
_ODD = """
SELECT DISTINCT indrelid::bigint FROM pg_index WHERE indrelid >= 16384 AND (indisexclusion
    OR indisunique AND NOT (indisvalid AND indimmediate AND indpred IS NULL AND indexprs IS NULL)
    OR indisunique AND EXISTS (
        SELECT FROM pg_collation c WHERE c.oid = ANY (indcollation::oid[]) AND NOT c.collisdeterministic))
"""
_INHERITS = "SELECT inhparent::bigint, inhrelid::bigint FROM pg_inherits"
_REFERENCES = """
SELECT c.conrelid::bigint, a.attname::text, c.confrelid::bigint, p.attname::text,
    c.confdeltype IN ('c', 'n', 'd') OR c.confupdtype IN ('c', 'n', 'd'),
    c.convalidated AND (NOT c.condeferrable OR c.confdeltype = 'r'), c.confdeltype = 'r', quote_ident(c.conname)
FROM pg_constraint c, unnest(c.conkey, c.confkey) AS k (own, other), pg_attribute a, pg_attribute p
WHERE c.contype = 'f' AND c.oid >= 16384 AND a.attrelid = c.conrelid AND a.attnum = k.own
    AND p.attrelid = c.confrelid AND p.attnum = k.other
ORDER BY c.oid, k.own
"""
# Rows that were there before such a constraint need not keep it.
_UNPROVEN = """
SELECT conrelid::bigint, contype::text, quote_ident(conname), pg_get_constraintdef(oid) FROM pg_constraint
WHERE contype IN ('c', 'f') AND NOT convalidated AND coninhcount = 0 AND conrelid >= 16384
"""
_VIEWS = """
SELECT DISTINCT r.ev_class::bigint, d.refobjid::bigint
FROM pg_rewrite r JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
JOIN pg_class c ON c.oid = r.ev_class AND c.relkind = 'v'
WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid <> r.ev_class AND r.ev_class >= 16384
"""
_SEQUENCES = """
SELECT d.objid::bigint, d.refobjid::bigint FROM pg_depend d
WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
    AND d.objid >= 16384
UNION
SELECT d.refobjid::bigint, f.adrelid::bigint FROM pg_depend d JOIN pg_attrdef f ON f.oid = d.objid
WHERE d.classid = 'pg_attrdef'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid >= 16384
UNION
SELECT d.refobjid::bigint, a.attrelid::bigint FROM pg_depend d JOIN pg_attribute a ON a.atttypid = d.objid
WHERE d.classid = 'pg_type'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid >= 16384
"""
_TRIGGERS = """
SELECT t.tgrelid::bigint, t.tgfoid::bigint, 'TRIGGER', quote_ident(t.tgname), t.tgenabled::text FROM pg_trigger t
WHERE NOT t.tgisinternal AND t.tgenabled <> 'D'
UNION ALL
SELECT r.ev_class::bigint, 0, 'RULE', quote_ident(r.rulename), r.ev_enabled::text FROM pg_rewrite r
WHERE r.rulename <> '_RETURN' AND r.ev_enabled <> 'D'
"""
# An operator of the project is another name of its function.
_ROUTINES = f"""
SELECT p.oid::bigint, called.name, p.prokind::text, p.provolatile::text, l.lanname::text,
    coalesce(pg_get_function_sqlbody(p.oid), p.prosrc)
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang,
    LATERAL (SELECT lower(p.proname) UNION SELECT o.oprname FROM pg_operator o WHERE o.oprcode = p.oid) AS called (name)
WHERE {_OURS.format(catalogue="pg_proc", oid="p.oid")}
"""
# Volatile, and no business of anybody else; what a sequence gives to a column is known to the state.
_HARMLESS = """
'clock_timestamp', 'gen_random_bytes', 'gen_random_uuid', 'gen_salt', 'random', 'random_normal', 'timeofday',
'uuid_generate_v1', 'uuid_generate_v1mc', 'uuid_generate_v4', 'uuidv4', 'uuidv7'
"""
# What reading a view, a change of a row and a policy evaluate, as trees of the parser (src/include/nodes): they name
# every function and table, also PostgreSQL's own functions, which leave no row in pg_depend, and the locks of a view.
_EVALUATED = f"""
WITH evaluated (kind, relation, tree) AS (
    SELECT 'view', r.ev_class, r.ev_action::text FROM pg_rewrite r
    JOIN pg_class c ON c.oid = r.ev_class AND c.relkind = 'v' WHERE r.rulename = '_RETURN'
    UNION ALL
    SELECT 'row', f.adrelid, f.adbin::text FROM pg_attrdef f
    UNION ALL
    SELECT 'row', a.attrelid, t.typdefaultbin::text FROM pg_attribute a
    JOIN pg_type t ON t.oid = a.atttypid AND t.typdefaultbin IS NOT NULL
    UNION ALL
    SELECT 'row', coalesce(a.attrelid, c.conrelid), c.conbin::text FROM pg_constraint c
    LEFT JOIN pg_attribute a ON c.contypid <> 0 AND a.atttypid = c.contypid WHERE c.contype = 'c'
    UNION ALL
    SELECT 'row', i.indrelid, concat(i.indexprs::text, i.indpred::text) FROM pg_index i
    UNION ALL
    SELECT 'policy', l.polrelid, concat(l.polqual::text, l.polwithcheck::text) FROM pg_policy l
    JOIN pg_class c ON c.oid = l.polrelid AND c.relrowsecurity
)
SELECT kind, relation::bigint,
    ARRAY(
        SELECT DISTINCT p.oid::bigint
        FROM regexp_matches(tree, ':(?:funcid|opfuncid|aggfnoid|winfnoid) (\\d+)', 'g') AS f (match)
        JOIN pg_proc p ON p.oid = match[1]::oid JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE {_OURS.format(catalogue="pg_proc", oid="p.oid")}
            OR (p.provolatile = 'v' AND p.proname NOT IN ({_HARMLESS})
                AND NOT (kind = 'row' AND p.oid = 'nextval(regclass)'::regprocedure))
    ),
    ARRAY(SELECT DISTINCT r[1]::bigint FROM regexp_matches(tree, ':relid (\\d+)', 'g') AS r),
    tree LIKE '%{{ROWMARKCLAUSE %'
FROM evaluated WHERE relation >= 16384
"""
_KEPT_ELSEWHERE = {"m": "materialized view", "f": "foreign table"}
# What PostgreSQL keeps elsewhere than in tables, or lets another session do.
_BESIDES = {
    **dict.fromkeys(
        ["lo_creat", "lo_create", "lo_from_bytea", "lo_import", "lo_put", "lo_truncate", "lo_unlink", "lowrite"],
        "large objects are not put back",
    ),
    **dict.fromkeys(
        ["dblink", "dblink_exec", "dblink_send_query"], "what dblink() does in a session of its own is not seen"
    ),
}


@dataclass(frozen=True, slots=True)
class Binding:
    """A foreign key that cannot wait for the end of the transaction; `restricts` says that nothing makes it wait."""

    child: Table
    parent: str
    name: str  # quoted
    restricts: bool


@dataclass(frozen=True, slots=True)
class Unproven:
    """A constraint that is NOT VALID."""

    kind: str  # "c" or "f", as in pg_constraint.contype
    name: str  # quoted
    definition: str


@dataclass(frozen=True)
class PostgresSchema(Schema):
    """What the state of a PostgreSQL database needs besides.

    Attributes:
        sizes: Bytes of each table on disk.
        owned: Tables whose triggers and constraints the role may alter.
        unproven: By table, its constraints that are NOT VALID.
        triggers: By table, what fires when its rows change: TRIGGER or RULE, quoted name, `pg_trigger.tgenabled`.
        sequences: By quoted name, the tables that take values from it; where there is none, its own name.
        binding: The foreign keys that cannot wait for the end of the transaction.
    """

    sizes: dict[Table, int] = field(default_factory=dict)
    owned: frozenset[Table] = frozenset()
    unproven: dict[Table, list[Unproven]] = field(default_factory=dict)
    triggers: dict[Table, list[tuple[str, str, str]]] = field(default_factory=dict)
    sequences: dict[str, frozenset[str]] = field(default_factory=dict)
    binding: frozenset[Binding] = frozenset()


def read_schema(cursor: Any) -> PostgresSchema:
    """Read the catalogues of the database that a driver's cursor is connected to."""
    return _Reader(cursor).read()


class _Reader:
    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor
        self._relations = {oid: rest for oid, *rest in self._all(_RELATIONS)}
        self._names = {oid: name for oid, (_, name, *_) in self._relations.items()}
        self._tables = self._read_tables()
        self._children = listed(self._all(_INHERITS))

    def read(self) -> PostgresSchema:
        routines = _Routines(self._all(_ROUTINES))
        evaluated = [_Evaluated(*row) for row in self._all(_EVALUATED) if row[1] in self._names]
        found = list(self._read_references())
        sequences = self._read_sequences()
        triggers: dict[Table, list[tuple[str, str, str]]] = {}
        fires: dict[str, int] = {}
        for oid, function, *trigger in self._all(_TRIGGERS):
            if oid in self._tables:
                triggers.setdefault(self._tables[oid], []).append(tuple(trigger))
                fires[self._names[oid]] = fires.get(self._names[oid], 0) + routines.moments([function])
        unproven = [
            (self._tables[oid], Unproven(*constraint))
            for oid, *constraint in self._all(_UNPROVEN)
            if oid in self._tables
        ]
        moments = dict(routines.by_name)
        for each in evaluated:
            for name in self._evaluating(each):
                told = fires if each.kind == "row" else moments
                told[name] = told.get(name, 0) + routines.moments(each.functions)
        return PostgresSchema(
            tables=tuple(self._tables.values()),
            references=tuple(reference for reference, _ in found),
            views=self._read_views(evaluated),
            policies=self._read_policies(evaluated),
            opaque=frozenset(table.name for table in triggers) | self._opaque(evaluated) | _shared(sequences),
            routines=routines.names,
            locking=frozenset(self._names[each.relation] for each in evaluated if each.locks),
            moments={name: number for name, number in moments.items() if number},
            fires={name: number for name, number in fires.items() if number},
            unseen={**_BESIDES, **dict(self._elsewhere())},
            triggers=triggers,
            sequences=sequences,
            binding=frozenset(binding for _, binding in found if binding is not None),
            sizes={table: self._relations[oid][3] or 0 for oid, table in self._tables.items()},
            owned=frozenset(table for oid, table in self._tables.items() if self._relations[oid][4]),
            unproven=listed(unproven),
        )

    def _all(self, query: str) -> list[Any]:
        self._cursor.execute(query)
        rows: list[Any] = self._cursor.fetchall()
        return rows

    def _read_tables(self) -> dict[int, Table]:
        columns = listed((oid, column) for oid, *column in self._all(_COLUMNS))
        uniques = listed(self._all(_UNIQUES))
        odd = {oid for (oid,) in self._all(_ODD)}
        related = {oid for pair in self._all(_INHERITS) for oid in pair}
        return {
            oid: _table(name, quoted, columns[oid], uniques.get(oid, []), odd=oid in odd, alone=oid not in related)
            for oid, (kind, name, quoted, *_) in self._relations.items()
            if kind == "r" and oid in columns
        }

    def _leaves(self, oid: int) -> list[int]:
        """The tables that a name reads: its own, if it is not partitioned, and those that inherit from it."""
        below = [leaf for child in self._children.get(oid, ()) for leaf in self._leaves(child)]
        return [oid, *below] if oid in self._tables else below

    def _read_references(self) -> Iterable[tuple[Reference, Binding | None]]:
        for child, column, parent, parent_column, acts, binds, restricts, name in self._all(_REFERENCES):
            for one in self._leaves(child):
                for other in self._leaves(parent):
                    names = self._names[one], column, self._names[other], parent_column
                    binding = Binding(self._tables[one], names[2], name, restricts) if binds else None
                    yield Reference(*names, acts), binding

    def _read_views(self, evaluated: Iterable[_Evaluated]) -> dict[str, frozenset[str]]:
        """Views, partitioned tables, and tables that others inherit from, which stand for more than they can say."""
        views: dict[str, set[str]] = {name: set() for kind, name, *_ in self._relations.values() if kind in ("v", "p")}
        for view, oid in self._all(_VIEWS):
            if view in self._names:
                views[self._names[view]].add(self._names.get(oid, UNKNOWN_TABLE))
        for each in evaluated:
            if each.kind == "view" and each.functions:
                views[self._names[each.relation]].add(UNKNOWN_TABLE)
            elif each.kind == "policy" and each.relation not in self._tables:
                views[self._names[each.relation]] |= self._consulted(each)
        for oid in self._relations:
            if oid in self._tables and self._children.get(oid):
                views.setdefault(self._names[oid], set()).add(UNKNOWN_TABLE)
            elif self._children.get(oid):
                views[self._names[oid]] |= {self._names[leaf] for leaf in self._leaves(oid)}
        return {view: frozenset(names) for view, names in views.items()}

    def _read_policies(self, evaluated: Iterable[_Evaluated]) -> dict[str, frozenset[str]]:
        policies: dict[str, frozenset[str]] = {}
        for each in evaluated:
            if each.kind == "policy" and each.relation in self._tables:
                name = self._names[each.relation]
                policies[name] = policies.get(name, frozenset()) | self._consulted(each)
        return policies

    def _consulted(self, policy: _Evaluated) -> frozenset[str]:
        unknown = {UNKNOWN_TABLE} if policy.functions else set()
        return frozenset({self._names.get(oid, UNKNOWN_TABLE) for oid in policy.relations} | unknown)

    def _evaluating(self, each: _Evaluated) -> set[str]:
        return {self._names[each.relation], *(self._names[leaf] for leaf in self._leaves(each.relation))}

    def _opaque(self, evaluated: Iterable[_Evaluated]) -> frozenset[str]:
        calling = [self._evaluating(each) for each in evaluated if each.kind != "view" and each.functions]
        return frozenset().union(*calling)

    def _elsewhere(self) -> Iterator[tuple[str, str]]:
        for kind, name, *_ in self._relations.values():
            if kind in _KEPT_ELSEWHERE:
                yield name, f"rows of the {_KEPT_ELSEWHERE[kind]} {name} are not put back"

    def _read_sequences(self) -> dict[str, frozenset[str]]:
        users: dict[int, set[str]] = {oid: set() for oid, (kind, *_) in self._relations.items() if kind == "S"}
        for sequence, table in self._all(_SEQUENCES):
            if sequence in users and table in self._names:
                users[sequence] |= {self._names[leaf] for leaf in self._leaves(table)}
        return {self._relations[oid][2]: frozenset(tables or {self._names[oid]}) for oid, tables in users.items()}


@dataclass(frozen=True, slots=True)
class _Evaluated:
    """What reading a view, changing a row of a table, or its policy evaluates.

    Attributes:
        functions: Those that may do more than compute.
    """

    kind: str
    relation: int
    functions: list[int]
    relations: list[int]
    locks: bool


class _Routines:
    """The functions and procedures of the project.

    Attributes:
        by_name: What `moments` says of those that run statements with snapshots of their own.
    """

    def __init__(self, rows: Iterable[Any]) -> None:
        self._names: dict[int, str] = {}
        names: set[str] = set()
        bodies: dict[str, list[str | None]] = {}
        for oid, name, kind, volatility, language, source in rows:
            self._names[oid] = name
            names.add(name)
            # Others have the snapshot of the query; a procedure may COMMIT.
            if volatility == "v" and kind in ("f", "p"):
                readable = kind == "f" and language in ("sql", "plpgsql")
                bodies.setdefault(name, []).append(source if readable else None)
        self.names = frozenset(names)
        self.by_name = {name: of_routine(name, bodies) for name in bodies}

    def moments(self, functions: Iterable[int]) -> int:
        return sum(self.by_name.get(self._names.get(oid, ""), 0) for oid in functions)


def _table(
    name: str, quoted: str, columns: list[Any], uniques: Iterable[list[str]], *, odd: bool, alone: bool
) -> Table:
    keyed = sorted((place, column, automatic) for column, _, place, automatic, *_ in columns if place is not None)
    is_automatic = len(keyed) == 1 and keyed[0][2]
    return Table(
        name=name,
        quoted=quoted,
        columns=tuple(column[0] for column in columns),
        generated=frozenset(column[0] for column in columns if column[1]),
        primary=tuple(column for _, column, _ in keyed),
        automatic=is_automatic,
        counted=frozenset(
            column for column, _, place, _, counts, _ in columns if counts and not (place is not None and is_automatic)
        ),
        uniques=frozenset(map(frozenset, uniques)),
        kinds=tuple(
            (name, kind)
            for name, _, place, _, counts, kind in columns
            if kind and alone and not (counts and place is None)
        ),
        is_closed=not odd and not any(column[1] for column in columns),
    )


def _shared(sequences: dict[str, frozenset[str]]) -> frozenset[str]:
    """Tables that take values from a sequence that another table takes values from as well."""
    return frozenset().union(*(tables for tables in sequences.values() if len(tables) > 1))
