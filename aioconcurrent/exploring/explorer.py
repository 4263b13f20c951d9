"""Makes the runs that the search asks for, has each ending judged, and proves what goes wrong."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import combinations
from operator import methodcaller
from typing import TYPE_CHECKING, Any, TypeVar

import anyio

from ..base.points import UNFOLLOWED
from ..base.text import counted, text_of
from ..base.trace import LockSite, Run, Step, call_name
from ..exceptions import TaskResultError, chain_of, error_of
from ..results.exploration import Counterexample, Exploration
from ..results.outcomes import Outcomes
from ..sql.secrets import Secrets, hidden_texts
from .anomalies import name_anomaly
from .controller import OVERTIME, STEPS, UNENDED
from .crew import Crew, crewed
from .evidence import answers
from .footprint import filled, overlap
from .judge import CountersMatterError, Judge, Seen, TooManyOrdersError
from .oracle import Oracle
from .place import Made, Maker, Place, Referee, in_thread
from .private_steps import private_steps
from .remote import LostError, RemotePlace, UnprovedError
from .reuse import DepartedError, Reuse
from .schedule import Departure, Replay, Schedule, Serial, is_serial, serial_order, shrinks
from .search import FEW, WAKINGS, Search
from .verdict import Account
from .walk import Walk

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence

    from ..databases.schema import Catalogue
    from ..databases.state import Advance
    from ..engine.attendance import Report
    from ..results.exploration import Effect
    from .controller import Chooser
    from .databases import ExploredDatabases
    from .evidence import Order, Violation
    from .facts import Numbers

T = TypeVar("T")

# unique, foreign key, check and exclusion, as PostgreSQL, MariaDB and SQLite tell of them
_REFUSED = re.compile(
    r"IntegrityError: .*?(?:constraint failed: |(?:constraint|for key) [\"'`])(?P<name>[\w., ]+)",
    re.DOTALL | re.IGNORECASE,
)
_ENOUGH = 1  # preemptions: all races that were found in real projects had one
_SPENT = 2 / 3  # of the budget, after which the rest may be for orders drawn at random
_MARGIN = 2  # how many times as many orders have to be left as can be run, since neither number is exact
_WIDE = "tables changed in some run without any statement of the calls that says so"
_PROBLEMS = 3  # runs that may be given up before nothing more is tried
_SHARED = "one worker made all runs: the calls use what copies of the test database would share, such as a cache"
_UNPROVED = "an order that went wrong in processes that were used again was not run in fresh ones any more"
_TWICE = 2
_CHECKED = (64, 256, 1024)  # runs after which used processes are compared with fresh ones, as after the last one
_SHRINKING = 20  # runs at most
_LOOPING = 200  # steps in which a run that went round for ever shows that it does so again
_MOST_ENTANGLED = 5  # calls that are looked at without the others
_ANSWER = 5.0  # seconds for a remote place to say what has changed there
_TRIES = 2  # of a first remote run, in which it may learn how statements are stepped
_WIDENED = 2  # times that tables may turn out to change behind the statements' backs


@dataclass(frozen=True, slots=True)
class Limits:
    """How far an exploration goes.

    Attributes:
        max_schedules: Runs that may be made.
        max_seconds: For all of it.
        preemptions: Orders with more are left out; None for no limit.
        is_sampling: Orders are drawn at random as soon as the serial ones were run, unless preemptions are limited.
        seed: Of those that are drawn.
    """

    max_schedules: int
    max_seconds: float
    preemptions: int | None
    is_sampling: bool = False
    seed: int = 0


@dataclass(frozen=True, slots=True)
class _Finding:
    """A run that goes wrong."""

    schedule: Schedule
    seen: Seen
    violation: Violation


class _AgainError(Exception):
    """All has to be begun anew, with this database open, if any, and with what was learnt of the statements.

    Attributes:
        enqueuers: Calls that enqueue a task which nobody makes yet, once for each.
    """

    def __init__(self, *databases: str, enqueuers: Sequence[int] = ()) -> None:
        super().__init__(*databases)
        self.enqueuers = enqueuers


class NotCopiedError(Exception):
    """The calls use a database that nobody expected, so that it was not copied; the argument is an alias of it."""


class _StopError(Exception):
    """Nothing more can be learnt; the argument says why."""


class _SpentError(_StopError):
    """The budget, which the argument names, is spent."""


@dataclass
class Explorer:
    """One exploration.

    Args:
        calls: The text of each.
        classes: Of each a number, the same for those that are the same function with the same arguments.
        places: Runs of the search are made on all of them, all others on the first, where the caller's rows are.
        remote: Places on other machines, for runs of the search.
        progress: Is told how many runs were made, and what to ask for how many are left.
        employ: Gives the pickled `Task` of one call more, which makes what another enqueues.
        name: Is told the text of such a call, by its number, once it is known.
        queues: Patterns of the names of tables that hold work for others.
        reuse: Whether runs are made in the same processes.
    """

    calls: tuple[str, ...]
    classes: tuple[int, ...]
    places: Sequence[Place]
    referee: Referee
    limits: Limits
    end_sessions: Callable[[Sequence[Report]], Awaitable[None]]
    progress: Callable[[int, Callable[[], str]], None] = lambda *_: None
    employ: Callable[[], bytes] = bytes
    name: Callable[[int, str], None] = lambda number, text: None
    remote: Sequence[RemotePlace] = ()
    refused: set[type[BaseException]] = field(default_factory=set)  # what calls have refused by
    queues: Sequence[str] = ()
    reuse: Reuse = field(default_factory=lambda: Reuse(is_wanted=False, problem=""))
    locks: set[LockSite] = field(default_factory=set)  # that calls took, where it is noted, and what has refused rows

    def __post_init__(self) -> None:
        self._begun = anyio.current_time()
        self._maker = Maker(self.referee, self.end_sessions, self._begun + self.limits.max_seconds)
        self._all = tuple(range(len(self.calls)))
        self._hidden = hidden_texts()
        calls = tuple(map(Secrets((), self._hidden).text, self.calls))
        self._account = Account(calls, self.referee.rule is not None, self.limits.preemptions)
        self.stage, self.databases = self.places[0].stage, self.places[0].databases
        for place in self.places:
            is_alone = len(self.places) + len(self.remote) == 1
            place.databases.order.matters = place.stage.is_alone = is_alone
        if self.referee.rule is not None:  # it looks at the caller's own rows
            self.remote = ()
        self._lost: set[RemotePlace] = set()
        self._is_widened_remotely = False
        self._model: Made | None = None  # the first run of the search
        self._given_up: list[Place] = []  # those on which no more runs are made
        self._crew: Crew[int | RemotePlace, Made] | None = None
        self._counters_stay = False  # the calls do other things where keys begin with other numbers
        self._home = anyio.Lock()  # held by who has a run made there
        self._forget()

    async def _begin_anew(self) -> None:
        await self._everywhere("move_counters")
        self._forget()

    def _orders_left(self) -> str:
        """What is left of the orders with as many preemptions as those that are run, for people."""
        if self._search is None:
            return ""
        if self._search.is_drawing:
            return "drawn at random"
        return f"{self._search.left()}+ left with {counted(self._search.preemptions, 'preemption')}"

    def _tell_all(self, learn: Callable[[ExploredDatabases], bool]) -> bool:
        """Have all places here know of something; whether it was new to any.  Remote ones are told before a run."""
        return True in [learn(place.databases) for place in self.places]

    async def _everywhere(self, name: str, *args: Any) -> list[Any]:
        """Have this done with the databases of all places; return what came of it here."""
        do = methodcaller(name, *args)
        for place in self.remote if name != "widen" else ():
            do(place)
        return [await in_thread(do, place.databases) for place in self.places]

    async def _widen_remotely(self) -> bool:
        """Have tables looked at from now on that have changed remotely without a statement; whether there are any."""
        before = frozenset(self.databases.widened)
        async with anyio.create_task_group() as group:
            for place in self.remote:
                if place.is_alike:
                    group.start_soon(self._widen_at, place)
        self._is_widened_remotely = not self.databases.widened <= before
        return self._is_widened_remotely

    async def _widen_at(self, place: RemotePlace) -> None:
        if place not in self._lost and self._search is not None:
            with anyio.move_on_after(_ANSWER):
                try:
                    self.databases.widened |= await place.widen(self._search.rules, self._maker, self.databases)
                    return
                except LostError as lost:
                    self._lose(place, lost)
        self._account.unseen.add(f"whether runs on {place.name} changed anything that no statement tells of")

    def _lose(self, place: RemotePlace, why: LostError) -> None:
        """Make no more runs there."""
        if place not in self._lost:
            self._lost.add(place)
            self.note(f"no more runs were made on {place.name}: {why}")

    def _forget(self) -> None:
        # Whether the counters of keys are where they are to be.
        self._maker.is_tuned = self.referee.rule is not None or self._counters_stay
        self._numbers: list[Numbers] = []  # that they give
        self._accepted: list[Seen] = []  # runs that were no race
        self._judges: dict[tuple[int, ...], Judge] = {}  # by the calls that they judge
        self._asked: set[object] = set()  # which orders of which of many calls were run alone
        self._account.uncompared = False
        self._search: Search | None = None
        self._may_draw = self.limits.preemptions is None  # whether it is still to be decided
        self._is_open = False  # whether the last run goes wrong
        self._model = None
        self._last: tuple[Walk, Made] | None = None  # of the search
        self._held: Seen | None = None  # a run that is judged when the serial orders are known

    @property
    def shown(self) -> list[Report]:
        """The reports of the run that the caller is told of."""
        return self._maker.shown

    async def explore(self, likely: Schedule | None = None) -> Exploration:
        """Run all orders that matter, until one goes wrong.

        Args:
            likely: An order that went wrong before, to be run first.
        """
        found = await self._explored(likely)
        return replace(found, notes=(*found.notes, self.reuse.note)) if self.reuse.note else found

    async def _explored(self, likely: Schedule | None) -> Exploration:
        async with self._leaving():
            try:
                if likely is not None:
                    found = await self._until_known(partial(self._remembered, likely))
                    if found is not None:
                        return found
                for _ in range(_WIDENED):
                    found = await self._until_known(self._explore_proving)
                    if not any([*await self._everywhere("widen"), self._is_widened_remotely]):
                        return found
                    await self._begin_anew()
                return self._account.inconclusive(_WIDE)
            except _SpentError as budget:
                return await self._so_far(str(budget))
            except _StopError as reason:
                return self._account.inconclusive(str(reason))

    async def replay(self, schedule: Schedule, *, is_looked_on: bool = False) -> Exploration:
        """Run one order alone, and those that its ending has to be compared with.

        Args:
            is_looked_on: Whether somebody may stop in it, for whom it is run once before all else.
        """
        async with self._leaving():
            try:
                await self._attend(schedule.enqueuers)
                if is_looked_on:
                    await self._until_known(partial(self._follow, schedule, schedule.calls or self._all))
                    self.stage.is_quiet = True
                    await self._begin_anew()
                return await self._until_known(partial(self._replay, schedule))
            except _SpentError as budget:
                return self._account.inconclusive(f"{budget} is spent")
            except _StopError as reason:
                return self._account.inconclusive(str(reason))

    async def _remembered(self, schedule: Schedule) -> Exploration | None:
        """Run an order that went wrong before; None if it does not any more, and nothing is known of it then."""
        try:
            found = await self._replay(schedule)
        except _SpentError:
            raise
        except _StopError:
            found = None
        if found is not None and found.verdict == "race":
            return found
        self._account.problems.clear()
        self.shown.clear()
        await self._begin_anew()
        return None

    async def _until_known(self, find: Callable[[], Awaitable[T]]) -> T:
        """Begin anew whenever a call turns out to use a database that was not open yet, or to be stepped otherwise."""
        while True:
            try:
                return await find()
            except _AgainError as new:
                for identity in new.args:
                    copies = [place.databases for place in self.places[1:]]
                    others: list[ExploredDatabases | RemotePlace] = [*copies, *self.remote]
                    if all(each.can_open(identity) for each in others):
                        await self._everywhere("open", identity)
                    elif self.databases.can_open(identity) and not self.databases.is_expected(identity):
                        raise NotCopiedError(self.databases.aliases[identity]) from None
                    else:
                        self._keep_to_one_place()
                await self._attend(new.enqueuers)
                await self._begin_anew()
            except CountersMatterError:
                self._counters_stay = True
                await self._begin_anew()

    def _keep_to_one_place(self) -> None:
        """Make no more runs on copies: the calls go to where these do not lead."""
        self._given_up += self.places[1:]
        self.places, self.remote = self.places[:1], ()
        self.note(_SHARED)

    def note(self, sentence: str) -> None:
        """Let people know of something."""
        self._account.notes[sentence] = None

    async def _attend(self, enqueuers: Sequence[int]) -> None:
        """Have one call more for each task that these enqueue."""
        for enqueuer in enqueuers:
            number, task = len(self._all), self.employ()
            for place in self.places:
                await place.stage.add(task, enqueuer)
            for other in self.remote:
                other.add(task, enqueuer)
            self._account.calls += (f"a task of {call_name(enqueuer)}",)
            self.classes += (number,)
            self._all += (number,)

    @property
    def _enqueuers(self) -> tuple[int, ...]:
        return tuple(self.stage.enqueuers.values())

    @asynccontextmanager
    async def _leaving(self) -> AsyncIterator[None]:
        """Whatever happens in the block, leave the rows as they were found."""
        is_done = False
        try:
            yield
            is_done = True
        finally:
            with anyio.CancelScope(shield=True):
                for place in (*self.places, *self._given_up):
                    await place.stage.aclose(in_order=is_done)
                    await self.end_sessions(place.stage.reports)
                    kept = self._maker.strange if place.is_clean else ()
                    await in_thread(partial(place.databases.restore, but=kept))
                await self._everywhere("move_counters")

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
        except _SpentError as budget:
            raise _StopError(f"{budget} is spent, and {_UNPROVED}") from None
        if proved is not None:
            self.reuse.note = f"{note}; the counterexample is of fresh ones"
            return proved
        self.reuse.stop("an order went wrong in processes that were used again, and not in fresh ones")
        return await self._explore_once()

    async def _keep_to_fresh(self, why: str) -> None:
        """Forget all that was learnt in processes that were used again."""
        self.reuse.stop(why)
        for place in self.places:
            await place.stage.stop_keeping()
        await self._begin_anew()

    async def _try_reuse(self) -> None:
        """Find out whether the calls do the same when they are made again in the same processes."""
        if not self.reuse.is_open:
            return
        await self.stage.begin_keeping()
        first, again = [await self._make_serially() for _ in range(_TWICE)]
        self._take_in(first)
        if again.strange or not again.problems:  # else fresh processes show whether that comes of using them again
            self._take_in(again)
        self.reuse.decide(first, again)

    async def _make_serially(self) -> Made:
        self._check_limits()
        async with self._home:
            return await self._make(0, Serial(self._all), self._all, self._all, ask_rule=True)

    async def _check_reuse(self) -> None:
        """See whether fresh processes do the same in the last order of the search.

        Raises:
            DepartedError: They do not.
        """
        if not self.reuse.is_on or self._last is None:
            return
        run, made = self._last
        if any(judge.oracle.is_by_chance for judge in self._judges.values()):
            raise DepartedError("one serial order did not end the same way twice")
        self._check_limits()
        await self.stage.stop_keeping()
        async with self._home:
            fresh = await self._make(0, run.fresh(), self._all, self._all, ask_rule=True)
        self._take_in(fresh)
        if not self.reuse.is_borne_out(made, fresh):
            raise DepartedError("fresh ones do other things in an order of the steps than those that were used again")
        await self.stage.begin_keeping()

    async def _explore_once(self) -> Exploration:
        await self._try_reuse()
        search = self._search = Search(
            self.classes,
            self.databases.catalogue,
            max_preemptions=self.limits.preemptions,
            one_waiter=self.databases.one_waiter,
            enqueuers=self.stage.enqueuers,
            seed=self.limits.seed,
        )
        # The caller's rule looks at the caller's own rows.
        places: Sequence[int | RemotePlace] = range(len(self.places) if self.referee.rule is None else 1)
        remote = [place for place in self.remote if place not in self._lost]
        async with crewed(search, places, self._make_ahead, self._home, remote) as crew:
            self._crew = crew
            while (run := self._next_run(search)) is not None:
                counterexample = await self._try(run, search, crew)
                if counterexample is not None:
                    return self._account.race(counterexample)
        counterexample = await self._judge_held()
        if counterexample is not None:
            return self._account.race(counterexample)
        await self._check_reuse()
        await self._widen_remotely()
        await self._doubt()
        return self._conclude(search)

    def _next_run(self, search: Search) -> Walk | None:
        """The next run of the search; orders are drawn if that is asked for, or if the budget will not suffice."""
        search.take_in()
        if self._may_draw and search.preemptions and self._is_to_draw(search):
            search.begin_drawing()
        return search.next_run()

    def _is_to_draw(self, search: Search) -> bool:
        """Decide it once, when the serial orders were run, or when two thirds of the budget are spent."""
        if not self.limits.is_sampling and self._left_of_budget() > 1 - _SPENT:
            return False
        self._may_draw = False  # when chance gives nothing new, the search goes through what is left
        is_enough = search.completed >= _ENOUGH
        return self.limits.is_sampling or (not is_enough and search.left() > _MARGIN * self._affordable())

    def _left_of_budget(self) -> float:
        """The share of the budget that is left."""
        schedules = 1 - self._account.made / self.limits.max_schedules
        return min(schedules, (self._maker.deadline - anyio.current_time()) / self.limits.max_seconds)

    def _affordable(self) -> float:
        """How many runs can still be made, at the pace so far."""
        now, made = anyio.current_time(), self._account.made
        pace = made / max(now - self._begun, 0.001)
        return min(self.limits.max_schedules - made, pace * (self._maker.deadline - now))

    async def _try(self, run: Walk, search: Search, crew: Crew[int | RemotePlace, Made]) -> Counterexample | None:
        """Make one run of the search; return what it proves, if it goes wrong and does so again."""
        self._check_limits()
        made = await crew.result(run)
        seen = self._take_in(made)
        search.take_in()
        if run.divergences and self.reuse.is_on:
            raise DepartedError(str(run.divergences[0]))
        # a key that is another in each run may be all there is to it
        if (run.divergences or search.mixes_numbers) and self._tell_all(methodcaller("blur_all")):
            raise _AgainError
        if seen is None or run.is_disordered:
            return None
        self._last = run, made
        if run.number in _CHECKED:
            await self._check_reuse()
        if run.number == 1:
            secrets = Secrets(seen.ending.steps, self._hidden)
            self._account.answers = answers([secrets.outcome(outcome) for outcome in seen.ending.outcomes])
            self._account.note_errors(seen.ending, self.referee.refusals)
        if is_serial(seen.run.steps) and not seen.is_endless:
            await self._judge_of(self._all).learn(serial_order(seen.run.steps, len(self._all)), seen)
            self._maker.is_tuned = True
            if seen.broken is None:
                return await self._judge_held() if self._judge_of(self._all).knows_all else None
        elif run.guessed and seen.broken is None and len(set(self.classes)) > 1:
            self._held = seen  # the search makes the serial runs next that it is compared with
            return None
        return await self._judge_held() or await self._prove(seen)

    async def _judge_held(self) -> Counterexample | None:
        held, self._held = self._held, None
        return await self._prove(held) if held is not None else None

    async def _prove(self, seen: Seen) -> Counterexample | None:
        self._is_open = True
        found = await self._find(seen)
        counterexample = await self._confirm(found) if found is not None else None
        self._is_open = False
        return counterexample

    def _judge_of(self, calls: tuple[int, ...]) -> Judge:
        if calls not in self._judges:
            databases, referee = self.databases, self.referee
            self._judges[calls] = Judge(
                calls,
                tuple(self.classes[call] for call in calls),
                Oracle(
                    len(calls),
                    databases.keys,
                    databases.start,
                    referee.refusals,
                    referee.ignored,
                    self._numbers,
                    databases.is_untouched,
                    {
                        calls.index(task): calls.index(enqueuer)
                        for task, enqueuer in self.stage.enqueuers.items()
                        if task in calls and enqueuer in calls
                    },
                ),
                partial(self._serially, calls),
                self._move_counters,
                has_rule=self.referee.rule is not None,
            )
        return self._judges[calls]

    async def _find(self, seen: Seen) -> _Finding | None:
        """Say what is wrong with a run of all calls; of many of them, with as few as show it."""
        judge = self._judge_of(self._all)
        is_many = len(self._all) > FEW and seen.broken is None
        if is_many:
            if await judge.clears(seen):
                self._accept(seen)
                return None
            found = await self._find_among(seen, 2)
            if found is not None or await judge.explains(seen):
                return found
            for size in range(3, min(len(self._all), _MOST_ENTANGLED + 1)):
                found = await self._find_among(seen, size)
                if found is not None:
                    return found
        return await self._judged(seen)

    async def _find_among(self, seen: Seen, size: int) -> _Finding | None:
        """Look for so many calls that go wrong without the others, in the order of a run of all of them."""
        for calls in _entangled(seen, size, self.databases.catalogue, self.stage.enqueuers):
            choices = tuple(step.call for step in seen.run.steps if step.call in calls)
            question = tuple(self.classes[call] for call in calls), tuple(map(calls.index, choices))
            if question in self._asked:
                continue
            self._asked.add(question)
            part, _ = await self._follow(Schedule(choices), calls)
            if part is None:
                continue
            found = await self._judged(part)
            if found is not None:
                return found
        return None

    async def _judged(self, seen: Seen, *, once_more: bool = True) -> _Finding | None:
        try:
            violation = await self._judge_of(seen.calls).judge(seen, once_more=once_more)
        except TooManyOrdersError:
            self._account.uncompared = True
            return None
        if violation is None:
            self._accept(seen)
            return None
        calls = () if seen.calls == self._all else seen.calls
        schedule = Schedule.of(seen.run.steps, calls, is_endless=seen.is_endless, enqueuers=self._enqueuers)
        return _Finding(schedule, seen, violation)

    async def _confirm(self, first: _Finding) -> Counterexample | None:
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
            found = await self._shrink(found)
        return await self._counterexample(found)

    async def _again(
        self, schedule: Schedule, calls: tuple[int, ...], limit: int = STEPS
    ) -> tuple[_Finding | None, bool]:
        """Run an order once more, and judge it; the last item tells whether it was left."""
        seen, departure = await self._follow(schedule, calls, limit)
        departed = departure is not None
        if seen is None:
            return None, departed
        return await self._judged(seen, once_more=False), departed

    async def _follow(
        self, schedule: Schedule, calls: tuple[int, ...], limit: int = STEPS
    ) -> tuple[Seen | None, Departure | None]:
        """Run an order, again and again while calls are not woken in the order in which they came to wait."""
        for _ in range(WAKINGS):
            replay = Replay(schedule)
            seen = await self._perform(replay, calls, ask_rule=calls == self._all, limit=limit)
            if not replay.is_disordered:
                break
        return seen, replay.departure

    async def _shrink(self, found: _Finding) -> _Finding:
        """Look for an order with fewer switches, or a shorter text, that goes wrong as well."""
        left, tried = _SHRINKING, {found.schedule.choices}
        candidates = shrinks(found.schedule.choices)
        while left and (choices := next(candidates, None)) is not None:
            if choices in tried or len(set(choices)) < 2 or self._is_right(choices, found):
                continue
            tried.add(choices)
            left -= 1
            simpler, _ = await self._again(replace(found.schedule, choices=choices, marks=""), found.seen.calls)
            if simpler is None or simpler.seen.effort >= found.seen.effort:
                continue
            found = simpler
            candidates = shrinks(found.schedule.choices)
        return found

    def _is_right(self, choices: tuple[int, ...], found: _Finding) -> bool:
        """Whether an order comes to the same as one that was run before this finding, which nothing was wrong with."""
        if self._search is None or found.seen.calls != self._all:
            return False
        end = self._search.end_of(choices)
        return end is not None and end != self._search.end_of(found.schedule.choices)

    async def _counterexample(self, found: _Finding) -> Counterexample:
        await self.stage.see_gone()
        seen, calls = found.seen, found.seen.calls
        self._maker.shown = list(seen.reports)
        secrets = Secrets(seen.ending.steps, self._hidden)
        private = private_steps(seen.ending.steps, self.databases.catalogue)
        run = secrets.run(replace(seen.ending, private=private))
        anomaly = name_anomaly(run.steps, found.violation.masked(secrets))
        texts = self._account.calls = tuple(map(secrets.text, self._account.calls))
        outcomes = self.referee.outcomes_of(seen.reports, calls)
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
            serial=tuple((order, secrets.run(end)) for order, end in self._judge_of(calls).oracle.whole_orders),
            effect=_effect(found.violation, seen.ending, self._judge_of(calls).oracle),
        )

    async def _replay(self, schedule: Schedule) -> Exploration:
        calls = schedule.calls or self._all
        if self.referee.rule is None:
            judge = self._judge_of(calls)
            await judge.learn(likely := tuple(range(len(calls))), await self._serially(calls, likely))
            self._maker.is_tuned = True
        seen, departure = await self._follow(schedule, calls)
        if seen is None:
            raise _StopError(self._account.problems[0])
        if departure is not None:
            raise _StopError(f"the program left the schedule {departure}")
        if calls == self._all:
            found = await self._find(seen)
        else:
            found = await self._judged(seen)
        if found is None:
            if self._account.uncompared:
                raise _StopError(self._account.too_many)
            return self._account.kept_alone()
        return self._account.race(await self._counterexample(found))

    async def _move_counters(self, advances: Sequence[Advance]) -> list[Numbers]:
        self._maker.is_tuned = True
        async with self._crew.standstill() if self._crew is not None else nullcontext():
            self._numbers, *_ = await self._everywhere("move_counters", advances)
        return self._numbers

    def _accept(self, seen: Seen) -> None:
        if self.referee.rule is None:
            self._accepted.append(seen)

    async def _doubt(self) -> None:
        """See of the endings that were no race whether what cannot be compared would have decided otherwise."""
        for seen in self._accepted:
            self._account.unseen |= await self._judge_of(seen.calls).doubts(seen.ending, self._writers(seen.ending))

    def _writers(self, ending: Run) -> dict[str, set[int]]:
        """The calls that may have changed a table."""
        found: dict[str, set[int]] = {}
        for step in ending.steps:
            for table in self.databases.touched([step.operation]):
                found.setdefault(table, set()).add(step.call)
        return found

    async def _serially(self, calls: tuple[int, ...], order: Order, draw: int = 0) -> Seen:
        """Make some of the calls, numbered among `calls`, one after another."""
        serial = Serial(tuple(calls[index] for index in order), draw)
        seen = await self._perform(serial, tuple(calls[index] for index in sorted(order)), calls)
        if seen is None or seen.is_endless:
            problem = UNENDED if seen is not None else self._account.problems[-1]
            if problem.startswith(OVERTIME):
                raise _SpentError(self._seconds)
            raise _StopError(f"the calls cannot be made one after another: {problem}")
        return seen

    async def _perform(
        self,
        chooser: Chooser,
        made: tuple[int, ...],
        among: tuple[int, ...] | None = None,
        *,
        ask_rule: bool = False,
        limit: int = STEPS,
    ) -> Seen | None:
        """Make one run and put everything back; None if it was given up.

        Args:
            made: The calls that are made.
            among: Those by which its ending counts them, if not these.
            ask_rule: Whether the caller's rule is asked, if there is one.
            limit: How many steps it may have.
        """
        self._check_limits()
        async with self._home:
            return self._take_in(await self._make(0, chooser, made, among or made, ask_rule=ask_rule, limit=limit))

    async def _make_ahead(self, place: int | RemotePlace, run: Walk) -> Made:
        if isinstance(place, RemotePlace):
            return await self._make_remotely(place, run)
        made = await self._make(place, run, self._all, self._all, ask_rule=True)
        if made.seen is not None:
            self._model = self._model or made
        return made

    async def _make_remotely(self, place: RemotePlace, run: Walk) -> Made:
        """Make a run on another machine, once a first one there was like the first one here.

        Raises:
            LostError: It cannot be made there.
        """
        make = partial(place.make, rules=run.rules, calls=self._all, maker=self._maker, here=self.databases)
        try:
            for _ in range(_TRIES):
                if not place.is_alike and self._model is not None:
                    place.is_alike = (await make(Walk((), run.rules), is_first=True)).is_like(self._model)
            if place.is_alike:
                return await make(run, is_first=False)
            lost = LostError("the calls do other things there than here")
        except UnprovedError as unproved:
            if not unproved.args[0]:
                self._lose(place, LostError("; ".join(unproved.args[1:])))
            raise
        except Exception as error:
            lost = error if isinstance(error, LostError) else LostError(f"{type(error).__name__}: {text_of(error)}")
        self._lose(place, lost)
        raise lost

    async def _make(self, number: int, *args: Any, **options: Any) -> Made:
        if self.places[number].stage.keeps and not self.reuse.keeps:
            await self.places[number].stage.stop_keeping()
        return await self._maker.make(self.places[number], *args, is_first=not self._account.made, **options)

    def _take_in(self, made: Made) -> Seen | None:
        """Learn from a run whose turn has come.

        Raises:
            _AgainError: What it shows changes how runs are made.
            _StopError: A call waits for what nobody sends.
        """
        attempt, databases = made.attempt, self.databases
        self.reuse.take_in(made)
        if attempt.is_void:
            raise _AgainError(*filter(None, [attempt.unknown]), enqueuers=attempt.unattended)
        self._name(attempt.tasks)
        account, notes = self._account, [*sorted(attempt.unshared), *made.remarks]
        account.made += 1
        account.problems += made.problems
        account.notes |= dict.fromkeys(notes)
        self._maker.strange |= made.strange
        self.refused |= made.refused
        self.progress(account.made, self._orders_left)
        steps = [(step.call, step.operation) for step in attempt.steps]
        account.met = account.met or overlap(steps, databases.catalogue)
        self.locks |= attempt.locks | constraints_met(attempt.steps)
        for step in attempt.steps:
            attempt.unseen.update(filled(step.operation, databases.catalogue, self.queues))
        account.unseen |= attempt.unseen
        account.notes |= dict.fromkeys(sorted(told for told in attempt.unseen if told.startswith(UNFOLLOWED)))
        account.unseen |= databases.moments.unseen_between(steps, databases.catalogue)
        for step in attempt.steps:
            account.unseen |= databases.moments.unseen(step.operation, databases.catalogue)
        learnt = self._tell_all(lambda each: each.moments.learn((step for _, step in steps), databases.catalogue))
        if made.has_moved or learnt or self._tell_all(lambda each: each.blur(attempt.steps, before=attempt.prelude)):
            raise _AgainError
        for outcome in made.seen.ending.outcomes if made.seen is not None else ():
            for error in chain_of(error_of(outcome)):
                if isinstance(error, TaskResultError):
                    raise _StopError(str(error))
        return made.seen

    def _name(self, tasks: Mapping[int, str]) -> None:
        """Take note of what the tasks are that were enqueued in a run."""
        texts = list(self._account.calls)
        for number, told in tasks.items():
            texts[number] = Secrets((), self._hidden).text(told)
            self.name(number, texts[number])
        self._account.calls = tuple(texts)

    def _check_limits(self) -> None:
        if self._maker.strange:
            raise _StopError(self._account.problems[-1])
        if len(self._account.problems) >= _PROBLEMS:
            raise _StopError(self._account.problems[0])
        if self._account.made >= self.limits.max_schedules:
            raise _SpentError(f"the budget of {self.limits.max_schedules} schedules")
        if anyio.current_time() >= self._maker.deadline:
            raise _SpentError(self._seconds)

    @property
    def _seconds(self) -> str:
        return f"the budget of {self.limits.max_seconds:g} s"

    async def _so_far(self, budget: str) -> Exploration:
        """The verdict when the budget is spent and nothing went wrong."""
        search = self._search
        problems = [problem for problem in self._account.problems if not problem.startswith(OVERTIME)]
        if search is None or search.completed < _ENOUGH or problems or self._is_open:
            return self._account.spent(search, budget)
        if await in_thread(self.databases.widen) or await self._widen_remotely():
            return self._account.inconclusive(_WIDE)
        self._account.problems.clear()
        for seen in self._accepted:
            self._account.unseen |= self._judge_of(seen.calls).oracle.doubts(seen.ending, self._writers(seen.ending))
        return self._conclude(search, budget)

    def _conclude(self, search: Search, budget: str = "") -> Exploration:
        widened = [f"rows of {table} change without any statement that says so" for table in self.databases.widened]
        self._account.unseen |= {*self.databases.unseen, *widened}
        return self._account.nothing_wrong(search, [judge.oracle for judge in self._judges.values()], budget)


def _effect(violation: Violation, ending: Run, oracle: Oracle) -> Effect:
    """What it is that no serial order gives."""
    if violation.kind == "broken rule":
        return "rule"
    if violation.kind != "no serial order":
        return "error"
    return "answers" if oracle.knows_rows(ending) else "rows"


def constraints_met(steps: Iterable[Step]) -> set[LockSite]:
    """The constraints that have refused what steps have written, by what the databases call them."""
    refused = [(step, match) for step in steps if (match := _REFUSED.search(step.error or ""))]
    return {LockSite("constraint", step.source or "", match["name"].strip()) for step, match in refused}


def _entangled(seen: Seen, size: int, catalogue: Catalogue, enqueuers: Mapping[int, int]) -> Iterator[tuple[int, ...]]:
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
