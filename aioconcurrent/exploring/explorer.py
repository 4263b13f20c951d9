"""From runs to a verdict: runs what the search asks for, and has each ending judged."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio

from .._pickling import text_of
from ..exceptions import WrappedError
from .anomalies import name_anomaly
from .answers import answers
from .exploration import Counterexample, Exploration
from .footprint import overlap
from .oracle import Oracle
from .schedule import Replay, Schedule, Serial, preemptions, serial_order, shrinks
from .search import Omission, Search
from .trace import Ending, call_name

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

    from .._outcomes import Outcomes
    from ..databases.explored import ExploredDatabases
    from ..engine.race import Report
    from .controller import Chooser
    from .oracle import Order, Violation
    from .runs import Run
    from .schedule import Step
    from .stage import Performance, Stage

_PROBLEMS = 3  # runs that may be given up before nothing more is tried
_SHRINKING = 20  # runs at most
_WIDENED = 2  # times that tables may turn out to change behind the statements' backs


@dataclass(frozen=True, slots=True)
class Limits:
    """How far an exploration goes.

    Attributes:
        max_schedules: Runs that may be made.
        max_seconds: For all of it.
        preemptions: Orders with more are left out; None for no limit.
    """

    max_schedules: int
    max_seconds: float
    preemptions: int | None


@dataclass(frozen=True)
class Referee:
    """Judges how runs end.

    Attributes:
        outcomes_of: Makes what the calls came to from their reports.
        refusals: Exceptions by which a call refuses.
        rule: Asks the caller's rule, if there is one; None where it is kept.
    """

    outcomes_of: Callable[[Sequence[Report], Collection[int]], Outcomes]
    refusals: tuple[type[BaseException], ...] = ()
    rule: Callable[[Outcomes], Awaitable[Violation | None]] | None = None


@dataclass
class _Seen:
    """One run that has taken place."""

    steps: Sequence[Step]
    reports: Sequence[Report]
    ending: Ending
    touched: Collection[str]  # tables
    violation: Violation | None = None  # of the caller's rule

    @property
    def preemptions(self) -> int:
        return preemptions(self.steps)

    @property
    def effort(self) -> tuple[int, int]:
        """What a simpler order has less of."""
        return self.preemptions, len(Schedule.of(self.steps).choices)


class _AgainError(Exception):
    """All has to be begun anew, with this database open, if any, and with what was learnt of the statements."""


class _StopError(Exception):
    """Nothing more can be learnt; the argument says why."""


@dataclass
class Explorer:
    """One exploration.

    Args:
        calls: The text of each.
        classes: Of each a number, the same for those that are the same function with the same arguments.
        progress: Is told how many runs were made.
    """

    calls: tuple[str, ...]
    classes: tuple[int, ...]
    stage: Stage
    databases: ExploredDatabases
    referee: Referee
    limits: Limits
    end_sessions: Callable[[Sequence[Report]], Awaitable[None]]
    progress: Callable[[int], None] = lambda _: None
    shown: list[Report] = field(default_factory=list)  # the reports of the run that the caller is told of
    _made: int = 0
    _met: bool = False  # some call changed what another touched
    _problems: list[str] = field(default_factory=list)
    _answers: str = ""  # of the calls in the first run
    _notes: dict[str, None] = field(default_factory=dict)  # in the order in which they came up
    _unseen: set[str] = field(default_factory=set)  # what could not be seen, a sentence each

    def __post_init__(self) -> None:
        self._deadline = anyio.current_time() + self.limits.max_seconds
        self._all = tuple(range(len(self.calls)))
        self._forget()

    def _forget(self) -> None:
        self._moved = False
        self._oracle = Oracle(len(self.calls), self.databases.keys, self.databases.start, self.referee.refusals)

    async def explore(self) -> Exploration:
        """Run all orders that matter, until one goes wrong."""
        try:
            for _ in range(_WIDENED):
                found = await self._until_known(self._explore_once)
                if not await self._in_thread(self.databases.widen):
                    return found
                self._forget()
            return self._inconclusive("tables changed in some run without any statement of the calls that says so")
        except _StopError as reason:
            return self._inconclusive(str(reason))
        finally:
            await self._leave()

    async def replay(self, schedule: Schedule) -> Exploration:
        """Run one order alone, and those that its ending has to be compared with."""
        try:
            return await self._until_known(partial(self._replay, schedule))
        except _StopError as reason:
            return self._inconclusive(str(reason))
        finally:
            await self._leave()

    async def _until_known(self, find: Callable[[], Awaitable[Exploration]]) -> Exploration:
        """Begin anew whenever a call turns out to use a database that was not open yet, or to be stepped otherwise."""
        while True:
            try:
                return await find()
            except _AgainError as new:
                for identity in new.args:
                    await self._in_thread(self.databases.open, identity)
                self._forget()

    async def _leave(self) -> None:
        """Whatever has happened, leave the rows as they were found."""
        with anyio.CancelScope(shield=True):
            await self.stage.aclose()
            await self.end_sessions(self.stage.reports)
            await self._in_thread(self.databases.restore)

    async def _explore_once(self) -> Exploration:
        search = Search(
            self.classes,
            self.databases.catalogue,
            max_preemptions=self.limits.preemptions,
            one_waiter=self.databases.one_waiter,
        )
        while (run := search.next_run()) is not None:
            counterexample = await self._try(run)
            if counterexample is not None:
                return self._race(counterexample)
        return self._conclude(search)

    async def _try(self, run: Run) -> Counterexample | None:
        """Make one run of the search; return what it proves, if it goes wrong and does so again."""
        seen = await self._perform(run, self._all)
        if seen is None:
            return None
        if run.number == 1:
            self._answers = answers(seen.ending.outcomes)
            self._note_errors(seen)
        if run.serial and self.referee.rule is None:
            await self._learn(serial_order(seen.steps, len(self.calls)), seen)
            return None
        violation = await self._judge(seen)
        if violation is None:
            return None
        return await self._confirm(run.schedule, seen)

    def _note_errors(self, seen: _Seen) -> None:
        """Take note of what calls raise while they meet nobody: then little of them is explored."""
        for call, outcome in enumerate(seen.ending.outcomes):
            error = outcome.error if isinstance(outcome, WrappedError) else None
            if error is not None and not isinstance(error, self.referee.refusals):
                told = f"{type(error).__name__}: {text_of(error)}".strip(": ")
                self._notes[f"even with the calls one after another {call_name(call)} raises {told}"] = None

    async def _confirm(self, schedule: Schedule, first: _Seen) -> Counterexample | None:
        """See whether the order goes wrong a second time, and whether a simpler one does, too."""
        seen, violation, departed = await self._again(schedule)
        if seen is None or violation is None or departed:
            self._problems.append(
                f"an order of the steps went wrong once and not when it was run again ({schedule.token}), so that "
                "something else than the order decides"
            )
            return None
        if seen.preemptions:
            schedule, seen, violation = await self._shrink(schedule, seen, violation)
        return await self._told(schedule, seen, violation)

    async def _again(self, schedule: Schedule) -> tuple[_Seen | None, Violation | None, bool]:
        """Run an order once more, and judge it; the last item tells whether it was left."""
        replay = Replay(schedule)
        seen = await self._perform(replay, self._all)
        if seen is None:
            return None, None, replay.departure is not None
        return seen, await self._judge(seen), replay.departure is not None

    async def _shrink(self, schedule: Schedule, seen: _Seen, violation: Violation) -> tuple[Schedule, _Seen, Violation]:
        """Look for an order with fewer switches, or a shorter text, that goes wrong as well."""
        left, tried = _SHRINKING, {schedule.choices}
        candidates = shrinks(schedule.choices)
        while left and (choices := next(candidates, None)) is not None:
            if choices in tried or len(set(choices)) < 2:
                continue
            tried.add(choices)
            left -= 1
            simpler, found, _ = await self._again(Schedule(choices))
            if simpler is None or found is None or simpler.effort >= seen.effort:
                continue
            schedule, seen, violation = Schedule.of(simpler.steps), simpler, found
            candidates = shrinks(schedule.choices)
        return schedule, seen, violation

    async def _told(self, schedule: Schedule, seen: _Seen, violation: Violation) -> Counterexample:
        await self.stage.close_curtain()
        self.shown = list(seen.reports)
        anomaly = name_anomaly(seen.ending.steps, violation)
        return Counterexample(
            token=schedule.token,
            steps=seen.ending.steps,
            outcomes=self.referee.outcomes_of(seen.reports, self._all),
            anomaly=anomaly.name,
            explanation=anomaly.explanation,
            hint=anomaly.hint,
            calls=self.calls,
            ending=seen.ending,
            preemptions=seen.preemptions,
            marked=frozenset(anomaly.steps),
        )

    async def _replay(self, schedule: Schedule) -> Exploration:
        replay = Replay(schedule)
        seen = await self._perform(replay, self._all)
        if seen is None:
            raise _StopError(self._problems[0])
        if replay.departure is not None:
            raise _StopError(f"the program left the schedule {replay.departure}")
        violation = await self._judge(seen)
        if violation is None:
            reason = "this order ends as a serial one does" if self.referee.rule is None else "the rule is kept"
            return Exploration("no race", f"{reason}; it was run alone", False, self._made, self.calls)
        return self._race(await self._told(schedule, seen, violation))

    async def _judge(self, seen: _Seen) -> Violation | None:
        """Say what is wrong with an ending, after the serial orders that it has to be compared with were run."""
        if self.referee.rule is not None:
            return seen.violation
        for order in self._oracle.needs(seen.ending):
            await self._learn(order, await self._serially(order))
        violation = self._oracle.judge(seen.ending)
        if violation is not None and violation.nearest is not None:
            # once more, for what the clock decides
            self._oracle.learn(violation.nearest, (await self._serially(violation.nearest)).ending)
            violation = self._oracle.judge(seen.ending)
        return violation

    async def _learn(self, order: Order, seen: _Seen) -> None:
        """Take in a serial order; the first one is run twice, with other keys, to see what does not repeat itself."""
        self._oracle.learn(order, seen.ending)
        if not self._moved:
            self._moved = True
            await self._in_thread(self.databases.move_counters, seen.touched)
            again = await self._serially(order)
            await self._in_thread(self.databases.restore)
            self._oracle.learn(order, again.ending)

    async def _serially(self, order: Order) -> _Seen:
        seen = await self._perform(Serial(order), order)
        if seen is None:
            raise _StopError(f"the calls cannot be made one after another: {self._problems[-1]}")
        return seen

    async def _perform(self, chooser: Chooser, calls: Collection[int]) -> _Seen | None:
        """Make one run and put everything back; None if it was given up."""
        self._check_limits()
        performance = await self.stage.perform(chooser, calls, self._deadline)
        if performance.unknown or performance.outdated:
            await self.end_sessions(performance.reports)
            await self._in_thread(self.databases.restore)
            raise _AgainError(*filter(None, [performance.unknown]))
        self._made += 1
        self._notes |= dict.fromkeys(sorted(performance.unshared))
        self.progress(self._made)
        steps = ((step.call, step.operation) for step in performance.steps)
        self._met = self._met or overlap(steps, self.databases.catalogue)
        self._unseen |= performance.unseen
        for step in performance.steps:
            self._unseen |= self.databases.moments.unseen(step.operation, self.databases.catalogue)
        operations = [step.operation for step in (*performance.prelude, *performance.steps)]
        if self._made == 1:  # SQLite puts all tables back with any of them, so that nothing would show at the end
            await self._in_thread(self.databases.look_behind, operations)
        touched = self.databases.touched(operations)
        seen = None
        try:
            seen = await self._look(chooser, performance, touched, calls)
        finally:
            # what a run that was given up waited for may keep from being written what is as it was
            await self._in_thread(self.databases.restore, None if seen is None else touched)
        self._notes |= dict.fromkeys(self.databases.remarks)
        if self.databases.moments.learn((step.operation for step in performance.steps), self.databases.catalogue):
            raise _AgainError
        return seen

    async def _look(
        self, chooser: Chooser, performance: Performance, touched: Collection[str], calls: Collection[int]
    ) -> _Seen | None:
        if any(performance.reports[number].result is None for number in calls):
            await self.stage.close_curtain()
        problem = performance.problem or self._death(
            performance, calls if performance.dead is None else [performance.dead]
        )
        if problem:
            await self.end_sessions(performance.reports)
            self._problems.append(problem)
            return None
        if self.referee.rule is not None:
            await self.stage.close_curtain()
        outcomes = self._outcomes(performance, calls)
        if not self.shown:
            self.shown = list(performance.reports)
        tables = await self._in_thread(self.databases.rows, touched)
        ending = Ending(tuple(outcomes), tables, tuple(performance.steps))
        seen = _Seen(tuple(chooser.steps), performance.reports, ending, touched)
        if self.referee.rule is not None:
            seen.violation = await self.referee.rule(outcomes)
        return seen

    def _death(self, performance: Performance, calls: Collection[int]) -> str:
        """Why a process gave no result; empty if all did."""
        dead = [number for number in calls if performance.reports[number].result is None]
        return f"{call_name(dead[0])} has no outcome: {self._outcomes(performance, calls)[dead[0]]}" if dead else ""

    def _outcomes(self, performance: Performance, calls: Collection[int]) -> Outcomes:
        return self.referee.outcomes_of(performance.reports, calls)

    def _check_limits(self) -> None:
        if len(self._problems) >= _PROBLEMS:
            raise _StopError(self._problems[0])
        spent = ""
        if self._made >= self.limits.max_schedules:
            spent = f"the budget of {self.limits.max_schedules} schedules is spent; none of them goes wrong"
        elif anyio.current_time() >= self._deadline:
            spent = f"the budget of {self.limits.max_seconds:g} s is spent; no schedule so far goes wrong"
        if spent:
            raise _StopError("; ".join([spent, *self._problems[:1]]))

    async def _in_thread(self, function: Callable[..., Any], *args: Any) -> Any:
        return await anyio.to_thread.run_sync(function, *args)

    def _race(self, counterexample: Counterexample) -> Exploration:
        reason = f"{counterexample.anomaly}, with {_counted(counterexample.preemptions, 'preemption')}"
        return Exploration("race", reason, False, self._made, self.calls, counterexample, tuple(self._notes))

    def _inconclusive(self, reason: str) -> Exploration:
        return Exploration("inconclusive", reason, False, self._made, self.calls, None, tuple(self._notes))

    def _conclude(self, search: Search) -> Exploration:
        """The verdict when the search has come to its end and nothing went wrong."""
        if self._problems:
            return self._inconclusive(self._problems[0])
        if search.divergences:
            return self._inconclusive(str(search.divergences[0]))
        if self._oracle.unsteady:
            return self._inconclusive("the calls, one after another, do not end the same way twice")
        if search.omissions - {Omission.BOUND}:
            return self._inconclusive("; ".join(omission.value for omission in search.omissions))
        if not self._met:
            nothing = (
                "nothing overlapped: no two calls touched the same data with one of them changing it, so that no "
                "order of theirs could matter"
            )
            return self._inconclusive("; ".join([nothing, self._answers, *self._not_seen()]))
        unseen = self._not_seen()
        fate = "ends as a serial one does" if self.referee.rule is None else "keeps the rule"
        reason = f"every order that {'was run' if unseen else 'can matter'} {fate}"
        if not search.exhaustive:
            reason = f"no order with up to {_counted(self.limits.preemptions or 0, 'preemption')} goes wrong"
        if unseen:
            reason += f", but not everything could be seen: {'; '.join(unseen)}"
        exhaustive = search.exhaustive and not unseen
        return Exploration("no race", reason, exhaustive, self._made, self.calls, None, tuple(self._notes))

    def _not_seen(self) -> list[str]:
        """Why "no race" would not be said of all that can happen."""
        widened = [f"rows of {table} change without any statement that says so" for table in self.databases.widened]
        return sorted([*self._unseen, *self.databases.unseen, *widened])


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
