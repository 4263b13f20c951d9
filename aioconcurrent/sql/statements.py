"""What one SQL text mentions, read by sqlglot and kept per text.

Parameters are gone by then: they can decide which rows a statement touches, never
which tables.  A text that is not understood to the end is `Statement.UNKNOWN`,
which the caller must take to touch everything.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache
from typing import Any

from sqlglot import exp, parse
from sqlglot.errors import SqlglotError

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
    consulted: frozenset[str] = frozenset()  # read in the state of its start, to decide what it changes or locks
    skipped: frozenset[str] = frozenset()  # locked only as far as nobody else has
    listed: bool = False  # it inserts several rows that are given to it
    several: bool = False  # more than one statement in the text
    verb: str = ""  # the first word, in capitals
    called: frozenset[str] = frozenset()  # every word that stands before a parenthesis
    words: frozenset[str] = frozenset()  # every word at all, if the text is not understood


UNKNOWN = Statement(understood=False)

_COMMENT = re.compile(r"\s+|--[^\n]*(?:\n|$)|/\*(?!M?!).*?\*/", re.DOTALL)
_PLACEHOLDER = re.compile(r"%(?:\(\w+\))?[sbt]|%%")
_ROWS = re.compile(r"\((?:NULL, )*NULL\)(?:, \((?:NULL, )*NULL\))+")
_LISTED = re.compile(rf"{_ROWS.pattern}|\bUNNEST\(", re.IGNORECASE)
_MEMBERS = re.compile(r"\bIN \(NULL(?:, NULL)+\)")
_WORD = re.compile(r"\w+")
_CALLED = re.compile(r"(\w+)[\"`]?\s*\(")
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
_PARSED = ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH", "VALUES", "TABLE", "(")
# Django folds atomic blocks and big IN lists into a few hundred texts; a loop that formats SQL must not fill memory.
_REMEMBERED_TEXTS = 4096


def is_parsed(text: str) -> bool:
    """Whether sqlglot is asked about a text; it makes little of others, as `SET search_path`, and says so on stderr."""
    return _without_comments(text).lstrip().upper().startswith(_PARSED)


@lru_cache(maxsize=_REMEMBERED_TEXTS)
def read_statement(vendor: str, sql: str, with_parameters: bool) -> Statement:
    """Read one text; `with_parameters` tells whether `%s` and `%%` in it mean what drivers take them for."""
    statement = _read(vendor, sql, with_parameters)
    bare = _without_comments(sql)
    verb = _WORD.match(bare.lstrip("( \n\t"))
    statement = replace(statement, verb=verb[0].upper() if verb else "")
    if statement.understood:
        return statement
    return replace(
        statement,
        called=frozenset(name.casefold() for name in _CALLED.findall(bare)),
        words=frozenset(word.casefold() for word in _WORD.findall(bare)),
        several=";" in bare.rstrip("; \n\t"),
    )


def _read(vendor: str, sql: str, with_parameters: bool) -> Statement:
    dialect = DIALECTS.get(vendor)
    if dialect is None or "/*!" in sql or "/*M!" in sql:  # MySQL runs what is in such a comment
        return UNKNOWN
    bare = _without_comments(sql).rstrip("; \n\t")
    head = " ".join(bare.split()).upper()
    for pattern, control in _CONTROLS:
        if pattern.fullmatch(head):
            return Statement(control=control)
    if not is_parsed(bare):
        return UNKNOWN
    text = _with_nulls(bare) if with_parameters else bare
    try:
        trees = parse(_shortened(text) if with_parameters else text, dialect=dialect)
    except (SqlglotError, RecursionError):
        return UNKNOWN
    if len(trees) != 1 or trees[0] is None:
        return UNKNOWN
    statement = _Reader(vendor, trees[0]).statement(frozenset(name.casefold() for name in _CALLED.findall(bare)))
    return replace(statement, listed=head.startswith("INSERT") and _LISTED.search(text) is not None)


def _without_comments(sql: str) -> str:
    """Cut the comments before the first word; later ones are sqlglot's."""
    start = 0
    while match := _COMMENT.match(sql, start):
        start = match.end()
    return sql[start:]


def _with_nulls(sql: str) -> str:
    """Put NULL for every parameter."""
    return _PLACEHOLDER.sub(lambda match: "%" if match[0] == "%%" else "NULL", sql)


def _shortened(sql: str) -> str:
    """Put one row for many, and two members of a list for more."""
    return _MEMBERS.sub("IN (NULL, NULL)", _ROWS.sub("(NULL)", sql))


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
            called=called,
        )

    def _is_plain(self) -> bool:
        """Whether one table is named, once, and rows are given or found by their own columns alone."""
        root = self.tree
        inner = [node for node in root.find_all(exp.Query, exp.From, exp.CTE) if node is not root]
        if isinstance(root, exp.Select):
            inner = [node for node in inner if node is not root.args.get("from_")]
        given = not isinstance(root, exp.Insert) or isinstance(root.expression, exp.Values)
        return given and not inner and len(list(_tables(root))) == 1

    def _keyed(self) -> frozenset[str]:
        where = self.tree.args.get("where")
        if not isinstance(where, exp.Where):  # of an INSERT some versions have a flag there
            return frozenset()
        condition = where.this.unnest()
        conditions = condition.flatten() if isinstance(condition, exp.And) else [condition]
        return frozenset(filter(None, (_equal_to_a_value(each.unnest()) for each in conditions)))

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


def _equal_to_a_value(condition: exp.Expr) -> str | None:
    """The column that a condition wants equal to one value."""
    column: Any = condition.this
    match condition:
        case exp.EQ():
            values = [condition.expression]
        case exp.In() if not condition.args.get("query"):
            values = condition.expressions
        case _:
            return None
    given = len(values) == 1 and values[0].find(exp.Column, exp.Query) is None
    return column.name.casefold() if given and isinstance(column, exp.Column) else None


def _tables(node: exp.Expr) -> Iterator[exp.Table]:
    for table in node.find_all(exp.Table):
        in_lock_clause = isinstance(table.parent, exp.Lock)  # FOR UPDATE OF names an alias
        if not in_lock_clause and not isinstance(table.this, exp.Func):
            yield table
