"""Whether an ending is a race, without assertions: it is one if no serial order gives it.

An ending is what the calls returned or raised and the rows of the touched tables.  What a call
read counts through its return value alone.  The keys of rows that a run made count only through
what refers to them: if two calls create rows, their numbers change places with the order, and
an order of the numbers that disagrees with the order of something else is not a defect.  Keys
that were there at the start are compared as they are.

The first serial order is run twice, the second time with the counters of the keys moved (see
`facts`).  They stay moved: from then on the value of a number tells whether it is a key.  The
number after a key may by chance be another key.  An ending that can be explained only that way
is not a race, but it is doubted.

Whatever else differs between two runs of one order is *weak*.  If it is random, it is compared
by its type, by whether it is as at the start and, if it is long enough to be unique, by what
equals it.  If it is made from a key, such as a hash of one, it is compared by what equals it.

With a rule of the caller none of that applies: `broken_rule` alone decides.
"""

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from functools import partial
from itertools import combinations, islice, permutations
from math import factorial
from types import MappingProxyType, NoneType
from typing import Any, TypeVar

from ..._text import error_named
from ...base import pickling
from ...base.trace import Run, call_name
from ...databases.schema import CACHE, Key
from ...exceptions import error_of
from .evidence import Difference, Order, Violation, cells, differences, outcome_named
from .facts import (
    WHOLE,
    Cause,
    Fact,
    Facts,
    Numbers,
    Place,
    Scheme,
    Spot,
    Start,
    Tables,
    is_weak,
    mapped,
    nameless,
    place_of_leaf,
    refs_in,
    same_but_for_keys,
)
from .values import CHANCE, Position, Ref, Size, Some, as_key, path_named, whole_number

_COMPARED: Mapping[Cause, str] = {
    "chance": "was compared only by its type, by being NULL or not, as at the start or not, and by what equals it: it "
    "differs between two runs of one order, as what a database or a service outside makes",
    "keys": "was compared only by what equals it: it is made from the number of a key",
    "draws": "was compared only by what equals it: it is drawn, and a call draws more or less in some order",
}
T = TypeVar("T")
_PLAIN = frozenset({NoneType, bool, int, float, str, bytes})
_SPOTS_READ_BOTH_WAYS = 6  # of which all sets are tried
_ORDERS_COMPARED = 24  # enough to say which serial ending is nearest, or that all are alike


class _Reading(Enum):
    """How leniently values are read."""

    EXACT = auto()  # what is made from keys counts as it is
    WEAK = auto()  # it counts by what equals it
    LOOSE = auto()  # numbers that equal a new key are keys, where counters could not be moved
    AFTER = auto()  # a number that equals a new key may be the one after another key


class Renumbered(Enum):
    """What came of a serial order when the counters of its keys were moved."""

    SAME = auto()
    OTHER_VALUES = auto()  # that are no keys
    OTHER_THINGS = auto()  # for the program depends on what the numbers are


