"""What the controller sees between two steps, and what the step between them did.

A `Decision` is all that a controller reports.  `observe` compares two of them and says what
the step touched and where every call stands now, so that the search deals with effects alone.
"""

import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import or_

from ...base.trace import Operation
from ...databases.schema import Catalogue
from .dependence import LOCAL, NO_RESULT, Act, Effect, Ledger, StatementResult, Status, contend
from .footprint import footprint, rows
from .rows import Fresh, Number, Row, Thing, first_number, numbers_of

Request = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Decision:
    """The moment between two steps: every call waits at a gate, waits in the database, or has ended.

    A deadlock is resolved before, as part of the step that closed it.

    Args:
        ready: The calls that wait at a gate, and what they ask for.
        blocked: The calls whose statement the database says waits.
        failed: The calls in whose last statement, since the decision before, an error was raised.
        overtook: Those that were set free, since the decision before, ahead of one that had waited longer for the same.
        results: What the last statements of the calls came to, as far as that is known.
    """

    ready: Mapping[int, Operation]
    blocked: frozenset[int] = frozenset()
    failed: frozenset[int] = frozenset()
    overtook: frozenset[int] = frozenset()
    results: Mapping[int, StatementResult] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one call stands: at a gate with `operation`, in the database with it, or (None) at its end."""

    operation: Operation | None
    blocked: bool = False
    ledgers: Mapping[tuple[str, int], Ledger] = field(default_factory=dict)
    seen: frozenset[Operation] = frozenset()  # asked for since it last touched anything but by reading
    idle: int = 0  # steps since it last did that or asked for something new
    known: frozenset[Request] = frozenset()  # requests that it has made
    again: int = 0  # steps since it last made another, whatever came of it
    rows: Mapping[str, frozenset[Row]] = field(default_factory=dict)  # all that the operation can touch of some tables

    @property
    def ready(self) -> bool:
        return self.operation is not None and not self.blocked

    @property
    def is_idle(self) -> bool:
        """Whether it has yet to begin."""
        return self.operation is not None and self.operation.kind == "start"

    def act(self, catalogue: Catalogue) -> Act:
        """The statement that the call waits with."""
        assert self.operation is not None
        operation = self.operation
        ledger = self.ledgers.get((operation.database, operation.connection), Ledger())
        return Act(operation, footprint(operation, catalogue), ledger, self.blocked, self.rows)

    def holds(self) -> frozenset[Thing]:
        """What its open transactions have locked."""
        held = self.held()
        return held.locks | held.shares

    def held(self) -> Effect:
        """The same, with the locks that others may hold as well apart."""
        return reduce(or_, (Effect(locks=each.locks, shares=each.shares) for each in self.ledgers.values()), Effect())


_THREAD_NAMES = re.compile(r"\bs\d+_x\d+\b|\b_django_curs_\w+")


def request(operation: Operation | None) -> Request:
    """What was asked for, less what differs from run to run: parameters and names with thread numbers in them."""
    if operation is None:
        return ("end", "")
    return (operation.kind, _THREAD_NAMES.sub("?", operation.text))


def observe(
    before: Mapping[int, Standing],
    worker: int,
    decision: Decision,
    catalogue: Catalogue,
    new: AbstractSet[Number] = frozenset(),
) -> tuple[Effect, dict[int, Standing]]:
    """Compare the standings before `worker` was let go with the decision after.

    Returns:
        What the step touched, and the new standing of each call that it moved on:
        `worker`, everyone it set free, and the tasks that it enqueued.
    """
    effect = LOCAL
    moved: dict[int, Standing] = {}
    for call, standing in before.items():
        if call == worker or (standing.blocked and call not in decision.blocked):
            touched, moved[call] = _advance(call, standing, decision, catalogue, new)
            effect |= touched
        elif standing.operation is None and call in decision.ready:  # a task that was enqueued
            moved[call] = replace(standing, operation=decision.ready[call])
    waiting = [standing.act(catalogue) for call, standing in before.items() if standing.blocked and call not in moved]
    return _with_bystanders(effect, waiting), moved


def _advance(
    call: int, before: Standing, decision: Decision, catalogue: Catalogue, new: AbstractSet[Number]
) -> tuple[Effect, Standing]:
    act = before.act(catalogue)
    ended = Status.FAILED if call in decision.failed else Status.DONE
    status = Status.WAITING if call in decision.blocked else ended
    result = decision.results.get(call, NO_RESULT)
    if (number := _number_made(result, catalogue, new)) is not None:
        result = replace(result, number=number)
    effect = act.effect(status, result)
    ledgers = {**before.ledgers, (act.operation.database, act.operation.connection): act.after(status, result)}
    if status is Status.WAITING:
        return effect, replace(before, blocked=True, ledgers=ledgers)
    operation = decision.ready.get(call)
    if operation is None:  # its connections close: open transactions and session locks end
        for ledger in ledgers.values():
            effect |= Effect(everything=True) if ledger.tainted else ledger.release()
    asked = request(act.operation)
    again = before.again + 1 if asked in before.known else 0
    seen: frozenset[Operation] = frozenset() if effect.locks or effect.published else before.seen
    idle = before.idle + 1 if act.operation in seen else 0
    touchable = rows(operation, catalogue, new) if operation is not None else before.rows
    known = before.known | {asked}
    return effect, Standing(
        operation, False, ledgers, seen | {act.operation}, idle, known=known, again=again, rows=touchable
    )


def _number_made(result: StatementResult, catalogue: Catalogue, new: AbstractSet[Number]) -> Fresh | None:
    """The number of the one row that an INSERT has made, if it has told it."""
    if result.operation is None or not result.rowcount == len(result.rows) == 1:
        return None
    for table, number in numbers_of(result.operation, result.columns, result.rows, catalogue):
        first = first_number(table, new)
        if isinstance(number, int) and first is not None:
            return Fresh(number - first)
    return None


def _with_bystanders(effect: Effect, waiting: list[Act]) -> Effect:
    """Add those who went on waiting for something that the step touched: that they did depends on them too."""
    effects = [act.effect(Status.WAITING) for act in waiting]
    while not effect.local:
        touched = [other for other in effects if contend(effect, other)]
        if not touched:
            break
        effects = [other for other in effects if other not in touched]
        effect = reduce(or_, touched, effect)
    return effect
