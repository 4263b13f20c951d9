"""When the order of two steps matters.

A step is what happens between two decisions of the controller: one call is let go, its
statement ends or starts to wait, and every call that this sets free runs on to the next gate.
Its `Effect` is computed afterwards from what was seen: the footprints say what each statement
may have touched, the ledgers what the open transactions hold.  Two steps that are not
`dependent` give the same result in either order, and each does the same in either place.
The rules were measured on the databases.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from ...base.trace import Operation
from ...databases.schema import NOTHING
from ...sql.statements import Control
from .footprint import Footprint
from .rows import Fresh, NamedLock, Row, Thing, is_untold, meet, with_doubt, with_number


@dataclass(frozen=True, slots=True)
class Effect:
    """What one step touched."""

    local: bool = False  # nothing that any other call could notice, or notice the lack of
    everything: bool = False
    reads: frozenset[Thing] = NOTHING
    writes: frozenset[Thing] = NOTHING  # seen by nobody else yet, unless published too
    published: frozenset[Thing] = NOTHING
    locks: frozenset[Thing] = NOTHING  # asked for, taken or released
    shares: frozenset[Thing] = NOTHING
    ends: bool = False  # a transaction that did something ended
    snapshot: bool = False  # a transaction chose the moment that its later reads see
    waits: bool = False  # a statement waits, or was ended for waiting
    strict: bool = False  # SERIALIZABLE, or not known to be weaker

    def __or__(self, other: "Effect") -> "Effect":
        return Effect(
            self.local and other.local,
            self.everything or other.everything,
            self.reads | other.reads,
            self.writes | other.writes,
            self.published | other.published,
            self.locks | other.locks,
            self.shares | other.shares,
            self.ends or other.ends,
            self.snapshot or other.snapshot,
            self.waits or other.waits,
            self.strict or other.strict,
        )


LOCAL = Effect(local=True)
_ANYTHING = Effect(everything=True)


def dependent(one: Effect, other: Effect) -> bool:
    """Tell whether swapping these two neighbouring steps of different calls may change anything."""
    if one.local or other.local:
        return False
    if one.waits and other.waits:  # whichever comes last may close a deadlock, over locks that neither shares
        return True
    return contend(one, other) or _interfere(one, other) or _interfere(other, one)


def contend(one: Effect, other: Effect) -> bool:
    """Tell whether both steps want the same lock, or one of them may want any."""
    return (
        one.everything
        or other.everything
        or meet(one.locks, other.locks)
        or meet(one.locks, other.shares)
        or meet(one.shares, other.locks)
    )


def _interfere(one: Effect, other: Effect) -> bool:
    if meet(one.published, other.reads) or (one.published and other.snapshot):
        return True
    # PostgreSQL's SSI aborts by who read what before whom committed; MySQL's plain reads take locks.
    serialised = one.strict or other.strict
    return serialised and (one.ends or bool(one.published) or meet(one.writes, other.reads))


@dataclass(frozen=True, slots=True)
class Ledger:
    """What one connection has gathered since its transaction began."""

    begun: bool = False  # by a BEGIN that went through the gate
    active: bool = False  # a statement ran
    viewed: bool = False  # what later reads see is settled: by a snapshot, or by SQLite's SHARED lock
    writes: frozenset[Thing] = NOTHING
    locks: frozenset[Thing] = NOTHING
    shares: frozenset[Thing] = NOTHING
    strict: bool = False
    tainted: bool = False  # ran what nobody understood: settings and session locks may outlive the transaction

    def release(self) -> Effect:
        """What the end of the transaction, by whatever cause, sets free."""
        if not self.active:
            return LOCAL
        return Effect(locks=self.locks, shares=self.shares, ends=True, strict=self.strict)


class Status(Enum):
    """How a statement that was let go, or set free, stands at the next decision."""

    DONE = "done"
    FAILED = "failed"
    WAITING = "waiting"


_ENDINGS = frozenset({Control.COMMIT, Control.ROLLBACK, Control.ROLLBACK_TO})
_LOCAL_CONTROLS = frozenset({Control.SETTING, Control.BEGIN, Control.SAVEPOINT, Control.RELEASE})
_SHARED, _RESERVED, _PENDING = "shared", "reserved", "pending"
_WEAK = frozenset({"read committed", "repeatable read"})


@dataclass(frozen=True, slots=True)
class StatementResult:
    """What a statement that has ended came to, as far as the driver tells.

    Attributes:
        operation: The statement, if it is known which rows it returned.
        number: That of the row that it has inserted, if it has told one.
    """

    rowcount: int | None = None
    operation: Operation | None = None
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[object, ...], ...] = ()
    number: Fresh | None = None


NO_RESULT = StatementResult()


@dataclass(frozen=True, slots=True)
class Act:
    """One statement of one call, with the ledger it met.

    Attributes:
        rows: Of some tables, all rows that it can touch, provided that each of them exists.
        counters: What gives numbers to the rows that it has inserted: at once, whatever becomes of the transaction.
    """

    operation: Operation
    footprint: Footprint
    ledger: Ledger
    waited: bool = False
    rows: Mapping[str, frozenset[Row]] = field(default_factory=dict)
    counters: frozenset[Thing] = NOTHING

    def effect(self, status: Status, result: StatementResult = NO_RESULT) -> Effect:
        """What the statement touched when it came to `status`."""
        return self._with_rows(status, result)._effect(status)

    def touches(self, status: Status, result: StatementResult = NO_RESULT) -> tuple[frozenset[Thing], frozenset[Thing]]:
        """What the statement changes or locks, and all that it touches; its footprint knows of those that touch all."""
        act, touched = self._with_rows(status, result), self.footprint
        changes = act._things(touched.writes | touched.locks)
        return changes, changes | act._things(touched.reads | touched.shares)

    def _with_rows(self, status: Status, result: StatementResult) -> "Act":
        """The same with rows in place of tables, where that is sound."""
        if self._has_locked_nothing(status, result):
            return replace(self, footprint=replace(self.footprint, locks=NOTHING, shares=NOTHING))
        is_found = status is Status.DONE and result.rowcount == 1
        locks = bool(self.footprint.locks or self.footprint.shares)
        # InnoDB locks the gap where it does not find the row; what it waits for is not known.
        is_sound = not self._strict and (self.operation.vendor != "mysql" or not locks or is_found)
        if not is_sound:
            return replace(self, rows={})
        # An INSERT that waits or fails has met another row with a key of its own.
        is_made = status is Status.DONE and not self.waited
        made = with_number(self.rows, result.number) if is_made else with_doubt(with_number(self.rows, None))
        if made is self.rows:
            return self
        counters = (name for name, rows in self.rows.items() if any(map(is_untold, rows)) and made)
        return replace(self, rows=made, counters=frozenset(NamedLock(f"{name} numbers") for name in counters))

    def _has_locked_nothing(self, status: Status, result: StatementResult) -> bool:
        """Whether PostgreSQL has found no row to lock; of one that it waited for it keeps the lock."""
        is_empty = status is Status.DONE and not self.waited and result.rowcount == 0
        return is_empty and self.footprint.shows_locked and not self._strict

    def _things(self, names: frozenset[str]) -> frozenset[Thing]:
        if not self.rows:
            return names
        return frozenset(thing for name in names for thing in self.rows.get(name, (name,)))

    def _effect(self, status: Status) -> Effect:
        touched, control = self.footprint, self._control()
        if touched.everything:
            return _ANYTHING
        if control in _ENDINGS:
            return self._ending(control, status)
        if control in _LOCAL_CONTROLS:
            return LOCAL
        locks, shares = self._wants()
        locks |= self.counters
        if self._in_file and not self._in_transaction and touched.writes and (self.waited or status is Status.WAITING):
            locks |= {self._lock(_PENDING)}  # at its COMMIT, as far as is known
        effect = Effect(
            reads=NOTHING if self._reads_its_snapshot() else self._things(touched.reads),
            writes=self._things(touched.writes),
            published=self._things(touched.writes) if self._publishes(status) else touched.immediate,
            locks=locks,
            shares=shares,
            snapshot=self._stable and self._in_transaction and not self.ledger.viewed,
            waits=status is not Status.DONE,
            strict=self._strict,
        )
        if status is Status.FAILED:  # PostgreSQL releases locks at the error, InnoDB at a deadlock
            effect |= self.ledger.release()
        return effect

    @property
    def comes_to_the_same_later(self) -> bool:
        """Whether to wait for a lock is the same as to come when it is free: it sees nothing before it has it."""
        return self.footprint.moment and (self.ledger.viewed or not self._stable)

    def after(self, status: Status, result: StatementResult = NO_RESULT) -> Ledger:
        """The ledger once the statement has come to `status`."""
        return self._with_rows(status, result)._after(status)

    def _after(self, status: Status) -> Ledger:
        ledger, control = self.ledger, self._control()
        if self.operation.split and status is Status.FAILED:  # and rolled back
            return Ledger(tainted=ledger.tainted or self.footprint.everything)
        if self.footprint.everything:
            tainting = self.operation.kind in ("sql", "fetch", "many", "callproc")
            return replace(ledger, tainted=True, active=True, strict=True) if tainting else ledger
        if control in (Control.COMMIT, Control.ROLLBACK) and status is Status.DONE and not self._released:
            return Ledger(begun=self.footprint.control is Control.BEGIN, tainted=ledger.tainted)
        if control is Control.COMMIT and self._in_file:
            return replace(ledger, locks=ledger.locks | {self._lock(_PENDING)})
        if control in (Control.BEGIN, Control.BEGIN_LOCKED) and status is Status.DONE:
            ledger = replace(ledger, begun=True)
        return self._gathered(ledger, status) if self._gathers(status) else ledger

    def _gathers(self, status: Status) -> bool:
        if status is Status.WAITING and self._in_file:  # a busy statement holds nothing
            return False
        if self.footprint.control is Control.BEGIN_LOCKED:
            return status is Status.DONE
        return self.footprint.control is Control.NONE and self._in_transaction and self.operation.kind != "cache"

    def _gathered(self, ledger: Ledger, status: Status) -> Ledger:
        touched, (locks, shares) = self.footprint, self._wants()
        # InnoDB takes its snapshot at the first plain read, PostgreSQL at the first statement of any kind.
        plain = bool(touched.reads) and not (touched.locks or touched.shares)
        views = status is not Status.FAILED and (plain or self.operation.vendor != "mysql")
        return replace(
            ledger,
            active=True,
            viewed=ledger.viewed or views,
            writes=ledger.writes | self._things(touched.writes),
            locks=ledger.locks | locks,
            shares=ledger.shares | shares,
            strict=ledger.strict or self._strict,
        )

    def _ending(self, control: Control, status: Status) -> Effect:
        effect, ledger = self.ledger.release(), self.ledger
        if control is Control.COMMIT and not effect.local:
            published = ledger.writes if status is Status.DONE else NOTHING
            waits = status is not Status.DONE
            effect |= Effect(published=published, waits=waits)
            if self._in_file and self._lock(_RESERVED) in ledger.locks:
                waited = self.waited or status is not Status.DONE
                effect |= Effect(locks=frozenset({self._lock(_SHARED)} | ({self._lock(_PENDING)} if waited else set())))
        return effect

    def _wants(self) -> tuple[frozenset[Thing], frozenset[Thing]]:
        """The locks, and those of them that several may hold, that the statement asks for."""
        touched = self.footprint
        if self._in_file:
            return self._wants_of_file()
        if self._strict and self.operation.vendor == "mysql":
            return self._things(touched.locks), self._things(touched.shares | touched.reads)
        return self._things(touched.locks), self._things(touched.shares)

    def _wants_of_file(self) -> tuple[frozenset[Thing], frozenset[Thing]]:
        """SQLite's locks are on the file, https://sqlite.org/lockingv3.html; WAL forbids less.

        Whoever has no lock yet must not meet PENDING, which a COMMIT leaves while
        it waits for readers.  A transaction keeps SHARED, and RESERVED if it
        writes; what is written at once needs that nobody has either.
        """
        unsure = self.ledger.tainted
        fresh = frozenset({self._lock(_PENDING)}) if unsure or not self.ledger.viewed else NOTHING
        shared, reserved = frozenset({self._lock(_SHARED)}), frozenset({self._lock(_RESERVED)})
        if self.footprint.control is not Control.BEGIN_LOCKED and not self.footprint.writes:
            return NOTHING, (fresh | shared if fresh and self._in_transaction else fresh)
        return (reserved, fresh | shared) if self._in_transaction and not unsure else (reserved | shared, fresh)

    def _lock(self, name: str) -> NamedLock:
        return NamedLock(f"{self.operation.database} {name}")

    def _control(self) -> Control:
        """MySQL commits at a BEGIN inside a transaction."""
        control = self.footprint.control
        if control is Control.BEGIN and self.operation.vendor == "mysql" and self.ledger.active:
            return Control.COMMIT
        return Control.COMMIT if self._released else control

    @property
    def _released(self) -> bool:
        """Where no BEGIN was seen, SQLite may commit at the RELEASE of a savepoint, or only later."""
        return self._in_file and self.footprint.control is Control.RELEASE and not self.ledger.begun

    @property
    def _in_file(self) -> bool:
        return self.operation.vendor == "sqlite"

    @property
    def _in_transaction(self) -> bool:
        begins = self.footprint.control is Control.BEGIN_LOCKED
        return begins or self.operation.in_transaction or self.ledger.begun or self.ledger.tainted

    @property
    def _strict(self) -> bool:
        vendor, isolation = self.operation.vendor, self.operation.isolation
        if vendor in ("", "sqlite"):
            return False
        same_as_committed = vendor == "postgresql" and isolation == "read uncommitted"
        return self.ledger.tainted or not (isolation in _WEAK or same_as_committed)

    @property
    def _stable(self) -> bool:
        """Later reads of the transaction see what its first one saw; SQLite's locks say that already."""
        server = self.operation.vendor in ("postgresql", "mysql")
        return server and (self._strict or self.operation.isolation == "repeatable read")

    def _publishes(self, status: Status) -> bool:
        if self.operation.kind == "cache":
            return True
        return status is not Status.WAITING and not self.operation.in_transaction and not self.ledger.begun

    def _reads_its_snapshot(self) -> bool:
        """PostgreSQL fixes what a REPEATABLE READ transaction sees at its first statement, except rows it locks."""
        on_postgresql = self.operation.vendor == "postgresql"
        return on_postgresql and self._stable and not self._strict and self._in_transaction