class Oracle:
    """Knows how the calls may end one after another, and judges how they ended at once.

    Args:
        calls: How many there are.
        keys: The primary and foreign keys of the tables.
        start: The rows from which every run begins, of all tables that a run may touch.
        refusals: Exceptions by which a call refuses; it then counts as not having been made.
        ignored: Tables, and columns of tables, that are not compared.
        numbers: Those of counters that were moved already.
        is_untouched: Says of a table that nothing has ever changed it; then `start` need not have its rows.
        enqueuers: Of each call that is a task, the call that enqueues it, before which it is in no serial order.
    """

    def __init__(
        self,
        calls: int,
        keys: Mapping[str, Key],
        start: Tables,
        refusals: tuple[type[BaseException], ...] = (),
        ignored: Collection[tuple[str, str | None]] = (),
        numbers: Sequence[Numbers] = (),
        is_untouched: Callable[[str], bool] = lambda _: False,
        enqueuers: Mapping[int, int] = MappingProxyType({}),
    ) -> None:
        self._calls = tuple(range(calls))
        self._enqueuers = enqueuers
        self._refusals = refusals
        self._scheme = Scheme(Start(keys, start, is_untouched), ignored, numbers)
        self._serial: dict[Order, list[Run]] = {(): [Run((), {})]}
        self._views: dict[tuple[Order, _Reading, frozenset[Spot]], _View] = {}
        self._repeated: dict[bytes, bool] = {}  # by endings, for most runs end as another one did
        self._explained: dict[bytes, _Explanation | None] = {}  # likewise
        self.unsteady: set[Order] = set()  # orders that did not end twice alike, however they were compared

    @property
    def whole_orders(self) -> Iterator[tuple[Order, Run]]:
        """The serial orders of all calls that were learnt, and how each ended, without its steps."""
        for order, ends in sorted(self._serial.items()):
            if len(order) == len(self._calls):
                yield order, replace(ends[-1], steps=())

    def learn(self, order: Order, ending: Run) -> None:
        """Take in how the calls of `order` end one after another.

        What a second ending of one order has otherwise was made by chance.  To learn an
        order anew before a violation is reported keeps the clock of a database, which may
        have passed a full second, from being taken for a race.
        """
        known = self._serial.setdefault(order, [])
        if not known:
            known.append(ending)
        else:
            weak = _weaker(self._exact, partial(_facts, known[0], order), partial(_facts, ending, order), "chance")
            if weak is None:
                self.unsteady.add(order)
                known.append(ending)
            else:
                self._scheme = replace(self._scheme, weak={**self._scheme.weak, **weak})
        self._forget()

    def _forget(self) -> None:
        """Read endings anew, for more is known."""
        self._views.clear()
        self._repeated.clear()
        self._explained.clear()

    def learn_draw(self, order: Order, ending: Run) -> None:
        """Take in how an order that was learnt ends where the calls draw other random numbers."""
        known = self._serial[order][0]
        weak = _weaker(self._scheme, partial(_facts, known, order), partial(_facts, ending, order), "draws")
        if weak is not None:
            self._scheme = replace(self._scheme, weak=weak)
            self._forget()

    def renumber(self, order: Order, ending: Run, numbers: Sequence[Numbers]) -> Renumbered:
        """Take in how the one order that was learnt ends with counters moved, unless it does other things then."""
        found = self._serial[order][0]

        def as_found(scheme: Scheme) -> Facts:
            return _numbered(_facts(found, order, replace(scheme, numbers=())), ())

        def as_moved(scheme: Scheme) -> Facts:
            return _numbered(_facts(ending, order, scheme), numbers)

        weak = _weaker(replace(self._scheme, numbers=numbers), as_found, as_moved, "keys")
        if weak is None:
            return Renumbered.OTHER_THINGS
        self._scheme = replace(self._scheme, numbers=numbers, weak=weak)
        self._serial[order] = [ending]
        self._forget()
        return Renumbered.OTHER_VALUES if weak else Renumbered.SAME

    def needs(self, ending: Run, is_explained: Callable[[Run], bool] | None = None) -> Iterator[Order]:
        """The serial orders that must be learnt before `ending` can be called wrong, the likeliest to explain it first.

        Where a call refused they are orders of the others, too.  Learn each as it
        comes; there are no more once one explains the ending, which by default is
        that it gives it.
        """
        is_explained = is_explained or self.accepts
        kept = self._kept(ending)
        for calls in dict.fromkeys((kept, self._calls)):
            for order in filter(self.is_possible, _likeliest_first(calls, ending)):
                if order in self._serial:
                    continue
                if is_explained(ending):
                    return
                yield order

    def is_possible(self, order: Order) -> bool:
        """Tell whether each task comes after the call that enqueues it."""
        return all(
            order.index(enqueuer) < order.index(task)
            for task, enqueuer in self._enqueuers.items()
            if task in order and enqueuer in order
        )

    def orders(self, calls: Order) -> int:
        """How many orders of so many calls are possible."""
        found = factorial(len(calls))
        for call in calls:  # which of it and all that comes of it is first is settled
            found //= sum(call in self._origins(other) for other in calls)
        return found

    def _origins(self, call: int) -> Iterator[int]:
        """A call, the one that enqueued it, and so on."""
        yield call
        while call in self._enqueuers:
            call = self._enqueuers[call]
            yield call

    def accepts(self, ending: Run) -> bool:
        """Tell whether a serial order that was learnt gives this ending."""
        return self._explanation(ending) is not None

    def repeats(self, ending: Run) -> bool:
        """Tell whether an ending is, key for key, that of a serial order that was learnt."""
        return _found_once(self._repeated, ending, self._view(self._calls, _Reading.EXACT).repeats)

    def knows(self, order: Order) -> bool:
        """Tell whether this order was learnt."""
        return order in self._serial

    def raises_as_known(self, ending: Run) -> bool:
        """Tell whether what was raised is a refusal, or what some serial order that was learnt raises, too."""
        return not self._unusual(ending)

    def knows_rows(self, ending: Run) -> bool:
        """Tell whether a serial order that was learnt leaves the same rows, whatever its calls come to."""
        compared = {frozenset(self._kept(ending)), frozenset(self._calls)}
        known = [(order, end) for order, ends in self._serial.items() if frozenset(order) in compared for end in ends]
        schemes = (self._exact, False), (self._scheme, False), (self._scheme, True)
        return any(_View(scheme, (), known, is_loose).explaining(ending) for scheme, is_loose in schemes)

    def conflict(self, ending: Run, nearest: Order | None, found: tuple[Difference, ...] = ()) -> Violation | None:
        """Say what was raised and should not have been."""
        unusual = self._unusual(ending)
        if not unusual:
            return None
        told = "; ".join(f"{call_name(call)} raised {error_named(error)}" for call, error in unusual.items())
        detail = f"{told}; no serial order raises {'that' if len(unusual) == 1 else 'those'}"
        return Violation("unhandled conflict", detail, nearest, found, tuple(unusual))

    def _unusual(self, ending: Run) -> dict[int, BaseException]:
        usual = {type(error) for known in self._serial.values() for end in known for error in _errors(end).values()}
        return {
            call: error
            for call, error in _errors(ending).items()
            if type(error) not in usual and not isinstance(error, self._refusals)
        }

    def judge(self, ending: Run) -> Violation | None:
        """Say what is wrong with an ending, once all that it `needs` was learnt."""
        if self.accepts(ending):
            return None
        nearest, found = self._nearest(ending)
        conflict = self.conflict(ending, nearest, found)
        if conflict is not None:
            return conflict
        named = (
            "; ".join(str(difference) for difference in found[:3]) or "new rows refer to other rows than they should"
        )
        detail = f"no serial order ends like this; nearest is {_order_named(nearest)}, from which it differs: {named}"
        alone = sorted(order for order in self._serial if set(order) == set(self._kept(ending)))
        serial = tuple(self._serial[order][-1].outcomes for order in alone)
        return Violation("no serial order", detail, nearest, found, outcomes=ending.outcomes, serial=serial)

    def doubts(self, ending: Run, writers: Mapping[str, Collection[int]]) -> set[str]:
        """Say why an ending that is accepted may be wrong all the same, a sentence each.

        Args:
            writers: The calls that may have changed a table.
        """
        explanation = self._explanation(ending)
        if explanation is None:
            return set()
        if explanation.reading is _Reading.LOOSE:
            return {"the keys of new rows are numbers that other values have, too"}
        if explanation.reading is _Reading.AFTER:
            return {"a number is the key of one new row and follows that of another, and may stand for either"}
        if len(explanation.orders) == self.orders(explanation.calls):
            return set()
        scheme = self._exact if explanation.reading is _Reading.EXACT else self._scheme
        return {
            f"{_position_named(leaf.position)} cannot be compared from run to run, and two calls write it"
            for fact, was_there in scheme.rows(ending.tables)
            for leaf in fact.leaves
            if was_there and is_weak(leaf) and len(writers.get(str(leaf.position[1]), ())) > 1
        }

    def unlearnt(self, ending: Run) -> list[Order]:
        """The orders that may take a doubt away, if they are not too many."""
        explanation = self._explanation(ending)
        if explanation is None or self.orders(explanation.calls) > _ORDERS_COMPARED:
            return []
        possible = filter(self.is_possible, permutations(explanation.calls))
        return [order for order in possible if order not in self._serial]

    def notes(self) -> list[str]:
        """What was compared in a weaker way, a sentence each."""
        told = {(_position_named(position), cause) for (position, _, _), cause in self._scheme.weak.items()}
        return [f"{what} {_COMPARED[cause]}" for what, cause in sorted(told)]

    @property
    def is_by_chance(self) -> bool:
        """Whether an order did not end twice alike, for no reason that is known."""
        return bool(self.unsteady) or "chance" in self._scheme.weak.values()

    @property
    def _exact(self) -> Scheme:
        """The scheme by which what is made from keys counts as it is."""
        weak = {place: cause for place, cause in self._scheme.weak.items() if cause == "chance"}
        return replace(self._scheme, weak=weak)

    def _kept(self, ending: Run) -> Order:
        refused = {call for call, error in _errors(ending).items() if isinstance(error, self._refusals)}
        return tuple(call for call in self._calls if refused.isdisjoint(self._origins(call)))

    def _explanation(self, ending: Run) -> "_Explanation | None":
        return _found_once(self._explained, ending, self._find_explanation)

    def _find_explanation(self, ending: Run) -> "_Explanation | None":
        compared = tuple(dict.fromkeys((self._kept(ending), self._calls)))
        for reading in (_Reading.EXACT, _Reading.WEAK, _Reading.LOOSE):
            for calls in compared:
                orders = self._view(calls, reading).explaining(ending)
                if orders:
                    return _Explanation(reading, calls, orders)
        for calls in compared:
            for after in self._after_keys(calls, ending):
                orders = self._view(calls, _Reading.AFTER, after).explaining(ending)
                if orders:
                    return _Explanation(_Reading.AFTER, calls, orders)
        return None

    def _after_keys(self, calls: Order, ending: Run) -> Iterator[frozenset[Spot]]:
        """Sets of spots that may hold numbers after keys, and not keys."""
        spots = self._scheme.either(self._view(calls, _Reading.WEAK).facts_of(ending))
        if len(spots) > _SPOTS_READ_BOTH_WAYS:
            yield frozenset(spots)
            return
        for count in range(1, len(spots) + 1):
            yield from map(frozenset, combinations(sorted(spots, key=repr), count))

    def _view(self, calls: Order, reading: _Reading, after: frozenset[Spot] = frozenset()) -> "_View":
        view = self._views.get((calls, reading, after))
        if view is None:
            known = [(order, end) for order, ends in self._serial.items() if set(order) == set(calls) for end in ends]
            scheme = self._exact if reading is _Reading.EXACT else replace(self._scheme, after=after)
            view = _View(scheme, calls, known, reading is _Reading.LOOSE)
            self._views[calls, reading, after] = view
        return view

    def _nearest(self, ending: Run) -> tuple[Order, tuple[Difference, ...]]:
        view = self._view(self._kept(ending), _Reading.WEAK)
        if not view.serial:
            raise ValueError("an ending can be judged when the orders that it needs were learnt")
        facts = view.facts_of(ending)
        compared = [
            (order, differences(facts, serial, self._scheme.start.keys, self._at_start))
            for order, serial in islice(view.serial, _ORDERS_COMPARED)
        ]
        order, found = min(compared, key=lambda each: (len(each[1]), each[0]))
        places = [{_place(each) for each in distance} for _, distance in compared]
        everything = len(view.serial) <= _ORDERS_COMPARED
        return order, tuple(
            replace(each, unique=everything and all(_place(each) in there for there in places)) for each in found
        )

    def _at_start(self, fact: Fact) -> Fact | None:
        """What is there at the start of the row that a fact is about."""
        table, values = str(fact.about[1]), cells(fact)
        key = self._scheme.start.keys.get(table)
        if key is None or not key.columns:
            return None
        identity = tuple(as_key(values.get(column)) for column in key.columns)
        start = self._scheme.start
        if not start.counts(table)[identity]:
            return None
        return Fact(("row", table), self._scheme.row(table, start.row(table, identity)))


