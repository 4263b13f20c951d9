"""What one database round trip touches: tables, rows of them, cache keys, or everything.

A footprint is a promise about what a step *cannot* touch, so every doubt widens it: a text
that is not understood, a name that the catalogue does not know and a table with triggers all
touch everything.  Rows are told apart by their keys, see `rows.py`.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import lru_cache

from ...base.points import UNFOLLOWED
from ...base.trace import CACHE_READS, Operation, Step
from ...databases.schema import NOTHING, Catalogue, Changes, Key, reached
from ...sql.statements import (
    PURE_FUNCTIONS,
    SESSIONAL_FUNCTIONS,
    Control,
    Statement,
    control_of,
    read_statement,
    statement_of,
)
from .rows import Number, Row, made_keys, numbered, primary_keys, rows_of, says_numbers

_SCHEMA_VERBS = frozenset({"CREATE", "ALTER", "DROP", "RENAME"})


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a step may touch, whatever the state it runs in; names are qualified by their database.

    Attributes:
        unseen: What exploring cannot see of the step, a sentence each; with any, "no race" is not exhaustive.
        moment: Nothing can come between what a statement sees, what it changes, and when others see that.
        watched: Tables of which it matters for it how long a row stays locked.
        commits: It may commit more than once.
        apart: Tables whose rows it locks one after the other, in an order of its own.
        twice: It locks rows of them to read them, and then to change them.
        sorting: The order in which it locks rows, if it says one.
        shows_locked: Where it has found no row it has locked none.
    """

    control: Control = Control.NONE
    everything: bool = False
    reads: frozenset[str] = NOTHING
    writes: frozenset[str] = NOTHING
    locks: frozenset[str] = NOTHING
    shares: frozenset[str] = NOTHING  # locks that several may hold
    unseen: frozenset[str] = NOTHING
    immediate: frozenset[str] = NOTHING  # of the writes, those that a transaction neither hides nor takes back
    moment: bool = True
    watched: frozenset[str] = NOTHING
    commits: bool = False
    apart: frozenset[str] = NOTHING
    twice: bool = False
    sorting: str = ""
    shows_locked: bool = False


EVERYTHING = Footprint(everything=True)

# Verbs that PostgreSQL takes in a transaction without leaving it anything to commit, or does not take there.
_OF_SESSIONS = """
ABORT BEGIN CHECKPOINT CLOSE COMMIT DEALLOCATE DECLARE DISCARD END FETCH LISTEN LOAD LOCK MOVE NOTIFY PREPARE RELEASE
RESET ROLLBACK SAVEPOINT SET SHOW START UNLISTEN
"""
_SESSION_VERBS = frozenset(_OF_SESSIONS.split())
# Verbs with which MariaDB and MySQL do not commit by themselves.
_ROW_VERBS = frozenset({"DELETE", "INSERT", "LOAD", "REPLACE", "SELECT", "TABLE", "UPDATE", "VALUES", "WITH"})
_CACHE_WRITES = frozenset({"add", "set", "set_many", "get_or_set", "touch", "incr", "decr", "delete", "delete_many"})


def footprint(operation: Operation, catalogue: Catalogue) -> Footprint:
    """Tell what `operation` may touch."""
    if (control := control_of(operation)) is not Control.NONE:
        return Footprint(control=control)
    if operation.kind == "cache":
        return _of_cache(operation)
    if operation.kind == "enqueue":
        return Footprint()  # what it sets going is moved by it, as one that waited is
    if operation.kind not in ("sql", "fetch", "many"):
        return EVERYTHING
    with_parameters = operation.parameters is not None
    found = _of_statement(operation.vendor, operation.database, operation.text, with_parameters, catalogue)
    return _of_many(found, operation, catalogue) if operation.kind == "many" else found


def rows(
    operation: Operation, catalogue: Catalogue, new: AbstractSet[Number] = frozenset()
) -> Mapping[str, frozenset[Row]]:
    """All rows that `operation` can touch, by qualified table, where that is known; it holds if each of them exists."""
    if not catalogue.keys or operation.kind not in ("sql", "fetch"):
        return {}
    statement = statement_of(operation)
    touched = footprint(operation, catalogue)
    if not statement.understood or touched.everything or touched.control is not Control.NONE or touched.immediate:
        return {}
    return rows_of(operation, statement, catalogue, new)


