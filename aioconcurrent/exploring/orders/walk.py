"""One run of the program: who goes next, and what is learned on the way.

The controller asks at every decision.  The plan of the search answers as far as it reaches.
After that the call that ran last goes on, so that the rest costs no preemption.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...base.trace import LATER, Step, call_name
from ...databases.schema import Catalogue
from .dependence import Effect, Status, contend
from .rows import Number, Row, first_number, known_numbers, meet, numbers_of
from .sampling import Draw, Lots
from .schedule import stretch, take, unforced
from .standings import Decision, Request, Standing, observe, request
from .unfolding import State, Unfolding

# A call that only read, and only what it had read before, for this many steps waits for somebody else.
PATIENCE = 50
# One that only repeats requests, whatever comes of them, goes round for as long as nobody else does anything.
ROUNDS = 200


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for a whole exploration."""

    classes: tuple[int, ...]  # of each call; those that are the same function with the same arguments share one
    catalogue: Catalogue
    one_waiter: bool
    enqueuers: Mapping[int, int] = field(default_factory=dict)  # of each call that is a task


@dataclass(frozen=True, slots=True)
class Divergence:
    """A step after which the program stood elsewhere than when the same was done before.

    `expected` and `found` are what the moved calls asked for next: the kind and the
    text of the operation, ("blocked", "") or ("end", "").  They can be equal: then the
    same statement took other locks, or failed only once.
    """

    run: int
    step: int  # how many choices had been made
    worker: int
    expected: Mapping[int, Request]
    found: Mapping[int, Request]

    def __str__(self) -> str:
        call = next((call for call in self.expected if self.expected[call] != self.found.get(call)), self.worker)
        lead = f"the code does other things when it is run again: in run {self.run}, after step {self.step}, "
        if self.expected.get(call) == self.found.get(call):
            return f"{lead}{call_name(call)} took other locks, or failed only once"
        return (
            f"{lead}{call_name(call)} asked for {_asked(self.found.get(call))}, not {_asked(self.expected.get(call))}"
        )


def _asked(request: Request | None) -> str:
    return " ".join(request).strip() if request is not None else "nothing"


def eligible(standings: Mapping[int, Standing], rules: Rules) -> list[int]:
    """The calls that may be let go.

    Calls of one class begin by number: every other order of theirs is one of these
    with the calls renamed.

    A task that is tried again waits for the end of the call that all came from: queues let some time pass.

    With `one_waiter`, a call that wants a lock for which another already waits is
    left until that one has it, if that comes to the same, unless it holds that lock
    itself: PostgreSQL does not always wake two waiters for one row in the order they
    came.
    """
    idle = {call for call, standing in standings.items() if standing.is_idle}
    first = {rules.classes[call]: call for call in sorted(idle, reverse=True)}
    ready = [
        call
        for call, standing in standings.items()
        if standing.ready and (call not in idle or first[rules.classes[call]] == call)
    ]
    ready = [call for call in ready if not _has_to_wait(call, standings, rules)] or ready
    blocked = [call for call, standing in standings.items() if standing.blocked]
    if not (rules.one_waiter and ready and blocked):
        return ready
    free = [call for call in ready if not any(_queues(standings[call], standings[b], rules) for b in blocked)]
    return free or ready


def _has_to_wait(call: int, standings: Mapping[int, Standing], rules: Rules) -> bool:
    """Whether it is a task to be tried again, a while later: when the call that came to it first is over."""
    if standings[call].operation != LATER:
        return False
    while call in rules.enqueuers:
        call = rules.enqueuers[call]
    return standings[call].operation is not None


def _queues(standing: Standing, waiter: Standing, rules: Rules) -> bool:
    act = standing.act(rules.catalogue)
    if not act.comes_to_the_same_later:
        return False
    wanted = act.effect(Status.WAITING)
    awaited = waiter.act(rules.catalogue).effect(Status.WAITING)
    if wanted.everything or awaited.everything:
        return False
    return contend(wanted, awaited) and not meet(standing.holds(), awaited.locks | awaited.shares)