@dataclass(frozen=True)
class _Explanation:
    """Which serial orders of which calls give an ending, and by which reading."""

    reading: _Reading
    calls: Order
    orders: Sequence[Order]


@dataclass
class _View:
    """How the orders of certain calls end, as facts under the scheme of the moment."""

    scheme: Scheme
    calls: Order
    endings: Sequence[tuple[Order, Run]]
    is_loose: bool
    serial: list[tuple[Order, Facts]] = field(init=False)
    _distinct: dict[Hashable, tuple[Facts, list[Order]]] = field(init=False)

    def __post_init__(self) -> None:
        self.serial = [(order, self.facts_of(ending)) for order, ending in self.endings]
        self._distinct = {}
        for order, facts in self.serial:
            self._distinct.setdefault(frozenset(facts.items()), (facts, []))[1].append(order)
        self._cached = {fact.shape for _, facts in self.serial for fact in facts if _cache_key(fact) is not None}

    def facts_of(self, ending: Run) -> Facts:
        facts = _facts(ending, self.calls, self.scheme)
        return _loosely(facts, self.scheme.moved) if self.is_loose else facts

    def repeats(self, ending: Run) -> bool:
        """Tell whether an order ends like this, key for key."""
        return frozenset(self.facts_of(ending).items()) in self._distinct

    def explaining(self, ending: Run) -> list[Order]:
        """The orders that end like this."""
        facts = self.facts_of(ending)
        return [
            order
            for serial, orders in self._distinct.values()
            if same_but_for_keys(*self._remembered(facts, serial))
            for order in dict.fromkeys(orders)
        ]

    def _remembered(self, found: Facts, serial: Facts) -> tuple[Facts, Facts]:
        """Leave out keys of caches that only one has, for caches forget; but not a value that no order leaves."""
        here, there = ({key for fact in facts if (key := _cache_key(fact)) is not None} for facts in (found, serial))
        if here == there:
            return found, serial
        kept = {
            fact: times
            for fact, times in found.items()
            if (key := _cache_key(fact)) is None or key in there or fact.shape not in self._cached
        }
        known = {fact: times for fact, times in serial.items() if (key := _cache_key(fact)) is None or key in here}
        return Counter(kept), Counter(known)


