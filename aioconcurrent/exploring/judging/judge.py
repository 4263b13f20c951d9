"""Which serial orders have to be run to judge a run, and when to run them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import permutations
from typing import TYPE_CHECKING

from ...base.trace import call_names
from ..orders.schedule import Schedule, preemptions
from .evidence import Violation
from .oracle import Renumbered, likeliest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence

    from ...base.trace import Run
    from ...databases.state import Advance
    from ...engine.attendance import Report
    from .evidence import Order
    from .facts import Numbers
    from .oracle import Oracle

_MOST_ORDERS = 120  # serial ones that are run, if an ending needs them: all of five calls
_ROUND = 4  # steps at the end of an endless run, which are of those who go round


@dataclass
class Seen:
    """One run that has taken place.

    Attributes:
        run: By the numbers of all calls.
        calls: Those that its judge knows, by which `ending` counts them.
        advances: How far it has moved the counters of keys, as long as they are where they were found.
        broken: What the caller's rule says of it.
    """

    run: Run
    calls: tuple[int, ...]
    reports: Sequence[Report]
    advances: Sequence[Advance] = ()
    broken: Violation | None = None

    @cached_property
    def ending(self) -> Run:
        return self.run.among(self.calls)

    @property
    def is_endless(self) -> bool:
        return self.run.is_endless

    @property
    def preemptions(self) -> int:
        return preemptions(self.run.steps)

    @property
    def effort(self) -> tuple[int, int]:
        """What a simpler order has less of."""
        return self.preemptions, len(Schedule.of(self.run.steps).choices)


class CountersMatterError(Exception):
    """The calls do other things where keys begin with other numbers, so that these have to stay as they were.

    Attributes:
        args: The tables of which that is so; none if it may be any.
    """


class TooManyOrdersError(Exception):
    """An ending would have to be compared with more serial orders than can be run."""


@dataclass
class Judge:
    """Judges runs of some calls by their serial orders.

    Attributes:
        calls: The numbers that they have among all calls.
        classes: Of each a number, the same for those that are the same function with the same arguments.
        serially: Runs a serial order, with other random numbers if it is told another draw than 0.
        move_counters: Moves those, and all others back to where they were found; gives the numbers that they have then.
        has_rule: Whether a rule of the caller decides, and only errors and endless runs are looked into here.
    """

    calls: tuple[int, ...]
    classes: tuple[int, ...]
    oracle: Oracle
    serially: Callable[..., Coroutine[None, None, Seen]]
    move_counters: Callable[[Sequence[Advance]], Coroutine[None, None, list[Numbers]]]
    has_rule: bool = False
    _first: tuple[Order, Seen] | None = None
    _numbers_moved: list[Numbers] = field(default_factory=list)  # since the first order, as long as nobody looked
    _unread: list[tuple[Order, Seen]] = field(default_factory=list)  # that were run since then
    _is_repeated: bool = False  # the first order was run twice
    _run_twice: set[Order] = field(default_factory=set)  # for the ending at hand
    _run_again: set[Order] = field(default_factory=set)  # since an ending was judged
    _drawn_otherwise: set[Order] = field(default_factory=set)
    _drawn: dict[Order, list[int]] = field(default_factory=dict)  # how far the calls drew, in serial orders
    _names_can_be_exchanged: bool | None = None

    async def learn(self, order: Order, seen: Seen) -> None:
        """Take in a serial order.

        If the first one made keys, the counters are moved at once to where their numbers tell whose keys they are.
        What it comes to then is seen when something has to be compared.
        """
        self._drawn[order] = self._drawn_by(seen)
        if self._numbers_moved and self._first is not None and order == self._first[0]:
            await self.settle(seen)
            self._run_again.add(order)
            return
        if self._numbers_moved:
            self._unread.append((order, seen))
            return
        self.oracle.learn(order, seen.ending)
        self._first = self._first or (order, seen)
        if seen.advances and not self.has_rule:
            self._numbers_moved = await self.move_counters(seen.advances)

    @property
    def knows_all(self) -> bool:
        """Whether all serial orders of all its calls were learnt."""
        return sum(len(order) == len(self.calls) for order in self._drawn) == self.oracle.orders(self._numbers)

    @property
    def is_settled(self) -> bool:
        """Whether it is known what the first order comes to with the counters where they are now."""
        return not self._numbers_moved

    async def settle(self, again: Seen | None = None) -> None:
        """Run the first order again with the counters moved, if they are.

        Args:
            again: That run, if it has been made.

        Raises:
            CountersMatterError: The calls do other things then.
        """
        if not self._numbers_moved or self._first is None:
            return
        order, numbers, self._numbers_moved = self._first[0], self._numbers_moved, []
        self._is_repeated = True
        again = again or await self.serially(order)
        self._run_twice.add(order)
        came = self.oracle.renumber(order, again.ending, numbers)
        if came is Renumbered.OTHER_THINGS:
            raise CountersMatterError
        if came is Renumbered.OTHER_VALUES:
            self.oracle.learn(order, (await self.serially(order)).ending)
        for order, seen in self._unread:
            self.oracle.learn(order, seen.ending)
        self._unread.clear()

    async def _repeat(self) -> None:
        """Run the first order again, for what is another each time."""
        if self._is_repeated or self.has_rule or self._first is None:
            return
        self._is_repeated = True
        order, _ = self._first
        self._run_twice.add(order)
        self.oracle.learn(order, (await self.serially(order)).ending)

    async def clears(self, seen: Seen) -> bool:
        """Whether what was learnt already explains a run, to the letter."""
        if seen.is_endless:
            return False
        await self.settle()
        return self.oracle.raises_as_known(seen.ending) if self.has_rule else self.oracle.repeats(seen.ending)

    async def explains(self, seen: Seen) -> bool:
        """Whether one of the likeliest orders explains a run, or would if alike calls exchanged their names."""
        if seen.is_endless:
            return False
        await self.settle()
        await self._repeat()
        likely = dict.fromkeys(filter(self.oracle.is_possible, likeliest(self._numbers, seen.ending)))
        if await self._can_exchange_names():
            return any(self._is_explained(self._renamed(seen.ending, order)) for order in likely)
        for order in likely:
            if not self._is_explained(seen.ending) and not self.oracle.knows(order):
                await self.learn(order, await self.serially(order))
        return self._is_explained(seen.ending)

    async def judge(self, seen: Seen, *, once_more: bool = True) -> Violation | None:
        """Say what is wrong with a run, after the serial orders that it has to be compared with were run.

        Args:
            once_more: Whether the likeliest order is run again, for what the database's clock decides.

        Raises:
            TooManyOrdersError: They are too many.
            CountersMatterError: The calls do other things where keys begin with other numbers.
        """
        if seen.broken is not None:
            return seen.broken
        self._run_twice, self._run_again = self._run_again, set()
        await self.settle()
        if self._names_can_be_exchanged and not seen.is_endless:
            self._check_count(self._numbers)
            if any(self._is_explained(self._renamed(seen.ending, order)) for order in permutations(self._numbers)):
                return None
        else:
            for order in self.oracle.needs(seen.ending, self._is_explained if not seen.is_endless else lambda _: False):
                self._check_count(order)
                await self.learn(order, await self.serially(order))
        if seen.is_endless:
            return _endless(seen.ending)
        if self.has_rule:
            return self.oracle.conflict(seen.ending, None)
        violation = self.oracle.judge(seen.ending)
        if violation is None or violation.nearest is None:
            return violation
        if once_more and violation.nearest not in self._run_twice:
            self._is_repeated = True  # what does not repeat itself shows in this order
            self.oracle.learn(violation.nearest, (await self.serially(violation.nearest)).ending)
            violation = self.oracle.judge(seen.ending)
        elif not self._is_repeated:
            await self._repeat()
            violation = self.oracle.judge(seen.ending)
        return await self._judge_draws(seen, violation)

    async def _judge_draws(self, seen: Seen, violation: Violation | None) -> Violation | None:
        """Look again at a run in which a call drew more, or less, than in the order that it is compared with.

        One that repeats a transaction may draw a new token for it: which token that is says nothing.
        """
        if violation is None or violation.nearest is None:
            return violation
        nearest = violation.nearest
        if self._drawn.get(nearest) in (None, self._drawn_by(seen)) or nearest in self._drawn_otherwise:
            return violation
        self._drawn_otherwise.add(nearest)
        self.oracle.learn_draw(nearest, (await self.serially(nearest, 1)).ending)
        return self.oracle.judge(seen.ending)

    def _drawn_by(self, seen: Seen) -> list[int]:
        results = [seen.reports[call].result for call in self.calls]
        return [result.drawn if result is not None else 0 for result in results]

    async def doubts(self, ending: Run, writers: Mapping[str, Collection[int]]) -> set[str]:
        """Say why an ending that is explained may be wrong all the same, once the orders that tell were run."""
        await self.settle()
        if not self.oracle.doubts(ending, writers):
            return set()
        for order in self.oracle.unlearnt(ending):
            await self.learn(order, await self.serially(order))
        return self.oracle.doubts(ending, writers)

    def _is_explained(self, ending: Run) -> bool:
        return self.oracle.raises_as_known(ending) if self.has_rule else self.oracle.accepts(ending)

    @property
    def _numbers(self) -> Order:
        return tuple(range(len(self.calls)))

    def _check_count(self, order: Order) -> None:
        if self.oracle.orders(order) > _MOST_ORDERS:
            raise TooManyOrdersError

    async def _can_exchange_names(self) -> bool:
        """Whether all calls are alike, and end alike in the contrary order but for which of them it is."""
        if self._names_can_be_exchanged is None:
            self._names_can_be_exchanged = False
            if len(set(self.classes)) == 1 and not self.has_rule and self._first is not None:
                order = self._first[0][::-1]
                seen = await self.serially(order)
                self._names_can_be_exchanged = self.oracle.accepts(self._renamed(seen.ending, order))
                await self.learn(order, seen)
        return self._names_can_be_exchanged

    def _renamed(self, ending: Run, order: Order) -> Run:
        """The run as if its calls had the names that calls have at the same places of the order learnt first."""
        assert self._first is not None
        outcomes = {name: ending.outcomes[call] for name, call in zip(self._first[0], order, strict=True)}
        return replace(ending, outcomes=tuple(outcomes[name] for name in self._numbers))


def _endless(ending: Run) -> Violation:
    """What is wrong with a run that would have gone on for ever; its steps end with the loop."""
    looping = tuple(dict.fromkeys(step.call for step in ending.steps[-_ROUND:]))
    who = call_names(looping)
    one = len(looping) == 1
    detail = f"{who} never {'ends' if one else 'end'}: in this order {'it asks' if one else 'they ask'} for the same "
    return Violation("endless", f"{detail}again and again, while every serial order comes to its end", calls=looping)
