"""What one SQL text mentions, parsed by sqlglot once, and kept per text.

`read_statement` is for footprints: a text that is not understood to the end is `UNKNOWN`, which
the caller must take to touch everything.  Parameters are known by their places alone: they can
decide which rows a statement touches, never which tables.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import lru_cache
from itertools import combinations
from typing import Any

from sqlglot import exp, parse
from sqlglot.errors import SqlglotError

from ..base.trace import Operation

DIALECTS = {"postgresql": "postgres", "mysql": "mysql", "sqlite": "sqlite"}

# Built-in functions that sqlglot has no class for; none of them writes, locks or runs other code.
_PURE = """
age akeys avals btrim cardinality clock_timestamp concat_ws connection_id current_setting daterange date_format
date_part field found_rows int4range int8range isempty json_array json_contains json_unquote jsonb_agg
jsonb_array_length jsonb_build_array jsonb_build_object jsonb_object_agg jsonb_set last_insert_id lower_inc
lower_inf make_date makedate microsecond now numrange ord pg_backend_pid pg_typeof phraseto_tsquery
plainto_tsquery quote_literal row_count row_to_json setweight sha224 sha256 sha384 sha512 similarity
statement_timestamp strict_word_similarity strip timediff to_jsonb to_tsquery to_tsvector transaction_timestamp
ts_headline ts_rank ts_rank_cd tsrange tstzrange unaccent upper_inc upper_inf uuid_generate_v4 value values
websearch_to_tsquery weekday word_similarity
"""
PURE_FUNCTIONS = frozenset(_PURE.split())

# What these do belongs to the session, or is done at once, whatever becomes of the transaction.
_SESSIONAL = """
currval get_lock hashtext hashtextextended is_free_lock is_used_lock lastval nextval pg_advisory_lock
pg_advisory_lock_shared pg_advisory_unlock pg_advisory_unlock_all pg_advisory_unlock_shared pg_advisory_xact_lock
pg_advisory_xact_lock_shared pg_sleep pg_try_advisory_lock pg_try_advisory_lock_shared pg_try_advisory_xact_lock
pg_try_advisory_xact_lock_shared release_all_locks release_lock set_config setval sleep
"""
SESSIONAL_FUNCTIONS = frozenset(_SESSIONAL.split())


class Control(Enum):
    """What a statement does to the transaction instead of to tables."""

    NONE = "none"
    SETTING = "setting"
    BEGIN = "begin"
    BEGIN_LOCKED = "begin, and keep other writers out"
    SAVEPOINT = "savepoint"
    RELEASE = "release"
    ROLLBACK_TO = "rollback to savepoint"
    COMMIT = "commit"
    ROLLBACK = "rollback"


@dataclass(frozen=True, slots=True)
class Given:
    """A value that is given as a parameter, by its place."""

    number: int


@dataclass(frozen=True, slots=True)
class Computed:
    """A value that the database works out, as text."""

    text: str

    def __repr__(self) -> str:
        return self.text


UNCLEAR = Given(-1)  # a value that the database works out
Value = Given | str | int | None
Assignments = tuple[tuple[str, Value], ...]


@dataclass(frozen=True, slots=True)
class Condition:
    """What a WHERE asks of the columns of one table.

    Attributes:
        values: Of a column one of which values it must have.
        alone: It asks for nothing else.
    """

    values: tuple[tuple[str, tuple[Value, ...]], ...]
    alone: bool


@dataclass(frozen=True, slots=True)
class Statement:
    """The names in one SQL text; whether they are tables, views or neither is not known here."""

    understood: bool = True
    control: Control = Control.NONE
    reads: frozenset[str] = frozenset()
    changes: frozenset[str] = frozenset()  # rows inserted or updated
    removals: frozenset[str] = frozenset()  # rows deleted or updated: what a foreign key may point at
    locks: frozenset[str] = frozenset()
    shares: frozenset[str] = frozenset()
    ctes: frozenset[str] = frozenset()
    plain: bool = False  # it reads no rows but those that it changes or locks, all of one table
    keyed: frozenset[str] = frozenset()  # columns that those rows must have equal to given values
    found: Mapping[str, Condition] = field(default_factory=dict)  # by table, where it is named once and reads no other
    assigned: Assignments | None = ()  # of an UPDATE; None where that is not clear
    given: tuple[Assignments, ...] = ()  # the rows of an INSERT that says all of them
    returned: frozenset[str] = frozenset()  # columns of the rows that were inserted
    places: int = 0  # parameters that `Given` counts; -1 if they have names, whose order is not known
    consulted: frozenset[str] = frozenset()  # read in the state of its start, to decide what it changes or locks
    skipped: frozenset[str] = frozenset()  # locked only as far as nobody else has
    sorting: str = ""  # the order in which it locks rows that it reads, where it says one and there may be several
    shows_locked: bool = False  # it returns a row for whatever it locks
    listed: bool = False  # it inserts several rows that are given to it
    named: frozenset[str] = frozenset()  # columns that an INSERT names; if it names none, they may be all
    several: bool = False  # more than one statement in the text
    verb: str = ""  # the first word, in capitals
    called: frozenset[str] = frozenset()  # every word that stands before a parenthesis
    attributes: frozenset[str] = frozenset()  # names behind a dot, by which PostgreSQL calls functions of a row, too
    operators: frozenset[str] = frozenset()  # whatever may be one of PostgreSQL's operators in the text
    words: frozenset[str] = frozenset()  # every word at all, if the text is not understood


UNKNOWN = Statement(understood=False)


_COMMENT = re.compile(r"\s+|--[^\n]*(?:\n|$)|/\*(?!M?!).*?\*/", re.DOTALL)
_PLACEHOLDER = re.compile(r"%(?:\((?P<name>\w+)\))?[sbt]|%%")
_PLACEHOLDER_OF_SQLITE = re.compile(rf"{_PLACEHOLDER.pattern}|\?(?=\s*[,)]|\s*$|\s+\w)")
_ROWS = re.compile(r"\((?:NULL, )*NULL\)(?:, \((?:NULL, )*NULL\))+")
_LISTED = re.compile(rf"{_ROWS.pattern}|\bUNNEST\(", re.IGNORECASE)
_MEMBERS = re.compile(r"\bIN \(NULL(?:, NULL)+\)")
PLACE = "aioc"
_MANY = 100  # parameters; which rows texts with more of them touch is not told
_WORD = re.compile(r"\w+")
_CALLED = re.compile(r"(\w+)[\"`]?\s*\(")
_SYMBOLS = re.compile(r"[-+*/<>=~!@#%^&|`?]+")  # of operators (postgresql.org/docs/current/sql-createoperator.html)
_CONTROLS = (
    (re.compile(r"(?:BEGIN(?: WORK| TRANSACTION| DEFERRED(?: TRANSACTION)?)?|START TRANSACTION)"), Control.BEGIN),
    (re.compile(r"BEGIN IMMEDIATE(?: TRANSACTION)?"), Control.BEGIN_LOCKED),
    (re.compile(r"SAVEPOINT \S+"), Control.SAVEPOINT),
    (re.compile(r"RELEASE (?:SAVEPOINT )?\S+"), Control.RELEASE),
    (re.compile(r"ROLLBACK(?: WORK| TRANSACTION)? TO (?:SAVEPOINT )?\S+"), Control.ROLLBACK_TO),
    (re.compile(r"(?:COMMIT|END)(?: WORK| TRANSACTION)?"), Control.COMMIT),
    (re.compile(r"(?:ROLLBACK|ABORT)(?: WORK| TRANSACTION)?"), Control.ROLLBACK),
    # A setting of this session alone: no query, no function, no SET STATEMENT ... FOR, nothing about transactions.
    (
        re.compile(
            r"SET (?!.*(?:SELECT|\(|CONSTRAINTS|TRANSACTION|ISOLATION|SNAPSHOT|CHARACTERISTICS"
            r"|STATEMENT|GLOBAL|PERSIST|AUTOCOMMIT)).*",
            re.DOTALL,
        ),
        Control.SETTING,
    ),
)
_CONTROLS_OF_KINDS = {
    "start": Control.SETTING,
    "commit": Control.COMMIT,
    "rollback": Control.ROLLBACK,
    "close": Control.ROLLBACK,
}
_PARSED = ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH", "VALUES", "TABLE", "(")
# Django folds atomic blocks and big IN lists into a few hundred texts; a loop that formats SQL must not fill memory.
_REMEMBERED_TEXTS = 4096
_REMEMBERED_TREES = 128  # of some 50 KB each
_LONGEST_KEPT = 5000  # characters


def with_places(vendor: str, sql: str, stand_in: Callable[[int], str]) -> str:
    """Put something for each parameter, by its number; one that is named has one number wherever it stands."""
    numbers: dict[str, int] = {}

    def numbered(match: re.Match[str]) -> str:
        if match[0] == "%%":
            return "%"
        return stand_in(numbers.setdefault(match["name"] or str(len(numbers)), len(numbers)))

    return (_PLACEHOLDER_OF_SQLITE if vendor == "sqlite" else _PLACEHOLDER).sub(numbered, sql)


def tree_of(vendor: str, sql: str, with_parameters: bool) -> exp.Expr | None:
    """The tree of a text that is one statement, with its parameters by number; that of a long one is not kept."""
    return (_kept_tree if len(sql) <= _LONGEST_KEPT else _made_tree)(vendor, sql, with_parameters)


def _made_tree(vendor: str, sql: str, with_parameters: bool) -> exp.Expr | None:
    bare = _bare(sql)
    if not bare.upper().startswith(_PARSED):  # sqlglot makes little of others, as `SET x`, and says so on stderr
        return None
    return _parsed(vendor, with_places(vendor, bare, f":{PLACE}{{}}".format) if with_parameters else bare)


_kept_tree = lru_cache(maxsize=_REMEMBERED_TREES)(_made_tree)


def _parsed(vendor: str, text: str) -> exp.Expr | None:
    try:
        trees = parse(text, dialect=DIALECTS.get(vendor, "sqlite"))
    except (SqlglotError, RecursionError):
        return None
    return trees[0] if len(trees) == 1 else None


def _bare(sql: str) -> str:
    """Cut what comes before the first word and after the last; later comments are sqlglot's."""
    start = 0
    while match := _COMMENT.match(sql, start):
        start = match.end()
    return sql[start:].rstrip("; \n\t")


