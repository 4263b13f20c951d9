"""The databases that stepped calls may change: their starting rows, and who waits for whom.

Each is opened when a call is about to use it for the first time, put back after each
run, and closed at the end.  Everything here blocks; it is called in a thread without
an event loop.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial, reduce
from typing import TYPE_CHECKING, Any, TypeVar

from ...databases.copies import is_shared
from ...databases.handoff import database_identity
from ...databases.identity import database_names
from ...databases.in_memory import is_lent
from ...databases.leftovers import Note, noted
from ...databases.probes import open_probe
from ...databases.schema import Catalogue, Changes, Key
from ...databases.state import StateError
from ...databases.state.standby import Standby, lasting
from ...databases.watching.caches import CacheState
from ..judging.facts import Numbers, apart
from ..orders.footprint import blurred_by, changes, footprint
from .moments import Moments
from .row_order import RowOrder, are_numbers

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from typing import Self

    from ...base.trace import Operation, Step
    from ...databases.copies import Copy
    from ...databases.handoff import Handoff
    from ...databases.probes import Probe
    from ...databases.state import Advance, Row

V = TypeVar("V")

_NO_ROUND_TRIP = frozenset({"start", "step", "cache", "enqueue"})
_ANY = "any table"  # for people, where a statement does not tell


@dataclass(frozen=True, slots=True)
class Known:
    """What runs have shown of how statements are stepped, and of what they change."""

    moments: tuple[frozenset[str], frozenset[str], frozenset[str]]
    blurred: frozenset[str]
    widened: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Database:
    """One database, whatever aliases it has; `prefix` tells its tables from those of the others."""

    identity: str
    prefix: str
    state: Standby
    note: Note

    @property
    def tables(self) -> set[str]:
        return {self.prefix + table for table in self.state.keys}

    def outside(self, tables: Mapping[str, V]) -> dict[str, V]:
        """What there is by table, under the names that tables have among all databases."""
        return {self.prefix + table: value for table, value in tables.items()}

    def inside(self, table: str) -> str:
        """What the database itself calls one of its tables."""
        return table.removeprefix(self.prefix)

    def own(self, tables: Collection[str]) -> frozenset[str]:
        """Those of these tables that are its own, as it calls them itself."""
        return frozenset(map(self.inside, self.tables.intersection(tables)))

    @property
    def keys(self) -> dict[str, Key]:
        """Primary and foreign keys, by table, pointing at tables of this database."""
        return {
            table: replace(key, references={name: (self.prefix + to, at) for name, (to, at) in key.references.items()})
            for table, key in self.outside(self.state.keys).items()
        }


class ExploredDatabases:
    """The databases of an exploration.

    Tables have their bare names in the first of them, and their alias before it in the others.

    Attributes:
        catalogue: What may happen to a table that a statement does not name.
        keys: Primary and foreign keys, by table.
        start: The rows at the start of every table that some run may have changed.
        moments: Which statements are stepped as transactions.
        caches: What calls have changed in Django's caches.
        probes: By `Operation.database`, where statements can wait unseen.
        one_waiter: Whether waiters for one lock are not woken in a fixed order.
        order: In which order rows stand in their tables.
        widened: Tables that turned out to change without a statement that says so.
    """

    def __init__(self, handoff: Handoff, start: dict[str, list[Row]] | None = None) -> None:
        self._handoff = handoff
        self._candidates = _test_databases(handoff)
        self._names: dict[str, str] = {}
        self._stack = ExitStack()
        self.moments = Moments()
        self.caches = CacheState()
        self._stack.callback(self.caches.close)
        self._databases: list[_Database] = []
        self.widened: set[str] = set()
        self.catalogue = Catalogue(frozenset())
        self._blurred: set[str] = set()  # tables whose rows are not told apart any more
        self.keys: dict[str, Key] = {}
        self.start: dict[str, list[Row]] = {} if start is None else start
        self.order = RowOrder(self.start, self.keys)
        self.probes: dict[str, Probe] = {}
        self.one_waiter = False
        self._is_as_found = False  # all was looked at since the last run
        self._is_copy = False

    def of_copy(self, copy: Copy) -> ExploredDatabases:
        """The same databases as a run on a copy of them sees them, under the names that they have here."""
        # the copy has the same rows, and a table need be looked at in one place only
        return self.copied(copy, self._names, self.aliases, self.start)

    @classmethod
    def copied(
        cls,
        copy: Copy,
        names: Mapping[str, str],
        aliases: Mapping[str, str],
        start: dict[str, list[Row]] | None = None,
    ) -> ExploredDatabases:
        """The databases of a copy.

        Args:
            names: Of the originals, by their spellings.
            aliases: One of each original, by its name.
            start: The rows of the originals, where they are known.
        """
        databases = cls(copy.handoff, start)
        spellings = {database_identity(settings): name for name, settings in copy.settings.items()}
        databases._names = {**names, **spellings}
        databases._candidates = {name: (aliases[name], settings) for name, settings in copy.settings.items()}
        databases._is_copy = True
        return databases

    @property
    def aliases(self) -> dict[str, str]:
        """One alias of each database, by its name."""
        return {name: alias for name, (alias, _) in self._candidates.items()}

    @property
    def opened(self) -> tuple[str, ...]:
        """The names of those that are open."""
        return tuple(each.identity for each in self._databases)

    @property
    def known(self) -> Known:
        """What runs have shown so far, for the databases of a copy to `follow`."""
        return Known(self.moments.learnt, frozenset(self._blurred), frozenset(self.widened))

    def follow(self, known: Known) -> None:
        """Know what is known of the originals."""
        self.moments.follow(known.moments)
        self.widened |= known.widened
        if known.blurred != self._blurred:
            self._blurred |= known.blurred
            self._tell_apart()

    @property
    def names(self) -> Mapping[str, str]:
        """The one name of each database, by the ways in which settings spell it."""
        return self._names

    def begin_run(self) -> None:
        """Take note that calls are about to change something."""
        self._is_as_found = False

    def identify(self) -> None:
        """Find out which aliases are of one database."""
        self._names = database_names(self._candidates)

    def named(self, operation: Operation) -> Operation:
        """Call the database or the cache of an operation by its one name, whatever its alias is."""
        if operation.kind == "cache":
            name = self.caches.name_of(operation.database)
        else:
            name = self._names.get(operation.database, operation.database)
        return operation if name == operation.database else replace(operation, database=name)

    def knows(self, operation: Operation) -> bool:
        """Whether the database of an operation is open, or is none; on a copy also whether it stays there."""
        if self._is_copy and is_shared(operation):
            return False
        if operation.kind in _NO_ROUND_TRIP:
            return True
        return any(each.identity == operation.database for each in self._databases)

    def open_likely(self) -> None:
        """Open the database that the calls will use, if it is clear which."""
        likely = self._names_of(self._handoff.likely)
        if len(likely) == 1:
            self.open(*likely)

    def is_expected(self, identity: str) -> bool:
        """Whether the caller has connected to it, as calls probably will."""
        return identity in self._names_of(self._handoff.in_use)

    def _names_of(self, aliases: Iterable[str]) -> set[str]:
        settings = self._handoff.settings()
        spelled = [database_identity(settings[alias]) for alias in aliases]
        return {self._names.get(spelling, spelling) for spelling in spelled}

    def can_open(self, identity: str) -> bool:
        """Whether it is one of these databases, and not open."""
        return identity in self._candidates and all(each.identity != identity for each in self._databases)

    def open(self, identity: str) -> None:
        """Take the rows that the database of this name holds now as its starting rows.

        Raises:
            StateError: They cannot be read, or none of the caller's aliases is of this database.
            ProbeNotPermittedError: Its user may not see who waits for locks.
            PooledSessionError: A pooler stands before the database.
        """
        if identity not in self._candidates:
            raise StateError(identity, "a call has connected to it, and no alias of DATABASES leads there.")
        alias, settings = self._candidates[identity]
        state = Standby(alias, settings)
        self._stack.callback(state.close)
        is_ours = self._is_copy or is_lent(settings)
        note = Note() if is_ours else self._stack.enter_context(noted(identity, alias, _birth(state)))
        each = _Database(identity, f"{alias}." if self._databases else "", state, note)
        self._databases.append(each)
        probe = lasting(partial(open_probe, alias, settings))
        if probe is not None:
            self._stack.callback(probe.close)
            self.probes[identity] = probe
        self.one_waiter |= "postgresql" in settings["ENGINE"]
        self.catalogue = Catalogue.merged([known.state.catalogue for known in self._databases])
        self._tell_apart()
        self.keys |= each.keys

    def blur(self, steps: Iterable[Step], before: Iterable[Step] = ()) -> bool:
        """No longer tell the rows of tables apart in which a run made some without telling their numbers.

        Args:
            before: What made its calls ready; numbers that are told there come too early to be noted.
        """
        untold = [*steps, *(replace(step, rows=()) for step in before)]
        blurred = set[str]().union(*(blurred_by(step, self.catalogue) for step in untold))
        if blurred:
            self._blurred |= blurred
            self._tell_apart()
        return bool(blurred)

    def blur_all(self) -> bool:
        """No longer tell any rows apart; False if that is so already."""
        if not self.catalogue.keys:
            return False
        self._blurred |= self.catalogue.keys.keys()
        self._tell_apart()
        return True

    def _tell_apart(self) -> None:
        keys = {name: keys for name, keys in self.catalogue.keys.items() if name not in self._blurred}
        self.catalogue = replace(self.catalogue, keys=keys)

    def touched(self, operations: Iterable[Operation]) -> frozenset[str]:
        """The tables in which these operations may have changed rows or counters."""
        found = set(self.widened)
        for operation in operations:
            found |= self.caches.touched(operation)
            for each in self._databases:
                found |= self._touched(operation, each)
        return frozenset(found)

    def changes(self, steps: Iterable[Step]) -> dict[str, Changes | None]:
        """The tables in which these steps may have changed rows or counters, and all that they may have; None for any.

        What a step may have done counts, whether it was taken back or not.
        """
        steps = list(steps)
        found: dict[str, Changes | None] = dict.fromkeys(self.touched(step.operation for step in steps))
        told: dict[str, list[Changes | None]] = {}
        for step in steps:
            for each in self._databases:
                for table in self._touched(step.operation, each):
                    told.setdefault(table, []).append(self._changed_by(step, table, each))
        for table in found.keys() & told.keys() - self.widened - self.order.whole:
            known = [each for each in told[table] if each is not None]
            if len(known) == len(told[table]):
                found[table] = reduce(Changes.and_also, known)
        return found

    def _changed_by(self, step: Step, table: str, database: _Database) -> Changes | None:
        found = changes(step, self.catalogue, database.state.keys)
        return found.get(f"{step.operation.database}.{database.inside(table)}")

    def _touched(self, operation: Operation, database: _Database) -> set[str]:
        if operation.kind in _NO_ROUND_TRIP or operation.database != database.identity:
            return set()
        touched = footprint(operation, self.catalogue)
        if touched.everything:
            return {database.prefix + table for table in database.state.keys}
        lead = f"{operation.database}."
        return {database.prefix + table.removeprefix(lead) for table in touched.writes}

    def foresee(self, operation: Operation) -> Callable[[], None] | None:
        """See whether what this operation may change could be put back, before it is let go.

        Returns:
            What has to be done first, in a thread without an event loop.

        Raises:
            StateError: It could not.
        """
        for each in self._databases:
            if operation.kind in _NO_ROUND_TRIP or operation.database != each.identity:
                continue
            touched = footprint(operation, self.catalogue)
            lead = f"{operation.database}."
            names = None if touched.everything else {table.removeprefix(lead) for table in touched.writes}
            if not operation.text.lstrip(" (").upper().startswith("SELECT"):  # one that is not understood may only read
                each.state.check(names)
            each.note.add({_ANY} if names is None else names)
            return None if each.state.is_kept(names) else partial(each.state.keep, names)
        return None

    def rows(self, tables: Mapping[str, Changes | None]) -> dict[str, list[Row]]:
        """The rows that these tables have now; those that they had at the start are in `start` from then on.

        Raises:
            StateError: They cannot be read.
        """
        found: dict[str, list[Row]] = self.caches.rows()
        for each in self._databases:
            picked = self._pick(each, tables)
            found |= picked
            rows = each.outside(each.state.rows(each.own(tables.keys() - picked.keys())))
            self.start |= each.outside(each.state.start_rows(each.own(rows.keys() - self.start.keys())))
            found |= {table: self.order.with_known(table, these) for table, these in rows.items()}
        return found

    def _pick(self, database: _Database, tables: Mapping[str, Changes | None]) -> dict[str, list[Row]]:
        """The rows of large tables in which only some can have changed: the others are as they were at the start."""
        found = {}
        for table, each in tables.items():
            if each is None or table not in self.start or table not in database.tables or not are_numbers(each.keys):
                continue
            picked = database.state.pick(database.inside(table), each.keys)
            if picked is not None:
                rows, count = picked
                now = self.order.with_changes(table, rows, each.keys)
                if len(now) == count:  # else somebody else has written to it
                    found[table] = now
        return found

    def is_untouched(self, table: str) -> bool:
        """Whether no run can have changed this table so far."""
        return table not in self.start

    def adopt(self, strange: Mapping[str, Sequence[Mapping[str, Any]]], rows: Mapping[str, Sequence[Row]]) -> None:
        """Take rows that somebody else has written for rows of the start, and what gave them their keys as it is now.

        Args:
            strange: Those, by table.
            rows: All that there are now, by table.

        Raises:
            StateError: They cannot be read.
        """
        for each in self._databases:
            for table, found in strange.items():
                if table in each.tables:
                    columns = self.keys[table].columns
                    known = _keys([*found, *self.start.get(table, ())], columns)
                    others = [key for key in _keys(rows[table], columns) if key not in known]
                    each.state.adopt(each.inside(table), columns, _keys(found, columns), others)

    def restore(self, tables: Mapping[str, Changes | None] | None = None, but: Collection[str] = ()) -> None:
        """Put the rows of these tables back to what they were at the start; by default of all that differ.

        Args:
            tables: With all that was changed in them, where that is known.
            but: Tables that are left as they are, of all those.

        Raises:
            StateError: They cannot be put back.
        """
        if tables is None and self._is_as_found:
            return
        if tables is None and but:
            tables = dict.fromkeys(self._changed() - frozenset(but))
        told = self.order.come_back(tables, self._moves)
        for each in self._databases:
            own = None if tables is None else each.own(tables)
            each.state.restore(own, {each.inside(table): told[table] for table in told.keys() & each.tables})
        self.caches.restore()

    def _moves(self, table: str) -> bool:
        return any(each.state.moves(each.inside(table)) for each in self._databases if table in each.tables)

    def has_moved(self) -> bool:
        """Whether rows have come to other places than they had in the runs before, since this was asked last."""
        return self.order.is_news()

    @property
    def unseen(self) -> frozenset[str]:
        """What could not be seen of what calls did to them, a sentence each."""
        return frozenset(self.caches.unseen)

    @property
    def remarks(self) -> list[str]:
        """What people should know of how rows were put back, a sentence each."""
        return [remark for each in self._databases for remark in each.state.remarks]

    def advances(self) -> list[Advance]:
        """Which counters of keys a run has moved on, while all is as the run has left it."""
        return [
            replace(one, table=each.prefix + one.table) for each in self._databases for one in each.state.advances()
        ]

    def move_counters(self, advances: Sequence[Advance] = ()) -> list[Numbers]:
        """Let these counters begin where no other numbers are, and all others where they were found.

        Returns:
            The numbers that each of them gives from now on.
        """
        numbers: list[Numbers] = []
        for each in self._databases:
            begins = {}
            for one in advances:
                if one.table not in each.tables:
                    continue
                chosen = apart(one.table, one.first, one.next - one.first, numbers)
                if one.last is None or chosen.end <= one.last:
                    numbers.append(chosen)
                    begins[one.name] = chosen.first
            each.state.move_counters(begins)
        return numbers

    def look_behind(self, operations: Iterable[Operation]) -> None:
        """Find what has changed besides what these operations may have, and look at it from now on."""
        self.widened |= self._changed(large=False) - self.touched(operations)  # at the end all are looked at

    def widen(self) -> bool:
        """Put back what was changed without a statement saying so, and look at it from now on; False if nothing was."""
        changed = self._changed()
        self.restore(dict.fromkeys(changed))
        self.widened |= changed
        self._is_as_found = not changed
        return bool(changed)

    def _changed(self, *, large: bool = True) -> set[str]:
        return {each.prefix + table for each in self._databases for table in each.state.changed(large=large)}

    def close(self) -> None:
        """Leave nothing of ours in the databases."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _test_databases(handoff: Handoff) -> dict[str, tuple[str, Mapping[str, Any]]]:
    """One alias and the settings of each database that calls may connect to, by what its aliases have in common."""
    settings = handoff.settings()
    return {
        database_identity(settings[alias]): (alias, settings[alias])
        for alias in sorted(settings, key=lambda alias: (alias == "default", alias))
        if handoff.allowed is None or str(settings[alias]["NAME"]) in handoff.allowed
    }


def _birth(state: Standby) -> str:
    """When Django has made the tables of this database, as far as its migrations tell."""
    return repr(state.rows({"django_migrations"}))


def _keys(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> list[list[Any]]:
    return [[row[column] for column in columns] for row in rows]
