"""What isolation levels allow is found, and what they prevent is not: Hermitage's table, github.com/ept/hermitage.

An anomaly is what a rule forbids; whether some order breaks the rule is up to the
database alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from aioconcurrent.sync import Outcomes, explore
from tests.project.shop import isolation as i
from tests.project.shop.models import Counter

from .places import PLACES, Place, in_turn, marks_of, thorough_but

Values = Mapping[int, int]
LEVELS = ("postgresql-RC", "postgresql-RR", "postgresql-SER", "mysql-RU", "mysql-RC", "mysql-RR", "mysql-SER")
UNCOMMITTED = ("mysql-RU",)
_TURNS = ("postgresql-RC", "postgresql-SER", "mysql-RR")
COMMITTED = (*UNCOMMITTED, "postgresql-RC", "mysql-RC")


@dataclass(frozen=True)
class Anomaly:
    """Transactions, what must not come of them, and the levels under which it can."""

    calls: Sequence[tuple[Callable[..., Any], dict[str, Any]]]
    shows: Callable[[Any, Values], bool]
    allowed: Sequence[str] = ()
    preemptions: int | None = None  # where there are too many orders


def _vanishes(seen: Outcomes, rows: Values) -> bool:
    """Whether the reader saw something of the second transaction, and then of the first what that had overwritten."""
    return (seen[2], rows[1], rows[2]) in (([12, 21], 12, 22), ([11, 22], 11, 21))


def _calls(*calls: tuple[Callable[..., Any], dict[str, Any]]) -> Sequence[tuple[Callable[..., Any], dict[str, Any]]]:
    return calls


WRITES = _calls((i.write_both, {"first": 11, "second": 21}), (i.write_both, {"first": 12, "second": 22}))

TABLE = {
    "G0": Anomaly(WRITES, lambda seen, rows: seen == [None, None] and (rows[1], rows[2]) in ((11, 22), (12, 21))),
    "G1a": Anomaly(
        [(i.write_and_abort, {"value": 101}), (i.read, {"pks": [1, 1]})],
        lambda seen, rows: 101 in seen[1],
        UNCOMMITTED,
    ),
    "G1b": Anomaly(
        [(i.write_twice, {"first": 101, "second": 11}), (i.read, {"pks": [1, 1]})],
        lambda seen, rows: 101 in seen[1],
        UNCOMMITTED,
    ),
    "G1c": Anomaly(
        [(i.write_and_read_other, {"pk": 1, "value": 11}), (i.write_and_read_other, {"pk": 2, "value": 22})],
        lambda seen, rows: seen == [22, 11],
        UNCOMMITTED,
    ),
    "OTV": Anomaly([*WRITES, (i.read, {"pks": [1, 2]})], _vanishes, UNCOMMITTED, preemptions=1),
    "PMP": Anomaly(
        [(i.find_twice, {}), (i.insert, {"pk": 3, "value": 30})],
        lambda seen, rows: seen[0] == [[], [3]],
        COMMITTED,
    ),
    "PMP of writes": Anomaly(
        [(i.raise_all, {}), (i.find_and_delete, {})],
        lambda seen, rows: seen[1] == [2] and set(rows) != {1},
        (*COMMITTED, "mysql-RR"),
    ),
    "P4": Anomaly(
        [(i.read_and_write, {"value": 11})] * 2,
        lambda seen, rows: seen == [10, 10],
        (*COMMITTED, "mysql-RR"),
    ),
    "G-single": Anomaly(
        [(i.read, {"pks": [1, 2]}), (i.write_both, {"first": 12, "second": 18})],
        lambda seen, rows: seen[0] == [10, 18],
        COMMITTED,
    ),
    "G-single of writes": Anomaly(
        [(i.read_and_delete, {}), (i.write_both, {"first": 12, "second": 18})],
        lambda seen, rows: seen == [(10, 0), None],
        (*COMMITTED, "mysql-RR"),
    ),
    "G2-item": Anomaly(
        [(i.read_both_and_write, {"pk": 1, "value": 11}), (i.read_both_and_write, {"pk": 2, "value": 21})],
        lambda seen, rows: seen == [[10, 20], [10, 20]],
        (*COMMITTED, "mysql-RR", "postgresql-RR"),
    ),
    "G2": Anomaly(
        [(i.find_and_insert, {"pk": 3, "value": 30}), (i.find_and_insert, {"pk": 4, "value": 42})],
        lambda seen, rows: seen == [[], []],
        (*COMMITTED, "mysql-RR", "postgresql-RR"),
    ),
}

# What runs each time: of every anomaly a level that allows it and one that does not.
_USUAL = {
    name: in_turn({level: level in TABLE[name].allowed for level in LEVELS}, number, _TURNS)
    for number, name in enumerate(TABLE)
}
CELLS = [
    pytest.param(name, PLACES[level], id=f"{name}-{level}", marks=marks_of(level)) for name in TABLE for level in LEVELS
]


@pytest.mark.parametrize(
    ("name", "place"),
    thorough_but(CELLS, lambda name, place: name != "OTV" and place.name in _USUAL[name]),
    indirect=["place"],
)
def test_what_a_level_allows_is_found_and_what_it_prevents_is_not(name: str, place: Place) -> None:
    anomaly = TABLE[name]
    counters = Counter.objects.using(place.alias)
    counters.bulk_create([Counter(pk=1, name="one", value=10), Counter(pk=2, name="two", value=20)])

    def never(outcomes: Outcomes) -> bool:
        outcomes.raise_errors()
        return not anomaly.shows(outcomes, dict(counters.values_list("pk", "value")))

    calls = [(function, {**kwargs, "using": place.alias}) for function, kwargs in anomaly.calls]
    found = explore(*calls, check=never, preemptions=anomaly.preemptions)
    if place.name in anomaly.allowed:
        assert found.verdict == "race", found
    elif place.name == "mysql-SER":
        # A deadlock's victim is who has fewer locks, and rows that InnoDB has not purged yet have some, too: then the
        # same order ends in two ways, which is told.
        assert found.verdict != "race", found
    else:
        assert found.verdict == "no race", found
        assert found.exhaustive or anomaly.preemptions, found
