"""In which values two endings differ, for people to read."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, time
from decimal import Decimal
from enum import Enum
from typing import Literal

from .._trace import call_name
from .equality import as_time
from .facts import CACHE, Fact, Facts, Key, Ref, Some
from .parts import Leaf, Position, Size


class Absent(Enum):
    """Stands for a value that is not there."""

    ABSENT = "nothing"

    def __str__(self) -> str:
        return self.value


ABSENT = Absent.ABSENT
_COLUMNS_SHOWN = 5
Cells = Mapping[str, Hashable]


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

    def __str__(self) -> str:
        found, expected = contrasted(self.found, self.expected), contrasted(self.expected, self.found)
        if self.place == "outcome":
            return f"{self.where} is {found}, not {expected}"
        if self.table.startswith(CACHE):
            return f"the cache has {self._cached(self.found)}, not {self._cached(self.expected)}"
        if self.found is ABSENT:
            return f"{self.where} has no row ({shown_row(self.expected)})"
        if self.expected is ABSENT:
            return f"{self.where} has one more row ({shown_row(self.found)})"
        return f"{self.where}: {self.name} is {found}, not {expected}"

    def _cached(self, value: object) -> str:
        if isinstance(value, Mapping):
            return f"{show(value.get('value', value))} under {show(value.get('key', '?'))}"
        return show(value) if value is ABSENT else f"{show(value)} under {self.row.removeprefix('key=')}"

    @property
    def where(self) -> str:
        """The place, in words."""
        if self.place == "outcome":
            return f"the outcome of {call_name(self.call)}" + (f" at {self.name}" if self.name else "")
        return f"{self.table} {self.row}".rstrip()


def show(value: object, limit: int = 60) -> str:
    """A value as texts show it."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={show(inner, limit)}" for name, inner in value.items())
    if isinstance(value, Ref):
        return str(value.key)
    if isinstance(value, Some):
        return f"some {value.kind}"
    if isinstance(value, Size):
        return f"a {value.kind} of {value.parts}"
    text = _plain(value)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def shown_row(row: object) -> str:
    """The first columns of a row, less its times."""
    if not isinstance(row, Mapping):
        return show(row)
    told = {name: value for name, value in row.items() if as_time(value) is None} or row
    cut = ", ..." if len(told) > _COLUMNS_SHOWN else ""
    return show(dict(list(told.items())[:_COLUMNS_SHOWN])) + cut


def _plain(value: object) -> str:
    match value:
        case Absent() | Decimal():
            return str(value)
        case date() | time():
            return repr(str(value))
    return repr(value)


_KEPT_BEFORE = 15  # characters of what two long values have in common, before they differ


def contrasted(value: object, beside: object, limit: int = 60) -> str:
    """A value as texts show it beside another one: of a long one the part in which they differ."""
    if isinstance(value, Mapping | Ref | Some | Size):
        return show(value, limit)
    text, other = _plain(value), _plain(beside)
    if len(text) <= limit:
        return text
    common = next((i for i, (a, b) in enumerate(zip(text, other, strict=False)) if a != b), min(len(text), len(other)))
    start = common - _KEPT_BEFORE
    if start <= 3 or common == len(text) or beside is ABSENT:
        return show(value, limit)
    end = start + limit - 6
    return f"...{text[start:end]}..." if end < len(text) else f"...{text[start:]}"


AtStart = Callable[[Fact], Fact | None]


def differences(
    found: Facts, expected: Facts, keys: Mapping[str, Key], at_start: AtStart = lambda _: None
) -> tuple[Difference, ...]:
    """List where `found` is unlike `expected`; rows that are new pair off as well as can be.

    Empty if the endings differ only in which new rows refer to which.

    Args:
        at_start: Of a row's fact that at the start, for a row that only one of the endings has changed.
    """
    more, fewer = list(_blank(found, expected).elements()), list(_blank(expected, found).elements())
    return tuple(_of_rows(more, fewer, keys, at_start)) + tuple(_of_outcomes(more, fewer))


def _blank(one: Facts, other: Facts) -> Facts:
    """What `one` has more than `other`, whatever the keys of new rows."""
    left: Facts = Counter()
    there = Counter(_shape(fact) for fact in other.elements())
    for fact in one.elements():
        if there[_shape(fact)] > 0:
            there[_shape(fact)] -= 1
        else:
            left[fact] += 1
    return left


def _shape(fact: Fact) -> Hashable:
    return fact.about, tuple((leaf.position, _blanked(leaf.value)) for leaf in fact.leaves)


def _blanked(value: Hashable) -> Hashable:
    return ("new", value.table) if isinstance(value, Ref) else value


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
            yield _flip(difference)


def _twin(fact: Fact, others: Sequence[Fact], keys: Mapping[str, Key]) -> Fact | None:
    """The row of the other ending that stands for this one."""
    table = fact.about[1]
    same = [other for other in others if other.about[1] == table and _name(other, keys) == _name(fact, keys)]
    return max(same, key=lambda other: len(set(cells(other).items()) & set(cells(fact).items())), default=None)


def _of_row(fact: Fact, twin: Fact | None, keys: Mapping[str, Key]) -> Iterator[Difference]:
    table, row = str(fact.about[1]), _name(fact, keys)
    here: Hashable | Cells = ABSENT if fact.about[0] == "gone" else cells(fact)
    there: Hashable | Cells = ABSENT
    if twin is not None and twin.about[0] == "row":
        there = cells(twin)
    elif twin is None and fact.about[0] == "gone":
        there = cells(fact)
    if twin is not None and isinstance(here, Mapping) and isinstance(there, Mapping):
        parts, expected = _parts(fact), _parts(twin)
        for name in here:
            if _compared(parts[name]) != _compared(expected.get(name, ())):
                yield Difference("row", here[name], there.get(name, ABSENT), table, row, name=name)
    else:
        yield Difference("row", here, there, table, row)


def _flip(difference: Difference) -> Difference:
    return replace(difference, found=difference.expected, expected=difference.found)


def cells(fact: Fact) -> dict[str, Hashable]:
    """The values of a row, by column; of JSON by the path in it as well."""
    return {name: _whole(leaves) for name, leaves in _parts(fact).items()}


def _parts(fact: Fact) -> dict[str, list[Leaf]]:
    found: dict[str, list[Leaf]] = {}
    for leaf in fact.leaves:
        found.setdefault(path_named(leaf.position[2:]), []).append(leaf)
    return found


def _compared(leaves: Sequence[Leaf]) -> Hashable:
    return tuple(_blanked(leaf.value) for leaf in leaves)


def _whole(leaves: Sequence[Leaf]) -> Hashable:
    """The value whose parts these are, with dots for what cannot be compared."""
    if len(leaves) == 1:
        return leaves[0].value
    return "".join("..." if isinstance(leaf.value, Some) else _text(leaf.value) for leaf in leaves)


def _text(value: Hashable) -> str:
    return str(value.key) if isinstance(value, Ref) else str(value)


def path_named(path: Position) -> str:
    """A path into a value, as Python would have it."""
    return "".join(f"[{each!r}]" if isinstance(each, int) else f".{each}" for each in path).lstrip(".")


def _name(fact: Fact, keys: Mapping[str, Key]) -> str:
    key = keys.get(str(fact.about[1]))
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