def spins(standing: Standing) -> bool:
    """Tell whether the call only waits for others to change something, or may go round for ever."""
    return standing.idle >= PATIENCE or standing.again >= ROUNDS


def keep_on(candidates: Sequence[int], last: int | None, standings: Mapping[int, Standing]) -> int:
    """Who goes next where nothing is planned: the last, unless it spins; then the next in turn."""
    if last is not None and last in candidates and spins(standings[last]):
        return min(candidates, key=lambda call: (call <= last, call))
    return unforced(candidates, last)


def draw(lots: Lots, candidates: Sequence[int], standings: Mapping[int, Standing], taken: Sequence[int]) -> int:
    """Who goes next where the order is drawn: of those that do not spin, if there are any."""
    return lots.pick([call for call in candidates if not spins(standings[call])] or candidates, standings, taken)


@dataclass(frozen=True, slots=True)
class Move:
    """One choice, and what came of it.

    Attributes:
        moved: Where it left the call that was let go and those it set free.
        step: How many steps had been made.
    """

    worker: int
    effect: Effect
    moved: Mapping[int, Standing]
    step: int


class Walk:
    """One run, from the first decision to the end: it follows a plan, and then whoever ran last goes on.

    Or its order is drawn at random.  What it does depends on its plan, or the draw, and on the program alone, so that
    it can be made at any time; what it has shown is told to the search when that wants to know.

    Attributes:
        number: Counted from 1; 0 as long as its turn has not come.
        preemptions: The fewest with which its order of steps can be had.
        steps: The choices made so far.
        cut: It was given up before all calls had ended.
        is_disordered: Of two that waited for one lock the later was woken first; what came then was not learned.
        divergences: Where the program did other things than in an earlier run, once the search has taken it in.
        first: How the calls stood before any choice; empty as long as the run has not begun.
        moves: Of each choice whose step has ended, what came of it.
        lots: What draws its order, if that is drawn.
        guessed: It was chosen out of turn, because what the calls touched before lets expect that it goes wrong.
        state: Where it ended, once the search has taken it in.
    """

    def __init__(self, plan: Sequence[int], rules: Rules, draw: Draw | None = None) -> None:
        self.plan = tuple(plan)
        self.lots = Lots(draw) if draw is not None else None
        self.number = 0
        self.preemptions = 0
        self.guessed = False
        self.steps: list[Step] = []
        self.cut = True
        self.is_disordered = False
        self.divergences: list[Divergence] = []
        self.first: Mapping[int, Standing] = {}
        self.moves: list[Move] = []
        self.state: State | None = None
        self._new: set[Number] = set()  # rows made so far
        self._left = self.plan  # all of it, or nothing once the program has changed under it
        self._taken: list[int] = []  # the choices, those that only had a call begin among them
        self.rules = rules
        self._calls = range(len(rules.classes))
        self._standings: dict[int, Standing] = {}

    def choose(self, decision: Decision) -> int | None:
        """Say which call goes next, or None when none can: the run is over.

        Call it at every decision, from the first, before any step, to the last.
        """
        self.is_disordered = self.is_disordered or bool(decision.overtook)
        if self.is_disordered:
            return self._go_on(decision)
        if not self._standings:
            self.first = {call: Standing(decision.ready.get(call), blocked=False) for call in self._calls}
            self._standings = dict(self.first)
        else:
            self._observe(self._taken[-1], decision)
        candidates = eligible(self._standings, self.rules)
        if not candidates:
            self.cut = bool(decision.blocked)
            return None
        worker = self._pick(candidates)
        self._taken.append(worker)
        take(worker, decision, self.steps)
        return worker

    def certain(self, call: int) -> int:
        if self.is_disordered or self.lots is not None:
            return 0
        standing, planned = self._standings[call], self._left[len(self._taken) :]
        calm = min(PATIENCE - standing.idle, ROUNDS - standing.again) - 1  # as many until it may spin
        same = stretch(planned, call)
        return max(min(same if same < len(planned) else calm, calm), 0)

    @property
    def draw(self) -> Draw | None:
        """What its order is drawn by, if it is."""
        return self.lots.draw if self.lots is not None else None

    @property
    def shown(self) -> tuple[object, ...]:
        """What it has shown, for one of the same plan to `hear`."""
        return self.steps, self.cut, self.is_disordered, self.first, self.moves, self.lots, self._new

    def hear(self, shown: tuple[Any, ...]) -> None:
        """Become one that was made elsewhere."""
        self.steps, self.cut, self.is_disordered, self.first, self.moves, self.lots, self._new = shown

    def fresh(self) -> Walk:
        """One of the same order that nobody has made."""
        return Walk(self.plan, self.rules, self.draw)

    def tell(self, unfolding: Unfolding) -> None:
        """Teach what each choice came to, and note where that is other than in earlier runs."""
        if not self.first:
            return
        self.state = unfolding.start
        for move in self.moves:
            expected = unfolding.predict(self.state, move.worker)
            event = unfolding.learn(self.state, move.worker, move.effect, move.moved)
            if expected is not None and expected is not event:
                told = _requests(expected.moved), _requests(move.moved)
                self.divergences.append(Divergence(self.number, move.step, move.worker, *told))
            self.state = unfolding.successor(self.state, event)

    def numbers(self) -> tuple[dict[str, int], dict[str, int]]:
        """By table the first number that it gave to a row, and the highest that a row was known by as none of those."""
        firsts: dict[str, int] = {}
        for table in {table for table, _ in self._new}:
            first = first_number(table, self._new)
            if first is not None:
                firsts[table] = first
        highest: dict[str, int] = {}
        for effect in {move.effect for move in self.moves}:
            things = effect.reads | effect.writes | effect.locks | effect.shares
            for table, number in known_numbers(
                (each for each in things if isinstance(each, Row)), self.rules.catalogue
            ):
                highest[table] = max(number, highest.get(table, number))
        return firsts, highest

    def foretell(self, unfolding: Unfolding) -> State:
        """Say before its turn what each choice came to; return where it ended."""
        state = unfolding.start
        for move in self.moves:
            event = unfolding.learn(state, move.worker, move.effect, move.moved, early=True)
            state = unfolding.successor(state, event)
        return state

    def _go_on(self, decision: Decision) -> int | None:
        """Let the calls come to their ends."""
        if not decision.ready:
            return None
        worker = unforced(decision.ready, self._taken[-1])
        self._taken.append(worker)
        take(worker, decision, self.steps)
        return worker

    def _pick(self, candidates: Sequence[int]) -> int:
        number = len(self._taken)
        last = self._taken[-1] if self._taken else None
        if number < len(self._left):
            if self._left[number] in candidates:
                return self._left[number]
            self._left = ()  # the program has changed under it; the divergence is on record
        if self.lots is not None:
            return draw(self.lots, candidates, self._standings, self._taken)
        return keep_on(candidates, last, self._standings)

    def _observe(self, worker: int, decision: Decision) -> None:
        catalogue = self.rules.catalogue
        for result in decision.results.values():
            if result.operation is not None:
                self._new |= numbers_of(result.operation, result.columns, result.rows, catalogue)
        effect, moved = observe(self._standings, worker, decision, catalogue, self._new)
        self.moves.append(Move(worker, effect, moved, len(self.steps)))
        self._standings.update(moved)


def _requests(standings: Mapping[int, Standing]) -> dict[int, Request]:
    return {
        call: ("blocked", "") if standing.blocked else request(standing.operation)
        for call, standing in standings.items()
    }
