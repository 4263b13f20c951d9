"""The unfolding: which steps can follow which, as learned from the runs so far.

Steps that are not dependent can be swapped, so a run stands for all the runs that
swapping makes of it.  An *event* is a step together with the events that had to
come before it; a *state* is the set of the events so far, and two runs are in the
same state exactly if swapping turns one into the other.  That is the unfolding of
a concurrent program (McMillan 1992; for testing: Rodriguez et al., CONCUR 2015).

Because a step does the same wherever independent steps are put before it, an
event learned in one run predicts steps of others: `predict` is what lets the
search walk through orders without running them.

The events that move one call form a chain, each the next one's past.  So a state
is told by the last event of each call, and so is a past.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .dependence import Effect, dependent
from .standings import Request, Standing, request

State = tuple[int, ...]  # the number of the last event that moved each call
_Way = tuple[int, frozenset[int]]  # the number of an effect, and whom the step moved
_START = -1


@dataclass(frozen=True, slots=True, eq=False)
class Event:
    """One step of one call, after a given past."""

    number: int
    worker: int
    effect: int
    moved: Mapping[int, Standing]  # where it left the call that was let go and those it set free
    before: Mapping[int, int]  # of each call it moved, the event before
    history: State  # its past and itself
    depths: tuple[int, ...]  # how many events of each call's chain are in its history


class _Lore:
    """What runs have told of the events."""

    def __init__(self) -> None:
        self.ways: defaultdict[tuple[int, int], dict[_Way, None]] = defaultdict(dict)  # by call and its last event
        self.after: dict[tuple[int, State, _Way], Event] = {}  # by call and past


class Unfolding:
    """The events learned so far.

    Of runs whose turn has not come it learns what they show beside what it knows: only who asks for that is told.
    """

    def __init__(self, standings: Mapping[int, Standing]) -> None:
        self._first = standings
        self._events: list[Event] = []
        self._known: dict[object, Event] = {}
        self._lore = _Lore()
        self._early_lore = _Lore()
        self._effects: dict[Effect, int] = {}
        self._dependents: list[set[int]] = []  # of each effect
        self._actors: list[set[int]] = []  # of each effect, whose steps had it
        self._latest: dict[tuple[int, int, int], int] = {}
        self._pasts: dict[tuple[State, _Way], State] = {}
        self._asked: defaultdict[tuple[int, Request], set[int]] = defaultdict(set)  # what requests of calls came to

    @property
    def start(self) -> State:
        return (_START,) * len(self._first)

    def emptied(self) -> "Unfolding":
        """One of the same start that no run has taught anything."""
        return Unfolding(self._first)

    def standing(self, state: State, call: int) -> Standing:
        return self._first[call] if state[call] == _START else self._events[state[call]].moved[call]

    def standings(self, state: State) -> dict[int, Standing]:
        return {call: self.standing(state, call) for call in self._first}

    def successor(self, state: State, event: Event) -> State:
        return tuple(event.number if call in event.moved else last for call, last in enumerate(state))

    def learn(
        self, state: State, worker: int, effect: Effect, moved: Mapping[int, Standing], *, early: bool = False
    ) -> Event:
        """Record that `worker`, let go in `state`, did this; the event may be an old one."""
        way = (self._number(effect), frozenset(moved))
        past = self._past(state, way)
        requests = tuple((call, moved[call].blocked, request(moved[call].operation)) for call in sorted(moved))
        key = (worker, past, way, requests)
        event = self._known.get(key)
        if event is None:
            event = self._known[key] = self._new(state, worker, way, past, moved)
        lore = self._early_lore if early else self._lore
        lore.ways[worker, state[worker]].setdefault(way)
        lore.after.setdefault((worker, past, way), event)
        if not early:
            self._actors[event.effect].add(worker)
            self._asked[worker, request(self.standing(state, worker).operation)].add(event.effect)
        return event

    def predict(self, state: State, worker: int, *, early: bool = False) -> Event | None:
        """Tell what `worker` would do in `state`, as far as any run has shown; with `early`, any at all."""
        for lore in (self._lore, self._early_lore)[: 1 + early]:
            for way in lore.ways[worker, state[worker]]:
                event = lore.after.get((worker, self._past(state, way), way))
                if event is not None:
                    return event
        return None

    def open_questions(self, state: State, worker: int, *, early: bool = True) -> Iterator[object]:
        """What a run has to tell before the next step of `worker` is known; the same for steps that are one event."""
        where = worker, state[worker]
        ways = {**self._lore.ways[where], **(self._early_lore.ways[where] if early else {})}
        if not ways:
            yield worker, state[worker]
        for way in ways:
            yield worker, self._past(state, way), way

    def contested(self, worker: int, effect: int) -> bool:
        """Tell whether any other call was ever seen to do something that depends on this effect."""
        return any(self._actors[other] - {worker} for other in self._dependents[effect])

    def private(self) -> frozenset[tuple[int, Request]]:
        """What each call asks for that only ever came to what is not contested."""
        return frozenset(
            asked
            for asked, effects in self._asked.items()
            if not any(self.contested(asked[0], effect) for effect in effects)
        )

    def _new(self, state: State, worker: int, way: _Way, past: State, moved: Mapping[int, Standing]) -> Event:
        number, (effect, _) = len(self._events), way
        before = {call: state[call] for call in moved}
        history = tuple(number if call in moved else last for call, last in enumerate(past))
        depths = tuple(self._depth(call, last) + (call in moved) for call, last in enumerate(past))
        event = Event(number, worker, effect, moved, before, history, depths)
        self._events.append(event)
        return event

    def _number(self, effect: Effect) -> int:
        """Give each effect a number, and find what depends on it."""
        if effect not in self._effects:
            number = self._effects[effect] = len(self._effects)
            dependents = {other for known, other in self._effects.items() if dependent(known, effect)}
            for other in dependents - {number}:
                self._dependents[other].add(number)
            self._dependents.append(dependents)
            self._actors.append(set())
        return self._effects[effect]

    def _past(self, state: State, way: _Way) -> State:
        """The events of a state that must come before a step of this kind, and all before those."""
        known = self._pasts.get((state, way))
        if known is None:
            known = self._pasts[state, way] = self._gather_past(state, way)
        return known

    def _gather_past(self, state: State, way: _Way) -> State:
        effect, moved = way
        past, depths = list(self.start), [0] * len(state)
        for call, last in enumerate(state):
            nearest = last if call in moved else self._latest_dependent(effect, call, last)
            if nearest != _START:
                event = self._events[nearest]
                for other, depth in enumerate(event.depths):
                    if depth > depths[other]:
                        past[other], depths[other] = event.history[other], depth
        return tuple(past)

    def _latest_dependent(self, effect: int, call: int, last: int) -> int:
        """Go back from the event `last` along the chain of `call` to one that depends on the effect."""
        found = _START
        passed: list[int] = []
        while last != _START and found == _START:
            known = self._latest.get((effect, call, last))
            if known is not None:
                found = known
                break
            passed.append(last)
            if self._events[last].effect in self._dependents[effect]:
                found = last
            last = self._events[last].before[call]
        for number in passed:
            self._latest[effect, call, number] = found
        return found

    def _depth(self, call: int, last: int) -> int:
        return 0 if last == _START else self._events[last].depths[call]
