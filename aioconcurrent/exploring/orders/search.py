"""Which orders to run next: every order that can matter, those with the fewest preemptions first.

The search walks through the states of the unfolding as if it ran the program: first the serial
orders, then everything one preemption away, then two, until nothing is left.  With more than
three calls there are too many serial orders to run them all first; beginning out of turn then
counts like a preemption.

Among orders with the same number of preemptions, those come first in which one call is stopped
between a read and a write, with another call in between that does the opposite: a cycle of
conflicts, which no serial order has.  The likeliest of them is run before the second serial
order.

It asks for a run only if no earlier run can predict the next step, or if it comes to an end that
no run has come to.  So every run it asks for is new: no two of them can be turned into each other
by swapping steps whose order does not matter, and the program is exhausted after as many runs as
there are such classes.  Bounding preemptions is sound here, unlike together with sleep sets,
because a state is left out only if the same state was reached with as few (Musuvathi and Qadeer,
MSR-TR-2007-12).

Where a budget will not suffice for that, orders can be drawn at random instead.  What their runs show is learned like
everything else, so that the walk can go on afterwards and asks for none of them again.
"""

from collections import ChainMap, Counter, deque
from collections.abc import Generator, Iterator, Mapping, MutableMapping, Sequence
from collections.abc import Set as AbstractSet
from copy import copy
from dataclasses import dataclass, field, replace
from enum import Enum
from itertools import islice
from types import MappingProxyType

from ...databases.schema import Catalogue
from .likely_orders import Habits
from .sampling import Draw, Lots, chance, chance_of_delays
from .schedule import preemptions, unforced
from .standings import Standing
from .unfolding import Event, State, Unfolding
from .walk import Divergence, Rules, Walk, draw, eligible, spins

Plan = tuple[int, ...]  # calls, those that only begin among them

FEW = 3  # calls whose serial orders are all run first


WAKINGS = 6  # times that an order is tried in which calls are not woken as they came to wait
_STALE = 100  # draws one after another that give no order that was not run, after which no more are made


class Omission(Enum):
    """Why something may have been left out."""

    BOUND = "orders with more preemptions exist"
    CUT = "a run was given up before its end"
    DIVERGED = "the program did other things when the same was done again"
    DISORDER = "of calls that waited for one lock the later was woken first, each time that it was tried"


@dataclass(frozen=True, slots=True)
class _Node:
    """A state, and by which steps it was come to."""

    state: State
    last: int | None  # who can go on there without a preemption
    preemptions: int
    edge: "_Edge | None" = None
    fresh: bool = False  # that one has only begun, which is one with its first operation


@dataclass(frozen=True, slots=True)
class _Edge:
    """A step not yet taken."""

    node: _Node
    worker: int
    preemptions: int  # of all the steps up to this one


def _choices(node: _Node) -> list[int]:
    choices: list[int] = []
    while node.edge is not None:
        choices.append(node.edge.worker)
        node = node.edge.node
    return choices[::-1]


@dataclass(frozen=True, slots=True)
class _Fork:
    """The steps to take from a state: those that come next, those with a preemption, those of a call out of turn."""

    same: Sequence[_Edge] = ()
    preempting: Sequence[_Edge] = ()
    straying: Sequence[_Edge] = ()


class _OutdatedError(Exception):
    """A step that was taken for private has proved not to be."""


def _stopped(edge: _Edge) -> tuple[int | None, int, int, int]:
    """Whom a step stops after how many steps, and who goes on after how many."""
    choices = _choices(edge.node)
    last = edge.node.last
    return last, 0 if last is None else choices.count(last), edge.worker, choices.count(edge.worker)


@dataclass
class _Known:
    """What the runs whose turn has come have shown."""

    habits: Habits
    unfolding: Unfolding | None = None
    runs: int = 0
    ended: set[State] = field(default_factory=set)  # final states that a run has come to
    foreseen: set[State] = field(default_factory=set)  # the same of runs whose turn has not come
    cut: set[State] = field(default_factory=set)
    was_cut: bool = False
    was_disordered: bool = False
    guesses: list[Walk] = field(default_factory=list)
    omissions: set[Omission] = field(default_factory=set)
    outdated: int = 0  # runs before the counters of keys were moved
    firsts: dict[str, int] = field(default_factory=dict)  # by table, the least of the first numbers that it gave
    highest: dict[str, int] = field(default_factory=dict)  # the highest that rows were known by from the start