def changes(step: Step, catalogue: Catalogue, primaries: Mapping[str, Key]) -> Mapping[str, Changes | None]:
    """The tables that a step may have written to, qualified, and all that it may have changed; None if that is unknown.

    Args:
        primaries: The primary keys of the tables of its database.
    """
    operation = step.operation
    writes = footprint(operation, catalogue).writes
    if not writes or operation.kind not in ("sql", "fetch"):
        return dict.fromkeys(writes)
    statement = statement_of(operation)
    told = rows(operation, catalogue)
    assigned = None
    if statement.verb == "UPDATE" and statement.assigned is not None:
        assigned = frozenset(column for column, _ in statement.assigned)
    found: dict[str, Changes | None] = {}
    for name in writes:
        columns = primaries[name.removeprefix(f"{operation.database}.")].columns
        keys = primary_keys(told.get(name, ()), columns) or made_keys(step, statement, columns, catalogue)
        found[name] = Changes(keys, assigned) if keys and len(writes) == 1 else None
    return found


def blurred_by(step: Step, catalogue: Catalogue) -> AbstractSet[str]:
    """The tables in which a step may have made rows whose numbers it does not tell."""
    operation, all_numbered = step.operation, {name for name, keys in catalogue.keys.items() if keys.automatic}
    if step.error is not None or operation.kind not in ("sql", "many", "callproc") or not all_numbered:
        return NOTHING
    statement = statement_of(operation)
    touched = footprint(operation, catalogue)
    if touched.everything:
        is_settled = statement.verb in _SETTLED or (statement.verb == "SELECT" and touched.moment)
        return NOTHING if is_settled else all_numbered
    found = numbered(operation, catalogue)
    if found is None:
        return NOTHING
    name, column = found
    is_open = operation.kind == "sql" and step.rowcount is None  # the run was given up before it ended
    is_told = operation.kind == "sql" and column in step.columns and step.rowcount == len(step.rows)
    return NOTHING if is_open or is_told or says_numbers(operation, catalogue) else frozenset({name})


# Texts with these words make no rows, though what they do is not understood.
_SETTLED = frozenset({"SET", "SHOW", "LOCK", "BEGIN", "START", "SAVEPOINT", "RELEASE", "COMMIT", "ROLLBACK"})


def overlap(operations: Iterable[tuple[int, Operation]], catalogue: Catalogue) -> bool:
    """Tell whether any call changed, even if only to take it back, what another touched.

    Args:
        operations: What was done, and by which call.
    """
    used: dict[int, set[str]] = {}
    changed: dict[int, set[str]] = {}
    for call, operation in operations:
        touched = footprint(operation, catalogue)
        everything = {""} if touched.everything else NOTHING
        used.setdefault(call, set()).update(touched.reads, touched.writes, touched.locks, touched.shares, everything)
        changed.setdefault(call, set()).update(touched.writes, touched.locks, everything)
    return any(
        "" in mine or mine & theirs
        for one, mine in changed.items()
        for other, theirs in used.items()
        if one != other and mine and theirs
    )


def filled(operation: Operation, catalogue: Catalogue, queues: Collection[str]) -> Iterator[str]:
    """The queues in tables into which a step puts work.

    Args:
        queues: Patterns of the names of such tables.
    """
    if operation.kind not in ("sql", "many") or operation.text.lstrip()[:6].upper() in ("UPDATE", "DELETE"):
        return  # as who takes work out of it does
    for table in footprint(operation, catalogue).writes:
        name = table.rpartition(".")[2]
        if any(fnmatchcase(name, pattern.lower()) for pattern in queues):
            yield f"{UNFOLLOWED}what is put into {name}, from which workers of a queue take it"


