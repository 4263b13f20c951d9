"""Which statements in autocommit are a single moment, and which are stepped as a transaction.

On a server a statement in autocommit sees the data as they were when it started, and others
see its changes when it ends.  Where something can come in between, it is *split*: it runs in a
transaction of its own, whose COMMIT is a separate step.  Whether a statement is one moment
also depends on the other calls: while one of them may find its row locked, and decide by
that or by the old values, its lock has to last until its COMMIT.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ...base.trace import Operation
from ...databases.schema import NOTHING, Catalogue
from ..orders.footprint import Footprint, footprint

_SERVERS = frozenset({"postgresql", "mysql"})
_STATEMENTS = frozenset({"sql", "many", "callproc"})


class Moments:
    """What an exploration has learnt of its statements."""

    def __init__(self) -> None:
        self._watched: frozenset[str] = NOTHING  # tables of which somebody has to see locks that last
        self._instant: frozenset[str] = NOTHING  # tables that statements in autocommit changed in one moment
        self._whole: set[str] = set()  # texts that cannot run in a transaction

    def split(self, operation: Operation, catalogue: Catalogue) -> Operation:
        """The operation as it is to be stepped."""
        if not self._can_split(operation):
            return operation
        touched = footprint(operation, catalogue)
        if touched.moment and not touched.locks & self._watched:
            return operation
        return replace(operation, in_transaction=True, split=True)

    def manner(self, operation: Operation, catalogue: Catalogue) -> str:
        """How the gate is to let an operation go: "go", "split", or "at once" with its COMMIT."""
        if operation.split and operation.kind != "commit":
            return "split"
        if operation.vendor == "sqlite" and operation.kind == "sql" and not operation.in_transaction:
            touched = footprint(operation, catalogue)
            if touched.writes or not touched.moment:
                return "at once"
        return "go"

    def is_free(self, operation: Operation, catalogue: Catalogue) -> bool:
        """Whether a fetch of rows from the server is no step: what they are is settled, and it cannot wait."""
        if operation.kind != "fetch":
            return False
        touched = footprint(operation, catalogue)
        return not operation.in_transaction or not (touched.everything or touched.locks or touched.shares)

    def _can_split(self, operation: Operation) -> bool:
        kind = "callproc" if operation.vendor == "postgresql" and operation.kind == "callproc" else "sql"
        return (
            operation.vendor in _SERVERS
            and operation.kind == kind
            and not operation.in_transaction
            and operation.text not in self._whole
        )

    @property
    def learnt(self) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
        """All that it knows, for another one to `follow`."""
        return self._watched, self._instant, frozenset(self._whole)

    def follow(self, learnt: tuple[frozenset[str], frozenset[str], frozenset[str]]) -> None:
        """Know what another one does; what cannot run in a transaction may have been met here only."""
        self._watched, self._instant, whole = learnt
        self._whole |= whole

    def keep_whole(self, operation: Operation) -> None:
        """Take note of a statement that cannot run in a transaction."""
        self._whole.add(operation.text)

    def learn(self, operations: Iterable[Operation], catalogue: Catalogue) -> bool:
        """Take in the operations of a run; True if some of all so far would be stepped otherwise now."""
        for operation in operations:
            touched = footprint(operation, catalogue)
            self._watched |= touched.watched
            if _fails_if_late(operation):
                self._watched |= touched.locks
            if self._can_split(operation):
                self._instant |= touched.locks
        again = bool(self._watched & self._instant)
        if again:
            self._instant = NOTHING
        return again

    def unseen(self, operation: Operation, catalogue: Catalogue) -> frozenset[str]:
        """What exploring cannot see of an operation, a sentence each."""
        touched = footprint(operation, catalogue)
        if operation.in_transaction or operation.kind not in _STATEMENTS:
            return touched.unseen
        return touched.unseen | self._within(operation, touched)

    def unseen_between(self, operations: Iterable[tuple[int, Operation]], catalogue: Catalogue) -> frozenset[str]:
        """What of two calls may come between the rows that a statement locks, a sentence each.

        Args:
            operations: What was done, and by which call.
        """
        done = [(call, operation, footprint(operation, catalogue)) for call, operation in operations]
        return frozenset(
            f"{' '.join(operation.text.split())} locks rows of {_listed(tables)} one after the other, all in one step"
            for call, operation, touched in done
            if touched.apart or touched.sorting
            for other, _, theirs in done
            if other != call and (tables := _locked_in_turn(touched, theirs))
        )

    def _within(self, operation: Operation, touched: Footprint) -> frozenset[str]:
        """What may come between the parts of a statement in autocommit that had to be one step."""
        text = " ".join(operation.text.split())
        if operation.text in self._whole:
            return frozenset({f"{text} cannot run in a transaction, and is one step from its start to its end"})
        if operation.kind == "many":
            return frozenset({f"executemany() of {text} in autocommit is one step, whatever the driver makes of it"})
        if operation.vendor == "mysql" and (operation.kind == "callproc" or touched.commits):
            return frozenset({f"{text} commits more than once, and is one step from its start to its end"})
        return NOTHING


def _locked_in_turn(one: Footprint, other: Footprint) -> frozenset[str]:
    """The tables whose rows two statements may lock in other orders, or the one while the other has some of them."""
    if one.sorting and other.sorting and one.sorting != other.sorting:
        return one.locks & other.locks
    return one.apart & (other.locks if one.twice else other.apart)


def _listed(tables: Iterable[str]) -> str:
    return ", ".join(sorted(table.rpartition(".")[2] for table in tables))


def _fails_if_late(operation: Operation) -> bool:
    """Whether it is refused a row that was changed since it began: by PostgreSQL, above READ COMMITTED."""
    return operation.vendor == "postgresql" and operation.isolation not in ("read committed", "read uncommitted")