def _found_once(known: dict[bytes, T], ending: Run, find: Callable[[Run], T]) -> T:
    """What was found of an ending that was the same to the letter; found anew where only attributes tell what it is."""
    if not all(type(each) in _PLAIN for each in ending.outcomes):
        return find(ending)
    letters = pickling.dumps((ending.outcomes, sorted(ending.tables.items())))
    if letters not in known:
        known[letters] = find(ending)
    return known[letters]


def _facts(ending: Run, calls: Order, scheme: Scheme) -> Facts:
    return scheme.facts({call: ending.outcomes[call] for call in sorted(calls)}, ending.tables)


def _weaker(
    scheme: Scheme, one: Callable[[Scheme], Facts], other: Callable[[Scheme], Facts], cause: Cause
) -> dict[Place, Cause] | None:
    """The weak places with which two endings of one order are the same; None if there are none."""
    weak = dict(scheme.weak)
    while True:
        read = replace(scheme, weak=weak)
        first, second = one(read), other(read)
        if same_but_for_keys(first, second):
            return weak
        more = _differing(first, second) - weak.keys()
        if not more:
            return None
        weak |= dict.fromkeys(more, cause)


def _differing(one: Facts, other: Facts) -> set[Place]:
    """The places that do not hold the same values, in facts that both have equally often."""
    shapes = [Counter(fact.about for fact in facts.elements()) for facts in (one, other)]
    steady = {about for about, times in shapes[0].items() if shapes[1][about] == times}
    first, second = _values(one, steady), _values(other, steady)
    found = set()
    for place in first.keys() | second.keys():
        if first.get(place) == second.get(place):
            continue
        position, part, kind = place
        if kind == str.__name__ and part % 2 == 0 and part >= 0:  # not in a number, but in what stands between them
            found.add((position, WHOLE, kind))
        elif place in first and place in second:
            found.add(place)
    return found