@lru_cache(maxsize=_REMEMBERED_TEXTS)
def read_statement(vendor: str, sql: str, with_parameters: bool) -> Statement:
    """Read one text; `with_parameters` tells whether `%s` and `%%` in it mean what drivers take them for."""
    statement = _read(vendor, sql, with_parameters)
    bare = _bare(sql)
    verb = _WORD.match(bare.lstrip("( \n\t"))
    statement = replace(statement, verb=verb[0].upper() if verb else "")
    if statement.understood:
        return statement
    return replace(
        statement,
        called=frozenset(name.casefold() for name in _CALLED.findall(bare)),
        words=frozenset(word.casefold() for word in _WORD.findall(bare)),
        several=";" in bare,
    )


def statement_of(operation: Operation) -> Statement:
    """Read the text of an operation."""
    return read_statement(operation.vendor, operation.text, operation.parameters is not None)


def control_of(operation: Operation) -> Control:
    """What an operation does to the transaction, whether Django or a text says so."""
    if operation.kind in ("sql", "fetch", "many"):
        return statement_of(operation).control
    return _CONTROLS_OF_KINDS.get(operation.kind, Control.NONE)


def _read(vendor: str, sql: str, with_parameters: bool) -> Statement:
    if vendor not in DIALECTS or "/*!" in sql or "/*M!" in sql:  # MySQL runs what is in such a comment
        return UNKNOWN
    bare = _bare(sql)
    head = " ".join(bare.split()).upper()
    for pattern, control in _CONTROLS:
        if pattern.fullmatch(head):
            return Statement(control=control)
    if not head.startswith(_PARSED):
        return UNKNOWN
    text = with_places(vendor, bare, lambda _: "NULL") if with_parameters else bare
    is_short = not with_parameters or len(_PLACEHOLDER.findall(bare)) <= _MANY
    tree = tree_of(vendor, sql, with_parameters) if is_short else None
    if tree is None and with_parameters:  # as if each were NULL
        one_row = _ROWS.sub("(NULL)", text)  # for many, and two members of a list for more
        tree = _parsed(vendor, _MEMBERS.sub("IN (NULL, NULL)", one_row))
    if tree is None:
        return UNKNOWN
    statement = _Reader(vendor, tree).statement(frozenset(name.casefold() for name in _CALLED.findall(bare)))
    places = -1 if with_parameters and "%(" in bare else statement.places
    operators = frozenset(_operators(bare)) if vendor == "postgresql" else frozenset[str]()
    is_list = isinstance(tree, exp.Insert) and _is_list(tree, text)
    return replace(statement, places=places, operators=operators, listed=is_list)