class _UntoldError(Exception):
    """What comes next is known when a run has taken place that has not yet."""


class _Pass:
    """A walk from the start to wherever one can come, by the preemptions that it takes.

    Attributes:
        preemptions: Of the run that it asks for.
        completed: All orders with up to so many preemptions have been run.
        completed_runs: How many runs that took.
    """

    def __init__(self, rules: Rules, known: _Known, unfolding: Unfolding, max_preemptions: int | None) -> None:
        self._rules = rules
        self._known = known
        self._unfolding = unfolding
        self._max_preemptions = max_preemptions
        self._seen: MutableMapping[tuple[State, int | None], int] = {}
        self._stack: list[_Edge | None] = []
        self._now = deque[_Edge | None]([None])
        self._preempting: list[_Edge] = []
        self._straying: list[_Edge] = []
        self._private: set[tuple[int, int]] = set()  # calls and effects
        self._is_torn = False  # something was left out on the way
        self._asked: tuple[_Node, int | None] | None = None  # for what a run is under way
        self._claimed: set[object] | None = None  # what the runs under way will tell, where the walk only looks ahead
        self._is_early = False  # it uses what runs have shown whose turn has not come
        self.preemptions = 0
        self.completed = -1
        self.completed_runs = 0

    def plans(self) -> Iterator[Plan]:
        """Yield plans of runs; when the walk goes on, the run has taken place."""
        while self._now or self._stack:
            yield from self._level()
            self._end_level()

    def _level(self) -> Iterator[Plan]:
        while self._now or self._stack:
            self._stack = self._stack or [self._now.popleft()]
            while self._stack:
                edge = self._stack.pop()
                self.preemptions = 0 if edge is None else edge.preemptions
                try:
                    yield from self._visit(edge)
                except _UntoldError:
                    continue

    def ahead(self, *, level_only: bool = False) -> Iterator[Plan]:
        """Yield what the walk will ask for whatever the run that it waits for shows, as far as that can be told.

        Args:
            level_only: Only what has as few preemptions as is walked through now, as the runs tell whose turn has come.
        """
        other = copy(self)
        other._is_early = not level_only
        other._seen = ChainMap({}, self._seen)
        other._stack, other._now = list(self._stack), deque(self._now)
        other._preempting, other._straying = list(self._preempting), list(self._straying)
        other._private = set(self._private)
        other._known = replace(self._known, omissions=set(self._known.omissions), guesses=[])
        other._claimed = other._claims(*self._asked) if self._asked is not None else set()
        return other._level() if level_only else other.plans()

    def _visit(self, edge: _Edge | None) -> Iterator[Plan]:
        node = yield from self._follow(edge)
        if node is None or self._has_seen(node):
            return
        fork = yield from self._fork(node)
        self._stack += reversed(fork.same)
        self._preempting += self._within_bound(fork.preempting)
        self._straying += self._within_bound(fork.straying)

    def _end_level(self) -> None:
        habits, known = self._known.habits, self._known
        self._preempting.sort(key=lambda edge: -habits.promise(*_stopped(edge)))
        self._now, self._preempting, self._straying = deque([*self._preempting, *self._straying]), [], []
        if self._now and not self._is_torn and not known.omissions - {Omission.BOUND, Omission.CUT}:
            self.completed = min(edge.preemptions for edge in self._now if edge is not None) - 1
            dearer = sum(guess.preemptions > self.completed for guess in known.guesses)
            self.completed_runs = known.runs - known.outdated - dearer

    def _has_seen(self, node: _Node) -> bool:
        """Whether the walk was here, and with as few preemptions, if they are bounded."""
        key = node.state, node.last
        if key in self._seen and (self._max_preemptions is None or self._seen[key] <= node.preemptions):
            return True
        self._seen[key] = node.preemptions
        return False

    def _within_bound(self, edges: Sequence[_Edge]) -> list[_Edge]:
        bound = self._max_preemptions
        found = [edge for edge in edges if bound is None or edge.preemptions <= bound]
        if len(found) < len(edges):
            self._known.omissions.add(Omission.BOUND)
        return found

    def _follow(self, edge: _Edge | None) -> Generator[Plan, None, _Node | None]:
        """Take a step, or none from before the start."""
        if edge is None:
            return _Node(self._unfolding.start, None, 0)
        event = yield from self._event(edge)
        if event is None:
            return None
        last = edge.worker if event.moved[edge.worker].ready else None
        fresh = self._unfolding.standing(edge.node.state, edge.worker).is_idle
        return _Node(self._unfolding.successor(edge.node.state, event), last, edge.preemptions, edge, fresh)

    def _fork(self, node: _Node) -> Generator[Plan, None, _Fork]:
        """Find the steps to take from here."""
        known = self._known
        if node.state in known.cut:
            self._is_torn = True
            return _Fork()
        standings = self._unfolding.standings(node.state)
        candidates = eligible(standings, self._rules)
        if not candidates:
            if node.state not in known.ended and not (self._is_early and node.state in known.foreseen):
                yield from self._ask(node)
                self._is_torn = self._is_torn or known.was_cut
            for guess in known.guesses:
                if node.state == guess.state:
                    guess.preemptions = min(guess.preemptions, node.preemptions)
            return _Fork()
        last = node.last if node.last in candidates else None
        if last is None:
            same, straying = self._in_turn(node, candidates, standings)
            return _Fork(same, straying=straying)
        going, others = _Edge(node, last, node.preemptions), [call for call in candidates if call != last]
        if spins(standings[last]) and others:
            free, dear = (
                [_Edge(node, call, node.preemptions) for call in others],
                replace(going, preemptions=going.preemptions + 1),
            )
            return _Fork(free, [dear])
        if node.fresh:
            return _Fork([going])
        event = yield from self._event(going)
        if event is not None and not self._unfolding.contested(last, event.effect):
            self._private.add((last, event.effect))
            return _Fork([going])
        preempting, straying = self._in_turn(node, others, standings, cost=1)
        return _Fork([going], preempting, straying)

    def _in_turn(
        self, node: _Node, calls: Sequence[int], standings: Mapping[int, Standing], cost: int = 0
    ) -> tuple[list[_Edge], list[_Edge]]:
        """Part the calls that it is the turn of from those that would begin before others of lower numbers."""
        edges = [_Edge(node, call, node.preemptions + cost) for call in calls]
        if len(self._rules.classes) <= FEW:
            return edges, []
        idle = [call for call in calls if standings[call].is_idle]
        return (
            [edge for edge in edges if edge.worker not in idle[1:]],
            [edge for edge in edges if edge.worker in idle[1:]],
        )

    def _event(self, edge: _Edge) -> Generator[Plan, None, Event | None]:
        """What a step does; None if not even a run of it tells, because it did not get there."""
        event = self._unfolding.predict(edge.node.state, edge.worker, early=self._is_early)
        if event is None:
            yield from self._ask(edge.node, edge.worker)
            event = self._unfolding.predict(edge.node.state, edge.worker)
        self._is_torn = self._is_torn or event is None
        if event is None and not self._known.was_cut and not self._known.was_disordered:
            self._known.omissions.add(Omission.DIVERGED)
        return event

    def _ask(self, node: _Node, worker: int | None = None) -> Iterator[Plan]:
        """Have a run made, again and again while those that wait are not woken in the order in which they came.

        The other order of waking is what comes where they begin to wait in the other order.
        """
        plan = (*_choices(node), *([] if worker is None else [worker]))
        if self._claimed is not None:
            claims = self._claims(node, worker)
            if not claims <= self._claimed:
                self._claimed |= claims
                yield plan
            raise _UntoldError
        self._asked = node, worker
        for _ in range(WAKINGS):
            yield plan
            if not self._known.was_disordered:
                break
        else:
            self._known.omissions.add(Omission.DISORDER)
        if any(self._unfolding.contested(*private) for private in self._private):
            raise _OutdatedError

    def _claims(self, node: _Node, worker: int | None) -> set[object]:
        """What a run that is made for this will tell, so that nobody has to make another for it."""
        if worker is None:
            return {node.state}
        return set(self._unfolding.open_questions(node.state, worker, early=self._is_early))


