"""Whether a run goes wrong, and the proof of it.

It is compared with serial orders, run a second time, and told of with as few calls and switches as show it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING

from ..results.exploration import Counterexample
from ..results.outcomes import Outcomes
from ..sql.statements import statement_of
from .anomalies.naming import name_anomaly
from .judging.facts import apart_from
from .judging.judge import CountersMatterError, Judge, TooManyOrdersError
from .judging.oracle import Oracle
from .orders.footprint import overlap
from .orders.private_steps import private_steps
from .orders.rows import said_numbers
from .orders.schedule import STEPS, Schedule, is_serial, serial_order, shrinks
from .orders.search import FEW

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ..base.trace import Run, Step
    from ..databases.schema import Catalogue
    from ..databases.state import Advance
    from ..results.exploration import Effect
    from .judging.evidence import Order, Violation
    from .judging.facts import Numbers
    from .judging.judge import Seen
    from .orders.search import Search
    from .runs import Runs

_SHRINKING = 20  # runs at most
_LOOPING = 200  # steps in which a run that went round for ever shows that it does so again
_MOST_ENTANGLED = 5  # calls that are looked at without the others


@dataclass(frozen=True, slots=True)
class WrongRun:
    """A run that goes wrong."""

    schedule: Schedule
    seen: Seen
    violation: Violation


class Prover:
    """Judges runs, and proves what goes wrong.

    Args:
        runs: Those of the exploration, to which serial orders and repetitions are added.
        classes: Of each call a number, the same for those that are the same function with the same arguments.
        kept: Tables whose counters stay where they were found.

    Attributes:
        is_open: Whether the last run seems to go wrong, and that is not proved.
    """

    def __init__(self, runs: Runs, classes: tuple[int, ...], kept: frozenset[str] = frozenset()) -> None:
        self._runs, self._classes, self._kept = runs, classes, kept
        self._account, self._databases, self._referee = runs.account, runs.databases, runs.referee
        self._stage = runs.places.stage
        self._numbers: list[Numbers] = []  # that the counters of keys give
        self._accepted: list[Seen] = []  # runs that were no race
        self._judges: dict[tuple[int, ...], Judge] = {}  # by the calls that they judge
        self._asked: set[object] = set()  # which orders of which of many calls were run alone
        self.is_open = False

    @property
    def oracles(self) -> list[Oracle]:
        """What is known of the serial orders of all the calls, and of some of them."""
        return [judge.oracle for judge in self._judges.values()]

    @property
    def is_settled(self) -> bool:
        """Whether it is known what the first serial order comes to with the counters where they are now."""
        return self._judge_of(self._account.everyone).is_settled

    @property
    def is_ready(self) -> bool:
        """Whether all serial orders were learnt that the search runs before it goes on to others."""
        judge = self._judge_of(self._account.everyone)
        return judge.is_settled and (judge.knows_all or len(set(self._classes)) == 1)

    async def learn(self, seen: Seen) -> None:
        """Take in a run of all calls that was a serial order."""
        everyone = self._account.everyone
        await self._judge_of(everyone).learn(serial_order(seen.run.steps, len(everyone)), seen)
        self._check_numbers(seen)
        self._runs.places.maker.is_tuned = True

    async def begin_with(self, calls: tuple[int, ...]) -> None:
        """Run some calls one after another, so that others of their runs can be compared with that."""
        order = tuple(range(len(calls)))
        seen = await self._serially(calls, order)
        await self._judge_of(calls).learn(order, seen)
        self._runs.places.maker.is_tuned = True

    async def settle(self) -> None:
        """See, if nothing had to be compared, what the first serial order comes to with the counters where they are.

        Raises:
            CountersMatterError: The calls do other things then.
        """
        await self._judge_of(self._account.everyone).settle()

    async def prove(self, seen: Seen, search: Search) -> Counterexample | None:
        """Say what a run proves, if it goes wrong and does so again."""
        self.is_open = True
        found = await self.find(seen)
        counterexample = await self.confirm(found, search) if found is not None else None
        self.is_open = False
        return counterexample

    async def find(self, seen: Seen) -> WrongRun | None:
        """Say what is wrong with a run; of many calls, with as few as show it."""
        self._check_numbers(seen)
        everyone = self._account.everyone
        if seen.calls != everyone or len(everyone) <= FEW or seen.broken is not None:
            return await self._judged(seen)
        judge = self._judge_of(everyone)
        if await judge.clears(seen):
            self._accept(seen)
            return None
        found = await self._find_among(seen, 2)
        if found is not None or await judge.explains(seen):
            return found
        for size in range(3, min(len(everyone), _MOST_ENTANGLED + 1)):
            found = await self._find_among(seen, size)
            if found is not None:
                return found
        return await self._judged(seen)

    async def _find_among(self, seen: Seen, size: int) -> WrongRun | None:
        """Look for so many calls that go wrong without the others, in the order of a run of all of them."""
        for calls in entangled(seen, size, self._databases.catalogue, self._stage.enqueuers):
            choices = tuple(step.call for step in seen.run.steps if step.call in calls)
            question = tuple(self._classes[call] for call in calls), tuple(map(calls.index, choices))
            if question in self._asked:
                continue
            self._asked.add(question)
            part, _ = await self._runs.follow(Schedule(choices), calls)
            if part is None:
                continue
            found = await self._judged(part)
            if found is not None:
                return found
        return None

    async def _judged(self, seen: Seen, *, once_more: bool = True) -> WrongRun | None:
        try:
            violation = await self._judge_of(seen.calls).judge(seen, once_more=once_more)
        except TooManyOrdersError:
            self._account.uncompared = True
            return None
        if violation is None:
            self._accept(seen)
            return None
        calls = () if seen.calls == self._account.everyone else seen.calls
        enqueuers = tuple(self._stage.enqueuers.values())
        schedule = Schedule.of(seen.run.steps, calls, is_endless=seen.is_endless, enqueuers=enqueuers)
        return WrongRun(schedule, seen, violation)

    def _judge_of(self, calls: tuple[int, ...]) -> Judge:
        if calls not in self._judges:
            self._judges[calls] = Judge(
                calls,
                tuple(self._classes[call] for call in calls),
                self._oracle_of(calls),
                partial(self._serially, calls),
                self._move_counters,
                has_rule=self._referee.rule is not None,
            )
        return self._judges[calls]

    def _oracle_of(self, calls: tuple[int, ...]) -> Oracle:
        databases, referee = self._databases, self._referee
        enqueuers = {
            calls.index(task): calls.index(enqueuer)
            for task, enqueuer in self._stage.enqueuers.items()
            if task in calls and enqueuer in calls
        }
        return Oracle(
            len(calls),
            databases.keys,
            databases.start,
            referee.refusals,
            referee.ignored,
            self._numbers,
            databases.is_untouched,
            enqueuers,
        )

    async def _move_counters(self, advances: Sequence[Advance]) -> list[Numbers]:
        free = [each for each in advances if each.table not in self._kept]
        self._numbers = await self._runs.places.move_counters(free)
        return self._numbers

    async def _serially(self, calls: tuple[int, ...], order: Order, draw: int = 0) -> Seen:
        seen = await self._runs.perform_serially(calls, order, draw)
        self._check_numbers(seen)
        return seen

    def _check_numbers(self, seen: Seen) -> None:
        """See whether calls have said keys that a counter would give if it had not been moved.

        Raises:
            CountersMatterError: They have.
        """
        for numbers in self._numbers:
            if any(map(numbers.would_give, self._said_numbers(seen, numbers.table))):
                raise CountersMatterError(numbers.table)

    def _said_numbers(self, seen: Seen, table: str) -> Iterator[int]:
        """The numbers that calls have said in INSERTs into a table, and those of its new rows, whatever gave them."""
        columns = self._databases.keys[table].numbered
        for step in filter(_is_insert, seen.run.steps):
            if table in self._databases.touched([step.operation]):
                for column in columns:
                    yield from said_numbers(step, column.casefold(), or_returned=not seen.advances)
        if not seen.advances:
            now, before = apart_from(seen.run.tables.get(table, ()), self._databases.start.get(table, ()))
            for column in columns:
                found = {row[column] for row in now} - {row[column] for row in before}
                yield from (number for number in found if type(number) is int)

    def _accept(self, seen: Seen) -> None:
        if self._referee.rule is None:
            self._accepted.append(seen)

    async def doubt(self) -> None:
        """See of the endings that were no race whether what cannot be compared would have decided otherwise."""
        for seen in self._accepted:
            judge = self._judge_of(seen.calls)
            self._account.unseen |= await judge.doubts(seen.ending, self._writers(seen.ending))

    def doubt_unasked(self) -> None:
        """The same by what is known, without any more runs."""
        for seen in self._accepted:
            oracle = self._judge_of(seen.calls).oracle
            self._account.unseen |= oracle.doubts(seen.ending, self._writers(seen.ending))

    def _writers(self, ending: Run) -> dict[str, set[int]]:
        """The calls that may have changed a table."""
        found: dict[str, set[int]] = {}
        for step in ending.steps:
            for table in self._databases.touched([step.operation]):
                found.setdefault(table, set()).add(step.call)
        return found

    async def confirm(self, first: WrongRun, search: Search) -> Counterexample | None:
        """See whether the order goes wrong a second time, and whether a simpler one does, too."""
        limit = len(first.seen.run.steps) + _LOOPING if first.seen.is_endless else STEPS
        found, departed = await self._again(first.schedule, first.seen.calls, limit)
        if found is None or departed:
            self._account.problems.append(
                f"an order of the steps went wrong once and not when it was run again ({first.schedule.token}), "
                "so that something else than the order decides"
            )
            return None
        found = replace(found, schedule=first.schedule)
        if found.seen.preemptions and not found.seen.is_endless:
            found = await self._shrink(found, search)
        return await self.counterexample(found)

    async def _again(
        self, schedule: Schedule, calls: tuple[int, ...], limit: int = STEPS
    ) -> tuple[WrongRun | None, bool]:
        """Run an order once more, and judge it; the last item tells whether it was left."""
        seen, departure = await self._runs.follow(schedule, calls, limit)
        departed = departure is not None
        if seen is None:
            return None, departed
        return await self._judged(seen, once_more=False), departed

    async def _shrink(self, found: WrongRun, search: Search) -> WrongRun:
        """Look for an order with fewer switches, or a shorter text, that goes wrong as well."""
        left, tried = _SHRINKING, {found.schedule.choices}
        candidates = shrinks(found.schedule.choices)
        while left and (choices := next(candidates, None)) is not None:
            if choices in tried or len(set(choices)) < 2 or self._is_right(choices, found, search):
                continue
            tried.add(choices)
            left -= 1
            simpler, _ = await self._again(replace(found.schedule, choices=choices, marks=""), found.seen.calls)
            if simpler is None or simpler.seen.effort >= found.seen.effort:
                continue
            found = simpler
            candidates = shrinks(found.schedule.choices)
        return found

    def _is_right(self, choices: tuple[int, ...], found: WrongRun, search: Search) -> bool:
        """Whether an order comes to the same as one that was run before this finding, which nothing was wrong with."""
        if found.seen.calls != self._account.everyone:
            return False
        end = search.end_of(choices)
        return end is not None and end != search.end_of(found.schedule.choices)

    async def counterexample(self, found: WrongRun) -> Counterexample:
        """What there is to show of a run that goes wrong."""
        await self._stage.see_gone()
        seen, calls, oracle = found.seen, found.seen.calls, self._judge_of(found.seen.calls).oracle
        self._runs.places.maker.shown = list(seen.reports)
        secrets = self._account.secrets(seen.ending.steps)
        private = private_steps(seen.ending.steps, self._databases.catalogue)
        run = secrets.run(replace(seen.ending, private=private))
        anomaly = name_anomaly(run.steps, found.violation.masked(secrets))
        texts = self._account.calls = tuple(map(secrets.text, self._account.calls))
        outcomes = self._referee.outcomes_of(seen.reports, calls)
        return Counterexample(
            token=found.schedule.token,
            outcomes=Outcomes([outcomes[call] for call in calls], [outcomes.reports[call] for call in calls]),
            anomaly=anomaly.name,
            explanation=anomaly.explanation,
            hint=anomaly.hint,
            calls=tuple(texts[call] for call in calls),
            run=run,
            preemptions=seen.preemptions,
            marked=frozenset(anomaly.steps),
            read=anomaly.read,
            cycle=anomaly.cycle,
            serial=tuple((order, secrets.run(end)) for order, end in oracle.whole_orders),
            effect=_effect(found.violation, seen.ending, oracle),
        )


def _effect(violation: Violation, ending: Run, oracle: Oracle) -> Effect:
    """What it is that no serial order gives."""
    if violation.kind == "broken rule":
        return "rule"
    if violation.kind != "no serial order":
        return "error"
    return "answers" if oracle.knows_rows(ending) else "rows"


def _is_insert(step: Step) -> bool:
    return step.operation.kind in ("sql", "many") and statement_of(step.operation).verb == "INSERT"


def entangled(seen: Seen, size: int, catalogue: Catalogue, enqueuers: Mapping[int, int]) -> Iterator[tuple[int, ...]]:
    """So many of the calls that were under way at once, and touched the same data: all such choices.

    A task is there with the call that enqueues it, and never without.
    """
    made = dict.fromkeys(step.call for step in seen.run.steps)
    for calls in combinations(sorted(made), size):
        if any((task in calls) != (enqueuer in calls) for task, enqueuer in enqueuers.items() if task in made):
            continue
        steps = [step for step in seen.run.steps if step.call in calls]
        if not is_serial(steps) and overlap(((step.call, step.operation) for step in steps), catalogue):
            yield calls