def _operators(bare: str) -> Iterator[str]:
    """All that may be an operator, where several stand side by side, as in `a=-1`."""
    for symbols in set(_SYMBOLS.findall(bare)):
        yield from (symbols[start:end] for start, end in combinations(range(len(symbols) + 1), 2))


def _is_list(tree: exp.Insert, text: str) -> bool:
    values = tree.expression
    return _LISTED.search(text) is not None or (isinstance(values, exp.Values) and len(values.expressions) > 1)


class _NotUnderstoodError(Exception):
    """Something in the text that may touch more than it names."""


class _Reader:
    """One walk over the tree of one statement."""

    def __init__(self, vendor: str, tree: exp.Expr) -> None:
        self.vendor = vendor
        self.tree = tree

    def statement(self, called: frozenset[str]) -> Statement:
        if not isinstance(self.tree, exp.Query | exp.Values | exp.Insert | exp.Update | exp.Delete):
            return UNKNOWN
        try:
            return self._read(called)
        except _NotUnderstoodError:
            return UNKNOWN

    def _read(self, called: frozenset[str]) -> Statement:
        changes: set[str] = set()
        removals: set[str] = set()
        locks: set[str] = set()
        shares: set[str] = set()
        for node in self.tree.walk():
            self._refuse_what_runs_code(node)
            match node:
                case exp.Insert():
                    changes |= self._names(node.this)
                    if node.args.get("conflict") or node.args.get("alternative"):
                        removals |= self._names(node.this)
                case exp.Update():
                    changes |= self._targets(node)
                    removals |= self._targets(node)
                case exp.Delete():
                    removals |= self._targets(node)
                case exp.Lock():
                    (locks if node.args.get("update") else shares).update(self._names(node.parent))
        reads = self._names(self.tree)
        if self.vendor == "mysql" and (changes or removals):
            shares |= reads  # InnoDB locks the rows that a changing statement reads
        plain = self._is_plain()
        ctes = frozenset(cte.alias.casefold() for cte in self.tree.find_all(exp.CTE))
        return Statement(
            reads=frozenset(reads),
            changes=frozenset(changes),
            removals=frozenset(removals),
            locks=frozenset(locks | changes | removals),
            shares=frozenset(shares),
            ctes=ctes,
            plain=plain,
            keyed=self._keyed() if plain else frozenset(),
            consulted=frozenset(self._consulted()) if locks or changes or removals else frozenset(),
            skipped=frozenset(self._skipped()),
            sorting=self._sorting() if locks else "",
            shows_locked=self._shows_locked(),
            called=called,
            attributes=frozenset(self._attributes()) if self.vendor == "postgresql" else frozenset(),
            found=self._found(plain=plain),
            assigned=self._assigned(),
            given=self._given() if plain else (),
            returned=self._returned(),
            named=self._named(),
            places=sum(_is_place(node) for node in self.tree.find_all(exp.Placeholder)),
        )

    def _attributes(self) -> Iterator[str]:
        yield from (column.name.casefold() for column in self.tree.find_all(exp.Column) if column.table)
        yield from (dot.expression.name.casefold() for dot in self.tree.find_all(exp.Dot))

    def _is_plain(self) -> bool:
        """Whether one table is named, once, and rows are given or found by their own columns alone."""
        root = self.tree
        inner = [node for node in root.find_all(exp.Query, exp.From, exp.CTE) if node is not root]
        if isinstance(root, exp.Select):
            inner = [node for node in inner if node is not root.args.get("from_")]
        given = not isinstance(root, exp.Insert) or isinstance(root.expression, exp.Values)
        return given and not inner and len(list(_tables(root))) == 1

    def _found(self, *, plain: bool) -> dict[str, Condition]:
        """What each table's rows are asked to be like; nothing where a name may stand for another table as well."""
        tables = list(_tables(self.tree))
        names = [table.name.casefold() for table in tables]
        if any(table.db for table in tables) or not (plain or self._only_joins()):
            return {}
        return {
            name: _condition(self.tree, table.alias_or_name.casefold(), alone=plain)
            for name, table in zip(names, tables, strict=True)
            if names.count(name) == 1
        }

    def _only_joins(self) -> bool:
        root = self.tree
        inner = [node for node in root.find_all(exp.Query, exp.CTE, exp.Lock) if node is not root]
        return isinstance(root, exp.Select) and not inner

    def _assigned(self) -> Assignments | None:
        if not isinstance(self.tree, exp.Update):
            return ()
        found: list[tuple[str, Value]] = []
        for each in self.tree.expressions:
            if not isinstance(each, exp.EQ) or not isinstance(each.this, exp.Column):
                return None
            found.append((each.this.name.casefold(), _given_value(each.expression)))
        return tuple(found)

    def _given(self) -> tuple[Assignments, ...]:
        tree = self.tree
        odd = ("conflict", "alternative", "overwrite", "ignore", "default", "exists", "by_name", "partition")
        if not isinstance(tree, exp.Insert) or any(tree.args.get(part) for part in odd):
            return ()
        schema, values = tree.this, tree.expression
        if not isinstance(schema, exp.Schema) or not isinstance(values, exp.Values) or schema.this.args.get("db"):
            return ()
        columns = [column.name.casefold() for column in schema.expressions]
        rows = [row.expressions if isinstance(row, exp.Tuple) else [row] for row in values.expressions]
        if any(len(row) != len(columns) for row in rows):
            return ()
        return tuple(tuple(zip(columns, map(_given_value, row), strict=True)) for row in rows)

    def _named(self) -> frozenset[str]:
        schema = self.tree.this
        is_insert = isinstance(self.tree, exp.Insert) and isinstance(schema, exp.Schema)
        return frozenset(each.name.casefold() for each in schema.expressions) if is_insert else frozenset()

    def _returned(self) -> frozenset[str]:
        returning = self.tree.args.get("returning")
        if not isinstance(self.tree, exp.Insert) or not isinstance(returning, exp.Returning):
            return frozenset()
        return frozenset(each.name.casefold() for each in returning.expressions if isinstance(each, exp.Column))

    def _keyed(self) -> frozenset[str]:
        known = filter(None, map(wanted, conditions(self.tree)))
        one_value = ((column, values[0]) for column, values in known if len(values) == 1)
        return frozenset(
            column.name.casefold() for column, value in one_value if value.find(exp.Column, exp.Query) is None
        )

    def _consulted(self) -> set[str]:
        """Tables whose rows decide what is changed or locked without being that."""
        root = self.tree
        if isinstance(root, exp.Query):
            in_order = any(root.args.get(part) for part in ("limit", "order", "group", "distinct", "joins"))
            return self._names(root) if in_order or len(list(_tables(root))) > 1 else set()
        inner = [node for node in root.find_all(exp.Query, exp.From, exp.Join, exp.CTE) if node is not root]
        using = root.args.get("using") or []
        return set().union(*(self._names(node) for node in [*inner, *(using if isinstance(using, list) else [using])]))

    def _skipped(self) -> set[str]:
        locks = [lock for lock in self.tree.find_all(exp.Lock) if lock.args.get("wait") is not None]
        return set().union(*(self._names(lock.parent) for lock in locks))

    def _sorting(self) -> str:
        order, limit = self.tree.args.get("order"), self.tree.args.get("limit")
        is_one = isinstance(limit, exp.Limit) and limit.expression == exp.Literal.number(1)
        return "" if order is None or is_one or self._skipped() else order.sql().casefold()

    def _shows_locked(self) -> bool:
        """Whether it locks rows that it has found, and returns a row for each of them."""
        root = self.tree
        if not isinstance(root, exp.Select) or not root.args.get("locks") or self._skipped():
            return False
        inner = [node for node in root.find_all(exp.Query, exp.CTE, exp.Offset, exp.UDTF) if node is not root]
        return not inner and all(
            isinstance(each.unalias(), exp.Column | exp.Star | exp.Literal | exp.Placeholder)
            for each in root.expressions
        )

    def _refuse_what_runs_code(self, node: exp.Expr) -> None:
        match node:
            case exp.Into() | exp.NextValueFor() | exp.Command() | exp.Merge() | exp.DDL() if not isinstance(
                node, exp.Insert | exp.Query
            ):
                raise _NotUnderstoodError
            case exp.Anonymous() if self.vendor != "sqlite":  # SQLite's functions cannot change tables
                if node.name.casefold() not in PURE_FUNCTIONS:
                    raise _NotUnderstoodError
            case exp.Dot() if isinstance(node.expression, exp.Func):
                raise _NotUnderstoodError

    def _targets(self, node: exp.Update | exp.Delete) -> set[str]:
        """The tables that an UPDATE or DELETE changes; all it names where MySQL's forms allow several."""
        several = self.vendor == "mysql" and (node.args.get("tables") or len(self._names(node.this)) > 1)
        return self._names(node if several else node.this)

    def _names(self, node: exp.Expr | None) -> set[str]:
        return {self._name(table) for table in _tables(node)} if node is not None else set()

    def _name(self, table: exp.Table) -> str:
        if table.db and self.vendor != "postgresql":  # another database; in PostgreSQL it is a schema
            raise _NotUnderstoodError
        if table.catalog:
            raise _NotUnderstoodError
        return table.name.casefold()


