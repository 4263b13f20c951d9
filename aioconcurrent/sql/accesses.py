"""Which rows and columns the steps of a run read and wrote, and when that took effect.

Footprints say what a step cannot touch.  This is the opposite: what it most likely did, for
explanations.  What is not understood is left out.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from sqlglot import exp

from ..base.trace import CACHE_READS, Operation, Step
from .statements import PLACE, Computed, Control, Given, conditions, control_of, tree_of, value_of, wanted

Verb = Literal["select", "insert", "update", "delete", "get", "set"]
Row = Mapping[str, object]

NEVER = math.inf
_WITHOUT_SNAPSHOT = {Control.BEGIN, Control.BEGIN_LOCKED, Control.SAVEPOINT, Control.RELEASE, Control.SETTING}
_LOCKING = re.compile(r"\bFOR (?:NO KEY )?UPDATE\b", re.IGNORECASE)
_CURRENT = re.compile(r"\bFOR\s+(?:UPDATE|SHARE)\b|\bLOCK\s+IN\s+SHARE\s+MODE\b", re.IGNORECASE)
_UNSEEING = re.compile(r"\s*(?:LOCK|SHOW|NOTIFY|LISTEN|UNLISTEN)\b", re.IGNORECASE)  # as measured on PostgreSQL
_ASKING = re.compile(r"SELECT (?:1|%s) AS .?a.? ", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Access:
    """One table, or one key of a cache, that one step read or wrote.

    Attributes:
        step: The index of the step.
        table: The table, in lower case, or the key of the cache.
        where: The values that columns are asked to have; other conditions are not in it.
        written: The values written, a mapping for each row of an INSERT; a `Computed` for an expression.
        rows: What was read; of an INSERT what it returned.
        seen: When the state that it read was chosen, in steps; under snapshots that is the transaction's first read.
        done: When the statement ended; later than `step` if it had to wait.
        visible: When others could see what it wrote; `NEVER` if it was rolled back.
        text: The statement.
        in_vain: Whether it would have changed rows, and there were none.
        vendor: Of the database.
        isolation: The level of its transaction, where it is known.
    """

    step: int
    call: int
    verb: Verb
    table: str
    where: Mapping[str, frozenset[object]] = field(default_factory=dict)
    written: tuple[Row, ...] = ()
    rows: tuple[Row, ...] = ()
    seen: float = 0
    done: float = 0
    visible: float = 0
    text: str = ""
    failed: bool = False
    in_vain: bool = False
    vendor: str = ""
    isolation: str = ""

    @property
    def writes(self) -> bool:
        """Whether it changed anything."""
        return self.verb not in ("select", "get") and not self.failed

    @property
    def inserted(self) -> tuple[Row, ...]:
        """The rows of an INSERT, with what the database has added to them as far as it was returned."""
        given = self.rows if len(self.rows) == len(self.written) else ({},) * len(self.written)
        return tuple({**written, **returned} for written, returned in zip(self.written, given, strict=True))

    @property
    def locks(self) -> bool:
        """Whether it is a read that takes the rows for itself."""
        return self.verb == "select" and _LOCKING.search(self.text) is not None

    def touches(self, row: Row) -> bool:
        """Tell whether `row` can be one that this access selects by its conditions."""
        return all(row[column] in allowed for column, allowed in self.where.items() if column in row)

    def meets(self, other: "Access") -> bool:
        """Tell whether both can concern the same row."""
        if self.table != other.table:
            return False
        shared = self.where.keys() & other.where.keys()
        return all(self.where[column] & other.where[column] for column in shared)


def asks_whether(text: str) -> bool:
    """Tell whether a query asks only whether there is a row, as Django's exists() does."""
    return _ASKING.match(text) is not None


def accesses(steps: Sequence[Step]) -> list[Access]:
    """List what the steps read and wrote, or failed to, in the order of the steps."""
    return [access for index in range(len(steps)) for access in _of_step(steps, index)]