# Fewer than the texts that sqlglot's results are kept for: this part is quick.
@lru_cache(maxsize=1024)
def _of_statement(vendor: str, database: str, sql: str, with_parameters: bool, catalogue: Catalogue) -> Footprint:
    statement = read_statement(vendor, sql, with_parameters)
    unseen = frozenset(catalogue.unseen[name] for name in catalogue.unseen.keys() & _named(statement))
    unseen |= _run_inside(statement, catalogue) | _kept(statement, vendor)
    whole = _is_whole(statement, vendor)
    commits = vendor != "postgresql" and (statement.several or statement.verb == "CALL")
    anything = Footprint(everything=True, unseen=unseen, moment=whole, commits=commits)
    if not statement.understood or (statement.called | statement.attributes | statement.operators) & catalogue.routines:
        return anything
    try:
        touched = _widen(statement, catalogue)
    except _UnknownError:
        return anything
    moment = _is_moment(statement, catalogue)
    consulted = NOTHING if moment else _resolve(statement.consulted, statement, catalogue) & touched.locks
    watched = statement.skipped | consulted
    apart, twice = _apart(statement, vendor, catalogue)
    is_shown = vendor == "postgresql" and statement.shows_locked and _are_plain_tables(statement, catalogue)
    found = replace(
        touched,
        unseen=unseen,
        moment=moment,
        watched=watched,
        apart=apart,
        twice=twice,
        sorting="" if moment or vendor == "sqlite" else statement.sorting,
        shows_locked=is_shown,
    )
    return _qualify(found, database)


def _of_many(found: Footprint, operation: Operation, catalogue: Catalogue) -> Footprint:
    """The same for one set of parameters after the other; what each of them reads it reads anew."""
    statement = statement_of(operation)
    if found.everything or operation.vendor == "sqlite" or 0 < statement.places == len(operation.parameters or ()):
        return found
    if statement.consulted:
        return replace(found, apart=found.reads, twice=True)
    changed = statement.changes | statement.removals
    if statement.verb == "INSERT":
        changed = frozenset(name for name in changed if _may_meet(statement, name, catalogue))
    return replace(found, apart=frozenset(f"{operation.database}.{name}" for name in changed))


def _named(statement: Statement) -> frozenset[str]:
    used = statement.called | statement.operators | statement.words
    return statement.reads | statement.changes | statement.removals | used


def _is_moment(statement: Statement, catalogue: Catalogue) -> bool:
    """Whether nothing can come between what it sees, what it changes, and when others see that.

    One row that is found by its key is locked and seen in its latest state at once; so is nothing that is only
    inserted from given values.
    """
    targets = statement.changes | statement.removals
    if not (targets | statement.locks | statement.shares) or (targets and targets <= catalogue.immediate):
        return True
    if not statement.plain or (statement.verb == "DELETE" and targets & catalogue.cascades.keys()):
        return False
    if statement.verb == "INSERT":
        return True
    return all(any(key <= statement.keyed for key in catalogue.uniques.get(name, ())) for name in statement.reads)


def _are_plain_tables(statement: Statement, catalogue: Catalogue) -> bool:
    """Whether it names nothing but tables that have no policies."""
    return statement.reads <= catalogue.tables and not statement.reads & catalogue.consulted.keys()


def _apart(statement: Statement, vendor: str, catalogue: Catalogue) -> tuple[frozenset[str], bool]:
    """The tables whose rows a statement locks one after the other, and whether it does so to read them first.

    InnoDB locks what an inner SELECT of a changing statement reads; and rows that are given in a list have their
    keys locked in the order of the list.
    """
    changed = statement.changes | statement.removals
    if vendor == "mysql" and changed and statement.consulted:
        return statement.consulted & catalogue.tables, True
    if vendor != "sqlite" and statement.listed:
        return frozenset(name for name in statement.changes if _may_meet(statement, name, catalogue)), False
    return NOTHING, False


def _may_meet(statement: Statement, name: str, catalogue: Catalogue) -> bool:
    """Whether rows that are inserted may have a key of other rows: the database gives them none of its own."""
    keys = catalogue.uniques.get(name, frozenset())
    return any(key & statement.named for key in keys) if statement.named else bool(keys)


def _is_whole(statement: Statement, vendor: str) -> bool:
    """Whether a statement that is not understood has nothing to commit, or commits by itself."""
    if vendor == "postgresql" and statement.verb in _SESSION_VERBS:
        return True
    if vendor != "postgresql" and (statement.several or statement.verb not in _ROW_VERBS):
        return True
    harmless = PURE_FUNCTIONS | SESSIONAL_FUNCTIONS
    return statement.verb == "SELECT" and "from" not in statement.words and statement.called <= harmless


