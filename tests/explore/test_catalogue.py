"""The catalogue in real processes on real databases: each race is found and named, its fixed twin is none."""

from __future__ import annotations

from collections.abc import Container
from itertools import combinations

import pytest

from aioconcurrent.sync import Exploration, explore
from tests.project.databases import thorough
from tests.project.shop import races

from .catalogue import CATALOGUE, accounts
from .places import PLACES, Place, at, in_turn, marks_of, thorough_but

EVERY = [
    pytest.param(name, PLACES[place], id=f"{name}-{place}", marks=marks_of(place))
    for name, case in CATALOGUE.items()
    for place in case.found
]


# What runs each time: of every case each way to end, for which the places take turns; some in more of them.
_TAKING_TURNS = ("file", "postgresql-RC", "file-immediate", "postgresql-RR", "mysql-RC", "postgresql-SER")
TURNS: dict[str, Container[str]] = {
    name: in_turn(case.found, number, _TAKING_TURNS) for number, (name, case) in enumerate(CATALOGUE.items())
}
_USUAL = TURNS | {
    "lost update in atomic": ("memory", "file-wal", "postgresql-RC", "mysql-RR"),
    "deadlock": ("file", "postgresql-RC"),
    "get_or_create, unique": ("file", "postgresql-RC", "mysql-RC"),
    "far apart": ("file", "postgresql-RC"),
    "far apart, locked": ("file-immediate", "postgresql-RC"),
    "three calls": ("postgresql-RC",),
    "three calls, fixed": (),
}


# What takes more runs until it is told of: two preemptions, or three calls.
_LATE = {"two preemptions": 13, "three calls": 11}


def explored(name: str, place: Place) -> Exploration:
    case = CATALOGUE[name]
    case.rows(place.alias)
    return explore(*case.calls_at(place.alias))


@pytest.mark.parametrize(
    ("name", "place"),
    thorough_but(EVERY, lambda name, place: place.name in _USUAL[name]),
    indirect=["place"],
)
def test_a_race_is_found_and_named_and_its_fixed_twin_is_none(name: str, place: Place) -> None:
    found = explored(name, place)
    anomaly = CATALOGUE[name].found[place.name]
    if anomaly is None:
        assert (found.verdict, found.exhaustive) == ("no race", True), found
        assert name != "far apart, locked" or found.schedules_run <= 100, found
    else:
        assert found.counterexample, found
        assert (found.verdict, found.counterexample.anomaly) == ("race", anomaly), found
        assert place.name not in ("file", "postgresql-RC") or found.schedules_run <= _LATE.get(name, 6), found
        assert found.counterexample.preemptions == 2 or name != "two preemptions", found


@pytest.mark.parametrize("place", at("mysql-RC"), indirect=True)
def test_rows_that_one_statement_locks_in_turn_leave_a_doubt(place: Place) -> None:
    found = explored("waits with an old snapshot", place)
    assert (found.verdict, found.exhaustive) == ("no race", False), found
    assert "locks rows of shop_ticket one after the other, all in one step" in found.reason


@pytest.mark.parametrize("pair", list(combinations(range(3), 2)), ids=str)
@pytest.mark.parametrize("place", at("postgresql-RC"), indirect=True)
def test_no_two_of_the_three_calls_show_their_race(pair: tuple[int, int], place: Place) -> None:
    case = CATALOGUE["three calls"]
    case.rows(place.alias)
    calls = case.calls_at(place.alias)
    found = explore(*(calls[number] for number in pair))
    assert (found.verdict, found.exhaustive) == ("no race", True), found


@pytest.mark.parametrize("place", thorough(at("postgresql-RC")), indirect=True)
def test_three_calls_of_a_lost_update_in_atomic_are_exhausted_in_96_schedules(place: Place) -> None:
    accounts(place.alias)
    call = (races.add_in_atomic, {"pk": 1, "amount": 1, "using": place.alias})
    found = explore(call, call, call, check=lambda outcomes: None)
    assert (found.verdict, found.exhaustive) == ("no race", True), found
    assert found.schedules_run <= 96