def conditions(tree: exp.Expr) -> list[exp.Expr]:
    """What a WHERE asks for, all of it."""
    where = tree.args.get("where")
    if not isinstance(where, exp.Where):  # of an INSERT some versions have a flag there
        return []
    found, left = [], [where.this.unnest()]
    while left:
        each = left.pop()
        if isinstance(each, exp.And):
            left += [each.right.unnest(), each.left.unnest()]
        else:
            found.append(each)
    return found


def _condition(tree: exp.Expr, table: str, *, alone: bool) -> Condition:
    """What a WHERE asks of a table; `alone` says that columns without a table's name are of it."""
    asked = conditions(tree)
    found: dict[str, tuple[Value, ...]] = {}
    for each in asked:
        column, given = wanted(each) or (None, [])
        values = tuple(map(_given_value, given))
        if column is None or UNCLEAR in values or None in values:
            continue
        if column.table.casefold() in ((table, "") if alone else (table,)):
            found.setdefault(column.name.casefold(), values)
    return Condition(tuple(found.items()), alone=alone and len(found) == len(asked))


def wanted(condition: exp.Expr) -> tuple[exp.Column, list[exp.Expr]] | None:
    """The column that must be one of some values, if that is what a condition asks for."""
    column: Any = condition.this
    match condition:
        case exp.EQ():
            values = [condition.expression]
        case exp.In() if not any(condition.args.get(part) for part in ("query", "unnest", "field")):
            values = condition.expressions
        case _:
            return None
    return (column, values) if isinstance(column, exp.Column) and values else None