def _of_step(steps: Sequence[Step], index: int) -> Iterator[Access]:
    step = steps[index]
    rows = tuple(dict(zip(step.columns, row, strict=False)) for row in step.rows)
    done = index if step.resumed_after is None else step.resumed_after + 0.5
    failed = step.error is not None
    if step.operation.kind == "cache":
        in_vain = step.rowcount == 0  # an add() that found the key, a delete() that did not
        verb: Verb = "get" if step.operation.text in CACHE_READS or in_vain else "set"
        for key in step.operation.parameters or ():
            written = rows if verb == "set" else ()
            found = () if in_vain else rows
            yield Access(index, step.call, verb, str(key), {}, written, found, done, done, done, "", failed)
    elif step.operation.kind in ("sql", "fetch"):
        times = (_seen(steps, index, done), done, NEVER if failed else _visible(steps, index, done))
        for part in parts(step.operation.vendor, step.operation.text, step.operation.parameters is not None):
            written = tuple({name: _filled(value, step.operation) for name, value in row} for row in part.written)
            where = {name: frozenset(_filled(value, step.operation) for value in values) for name, values in part.where}
            in_vain = step.rowcount == 0 and part.verb in ("update", "delete")
            verb = "select" if in_vain else part.verb
            found = rows if part.main else ()
            text = step.operation.text
            yield Access(
                index,
                step.call,
                verb,
                part.table,
                where,
                written,
                found,
                *times,
                text,
                failed,
                in_vain,
                step.operation.vendor,
                step.operation.isolation or "",
            )


def _seen(steps: Sequence[Step], index: int, done: float) -> float:
    """When the snapshot was taken from which a step reads."""
    operation = steps[index].operation
    keeps = operation.vendor == "sqlite" or operation.isolation in ("repeatable read", "serializable")
    if not (keeps and operation.in_transaction) or _passes_by(operation):
        return done
    first = done
    for earlier in range(index - 1, -1, -1):
        step = steps[earlier]
        if step.call == steps[index].call:
            if step.operation.kind != "sql" or not step.operation.in_transaction:
                break
            if control_of(step.operation) not in _WITHOUT_SNAPSHOT and not _passes_by(step.operation):
                first = earlier
    return first


def _passes_by(operation: Operation) -> bool:
    """Whether a statement neither takes nor sees a snapshot: InnoDB shows one to plain reads alone."""
    if operation.vendor != "mysql":
        return operation.vendor == "postgresql" and _UNSEEING.match(operation.text) is not None
    touched = parts(operation.vendor, operation.text, operation.parameters is not None)
    is_read = bool(touched) and all(part.verb == "select" for part in touched)
    return not is_read or _CURRENT.search(operation.text) is not None


def _visible(steps: Sequence[Step], index: int, done: float) -> float:
    """When the transaction of a step ended, if it had one; never if that, or a savepoint in it, was rolled back."""
    mine = steps[index]
    if not mine.operation.in_transaction:
        return done
    inner: set[str] = set()  # savepoints that were made after it
    for later in range(index + 1, len(steps)):
        step = steps[later]
        same = (step.call, step.operation.database, step.operation.connection)
        if same != (mine.call, mine.operation.database, mine.operation.connection):
            continue
        name = step.operation.text.upper().rstrip("; ").rpartition(" ")[2]
        match control_of(step.operation):
            case Control.SAVEPOINT:
                inner.add(name)
            case Control.COMMIT:
                return later if step.error is None else NEVER
            case Control.ROLLBACK:
                return NEVER
            case Control.ROLLBACK_TO if name not in inner:
                return NEVER
    return NEVER


def _filled(value: object, operation: Operation) -> object:
    parameters = operation.parameters or ()
    if isinstance(value, Given):
        return parameters[value.number] if value.number < len(parameters) else Computed("?")
    if isinstance(value, Computed):
        return Computed(re.sub(rf":{PLACE}(\d+)", lambda match: _shown(parameters, int(match[1])), value.text))
    return value


def _shown(parameters: Sequence[object], number: int) -> str:
    return repr(parameters[number]) if number < len(parameters) else "?"


_Where = tuple[tuple[str, tuple[object, ...]], ...]  # columns, and the values of which each must have one