def _values(facts: Facts, abouts: Collection[Position]) -> dict[Place, Counter[Hashable]]:
    """The values at each place, less which key is meant."""
    found: dict[Place, Counter[Hashable]] = {}
    for fact in facts.elements():
        if fact.about in abouts:
            for leaf in fact.leaves:
                if not isinstance(leaf.value, Size):
                    found.setdefault(place_of_leaf(leaf), Counter())[nameless(leaf.value)] += 1
    return found


def _numbered(facts: Facts, numbers: Sequence[Numbers]) -> Facts:
    """Put the number that it would have been for each key, with the counters where they were found."""
    moved_by = {each.table: each.moved_by for each in numbers}

    def found(value: Hashable) -> Hashable:
        if isinstance(value, Ref) and value.table != CHANCE:
            return value.key - moved_by.get(value.table, 0) if isinstance(value.key, int) else value.key
        number = whole_number(value)
        return value if number is None else number

    return mapped(facts, found)


def _loosely(facts: Facts, moved: Collection[str]) -> Facts:
    """Read values as keys that equal one, of a table whose counter could not be moved."""
    made: dict[Hashable, set[Ref]] = {}
    for ref in refs_in(facts):
        if ref.table != CHANCE and ref.table not in moved:
            made.setdefault(ref.key, set()).add(ref)

    def read(value: Hashable) -> Hashable:
        refs = set() if isinstance(value, Ref | Some | Size) else made.get(as_key(value), set())
        return next(iter(refs)) if len(refs) == 1 else value

    return mapped(facts, read) if made else facts


