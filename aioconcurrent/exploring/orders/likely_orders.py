"""What the calls do when they run one after the other, and which orders are likely to go wrong by that.

One call is stopped, others are made in between, and then it goes on.  That closes a cycle of
conflicts, which no serial order has, if the others touch what it did before the stop and what it
does after it.  All that is known for this is what some serial runs have shown, so it decides only
which orders come first, never which are run.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import accumulate, pairwise, permutations, product, takewhile
from typing import NamedTuple

from ...base.trace import START, Operation
from ...sql.statements import UNCLEAR, Given, Statement, statement_of
from .dependence import Effect, contend, dependent
from .rows import NamedLock, Row, Thing, meet
from .schedule import is_serial
from .standings import Request, request
from .walk import Move, Walk


class _Done(NamedTuple):
    """What a call did in a step, and what it had locked after it.

    Attributes:
        kept: The rows that it has most likely changed in a transaction that goes on.
        is_blind: It deletes rows, or changes them to what the database works out from what they are then, whatever
            was read before.
        looks_first: It looks at other rows before it waits for those that it changes.
    """

    effect: Effect
    held: Effect
    kept: frozenset[Row] = frozenset()
    is_blind: bool = False
    looks_first: bool = False


_Way = Sequence[_Done]

_LIKELY = 3
_LOOKED = 4.9
_READ_BACK = 4.8
_OTHERWISE = 2.2
_DOUBT = 0.5
_MOST = 3  # calls of which more than two may be needed to close a cycle


class Habits:
    """What each call touched, in order, when it was first to run, as far as that is known."""

    def __init__(self, classes: Sequence[int]) -> None:
        self._classes = classes
        self._ways: dict[int, _Way] = {}  # by class
        self._first: dict[int, Sequence[Request]] = {}  # by class: what a call asked for that was first to run
        self._alike: dict[int, _Way] = {}  # by class: what a call may do if it is first, as one does that began alike
        self._later: dict[int, _Way] = {}  # by class: what a call did after others
        self._told: dict[tuple[int, int, int, int], float] = {}  # promises

    def learn(self, run: Walk) -> None:
        """Take in a run; one in which a call began first tells most of it."""
        if not run.moves or not is_serial(run.steps):
            return
        self._told.clear()
        first = run.moves[0].worker
        for call in dict.fromkeys(move.worker for move in run.moves):
            known = self._classes[call]
            asked = [request(step.operation) for step in run.steps if step.call == call]
            way = list(accumulate((_done(run, move) for move in run.moves if move.worker == call), _and_then))
            if call == first:
                self._first[known] = asked
                self._alike.pop(known, None)
            if call == first or known not in self._ways:
                self._ways[known] = way
                self._compare(known, asked)
            if call != first:
                self._later.setdefault(known, way)

    def _compare(self, known: int, asked: Sequence[Request]) -> None:
        """Expect of a call that began like one that was first, and then went on otherwise, the same if it is first."""
        for other, texts in self._first.items():
            shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(asked, texts, strict=False)))
            if known not in self._first and shared and asked != texts:
                begun = shared + 1  # to begin is no request
                self._alike[known] = [*self._ways[known][:begun], *self._ways[other][begun:]]

    def guess(self) -> list[int]:
        """An order that is likely to go wrong: one call stopped once, and others made in between; empty if none is."""
        best = max(self._detours(), default=None)
        if best is None or (best[0] < _LIKELY and len(self._first) < len(set(self._classes))):
            return []  # the next serial orders tell more
        one, stop, others = -best[2], best[4], [-other for other in best[3]]
        whole = [other for other in others[:-1] for _ in range(self._length(other))]
        return [one] * stop + whole + others[-1:]

    def turns(self) -> list[int]:
        """An order in which the calls take turns where they conflict; empty if one with one preemption is likelier.

        Each goes on until it has done what meets something that another has yet to do.  That closes as many cycles
        as there can be between two calls, where none that takes one preemption promises much.
        """
        if max((promise for promise, *_ in self._detours()), default=_LIKELY) >= _LIKELY or len(self._classes) != 2:
            return []
        begins = range(len(set(self._classes)))  # alike calls begin in the order in which they were given
        found = [self._take_turns(ways, first) for ways in product(*map(self._of, (0, 1))) for first in begins]
        order = max(found, key=_switches, default=[])
        return order if _switches(order) > 2 else []  # else it takes one preemption, and comes in its turn

    @staticmethod
    def _take_turns(ways: Sequence[_Way], first: int) -> list[int]:
        order: list[int] = []
        left, call = [list(way) for way in ways], first
        while left[call]:
            step = left[call].pop(0)
            order.append(call)
            if _conflict([step], left[1 - call]) or not left[call]:
                call = 1 - call
        return order

    def _detours(self) -> Iterator[tuple[float, int, int, tuple[int, ...], int]]:
        """Whom to stop after how many steps, and for whom, with what comes before that where two are compared."""
        calls = range(len(self._classes))
        for one in calls:
            for other in calls:
                if one != other and (one < other or self._classes[one] != self._classes[other]):
                    for stop in range(1, self._length(one) + 1):
                        if promise := self.promise(one, stop, other, 0):
                            yield promise, -1, -one, (-other,), stop
        if len(calls) == _MOST:
            for one, other, third in permutations(calls):
                for stop in range(1, self._length(one)):
                    if self._closes(one, stop, other, third):
                        yield _LIKELY, -2, -one, (-other, -third), stop

    def promise(self, one: int | None, stop: int, other: int, begun: int) -> float:
        """How likely it goes wrong to stop a call after so many steps, for another that has made so many; 0 is never.

        5    what it read others change, before they wait for it, and then it changes what they touch, or had read
        4.9  the other waits for it in a statement that has looked at what it changes
        4.8  it has changed something, and then reads what others have changed since
        4    each comes to wait for the other
        3    the other has read what it changes, and waits for it; or it goes on in a snapshot from before
        2.2  what it read last others change; it was over with that, and only seen after they had changed it
        2    any other cycle
        1    the same as 2.2, with more to come

        Half a point less where they may have to wait for each other, and it is not known for which rows.
        """
        if one is None:
            return 0
        question = self._classes[one], stop, self._classes[other], begun
        if question not in self._told:
            self._told[question] = self._promise(one, stop, other, begun)
        return self._told[question]

    def _promise(self, one: int, stop: int, other: int, begun: int) -> float:
        ways = [
            (way[:stop], way[stop:], its[begun:]) for way in self._of(one) for its in self._after(way[:stop], other)
        ]
        found: list[float] = [_promise(*each) for each in ways]
        free = [tuple(map(_unhindered, each)) for each in ways if _goes_on(each[1])]
        found += [_promise(*each) - _DOUBT for each in free]
        return max(0, self._may_go_on_otherwise(one, stop, other, begun), *found)

    def _may_go_on_otherwise(self, one: int, stop: int, other: int, begun: int) -> float:
        """Rate a stop after a read of what others change, with which the call ended that was not first."""
        if self._classes[one] in self._first:
            return 0
        return max(
            (
                _OTHERWISE if not any(late.effect.published or late.effect.locks for late in way[stop:]) else 1
                for way in self._of(one)
                for its in self._of(other)
                if _is_overtaken(way[stop - 1 : stop], _free(way[:stop], its[begun:]))
            ),
            default=0,
        )

    def _closes(self, one: int, stop: int, other: int, third: int) -> bool:
        """Whether the three conflict in a circle, if one is stopped and the two others are made in between."""
        return any(
            _conflict(way[:stop], its) and _conflict(its, theirs) and _conflict(theirs, way[stop:])
            for way in self._of(one)
            for its in self._of(other)
            for theirs in self._of(third)
        )

    def _of(self, call: int) -> list[_Way]:
        """What a call does, and what it may do if it is first."""
        known = self._classes[call]
        return [ways[known] for ways in (self._ways, self._alike) if known in ways]

    def _after(self, before: _Way, call: int) -> list[_Way]:
        """What a call does when another has done this: the same as after all of it, if it sees any of that."""
        known, ways = self._classes[call], self._of(call)
        sees = known in self._later and any(_is_overtaken(way, before) for way in ways)
        return [self._later[known]] if sees else ways

    def _length(self, call: int) -> int:
        return max(map(len, self._of(call)), default=0)


def _done(run: Walk, move: Move) -> _Done:
    """What a step came to, with what it asked for, if it did more than begin."""
    operation = run.steps[move.step - 1].operation if move.step else START
    statement = statement_of(operation) if operation.kind == "sql" else Statement()
    adds = bool(statement.assigned) and all(value == UNCLEAR for _, value in statement.assigned or ())
    is_blind = adds or statement.verb == "DELETE"
    # InnoDB locks what such a statement reads, and SQLite waits before it
    looks_first = bool(statement.consulted and statement.changes) and operation.vendor == "postgresql"
    effect, kept = _with_likely_rows(move.effect, operation, statement)
    return _Done(effect, move.moved[move.worker].held(), kept, is_blind, looks_first)


def _with_likely_rows(effect: Effect, operation: Operation, statement: Statement) -> tuple[Effect, frozenset[Row]]:
    """Put rows for the tables that SQLite locks as a whole: those that have what the text asks for.

    Returns:
        And the rows that were changed and are not published yet.
    """
    found = _likely_rows(operation, statement) if operation.vendor == "sqlite" else {}
    if not found:
        return effect, frozenset()

    def told(things: frozenset[Thing]) -> frozenset[Thing]:
        return frozenset(
            row for each in things for row in (found.get(each, (each,)) if isinstance(each, str) else (each,))
        )

    likely = replace(effect, reads=told(effect.reads), writes=told(effect.writes), published=told(effect.published))
    return likely, frozenset(row for row in likely.writes - likely.published if isinstance(row, Row))


def _likely_rows(operation: Operation, statement: Statement) -> dict[str, frozenset[Row]]:
    """By table, the rows that have the values that a WHERE asks for, or that an INSERT gives."""
    parameters = operation.parameters or ()
    asked = [(name, each.values) for name, each in statement.found.items()]
    given = [tuple((column, (value,)) for column, value in row) for row in statement.given]
    asked += [(name, row) for name in statement.changes for row in given]
    found: dict[str, frozenset[Row]] = {}
    for name, conditions in asked:
        keys = frozenset(
            ((column,), (parameters[value.number] if isinstance(value, Given) else value,))
            for column, values in conditions
            for value in values
            if len(values) == 1 and (not isinstance(value, Given) or 0 <= value.number < len(parameters))
        )
        if keys:
            table = f"{operation.database}.{name}"
            found[table] = found.get(table, frozenset()) | {Row(table, keys)}
    return found


def _and_then(before: _Done, this: _Done) -> _Done:
    """A step with what the transaction that it is in, or ends, has changed before."""
    if not this.effect.ends:
        return this._replace(kept=before.kept | this.kept)
    tables = {row.table for row in before.kept}
    published = frozenset(each for each in this.effect.published if each not in tables)
    return this._replace(
        effect=replace(this.effect, published=published | before.kept if this.effect.published else published)
    )


def _goes_on(after: _Way) -> bool:
    """Whether more is to come than the end of a transaction."""
    return not all(late.effect.ends or late.effect.local for late in after)


def _unhindered(way: _Way) -> _Way:
    """The same if only those wait that are known to want the same row."""
    return [each._replace(effect=_without_tables(each.effect), held=_without_tables(each.held)) for each in way]


@lru_cache(maxsize=4096)
def _without_tables(effect: Effect) -> Effect:
    kept = (filter(_is_no_table, things) for things in (effect.locks, effect.shares))
    locks, shares = map(frozenset, kept)
    return replace(effect, locks=locks, shares=shares)


def _is_no_table(thing: Thing) -> bool:
    return isinstance(thing, Row | NamedLock)


def _switches(order: Sequence[int]) -> int:
    return sum(one != other for one, other in pairwise(order))


def _promise(before: _Way, after: _Way, between: _Way) -> float:
    free = _free(before, between)
    if _is_overtaken(before, free):
        bound = [late for late in after if not late.is_blind]
        if _is_overtaken(free, bound) or _is_overtaken([late for late in bound if late.effect.writes], free):
            return 5
        if any(early.effect.published for early in before) and _is_overtaken(after, free):
            return _READ_BACK
    if len(free) < len(between):
        if free and any(contend(late.effect, free[-1].held) for late in after):
            return 4
        late_ones = [
            each for each in between[len(free) :] if each.looks_first and contend(before[-1].held, each.effect)
        ]
        if _is_overtaken(late_ones, after):
            return _LOOKED
        if _is_overtaken(between[: len(free) + 1], after):
            return 3
    closes = _conflict(before, between) and _conflict(after, between)
    if closes and any(early.effect.snapshot and each.effect.published for early in before for each in free):
        return 3
    return 2 if closes else 0


def _free(before: _Way, between: _Way) -> _Way:
    """What others do until they wait for a call that has done what comes before."""
    return list(takewhile(lambda each: not before or not contend(before[-1].held, each.effect), between))


def _conflict(one: _Way, other: _Way) -> bool:
    return any(dependent(each.effect, its.effect) for each in one for its in other)


def _is_overtaken(one: _Way, other: _Way) -> bool:
    return any(_overtakes(each.effect, its.effect) for each in one for its in other)


def _overtakes(one: Effect, other: Effect) -> bool:
    """Whether one step reads what another publishes."""
    return one.everything or other.everything or meet(one.reads, other.published)
