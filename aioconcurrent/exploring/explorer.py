"""Drives the search: has its runs made and proved, begins anew when they show that it must, and comes to a verdict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import methodcaller
from typing import TYPE_CHECKING, TypeVar

import anyio

from .._text import counted
from ..base.trace import call_name
from ..results.exploration import Counterexample, Exploration
from ..sql.secrets import Secrets, hidden_texts
from .judging.evidence import answers
from .judging.judge import CountersMatterError, Seen
from .judging.verdict import Account
from .orders.schedule import Schedule, Serial, is_serial
from .orders.search import Search
from .orders.walk import Walk
from .proof import Prover
from .runs import AgainError, Limits, Runs, SpentError, StopError
from .stepping.controller import OVERTIME
from .stepping.maker import Made, Maker, Place, Referee
from .stepping.places import Places
from .stepping.same_processes import DepartedError, Reuse, is_borne_out

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from ..engine.attendance import Report
    from .stepping.crew import Crew
    from .stepping.remote import RemotePlace

T = TypeVar("T")

_ENOUGH = 1  # preemptions: all races that were found in real projects had one
_SPENT = 2 / 3  # of the budget, after which the rest may be for orders drawn at random
_MARGIN = 2  # how many times as many orders have to be left as can be run, since neither number is exact
_WIDE = "tables changed in some run without any statement of the calls that says so"
_UNPROVED = "an order that went wrong in processes that were used again was not run in fresh ones any more"
_TWICE = 2
_CHECKED = (64, 256, 1024)  # runs after which used processes are compared with fresh ones, as after the last one
_WIDENED = 2  # times that tables may turn out to change behind the statements' backs


@dataclass
class Explorer:
    """One exploration.

    Args:
        calls: The text of each.
        classes: Of each a number, the same for those that are the same function with the same arguments.
        here: Runs of the search are made on all of these places, all others on the first, where the caller's rows are;
            a rule of the caller looks at these, so that with one there is no other place.
        progress: Is told how many runs were made, and what to ask for how many are left.
        employ: Gives the pickled `Task` of one call more, which makes what another enqueues.
        name: Is told the text of such a call, by its number, once it is known.
        remote: Places on other machines, for runs of the search.
        queues: Patterns of the names of tables that hold work for others.
        reuse: Whether runs are made in the same processes.

    Attributes:
        account: What there is to say.
        runs: Those that were made.
    """

    calls: tuple[str, ...]
    classes: tuple[int, ...]
    here: Sequence[Place]
    referee: Referee
    limits: Limits
    end_sessions: Callable[[Sequence[Report]], Awaitable[None]]
    progress: Callable[[int, Callable[[], str]], None]
    employ: Callable[[], bytes]
    name: Callable[[int, str], None]
    remote: Sequence[RemotePlace]
    queues: Sequence[str]
    reuse: Reuse

    def __post_init__(self) -> None:
        hidden = hidden_texts()
        calls = tuple(map(Secrets((), hidden).text, self.calls))
        self.account = Account(calls, self.referee.rule is not None, self.limits.preemptions, hidden)
        self._maker = Maker(self.referee, self.end_sessions, anyio.current_time() + self.limits.max_seconds)
        self._places = Places(self.here, self.remote, self._maker, self.reuse, self.account)
        self.runs = Runs(
            self._places,
            self.referee,
            self.limits,
            self.account,
            self.reuse,
            lambda made: self.progress(made, self._orders_left),
            self.name,
            self.queues,
        )
        self._counters_stay = False  # the calls do other things where keys begin with other numbers
        self._kept = set[str]()  # tables of which alone that is known
        self._forget()

    @property
    def shown(self) -> list[Report]:
        """The reports of the run that the caller is told of."""
        return self._maker.shown

    def _forget(self) -> None:
        # Whether the counters of keys are where they are to be.
        self._maker.is_tuned = self.referee.rule is not None or self._counters_stay
        self.account.uncompared = False
        self._prover = Prover(self.runs, self.classes, frozenset(self._kept))
        self._search: Search | None = None
        self._may_draw = self.limits.preemptions is None  # whether it is still to be decided
        self._is_widened_remotely = False
        self._last: tuple[Walk, Made] | None = None  # of the search
        self._held: Seen | None = None  # a run that is judged when the serial orders are known

    async def _begin_anew(self) -> None:
        await self._places.begin_anew()
        self._forget()

    def _orders_left(self) -> str:
        """What is left of the orders with as many preemptions as those that are run, for people."""
        if self._search is None:
            return ""
        if self._search.is_drawing:
            return "drawn at random"
        return f"{self._search.left()}+ left with {counted(self._search.preemptions, 'preemption')}"

    async def explore(self, likely: Schedule | None = None) -> Exploration:
        """Run all orders that matter, until one goes wrong.

        Args:
            likely: An order that went wrong before, to be run first.
        """
        found = await self._explored(likely)
        return replace(found, notes=(*found.notes, self.reuse.note)) if self.reuse.note else found

    async def _explored(self, likely: Schedule | None) -> Exploration:
        async with self._places.leaving():
            try:
                if likely is not None:
                    found = await self._until_known(partial(self._remembered, likely))
                    if found is not None:
                        return found
                for _ in range(_WIDENED):
                    found = await self._until_known(self._explore_proving)
                    if not await self._places.widen() and not self._is_widened_remotely:
                        return found
                    await self._begin_anew()
                return self.account.inconclusive(_WIDE)
            except SpentError as budget:
                return await self._so_far(str(budget))
            except StopError as reason:
                return self.account.inconclusive(str(reason))

    async def replay(self, schedule: Schedule, *, is_looked_on: bool = False) -> Exploration:
        """Run one order alone, and those that its ending has to be compared with.

        Args:
            is_looked_on: Whether somebody may stop in it, for whom it is run once before all else.
        """
        async with self._places.leaving():
            try:
                await self._attend(schedule.enqueuers)
                if is_looked_on:
                    calls = schedule.calls or self.account.everyone
                    await self._until_known(partial(self.runs.follow, schedule, calls))
                    self._places.stage.is_quiet = True
                    await self._begin_anew()
                return await self._until_known(partial(self._replay, schedule))
            except SpentError as budget:
                return self.account.inconclusive(f"{budget} is spent")
            except StopError as reason:
                return self.account.inconclusive(str(reason))

    async def _until_known(self, find: Callable[[], Awaitable[T]]) -> T:
        """Begin anew whenever a call turns out to use a database that was not open yet, or to be stepped otherwise."""
        while True:
            try:
                return await find()
            except AgainError as new:
                for identity in new.args:
                    await self._places.open(identity)
                await self._attend(new.enqueuers)
            except CountersMatterError as matter:
                self._kept.update(matter.args)
                self._counters_stay = self._counters_stay or not matter.args
            await self._begin_anew()

    async def _attend(self, enqueuers: Sequence[int]) -> None:
        """Have one call more for each task that these enqueue."""
        for enqueuer in enqueuers:
            await self._places.add(self.employ(), enqueuer)
            self.classes += (len(self.classes),)
            self.account.calls += (f"a task of {call_name(enqueuer)}",)
        self._forget()

    async def _replay(self, schedule: Schedule) -> Exploration:
        calls = schedule.calls or self.account.everyone
        if self.referee.rule is None:
            await self._prover.begin_with(calls)
        seen, departure = await self.runs.follow(schedule, calls)
        if seen is None:
            raise StopError(self.account.problems[0])
        if departure is not None:
            raise StopError(f"the program left the schedule {departure}")
        found = await self._prover.find(seen)
        if found is None:
            if self.account.uncompared:
                raise StopError(self.account.too_many)
            return self.account.kept_alone()
        return self.account.race(await self._prover.counterexample(found))

    async def _remembered(self, schedule: Schedule) -> Exploration | None:
        """Run an order that went wrong before; None if it does not any more, and nothing is known of it then."""
        try:
            found = await self._replay(schedule)
        except SpentError:
            raise
        except StopError:
            found = None
        if found is not None and found.verdict == "race":
            return found
        self.account.problems.clear()
        self._maker.shown.clear()
        await self._begin_anew()
        return None

    async def _explore_proving(self) -> Exploration:
        """Explore; what was found in processes that are used again is found in fresh ones, or not told."""
        try:
            found = await self._explore_once()
        except DepartedError as departed:
            await self._keep_to_fresh(str(departed))
            return await self._explore_once()
        if not self.reuse.is_on or found.counterexample is None:
            return found
        note = self.reuse.note
        await self._keep_to_fresh("")
        schedule = Schedule.from_token(found.counterexample.token)
        try:
            proved = await self._until_known(partial(self._remembered, schedule))
        except SpentError as budget:
            raise StopError(f"{budget} is spent, and {_UNPROVED}") from None
        if proved is not None:
            self.reuse.note = f"{note}; the counterexample is of fresh ones"
            return proved
        self.reuse.stop("an order went wrong in processes that were used again, and not in fresh ones")
        return await self._explore_once()

    async def _keep_to_fresh(self, why: str) -> None:
        """Forget all that was learnt in processes that were used again."""
        self.reuse.stop(why)
        await self._places.stop_keeping()
        await self._begin_anew()

    async def _try_reuse(self) -> None:
        """Find out whether the calls do the same when they are made again in the same processes."""
        if not self.reuse.is_open:
            return
        await self._places.stage.begin_keeping()
        first, again = [await self.runs.make(Serial(self.account.everyone)) for _ in range(_TWICE)]
        self.runs.take_in(first)
        if again.strange or not again.problems:  # else fresh processes show whether that comes of using them again
            self.runs.take_in(again)
        self.reuse.decide(first, again)

    async def _check_reuse(self) -> None:
        """See whether fresh processes do the same in the last order of the search.

        Raises:
            DepartedError: They do not.
        """
        if not self.reuse.is_on or self._last is None:
            return
        run, made = self._last
        if any(oracle.is_by_chance for oracle in self._prover.oracles):
            raise DepartedError("one serial order did not end the same way twice")
        await self._places.stage.stop_keeping()
        fresh = await self.runs.make(run.fresh())
        self.runs.take_in(fresh)
        if not is_borne_out(made, fresh):
            raise DepartedError("fresh ones do other things in an order of the steps than those that were used again")
        await self._places.stage.begin_keeping()

    async def _explore_once(self) -> Exploration:
        await self._try_reuse()
        search = self._search = Search(
            self.classes,
            self.runs.databases.catalogue,
            max_preemptions=self.limits.preemptions,
            one_waiter=self.runs.databases.one_waiter,
            enqueuers=self._places.stage.enqueuers,
            seed=self.limits.seed,
        )
        async with self._places.crewed(search, self.account.everyone) as crew:
            while (run := self._next_run(search)) is not None:
                counterexample = await self._try(run, search, crew)
                if counterexample is not None:
                    return self.account.race(counterexample)
        counterexample = await self._prove_held(search)
        if counterexample is not None:
            return self.account.race(counterexample)
        await self._prover.settle()
        await self._check_reuse()
        self._is_widened_remotely = await self._places.widen_remotely(search.rules)
        await self._prover.doubt()
        return self._conclude(search)

    def _next_run(self, search: Search) -> Walk | None:
        """The next run of the search; orders are drawn if that is asked for, or if the budget will not suffice."""
        search.take_in()
        if self._may_draw and search.preemptions and self._is_to_draw(search):
            search.begin_drawing()
        return search.next_run()

    def _is_to_draw(self, search: Search) -> bool:
        """Decide it once, when the serial orders were run, or when two thirds of the budget are spent."""
        if not self.limits.is_sampling and self.runs.left() > 1 - _SPENT:
            return False
        self._may_draw = False  # when chance gives nothing new, the search goes through what is left
        is_enough = search.completed >= _ENOUGH
        return self.limits.is_sampling or (not is_enough and search.left() > _MARGIN * self.runs.affordable())

    async def _try(self, run: Walk, search: Search, crew: Crew[int | RemotePlace, Made]) -> Counterexample | None:
        """Make one run of the search; return what it proves, if it goes wrong and does so again."""
        self.runs.check_limits()
        made = await crew.result(run)
        seen = self.runs.take_in(made)
        search.take_in()
        if run.divergences and self.reuse.is_on:
            raise DepartedError(str(run.divergences[0]))
        # a key that is another in each run may be all there is to it
        if (run.divergences or search.mixes_numbers) and self._places.tell_all(methodcaller("blur_all")):
            raise AgainError
        if seen is None or run.is_disordered:
            return None
        self._last = run, made
        if run.number in _CHECKED:
            await self._check_reuse()
        if run.number == 1:
            self._note_answers(seen)
        if is_serial(seen.run.steps) and not seen.is_endless:
            was_settled = self._prover.is_settled
            await self._prover.learn(seen)
            if was_settled and not self._prover.is_settled:
                search.begin_anew()
            if seen.broken is None:
                return await self._prove_held(search) if self._prover.is_ready else None
        elif run.guessed and seen.broken is None and not self._prover.is_ready:
            self._held = seen  # the search makes the serial runs next that it is compared with
            return None
        return await self._prove_held(search) or await self._prover.prove(seen, search)

    async def _prove_held(self, search: Search) -> Counterexample | None:
        held, self._held = self._held, None
        return await self._prover.prove(held, search) if held is not None else None

    def _note_answers(self, seen: Seen) -> None:
        """Take note of what the calls come to while they meet nobody."""
        secrets = self.account.secrets(seen.ending.steps)
        self.account.answers = answers([secrets.outcome(outcome) for outcome in seen.ending.outcomes])
        self.account.note_errors(seen.ending, self.referee.refusals)

    async def _so_far(self, budget: str) -> Exploration:
        """The verdict when the budget is spent and nothing went wrong."""
        search = self._search
        problems = [problem for problem in self.account.problems if not problem.startswith(OVERTIME)]
        if search is None or search.completed < _ENOUGH or problems or self._prover.is_open:
            return self.account.spent(search, budget)
        if await self._places.widen() or await self._places.widen_remotely(search.rules):
            return self.account.inconclusive(_WIDE)
        self.account.problems.clear()
        self._prover.doubt_unasked()
        return self._conclude(search, budget)

    def _conclude(self, search: Search, budget: str = "") -> Exploration:
        databases = self.runs.databases
        widened = [f"rows of {table} change without any statement that says so" for table in databases.widened]
        self.account.unseen |= {*databases.unseen, *widened}
        return self.account.nothing_wrong(search, self._prover.oracles, budget)
