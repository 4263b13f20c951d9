"""Which orders to run next: all that can matter, those with the fewest preemptions first.

The search walks through the states of the unfolding as if it ran the program:
first the serial orders, then everything one preemption away, then two, until
nothing is left.  With more than three calls the serial orders are too many to come
first; to begin out of turn is put off there as a preemption is.

Among orders with as many preemptions those come first in which one call is stopped between
what it read and what it writes, with another in between that does the contrary: a cycle of
conflicts, which no serial order has.  The likeliest of them is run before the second serial order.

It asks for a run only where no earlier run can predict the next step, or where it
comes to an end that no run has come to.  Every run it asks for is therefore new: no
two of them can be turned into each other by swapping steps whose order does not
matter, and as many runs as there are such classes exhaust the program.  Bounding
preemptions is sound here, unlike together with sleep sets,
because a state is left out only where the same state was reached with
as few (Musuvathi and Qadeer, MSR-TR-2007-12).
"""

from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from .._trace import START
from ..databases.schema import Catalogue
from .dependence import Effect, contend, dependent
from .rows import meet
from .schedule import is_serial
from .standings import Standing
from .unfolding import Event, State, Unfolding
from .walk import Divergence, Rules, Walk, eligible, spins

FEW = 3  # calls whose serial orders are all run first


WAKINGS = 6  # times that an order is tried in which calls are not woken as they came to wait


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


class Habits:
    """What each call touched, in order, when it was first to run, as far as that is known."""

    def __init__(self, classes: Sequence[int]) -> None:
        self._classes = classes
        self._effects: dict[int, list[Effect]] = {}  # by class

    def learn(self, run: Walk) -> None:
        """Take in a run; one in which a call began first tells most of it."""
        if not run.effects or not is_serial(run.steps):
            return
        for call in dict.fromkeys(worker for worker, _ in run.effects):
            known, first = self._classes[call], call == run.effects[0][0]
            if first or known not in self._effects:
                self._effects[known] = [effect for worker, effect in run.effects if worker == call]

    def guess(self) -> list[int]:
        """The likeliest order to go wrong: one call stopped once, and another made in between; empty if none is."""
        calls = range(len(self._classes))
        best = max(
            (
                (promise, -one, -other, stop)
                for one in calls
                for other in calls
                if one != other and (one < other or self._classes[one] != self._classes[other])
                for stop in range(1, len(self._of(one)))
                if (promise := self.promise(one, stop, other, 0))
            ),
            default=None,
        )
        return [-best[1]] * best[3] + [-best[2]] if best is not None else []

    def promise(self, one: int | None, stop: int, other: int, begun: int) -> int:
        """How likely it goes wrong to stop a call after so many steps, for another that has made so many; 0 is never.

        3: what it read others change, before it waits for them; 2: the same after that; 1: any other cycle.
        """
        if one is None:
            return 0
        before, after, between = self._of(one)[:stop], self._of(one)[stop:], self._of(other)[begun:]
        if any(_overtakes(early, each) for early in before for each in between) and any(
            _overtakes(each, late) or _overtakes(late, each) for late in after for each in between
        ):
            return 2 if any(contend(early, each) for early in before for each in between) else 3
        cycle = any(dependent(early, each) for early in before for each in between) and any(
            dependent(late, each) for late in after for each in between
        )
        return int(cycle)

    def _of(self, call: int) -> list[Effect]:
        return self._effects.get(self._classes[call], [])


def _overtakes(one: Effect, other: Effect) -> bool:
    """Whether one step reads what another publishes."""
    return one.everything or other.everything or meet(one.reads, other.published)