def _is_place(node: exp.Placeholder) -> bool:
    return str(node.this).startswith(PLACE)


def _given_value(node: exp.Expr) -> Value:
    """A value as it stands in the text; anything that is worked out, also by a cast, is `UNCLEAR`."""
    bare = node.unnest()
    value = value_of(bare) if isinstance(bare, exp.Placeholder | exp.Null | exp.Literal) else UNCLEAR
    return value if value is None or isinstance(value, Given | str | int) else UNCLEAR


def _tables(node: exp.Expr) -> Iterator[exp.Table]:
    for table in node.find_all(exp.Table):
        in_lock_clause = isinstance(table.parent, exp.Lock)  # FOR UPDATE OF names an alias
        if not in_lock_clause and not isinstance(table.this, exp.Func):
            yield table


def value_of(node: exp.Expr) -> object:
    """A value that a text gives or computes: a plain one, a `Given` or a `Computed`."""
    match node:
        case exp.Paren() | exp.Cast():
            return value_of(node.this)
        case exp.Placeholder() if _is_place(node):
            return Given(int(str(node.this).removeprefix(PLACE)))
        case exp.Null():
            return None
        case exp.Literal() | exp.Boolean() | exp.Neg():
            return node.to_py()
    bare = node.copy()
    for column in bare.find_all(exp.Column):
        column.set("table", None)
        column.this.set("quoted", False)
    return Computed(bare.sql())
