"""Why an ending is wrong: the values in which it differs from the serial ones, and a sentence about them."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from html import unescape
from typing import Any, Literal

from ..._text import clipped, error_named, shown
from ...base.trace import ENDLESS, call_name
from ...databases.schema import CACHE, Key
from ...exceptions import error_of
from ...http import Response
from ...sql.accesses import Access
from ...sql.secrets import Secrets
from .facts import Fact, Facts, nameless
from .values import ABSENT, Cells, Leaf, Position, Ref, Size, Some, path_named, show, show_row

Order = tuple[int, ...]
ViolationKind = Literal["no serial order", "unhandled conflict", "broken rule", "endless"]
AtStart = Callable[[Fact], Fact | None]

_LONGEST_ANSWER = 80
_ERROR_LISTS = re.compile(r"<ul[^>]*\berrorlist\b[^>]*>(.*?)</ul>", re.DOTALL)  # as Django's forms write them
_TAG = re.compile(r"<[^>]+>")
_LOGS = re.compile(r"(?:^|_)(?:log|history|historical|audit|event|analytic|session|visit|activity)", re.IGNORECASE)
_NOTHING = "returns None"
_MOST_TOLD = 3
_NUMBERS = {1: "one", 2: "two", 3: "three", 4: "four"}


@dataclass(frozen=True, slots=True)
class Difference:
    """One place in which an ending is unlike the nearest serial one.

    Attributes:
        place: "row" of a table, or "outcome" of a call.
        table: The table, of a row.
        row: What tells the row from others, as "id=1"; empty for a row that the run made.
        call: The call, of an outcome.
        name: The column, or the path into the outcome; empty for the whole of it.
        found: How the run ended: a value, a whole row, or `ABSENT`.
        expected: How the nearest serial order ends.
        unique: Whether no serial order ends like that in this place.
    """

    place: Literal["row", "outcome"]
    found: Hashable | Cells
    expected: Hashable | Cells
    table: str = ""
    row: str = ""
    call: int = -1
    name: str = ""
    unique: bool = False

    def masked(self, secrets: Secrets) -> "Difference":
        """Replace secrets in it by stars."""
        found, expected = secrets.value(self.found), secrets.value(self.expected)
        return replace(self, found=found, expected=expected, row=secrets.text(self.row))

    def __str__(self) -> str:
        found, expected = show(self.found, self.expected), show(self.expected, self.found)
        if self.place == "outcome":
            return f"{self.where} is {found}, not {expected}"
        if self.table.startswith(CACHE):
            return f"the cache has {self.cached(self.found)}, not {self.cached(self.expected)}"
        if self.found is ABSENT:
            return f"{self.where} has no row ({show_row(self.expected)})"
        if self.expected is ABSENT:
            return f"{self.where} has one more row ({show_row(self.found)})"
        return f"{self.where}: {self.name} is {found}, not {expected}"

    def cached(self, value: object) -> str:
        """A value of the cache, with its key."""
        if isinstance(value, Mapping):
            value = value.get("value", value)
        return show(value) if value is ABSENT else f"{show(value)} under {self.row.removeprefix('key=') or '?'}"

    @property
    def where(self) -> str:
        """The place, in words."""
        if self.place == "outcome":
            return outcome_named(self.call, self.name)
        return f"{self.table} {self.row}".rstrip()


@dataclass(frozen=True, slots=True)
class Violation:
    """Why an ending is wrong.

    Attributes:
        kind: Which rule it breaks.
        detail: That in a sentence.
        nearest: The serial order whose ending is most like it; None where the caller's rule decided.
        differences: How it differs from that ending.
        calls: The calls that the sentence is about, if it is about some.
        outcomes: What the calls came to.
        serial: What they come to in the serial orders that were run.
    """

    kind: ViolationKind
    detail: str
    nearest: Order | None = None
    differences: tuple[Difference, ...] = ()
    calls: tuple[int, ...] = ()
    outcomes: tuple[Any, ...] = ()
    serial: tuple[tuple[Any, ...], ...] = ()

    def masked(self, secrets: Secrets) -> "Violation":
        """Replace secrets in it by stars."""
        return replace(
            self,
            detail=secrets.text(self.detail),
            differences=tuple(difference.masked(secrets) for difference in self.differences),
            outcomes=tuple(map(secrets.outcome, self.outcomes)),
            serial=tuple(tuple(map(secrets.outcome, outcomes)) for outcomes in self.serial),
        )


def differences(
    found: Facts, expected: Facts, keys: Mapping[str, Key], at_start: AtStart = lambda _: None
) -> tuple[Difference, ...]:
    """List where `found` is unlike `expected`; rows that are new pair off as well as can be.

    Empty if the endings differ only in which new rows refer to which.

    Args:
        at_start: Of a row's fact that at the start, for a row that only one of the endings has changed.
    """
    more, fewer = _surplus(found, expected), _surplus(expected, found)
    return tuple(_of_rows(more, fewer, keys, at_start)) + tuple(_of_outcomes(more, fewer))


def _surplus(one: Facts, other: Facts) -> list[Fact]:
    """What `one` has more than `other`, whatever the keys of new rows."""
    left = []
    there = Counter(fact.shape for fact in other.elements())
    for fact in one.elements():
        if there[fact.shape] > 0:
            there[fact.shape] -= 1
        else:
            left.append(fact)
    return left


def _of_rows(
    more: Sequence[Fact], fewer: Sequence[Fact], keys: Mapping[str, Key], at_start: AtStart
) -> Iterator[Difference]:
    left = [fact for fact in fewer if fact.about[0] in ("row", "gone")]
    for fact in more:
        if fact.about[0] in ("row", "gone"):
            twin = _twin(fact, left, keys)
            if twin is not None:
                left.remove(twin)
            yield from _of_row(fact, twin or at_start(fact), keys)
    for fact in left:
        for difference in _of_row(fact, at_start(fact), keys):
            yield replace(difference, found=difference.expected, expected=difference.found)


def _twin(fact: Fact, others: Sequence[Fact], keys: Mapping[str, Key]) -> Fact | None:
    """The row of the other ending that stands for this one."""
    table = fact.about[1]
    same = [other for other in others if other.about[1] == table and _row_named(other, keys) == _row_named(fact, keys)]
    return max(same, key=lambda other: len(set(cells(other).items()) & set(cells(fact).items())), default=None)


def _of_row(fact: Fact, twin: Fact | None, keys: Mapping[str, Key]) -> Iterator[Difference]:
    table, row = str(fact.about[1]), _row_named(fact, keys)
    here: Hashable | Cells = ABSENT if fact.about[0] == "gone" else cells(fact)
    there: Hashable | Cells = ABSENT
    if twin is not None and twin.about[0] == "row":
        there = cells(twin)
    elif twin is None and fact.about[0] == "gone":
        there = cells(fact)
    if twin is not None and isinstance(here, Mapping) and isinstance(there, Mapping):
        parts, expected = _parts(fact), _parts(twin)
        for name in here:
            if _nameless_values(parts[name]) != _nameless_values(expected.get(name, ())):
                yield Difference("row", here[name], there.get(name, ABSENT), table, row, name=name)
    else:
        yield Difference("row", here, there, table, row)


def cells(fact: Fact) -> dict[str, Hashable]:
    """The values of a row, by column; of JSON by the path in it as well."""
    return {name: _whole(leaves) for name, leaves in _parts(fact).items()}


def _parts(fact: Fact) -> dict[str, list[Leaf]]:
    found: dict[str, list[Leaf]] = {}
    for leaf in fact.leaves:
        found.setdefault(path_named(leaf.position[2:]), []).append(leaf)
    return found


def _nameless_values(leaves: Sequence[Leaf]) -> Hashable:
    return tuple(nameless(leaf.value) for leaf in leaves)


def _whole(leaves: Sequence[Leaf]) -> Hashable:
    """The value whose parts these are, with dots for what cannot be compared."""
    if len(leaves) == 1:
        return leaves[0].value
    bare = (leaf.value.key if isinstance(leaf.value, Ref) else leaf.value for leaf in leaves)
    return "".join("..." if isinstance(value, Some) else str(value) for value in bare)


def _row_named(fact: Fact, keys: Mapping[str, Key]) -> str:
    table = str(fact.about[1])
    key = Key(("key",)) if table.startswith(CACHE) else keys.get(table)
    values = cells(fact)
    columns = [column for column in (key.columns if key else ()) if not isinstance(values.get(column), Ref | None)]
    return ", ".join(f"{column}={show(values[column])}" for column in columns)


def _of_outcomes(more: Sequence[Fact], fewer: Sequence[Fact]) -> Iterator[Difference]:
    here, there = _by_path(more), _by_path(fewer)
    for path in dict.fromkeys([*here, *there]):
        call, *names = path
        name = path_named(tuple(names))
        yield Difference("outcome", here.get(path, ABSENT), there.get(path, ABSENT), call=int(str(call)), name=name)


def _by_path(facts: Sequence[Fact]) -> dict[Position, Hashable]:
    """What each call gave, by the path to it; of an error the type and the text at once."""
    found: dict[Position, Hashable] = {}
    for fact in facts:
        kind, *path = fact.about
        if kind == "outcome":
            *rest, last = path
            own = [leaf for leaf in fact.leaves if leaf.position == fact.leaves[-1].position]
            value = _whole(own) if own else last
            found[tuple(path) if fact.leaves else tuple(rest)] = value
    return found


def outcome_named(call: int, path: str) -> str:
    """A place in what a call came to, in words."""
    return f"the outcome of {call_name(call)}" + (f" at {path}" if path else "")


def answers(outcomes: Sequence[object]) -> str:
    """Tell what each call came to, in a sentence."""
    told = [f"{call_name(call)} {answer(outcome)}" for call, outcome in enumerate(outcomes)]
    return f"one after the other, {', '.join(told)}"


def answer(outcome: object) -> str:
    """Tell what a call came to, as "returns 3"."""
    if (error := error_of(outcome)) is not None:
        return f"raises {error_named(error, _LONGEST_ANSWER)}"
    if isinstance(outcome, Response):
        return f"returns <Response {outcome.status_code}>{_said(outcome)}"
    return f"returns {shown(outcome, _LONGEST_ANSWER)}"


def _said(response: Response) -> str:
    """Why a response refuses: where it sends to, the errors of its form, or its body if that is data."""
    if 300 <= response.status_code < 400:
        return f" to {clipped(response.headers.get('Location', '?'), _LONGEST_ANSWER)}"
    kind = response.headers.get("Content-Type", "")
    if "html" in kind:
        found = [_TAG.sub(" ", each) for each in _ERROR_LISTS.findall(response.text)]
        errors = "; ".join(dict.fromkeys(" ".join(unescape(each).split()) for each in found))
        return f" with the errors {clipped(errors, _LONGEST_ANSWER)!r}" if errors else ""
    if response.status_code >= 400 and ("json" in kind or "text/plain" in kind):
        return f" saying {clipped(response.text.strip(), _LONGEST_ANSWER)!r}"
    return ""


def result(violation: Violation, accesses: Sequence[Access] = (), place: str = "") -> str:
    """Tell it in a sentence without a full stop.

    Args:
        accesses: Of the run: tables that the calls have read tell more than others.
        place: The row that was told of before.
    """
    if violation.kind == "broken rule":
        return violation.detail
    if not violation.differences:
        return "new rows refer to other rows than after any serial order"
    answered = _answered(violation)
    if answered:
        return answered
    read = {access.table for access in accesses if access.verb == "select"}
    ranked = sorted(violation.differences, key=lambda each: (_rank(each, read), not each.unique))
    chosen = ranked[0]
    if chosen.unique:
        return f"no serial order {_ends(chosen, place)}"
    same = [each for each in ranked if _rank(each, read) == _rank(chosen, read)]
    return f"no serial order ends like this: {'; '.join(str(each) for each in same[:2])}"


def _rank(difference: Difference, read: Collection[str]) -> int:
    """How little it tells."""
    if _LOGS.search(difference.table) or isinstance(difference.found, Size):
        return 3
    if difference.place == "outcome":
        return 2  # of those of which nothing better can be said
    return 0 if difference.table.lower() in read else 1


def _answered(violation: Violation) -> str:
    """What the calls returned or raised, if that tells it."""
    calls = {each.call for each in violation.differences if each.place == "outcome" and not _is_by_chance(each)}
    if not calls or not violation.serial or ENDLESS in violation.outcomes:
        return ""
    here = [answer(outcome) for outcome in violation.outcomes]
    serial = [[answer(outcome) for outcome in outcomes] for outcomes in violation.serial]
    counted = _counted(here, serial, calls)
    if counted:
        return counted
    unheard_of = [call for call in sorted(calls) if all(here[call] != outcomes[call] for outcomes in serial)]
    if unheard_of:
        return "; ".join(_beside(call, here[call], serial) for call in unheard_of[:2])
    if here in serial:  # as far as answers are shown
        return "; ".join(filter(None, (_inside(call, violation) for call in sorted(calls)[:2])))
    return _together(here, serial, calls)


def _together(here: Sequence[str], serial: Sequence[Sequence[str]], calls: Collection[int]) -> str:
    """That each answer is one that there may be, and only both together are not."""
    told = range(len(here)) if len(here) <= _MOST_TOLD else sorted(calls)
    usual = dict.fromkeys(_listed(told, outcomes) for outcomes in serial)
    return f"here {_listed(told, here)}; one after the other, {', or '.join(list(usual)[:_MOST_TOLD])}"


def _listed(calls: Iterable[int], told: Sequence[str]) -> str:
    return " and ".join(f"{call_name(call)} {told[call]}" for call in calls)


def _is_by_chance(difference: Difference) -> bool:
    return any(isinstance(value, Ref | Some) for value in (difference.found, difference.expected))


def _counted(here: Sequence[str], serial: Sequence[Sequence[str]], calls: Collection[int]) -> str:
    """That more calls come to the same than may, or, of what says nothing, fewer to something else."""
    usual = {told: {Counter(outcomes)[told] for outcomes in serial} for told in (*here, *serial[0])}
    steady = {told: next(iter(times)) for told, times in usual.items() if len(times) == 1 and 0 not in times}
    for told in dict.fromkeys(here[call] for call in sorted(calls)):
        times, now = steady.get(told, 0), Counter(here)[told]
        if told != _NOTHING and 0 < times < now:
            who = "both do" if now == len(here) == 2 else "all do" if now == len(here) else f"{_number(now)} do"
            return f"one after the other, exactly {_number(times)} {_plural(told, times)}; here {who}"
    for told, times in steady.items():
        if told not in here and told != _NOTHING:
            return f"one after the other, exactly {_number(times)} {_plural(told, times)}; here none does"
    return ""


def _plural(told: str, times: int) -> str:
    verb, space, rest = told.partition(" ")
    return told if times == 1 else f"{verb.removesuffix('s')}{space}{rest}"


def _number(count: int) -> str:
    return _NUMBERS.get(count, str(count))


def _beside(call: int, here: str, serial: Sequence[Sequence[str]]) -> str:
    usual = list(dict.fromkeys(outcomes[call] for outcomes in serial))
    verb = usual[0].partition(" ")[0]
    told = " or ".join([usual[0], *(each.removeprefix(f"{verb} ") for each in usual[1:3])])
    return f"{call_name(call)} {here}; one after the other, it {told}"


def _inside(call: int, violation: Violation) -> str:
    """The first part in which an answer differs that looks alike as a whole."""
    parts = (str(each) for each in violation.differences if each.call == call and not _is_by_chance(each))
    return next(parts, "")


def _ends(difference: Difference, place: str) -> str:
    if difference.place == "outcome":
        return f"makes {difference.where} {show(difference.found)}"
    if difference.table.startswith(CACHE):
        return f"leaves {difference.cached(difference.found)} in the cache"
    if difference.found is ABSENT:
        return f"ends without {difference.where} ({show_row(difference.expected)})"
    if difference.expected is ABSENT:
        return f"ends with the row {difference.table} ({show_row(difference.found)})"
    where = "" if difference.where == place else f" in {difference.where}"
    return f"ends at {difference.name}={show(difference.found, difference.expected)}{where}"