class Search:
    """All orders of the steps of some calls, one run after the other.

        search = Search((0, 1), catalogue)
        while (run := search.next_run()) is not None:
            decision = ...  # put the database back, start the calls
            while (worker := run.choose(decision)) is not None:
                decision = ...  # let that call go, wait until all stand still

    A run that is left before `choose` has returned None counts as cut.

    Attributes:
        completed: All orders with up to so many preemptions have been run.
        completed_runs: How many runs that took.

    Args:
        classes: Of each call a number, the same for those that are the same function with the same arguments.
        catalogue: What the database knows about its tables.
        max_preemptions: Leave out orders that need more; None for no limit.
        one_waiter: Let only one call wait for a lock where that comes to the same; where waiters are not always
            woken in the order in which they came, an order with two may have to be tried again.
    """

    def __init__(
        self,
        classes: Sequence[int],
        catalogue: Catalogue,
        *,
        max_preemptions: int | None = None,
        one_waiter: bool = False,
    ) -> None:
        self._rules = Rules(tuple(classes), catalogue, one_waiter)
        self._max_preemptions = max_preemptions
        self._plans = self._walk()
        self._unfolding: Unfolding | None = None
        self._run: Walk | None = None
        self._ended: set[State] = set()  # final states that a run has come to
        self._cut: set[State] = set()
        self._private: set[tuple[int, int]] = set()  # calls and effects
        self._was_cut = False
        self._was_disordered = False
        self._finished = False
        self._is_guessing = False
        self._is_torn = False  # something was left out on the way
        self._habits = Habits(classes)
        self._guess: Walk | None = None
        self.completed = -1
        self.completed_runs = 0
        self.runs = 0
        self.preemptions = 0
        self.divergences: list[Divergence] = []
        self.omissions: set[Omission] = set()

    @property
    def exhaustive(self) -> bool:
        """Every order that can matter has been run."""
        return self._finished and not self.omissions

    def next_run(self) -> Walk | None:
        """Plan the next run; None when there is nothing left to do."""
        self._close()
        plan = next(self._plans, None)
        if plan is None:
            self._finished = True
            return None
        self.runs += 1
        self._run = Walk(self.runs, self.preemptions, plan, self._rules, self._unfolding, guessed=self._is_guessing)
        return self._run

    def _close(self) -> None:
        """Take in what the run before has shown."""
        run, self._run = self._run, None
        if run is None:
            return
        self._unfolding = run.unfolding
        self._was_cut = run.cut
        self._was_disordered = run.is_disordered
        self._habits.learn(run)
        self.divergences += run.divergences
        if run.divergences:
            self.omissions.add(Omission.DIVERGED)
        if run.is_disordered:
            return
        if run.cut:
            self.omissions.add(Omission.CUT)
        if run.state is not None:
            if run.guessed:
                self._guess = run
            (self._cut if run.cut else self._ended).add(run.state)

    def _walk(self) -> Iterator[list[int]]:
        """Yield plans of runs; when the walk goes on, the run has taken place."""
        yield []
        plan = self._habits.guess()
        if plan and self._unfolding is not None and self._max_preemptions != 0:
            self._is_guessing, self.preemptions = True, 1
            yield plan
            self._is_guessing = False
        while self._unfolding is not None:
            try:
                yield from self._pass(self._unfolding)
            except _OutdatedError:
                self._private.clear()
            else:
                break

    def _pass(self, unfolding: Unfolding) -> Iterator[list[int]]:
        """Walk from the start to wherever one can come, by the preemptions that it takes."""
        seen: dict[tuple[State, int | None], int] = {}
        now, preempting, straying = deque[_Edge | None]([None]), list[_Edge](), list[_Edge]()
        self.completed, self._is_torn = -1, False
        while now:
            stack = [now.popleft()]
            while stack:
                edge = stack.pop()
                self.preemptions = 0 if edge is None else edge.preemptions
                node = yield from self._follow(unfolding, edge)
                if node is None or self._has_seen(seen, node):
                    continue
                fork = yield from self._fork(unfolding, node)
                stack += reversed(fork.same)
                preempting += self._within_bound(fork.preempting)
                straying += self._within_bound(fork.straying)
            if not now:
                preempting.sort(key=lambda edge: -self._habits.promise(*_stopped(edge)))
                now, preempting, straying = deque([*preempting, *straying]), [], []
                if now and not self._is_torn and not self.omissions - {Omission.BOUND, Omission.CUT}:
                    self.completed = min(edge.preemptions for edge in now if edge is not None) - 1
                    self.completed_runs = self.runs

    def _has_seen(self, seen: dict[tuple[State, int | None], int], node: _Node) -> bool:
        """Whether the walk was here, and with as few preemptions, if they are bounded."""
        key = node.state, node.last
        if key in seen and (self._max_preemptions is None or seen[key] <= node.preemptions):
            return True
        seen[key] = node.preemptions
        return False

    def _within_bound(self, edges: Sequence[_Edge]) -> list[_Edge]:
        bound = self._max_preemptions
        found = [edge for edge in edges if bound is None or edge.preemptions <= bound]
        if len(found) < len(edges):
            self.omissions.add(Omission.BOUND)
        return found

    def _follow(self, unfolding: Unfolding, edge: _Edge | None) -> Generator[list[int], None, _Node | None]:
        """Take a step, or none from before the start."""
        if edge is None:
            return _Node(unfolding.start, None, 0)
        event = yield from self._event(unfolding, edge)
        if event is None:
            return None
        last = edge.worker if event.moved[edge.worker].ready else None
        fresh = unfolding.standing(edge.node.state, edge.worker).operation == START
        return _Node(unfolding.successor(edge.node.state, event), last, edge.preemptions, edge, fresh)

    def _fork(self, unfolding: Unfolding, node: _Node) -> Generator[list[int], None, _Fork]:
        """Find the steps to take from here."""
        if node.state in self._cut:
            self._is_torn = True
            return _Fork()
        standings = unfolding.standings(node.state)
        candidates = eligible(standings, self._rules)
        if not candidates:
            if node.state not in self._ended:
                yield from self._ask(_choices(node))
                self._is_torn = self._is_torn or self._was_cut
            elif self._guess is not None and node.state == self._guess.state:
                self._guess.preemptions = min(self._guess.preemptions, node.preemptions)
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
        event = yield from self._event(unfolding, going)
        if event is not None and not unfolding.contested(last, event.effect):
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
        idle = [call for call in calls if standings[call].operation == START]
        return (
            [edge for edge in edges if edge.worker not in idle[1:]],
            [edge for edge in edges if edge.worker in idle[1:]],
        )

    def _event(self, unfolding: Unfolding, edge: _Edge) -> Generator[list[int], None, Event | None]:
        """What a step does; None if not even a run of it tells, because it did not get there."""
        event = unfolding.predict(edge.node.state, edge.worker)
        if event is None:
            yield from self._ask([*_choices(edge.node), edge.worker])
            event = unfolding.predict(edge.node.state, edge.worker)
        self._is_torn = self._is_torn or event is None
        if event is None and not self._was_cut and not self._was_disordered:
            self.omissions.add(Omission.DIVERGED)
        return event

    def _ask(self, plan: list[int]) -> Iterator[list[int]]:
        """Have a run made, again and again while those that wait are not woken in the order in which they came.

        The other order of waking is what comes where they begin to wait in the other order.
        """
        for _ in range(WAKINGS):
            yield plan
            if not self._was_disordered:
                break
        else:
            self.omissions.add(Omission.DISORDER)
        if self._unfolding is not None and any(self._unfolding.contested(*private) for private in self._private):
            raise _OutdatedError