class Search:
    """All orders of the steps of some calls, one run after the other.

        search = Search((0, 1), catalogue)
        while (run := search.next_run()) is not None:
            decision = ...  # put the database back, start the calls
            while (worker := run.choose(decision)) is not None:
                decision = ...  # let that call go, wait until all stand still

    A run that is left before `choose` has returned None counts as cut.

    `begin_drawing` has orders drawn at random from then on, until they give nothing new.

    With several copies of the database, `ahead` gives runs to make meanwhile, each as soon as there is a place for it;
    `foresee` is told when one has been made.
    `next_run` gives them again when their turn comes, so that whatever is done with runs in that order comes to
    the same with any number of copies, and however long each run takes.

    Attributes:
        runs: How many have had their turn.
        taken: How many of them it has learned from.
        completed: All orders with up to so many preemptions have been run.
        completed_runs: How many runs that took.
        is_drawing: Orders are drawn.
        draws: How many were drawn, those among them that had been run before, with what is known of private steps.
        drawn_runs: How many runs of drawn orders were made.
        has_waited: A call has waited for a lock in an order that was drawn.

    Args:
        classes: Of each call a number, the same for those that are the same function with the same arguments.
        catalogue: What the database knows about its tables.
        max_preemptions: Leave out orders that need more; None for no limit.
        one_waiter: Let only one call wait for a lock where that comes to the same; where waiters are not always
            woken in the order in which they came, an order with two may have to be tried again.
        enqueuers: Of each call that is a task, the call that enqueues it.
        seed: Of the orders that are drawn.
    """

    def __init__(
        self,
        classes: Sequence[int],
        catalogue: Catalogue,
        *,
        max_preemptions: int | None = None,
        one_waiter: bool = False,
        enqueuers: Mapping[int, int] = MappingProxyType({}),
        seed: int = 0,
    ) -> None:
        self.rules = Rules(tuple(classes), catalogue, one_waiter, enqueuers)
        self._max_preemptions = max_preemptions
        self._known = _Known(Habits(classes))
        self._plans = self._all_plans()
        self._pass: _Pass | None = None
        self._run: Walk | None = None
        self._early: dict[Plan | Draw, Walk] = {}  # runs whose turn has not come
        self._finished = False
        self._is_guessing = self._has_taken_turns = False
        self._forgotten = 0
        self.divergences: list[Divergence] = []
        self.is_drawing = self.has_waited = False
        self.taken = self.draws = self.drawn_runs = 0
        self._draw = Draw(seed, 0, frozenset())  # the next one
        self._drawn = Counter[int]()  # the most steps with a priority that each call has had

    @property
    def runs(self) -> int:
        return self._known.runs

    @property
    def omissions(self) -> set[Omission]:
        return self._known.omissions

    @property
    def completed(self) -> int:
        return self._pass.completed if self._pass is not None else -1

    @property
    def completed_runs(self) -> int:
        return self._pass.completed_runs if self._pass is not None else 0

    @property
    def runs_since(self) -> int:
        """How many runs have one preemption more, without those that were drawn."""
        dearer = sum(guess.preemptions > self.completed + 1 for guess in self._known.guesses)
        return self.taken - self._known.outdated - self.completed_runs - self.drawn_runs - dearer

    @property
    def exhaustive(self) -> bool:
        """Every order that can matter has been run."""
        return self._finished and not self.omissions

    @property
    def mixes_numbers(self) -> bool:
        """Whether a call has asked for a row by a number that its table may also give in a run: it may be either."""
        known = self._known
        return any(known.highest.get(table, first - 1) >= first for table, first in known.firsts.items())

    @property
    def needless_runs(self) -> int:
        """How many runs were given out ahead whose turn has not come."""
        return len(self._early) + self._forgotten

    def forget_ahead(self) -> None:
        """Take back the runs that were given out ahead."""
        self._forgotten += len(self._early)
        self._early.clear()
        self._known.foreseen.clear()

    def begin_anew(self) -> None:
        """Take the runs so far for none, because keys have other numbers from now on.

        What a step touches is told by keys, and by what a program makes of them: steps of a run before are not to be
        compared with those of a run after.  They only tell which order is likely to go wrong.
        """
        known = self._known
        if known.unfolding is not None:
            self._known.outdated = known.runs
            known.unfolding = known.unfolding.emptied()
            for each in (known.ended, known.foreseen, known.cut, known.firsts, known.highest):
                each.clear()

    def next_run(self) -> Walk | None:
        """Say which run's turn it is; None when there is nothing left to do."""
        self.take_in()
        order = (self._next_draw() if self.is_drawing else None) or next(self._plans, None)
        if order is None:
            self._finished = True
            return None
        self._known.runs += 1
        run = self._run = self._early.pop(order, None) or self._walk(order)
        run.number, run.guessed = self.runs, self._is_guessing
        run.preemptions = self._pass.preemptions if self._pass is not None else int(run.guessed)
        return run

    def ahead(self, most: int) -> list[Walk]:
        """Give up to so many runs whose turn will come, most likely, whatever the runs under way show."""
        if self._pass is None or most <= 0:
            return []
        orders = self._draws_ahead() if self.is_drawing else self._pass.ahead()
        found = {each: self._walk(each) for each in islice((each for each in orders if each not in self._early), most)}
        self._early |= found
        return list(found.values())

    @property
    def preemptions(self) -> int:
        """How many the orders have that are run now."""
        return self._pass.preemptions if self._pass is not None else 0

    def left(self) -> int:
        """Count the orders with as many preemptions that are known to be left: it takes a walk to each of them."""
        return sum(1 for _ in self._pass.ahead(level_only=True)) if self._pass is not None else 0

    def foresee(self, run: Walk) -> None:
        """Take note that a run has been made, before its turn or in it, so that `ahead` can look beyond it."""
        unfolding = self._known.unfolding
        if unfolding is not None and not (run.cut or run.is_disordered):
            self._known.foreseen.add(run.foretell(unfolding))

    def end_of(self, choices: Sequence[int]) -> State | None:
        """Where an order ends that a run was made of, or of one that comes to the same; None for any other.

        Args:
            choices: As in a `Schedule`: those that only begin are not among them, and the last goes on at the end.
        """
        unfolding = self._known.unfolding
        assert unfolding is not None
        state, last, left = unfolding.start, None, deque(choices)
        while True:
            standings = unfolding.standings(state)
            ready = [call for call, standing in standings.items() if standing.ready]
            if not ready:
                return state if state in self._known.ended else None
            last = left[0] if left else unforced(ready, last)
            event = unfolding.predict(state, last) if last in ready else None
            if event is None:
                return None
            if left and not standings[last].is_idle:
                left.popleft()
            state = unfolding.successor(state, event)

    def take_in(self) -> None:
        """Learn what the run whose turn it was has shown; `next_run` does so, if nobody has."""
        run, self._run = self._run, None
        if run is None:
            return
        known, self.taken = self._known, self.taken + 1
        if known.unfolding is None and run.first:
            known.unfolding = Unfolding(run.first)
        if known.unfolding is not None:
            run.tell(known.unfolding)
        known.habits.learn(run)
        firsts, highest = run.numbers()
        known.firsts |= {table: min(number, known.firsts.get(table, number)) for table, number in firsts.items()}
        known.highest |= {table: max(number, known.highest.get(table, number)) for table, number in highest.items()}
        self.divergences += run.divergences
        if run.divergences:
            known.omissions.add(Omission.DIVERGED)
        if run.lots is not None:
            self._take_in_drawn(run, run.lots)
            return
        known.was_cut = run.cut
        known.was_disordered = run.is_disordered
        if run.is_disordered:
            return
        if run.cut:
            known.omissions.add(Omission.CUT)
        if run.state is not None:
            if run.guessed:
                run.preemptions = preemptions(run.steps)
                known.guesses.append(run)
            (known.cut if run.cut else known.ended).add(run.state)

    def begin_drawing(self) -> None:
        """Draw orders at random from now on; the walk through all of them has to have begun."""
        self.is_drawing = True
        self._look_at_private_steps()

    @property
    def chance(self) -> float:
        """How likely what was drawn has met a race of depth 2, at least; of two delays, if calls have waited."""
        return (chance_of_delays if self.has_waited else chance)(self._drawn, self.draws)

    def _take_in_drawn(self, run: Walk, lots: Lots) -> None:
        """What else is learned from a run whose order was drawn: the walk does not wait for it, and misses nothing."""
        self.drawn_runs += 1
        run.preemptions = preemptions(run.steps)
        if run.state is not None and not run.cut and not run.is_disordered:
            self._known.ended.add(run.state)
            self._count(lots)
        self._look_at_private_steps()

    def _look_at_private_steps(self) -> None:
        assert self._known.unfolding is not None
        private = self._known.unfolding.private()
        if self._draw.private - private:  # some have proved not to be: they have had no priority so far
            self.draws, self.has_waited = 0, False
            self._drawn.clear()
        self._draw = replace(self._draw, private=private)

    def _next_draw(self) -> Draw | None:
        """Draw an order that was not run; None if chance gives only those that were."""
        for _ in range(_STALE):
            drawn, self._draw = self._draw, replace(self._draw, number=self._draw.number + 1)
            lots = self._known_lots(drawn, self._known.ended)
            if lots is None:
                return drawn
            self._count(lots)
        self.is_drawing = False
        return None

    def _count(self, lots: Lots) -> None:
        self.draws += 1
        self.has_waited = self.has_waited or lots.has_waited
        self._drawn |= lots.drawn

    def _draws_ahead(self) -> Iterator[Draw]:
        """The next orders to be drawn, but those that are known as soon as the runs under way have had their turn."""
        ended, drawn = self._known.ended | self._known.foreseen, self._draw
        for _ in range(_STALE):
            if self._known_lots(drawn, ended, early=True) is None:
                yield drawn
            drawn = replace(drawn, number=drawn.number + 1)

    def _known_lots(self, drawn: Draw, ended: AbstractSet[State], *, early: bool = False) -> Lots | None:
        """The lots of an order if it is known where it ends, or what was drawn."""
        unfolding, lots, taken = self._known.unfolding, Lots(drawn), list[int]()
        assert unfolding is not None
        state = unfolding.start
        while True:
            standings = unfolding.standings(state)
            candidates = eligible(standings, self.rules)
            if not candidates:
                return lots if state in ended else None
            taken.append(draw(lots, candidates, standings, taken))
            event = unfolding.predict(state, taken[-1], early=early)
            if event is None:
                return None
            state = unfolding.successor(state, event)

    def _turns(self) -> Iterator[Plan]:
        """The order in which the calls take turns, before all with one preemption, where none of those is likely."""
        self._has_taken_turns = True
        plan = tuple(self._known.habits.turns())
        steps = [call for index, call in enumerate(plan) if call in plan[:index]]
        if steps and self._max_preemptions is None and self.end_of(steps) is None:
            self._is_guessing = True
            yield plan
            self._is_guessing = False

    def _walk(self, order: Plan | Draw) -> Walk:
        return Walk((), self.rules, order) if isinstance(order, Draw) else Walk(order, self.rules)

    def _all_plans(self) -> Iterator[Plan]:
        """Yield plans of runs; when the walk goes on, the run has taken place."""
        yield ()
        unfolding = self._known.unfolding
        if unfolding is None:
            return
        plan = tuple(self._known.habits.guess())
        if not plan and self._known.outdated and len(self.rules.classes) == len(set(self.rules.classes)) == 2:
            yield (1,)  # the other serial order: before anything is compared, the first has to be run again
            plan = tuple(self._known.habits.guess())
        if plan and self._max_preemptions != 0:
            self._is_guessing = True
            yield plan
            self._is_guessing = False
        while True:
            self._pass = _Pass(self.rules, self._known, unfolding, self._max_preemptions)
            try:
                for plan in self._pass.plans():
                    if self._pass.preemptions and not self._has_taken_turns:
                        yield from self._turns()
                    yield plan
            except _OutdatedError:
                continue
            break