@dataclass(frozen=True, slots=True)
class Part:
    """What one text does to one table.

    Attributes:
        main: Whether the rows of the result are its rows.
        where: The values that columns are asked to have.
        written: A mapping for each row.
    """

    verb: Literal["select", "insert", "update", "delete"]
    table: str
    main: bool
    where: _Where = ()
    written: tuple[tuple[tuple[str, object], ...], ...] = ()


@lru_cache(maxsize=1024)
def parts(vendor: str, sql: str, with_parameters: bool) -> tuple[Part, ...]:
    """Tell what one text most likely does, table by table."""
    tree = tree_of(vendor, sql, with_parameters)
    return tuple(_read(tree)) if tree is not None else ()


def _read(tree: exp.Expr) -> Iterator[Part]:
    target = tree.find(exp.Table)
    if target is None:
        return
    table = target.name.lower()
    match tree:
        case exp.Update():
            where, written = _asked(tree, target), tuple(_assignments(tree))
            yield from _by_row(table, where, tree) or [Part("update", table, False, where, (written,))]
        case exp.Delete():
            yield Part("delete", table, False, _asked(tree, target))
        case exp.Insert():
            yield Part("insert", table, True, (), tuple(_inserted(tree)))
        case exp.Query():
            yield from (Part("select", each.name.lower(), True, _asked(tree, each)) for each in _named_tables(tree))
            return
    for query in tree.find_all(exp.Select):
        yield from (Part("select", each.name.lower(), False, _asked(query, each)) for each in _named_tables(query))


def _named_tables(tree: exp.Expr) -> Iterator[exp.Table]:
    return (table for table in tree.find_all(exp.Table) if table.name and not isinstance(table.parent, exp.Lock))


def _asked(tree: exp.Expr, table: exp.Table) -> _Where:
    """The columns of `table` that must have one of some known values."""
    found: dict[str, tuple[object, ...]] = {}
    for part in reversed(conditions(tree)):
        if known := wanted(part):
            _note(found, known[0], table, tuple(map(value_of, known[1])))
        match part:
            case exp.Is() if isinstance(part.this, exp.Column) and isinstance(part.expression, exp.Null):
                _note(found, part.this, table, (None,))
            case exp.Column():  # a boolean by itself, as Django writes it for PostgreSQL and SQLite
                _note(found, part, table, (True,))
            case exp.Not() if isinstance(part.this, exp.Column):
                _note(found, part.this, table, (False,))
    return tuple(found.items())


def _note(
    found: dict[str, tuple[object, ...]], column: exp.Column, table: exp.Table, values: tuple[object, ...]
) -> None:
    if column.table in ("", table.alias_or_name) and not any(isinstance(value, Computed) for value in values):
        found[column.name] = values


def _assignments(tree: exp.Update) -> Iterator[tuple[str, object]]:
    for each in tree.expressions:
        if isinstance(each, exp.EQ) and isinstance(each.this, exp.Column):
            yield each.this.name, value_of(each.expression)


def _by_row(table: str, where: _Where, tree: exp.Update) -> list[Part]:
    """An UPDATE that sets each row to a value of its own, as bulk_update() does, as one for each of them."""
    rows: dict[tuple[str, object], dict[str, object]] = {}
    for each in tree.expressions:
        value = each.expression if isinstance(each, exp.EQ) else None
        while isinstance(value, exp.Paren | exp.Cast):
            value = value.this
        if not isinstance(value, exp.Case) or value.this is not None:
            return []
        for when in value.args["ifs"]:
            condition = when.this.unnest()
            if not isinstance(condition, exp.EQ) or not isinstance(condition.this, exp.Column):
                return []
            key = condition.this.name, value_of(condition.expression)
            rows.setdefault(key, {})[each.this.name] = value_of(when.args["true"])
    others = dict(where)
    return [
        Part("update", table, False, tuple({**others, column: (key,)}.items()), (tuple(written.items()),))
        for (column, key), written in rows.items()
    ]


def _inserted(tree: exp.Insert) -> Iterator[tuple[tuple[str, object], ...]]:
    schema, values = tree.this, tree.expression
    if isinstance(schema, exp.Schema) and isinstance(values, exp.Values):
        columns = [column.name for column in schema.expressions]
        for row in values.expressions:
            yield tuple(zip(columns, (value_of(each) for each in row.expressions), strict=False))