def _run_inside(statement: Statement, catalogue: Catalogue) -> frozenset[str]:
    """Say what runs statements inside of this one, if others could come between what it sees and what they see."""
    changed = statement.changes | reached(statement.removals, catalogue.cascades)
    used = {name: catalogue.moments[name] for name in catalogue.moments.keys() & _named(statement)}
    fired = {
        name: catalogue.fires[name]
        for name in catalogue.fires.keys() & (changed if statement.understood else statement.called)
    }
    sees = not statement.understood or bool(statement.removals or statement.reads - statement.changes)
    if sees + sum(used.values()) + sum(fired.values()) <= 1:
        return NOTHING
    return frozenset(
        [f"{name}() runs statements of its own, which are one step here" for name in used.keys() & catalogue.routines]
        + [f"{name} calls what runs statements of its own, one step here" for name in used.keys() - catalogue.routines]
        + [f"changes in {name} run statements of the database's own, which are one step here" for name in fired]
    )


def _kept(statement: Statement, vendor: str) -> frozenset[str]:
    """Say what stays when the rows are put back; a file of SQLite is put back whole."""
    is_lasting = statement.verb in _SCHEMA_VERBS and not statement.words & {"temp", "temporary"}
    if vendor == "sqlite" or not is_lasting:
        return NOTHING
    return frozenset({f"what {statement.verb} does to the schema is not put back, and the next run finds it"})


class _UnknownError(Exception):
    """A name that may stand for more than itself."""


def _widen(statement: Statement, catalogue: Catalogue) -> Footprint:
    """Follow views, foreign keys and cascades from the names in the text to tables."""
    reads = _resolve(statement.reads, statement, catalogue)
    shares = _resolve(statement.shares, statement, catalogue)
    removals = reached(statement.removals, catalogue.cascades)
    changes = statement.changes | (removals - statement.removals)
    writes = changes | removals
    if not writes <= catalogue.tables or writes & catalogue.opaque:
        raise _UnknownError
    # Rows that a foreign key makes the database look at, and keep as they are, at once or at COMMIT.
    checked = _related(changes, catalogue.parents) | _related(removals, catalogue.children)
    locks = _resolve(statement.locks, statement, catalogue) | _related(statement.reads, catalogue.locking)
    return Footprint(
        reads=frozenset(reads | writes | checked | _related(reads | writes, catalogue.consulted)),
        writes=writes,
        locks=frozenset(locks | writes),
        shares=frozenset(shares | checked),
        immediate=writes & catalogue.immediate,
    )


def _resolve(names: Iterable[str], statement: Statement, catalogue: Catalogue) -> set[str]:
    """Put tables for views and nothing for the statement's own WITH names."""
    found: set[str] = set()
    for name in names:
        if name in catalogue.tables:
            found.add(name)
        elif name in catalogue.views:
            found |= catalogue.views[name]
        elif name not in statement.ctes:
            raise _UnknownError
    return found


def _related(names: Iterable[str], relation: Mapping[str, frozenset[str]]) -> set[str]:
    return {other for name in names for other in relation.get(name, NOTHING)}


def _qualify(found: Footprint, database: str) -> Footprint:
    def qualified(names: frozenset[str]) -> frozenset[str]:
        return frozenset(f"{database}.{name}" for name in names)

    return replace(
        found,
        reads=qualified(found.reads),
        writes=qualified(found.writes),
        locks=qualified(found.locks),
        shares=qualified(found.shares),
        immediate=qualified(found.immediate),
        watched=qualified(found.watched),
        apart=qualified(found.apart),
    )


def _of_cache(operation: Operation) -> Footprint:
    """A cache has no transactions, and a method of it touches the keys it is given."""
    keys = frozenset(f"{operation.database}: {key!r}" for key in operation.parameters or ())
    if operation.text in CACHE_READS:
        return Footprint(reads=keys)
    if operation.text in _CACHE_WRITES:
        return Footprint(reads=keys, writes=keys, locks=keys)
    return EVERYTHING