def _cache_key(fact: Fact) -> Hashable:
    """The store and the key that a fact is about, if it is about one of a cache."""
    if fact.about[0] != "row" or not str(fact.about[1]).startswith(CACHE):
        return None
    return fact.about[1], tuple(nameless(leaf.value) for leaf in fact.leaves if leaf.position[2] == "key")


def _position_named(position: Position) -> str:
    """A position in words."""
    kind, what, *path = position
    name = path_named(tuple(path))
    return f"{what}.{name}" if kind == "row" else outcome_named(int(str(what)), name)


def broken_rule(check: Callable[[Any], object], outcomes: Any) -> Violation | None:
    """Ask the caller's rule: it is broken if it returns False or raises AssertionError; other errors are its own."""
    name = getattr(check, "__name__", repr(check))
    try:
        if check(outcomes) is not False:
            return None
    except AssertionError as error:
        said = str(error).strip().split("\n", 1)[0]
        return Violation("broken rule", f"{name} failed: {said}" if said else f"an assertion of {name} failed")
    return Violation("broken rule", f"{name} returned False")


def _errors(ending: Run) -> dict[int, BaseException]:
    """What the calls raised."""
    return {call: error for call, each in enumerate(ending.outcomes) if (error := error_of(each)) is not None}


def _order_named(order: Order) -> str:
    if not order:
        return "making no call at all"
    return f"{call_name(order[0])} alone" if len(order) == 1 else " before ".join(call_name(call) for call in order)


def likeliest(calls: Order, ending: Run) -> tuple[Order, Order]:
    """The orders in which the calls ended, and in which they began."""
    last = {step.call: index for index, step in enumerate(ending.steps)}
    first = {step.call: index for index, step in reversed(list(enumerate(ending.steps)))}
    by_end = tuple(sorted(calls, key=lambda call: last.get(call, -1)))
    return by_end, tuple(sorted(calls, key=lambda call: first.get(call, -1)))


def _likeliest_first(calls: Order, ending: Run) -> Iterator[Order]:
    """All orders of `calls`: by who ended first, by who began first, then the rest."""
    by_end, by_start = likeliest(calls, ending)
    yield from dict.fromkeys((by_end, by_start))
    yield from (order for order in permutations(calls) if order not in (by_end, by_start))


def _place(difference: Difference) -> Hashable:
    return difference.place, difference.table, difference.row, difference.call, difference.name
