"""The verdict without assertions: an ending that no serial order gives is a race.

An ending is what the calls returned or raised and the rows of the touched tables;
what a call read counts through its return value alone.  The keys of rows that a
run made count only through what refers to them: with two calls that create, their
numbers change places with the order, and an order of the numbers that disagrees
with the order of something else is no defect.  Keys that were there at the start
are compared as they are.

One serial order is run twice, the second time with all sequences moved on, each by
another amount.  Values without a foreign key that follow them, such as a returned
`pk` or a number in a text, are keys, too; others that differ between the two runs
are masked.  Where a value is only seen in other orders and is a key after each of
them, it may be one.

With a rule of the caller none of that applies: `broken_rule` alone decides.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, islice, permutations
from typing import Any, Literal

from ..exceptions import WrappedError
from .differences import Difference, differences
from .facts import Fact, Key, Place, Position, Ref, Scheme, Tables, as_key, may_be_key
from .renaming import Facts, refs_in, same_but_for_keys
from .trace import Ending, call_name

__all__ = ["Key", "Oracle", "Order", "Violation", "broken_rule", "likeliest"]

Order = tuple[int, ...]
ViolationKind = Literal["no serial order", "unhandled conflict", "broken rule", "endless"]
Reading = Mapping[Place, str]  # where a plain value is read as a key, and of which table

_MANY_READINGS = 4
_ORDERS_COMPARED = 24  # enough to say which serial ending is nearest


@dataclass(frozen=True, slots=True)
class Violation:
    """Why an ending is wrong.

    Attributes:
        kind: Which rule it breaks.
        detail: That in a sentence.
        nearest: The serial order whose ending is most like it; None where the caller's rule decided.
        differences: How it differs from that ending.
        calls: The calls that the sentence is about, if it is about some.
    """

    kind: ViolationKind
    detail: str
    nearest: Order | None = None
    differences: tuple[Difference, ...] = ()
    calls: tuple[int, ...] = ()


class Oracle:
    """Knows how the calls may end one after another, and judges how they ended at once.

    Args:
        calls: How many there are.
        keys: The primary and foreign keys of the tables.
        start: The rows from which every run begins, of all tables that a run may touch.
        refusals: Exceptions by which a call refuses; it then counts as not having been made.
    """

    def __init__(
        self, calls: int, keys: Mapping[str, Key], start: Tables, refusals: tuple[type[BaseException], ...] = ()
    ) -> None:
        self._calls = tuple(range(calls))
        self._refusals = refusals
        self._scheme = Scheme(keys, start)
        self._serial: dict[Order, list[Ending]] = {(): [Ending((), {})]}
        self._views: dict[tuple[Order, bool], _View] = {}
        self.unsteady: set[Order] = set()  # orders that did not end twice alike, whatever was masked

    def orders(self) -> Iterator[Order]:
        """All serial orders of all calls; there are n! of them."""
        return permutations(self._calls)

    def learn(self, order: Order, ending: Ending) -> None:
        """Take in how the calls of `order` end one after another.

        A second ending of one order, from sequences that were moved on, each by another
        amount and past every key of the first, tells which values are keys, and masks what else differs.  To learn
        one anew before a violation is reported keeps clocks of full seconds from being
        taken for races.
        """
        known = self._serial.setdefault(order, [])
        if not known:
            known.append(ending)
        elif not self._mask(order, known[0], ending):
            self.unsteady.add(order)
            known.append(ending)
        self._views.clear()

    def needs(self, ending: Ending, is_explained: Callable[[Ending], bool] | None = None) -> Iterator[Order]:
        """The serial orders that must be learnt before `ending` can be called wrong, the likeliest to explain it first.

        Where a call refused they are orders of the others, too.  Learn each as it
        comes; there are no more once one explains the ending, which by default is
        that it gives it.
        """
        is_explained = is_explained or self.accepts
        kept = self._kept(ending)
        for calls in dict.fromkeys((kept, self._calls)):
            for order in _likeliest_first(calls, ending):
                if order in self._serial:
                    continue
                if is_explained(ending):
                    return
                yield order

    def accepts(self, ending: Ending) -> bool:
        """Tell whether a serial order that was learnt gives this ending."""
        return any(self._view(calls).explains(ending) for calls in dict.fromkeys((self._kept(ending), self._calls)))

    def repeats(self, ending: Ending) -> bool:
        """Tell whether an ending is, key for key, that of a serial order that was learnt."""
        return self._view(self._calls).repeats(ending)

    def knows(self, order: Order) -> bool:
        """Tell whether this order was learnt."""
        return order in self._serial

    def raises_as_known(self, ending: Ending) -> bool:
        """Tell whether what was raised is a refusal, or what some serial order that was learnt raises, too."""
        return not self._unusual(ending)

    def conflict(self, ending: Ending, nearest: Order | None, found: tuple[Difference, ...] = ()) -> Violation | None:
        """Say what was raised and should not have been."""
        unusual = self._unusual(ending)
        if not unusual:
            return None
        told = "; ".join(f"{call_name(call)} raised {_told(error)}" for call, error in unusual.items())
        detail = f"{told}; no serial order raises {'that' if len(unusual) == 1 else 'those'}"
        return Violation("unhandled conflict", detail, nearest, found, tuple(unusual))

    def _unusual(self, ending: Ending) -> dict[int, BaseException]:
        usual = {type(error) for known in self._serial.values() for end in known for error in _errors(end).values()}
        return {
            call: error
            for call, error in _errors(ending).items()
            if type(error) not in usual and not isinstance(error, self._refusals)
        }

    def judge(self, ending: Ending) -> Violation | None:
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
        return Violation("no serial order", detail, nearest, found)

    def _kept(self, ending: Ending) -> Order:
        errors = _errors(ending)
        return tuple(call for call in self._calls if not isinstance(errors.get(call), self._refusals))

    def _view(self, calls: Order, *, split: bool = True) -> "_View":
        if (calls, split) not in self._views:
            known = [(order, end) for order, ends in self._serial.items() if set(order) == set(calls) for end in ends]
            self._views[calls, split] = _View(self._scheme, calls, known, split)
        return self._views[calls, split]

    def _nearest(self, ending: Ending) -> tuple[Order, tuple[Difference, ...]]:
        kept = self._kept(ending)
        view = self._view(kept, split=False)
        if not view.serial:
            raise ValueError("an ending can be judged when the orders that it needs were learnt")
        facts = view.facts_of(ending)
        compared = [
            (order, differences(facts, serial, self._scheme.keys))
            for order, serial in islice(view.serial, _ORDERS_COMPARED)
        ]
        order, found = min(compared, key=lambda each: len(each[1]))
        places = [{_place(each) for each in distance} for _, distance in compared]
        everything = len(view.serial) <= _ORDERS_COMPARED
        return order, tuple(
            replace(each, unique=everything and all(_place(each) in there for there in places)) for each in found
        )

    def _mask(self, order: Order, one: Ending, other: Ending) -> bool:
        """Mask what differs between two endings of one order; tell whether that made them the same."""
        view = _View(self._scheme, tuple(sorted(order)), (), split=True)
        for step in (self._tell_keys, self._mask_keys, self._mask_values):
            step(view.facts_of(one), view.facts_of(other))
            if same_but_for_keys(view.facts_of(one), view.facts_of(other)):
                return True
        return False

    def _tell_keys(self, one: Facts, other: Facts) -> None:
        """Learn from new rows with other keys which plain values follow them."""
        before, after = _made(one), _made(other)
        first, second = _key_like(one), _key_like(other)
        moved = [table for table in before.keys() & after.keys() if not before[table] & after[table]]
        for place in first.keys() & second.keys():
            tables = [t for t in moved if first[place] <= before[t] and second[place] <= after[t]]
            if len(tables) == 1:
                self._scheme.proven.setdefault(place, tables[0])
            elif moved and first[place] == second[place]:
                self._scheme.refuted.add(place)

    def _mask_keys(self, one: Facts, other: Facts) -> None:
        for table, key in self._scheme.keys.items():
            if len(key.columns) == 1:
                position = ("row", table, key.columns[0])
                if _values(one).get(position) != _values(other).get(position):
                    self._scheme.opaque.add(table)

    def _mask_values(self, one: Facts, other: Facts) -> None:
        first, second = _values(one), _values(other)
        shapes = Counter(fact.about for fact in one.elements()), Counter(fact.about for fact in other.elements())
        steady = {about for about, times in shapes[0].items() if shapes[1][about] == times}
        for fact in one:
            if fact.about in steady:
                differing = {
                    leaf.position for leaf in fact.leaves if first.get(leaf.position) != second.get(leaf.position)
                }
                self._scheme.masked |= differing


@dataclass
class _View:
    """How the orders of certain calls end, as facts under the mask of the moment."""

    scheme: Scheme
    calls: Order
    endings: Sequence[tuple[Order, Ending]]
    split: bool
    serial: list[tuple[Order, Facts]] = field(init=False)
    distinct: list[Facts] = field(init=False)
    readings: list[Reading] = field(init=False)

    def __post_init__(self) -> None:
        self.serial = [(order, self.facts_of(ending)) for order, ending in self.endings]
        self.distinct = list({frozenset(facts.items()): facts for _, facts in self.serial}.values())
        self.readings = list(_readings(self.distinct, self.scheme.refuted))

    def facts_of(self, ending: Ending) -> Facts:
        outcomes = {call: ending.outcomes[call] for call in self.calls}
        return self.scheme.facts(outcomes, ending.tables, split=self.split)

    def repeats(self, ending: Ending) -> bool:
        facts = self.facts_of(ending)
        return any(facts == serial for serial in self.distinct)

    def explains(self, ending: Ending) -> bool:
        if self.repeats(ending):
            return True
        facts = self.facts_of(ending)
        return any(
            same_but_for_keys(_read(facts, reading), _read(serial, reading))
            for reading in self.readings
            for serial in self.distinct
        )


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


def _errors(ending: Ending) -> dict[int, BaseException]:
    """What the calls raised."""
    bare = [each.error if isinstance(each, WrappedError) else each for each in ending.outcomes]
    return {call: error for call, error in enumerate(bare) if isinstance(error, BaseException)}


def _told(error: BaseException) -> str:
    text = str(error).strip().split("\n", 1)[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _order_named(order: Order) -> str:
    if not order:
        return "making no call at all"
    return f"{call_name(order[0])} alone" if len(order) == 1 else " before ".join(call_name(call) for call in order)


def likeliest(calls: Order, ending: Ending) -> tuple[Order, Order]:
    """The orders in which the calls ended, and in which they began."""
    last = {step.call: index for index, step in enumerate(ending.steps)}
    first = {step.call: index for index, step in reversed(list(enumerate(ending.steps)))}
    by_end = tuple(sorted(calls, key=lambda call: last.get(call, -1)))
    return by_end, tuple(sorted(calls, key=lambda call: first.get(call, -1)))


def _likeliest_first(calls: Order, ending: Ending) -> Iterator[Order]:
    """All orders of `calls`: by who ended first, by who began first, then the rest."""
    by_end, by_start = likeliest(calls, ending)
    yield from dict.fromkeys((by_end, by_start))
    yield from (order for order in permutations(calls) if order not in (by_end, by_start))


def _place(difference: Difference) -> Hashable:
    return difference.place, difference.table, difference.row, difference.call, difference.name


def _values(facts: Facts) -> dict[Position, Counter[Hashable]]:
    """The values at each position, less the keys of new rows."""
    found: dict[Position, Counter[Hashable]] = {}
    for fact in facts.elements():
        for leaf in fact.leaves:
            value = None if isinstance(leaf.value, Ref) else leaf.value
            found.setdefault(leaf.position, Counter())[leaf.part, value] += 1
    return found


def _readings(serial: Sequence[Facts], refuted: set[Place]) -> Iterator[Reading]:
    """The ways to read plain values as keys, none of them first; a candidate is one after every serial order."""
    candidates: dict[tuple[Place, str], set[Hashable]] = {}
    several: set[str] = set()  # tables in which some order made more than one row
    denied: set[tuple[Place, str]] = set()
    for facts in serial:
        made = _made(facts)
        several |= {table for table, keys in made.items() if len(keys) > 1}
        for place, values in _key_like(facts).items():
            for table, keys in made.items():
                candidates.setdefault((place, table), set()).update(values)
                if not values <= keys:
                    denied.add((place, table))
    # A value that is always the same, where several keys were made, is a number like 1 by chance.
    places = [
        (place, table)
        for (place, table), seen in candidates.items()
        if place not in refuted and (place, table) not in denied and (len(seen) > 1 or table not in several)
    ]
    yield {}
    sizes = range(len(places), 0, -1) if len(places) <= _MANY_READINGS else (len(places), 1)
    for size in sizes:
        for chosen in combinations(places, size):
            yield dict(chosen)


def _made(facts: Facts) -> dict[str, set[Hashable]]:
    """The keys of new rows, by table."""
    made: dict[str, set[Hashable]] = {}
    for ref in refs_in(facts):
        made.setdefault(ref.table, set()).add(ref.key)
    return made


def _key_like(facts: Facts) -> dict[Place, set[Hashable]]:
    """The plain values that might be keys, by where they stand."""
    found: dict[Place, set[Hashable]] = {}
    for leaf in (leaf for fact in facts for leaf in fact.leaves if may_be_key(leaf)):
        found.setdefault((leaf.position, leaf.part), set()).add(as_key(leaf.value))
    return found


def _read(facts: Facts, reading: Reading) -> Facts:
    """Put keys where `reading` has it."""
    if not reading:
        return facts
    made = refs_in(facts)
    result: Facts = Counter()
    for fact, times in facts.items():
        leaves = []
        for leaf in fact.leaves:
            table = reading.get((leaf.position, leaf.part))
            ref = Ref(table, as_key(leaf.value)) if table and may_be_key(leaf) else None
            leaves.append(replace(leaf, value=ref) if ref in made else leaf)
        result[Fact(fact.about, tuple(leaves))] += times
    return result
