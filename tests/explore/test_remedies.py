"""What would prevent a race is measured: the calls are explored again, changed in the usual ways."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from aioconcurrent.results.exploration import story_of_exploration
from aioconcurrent.running import measures
from aioconcurrent.sync import Exploration, explore, options
from tests.explore.places import Place, at
from tests.project.databases import on
from tests.project.office import tales as t


@pytest.fixture(autouse=True)
def time_enough(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """However busy the machine is."""
    monkeypatch.setattr(measures, "_SECONDS", 600.0)
    with options(max_seconds=600):
        yield


REPEATED = "prevents it, but a call fails and has to be repeated"


def measured(found: Exploration) -> dict[str, str]:
    assert found.counterexample, found
    lines = [str(each).partition(": ") for each in found.counterexample.remedies]
    return {name.partition(".py")[0]: told for name, _, told in lines}


def withdrawals(using: str) -> list[Any]:
    t.start(using)
    return [(t.withdraw, {"amount": 80, "using": using})] * 2


@pytest.mark.parametrize("place", at("postgresql-RC"), indirect=True)
def test_a_lock_and_both_levels_prevent_a_lost_update_on_postgresql(place: Place) -> None:
    found = explore(*withdrawals(place.alias), remedies=True)
    assert measured(found) == {
        "FOR UPDATE at tales": "prevents it",
        "SERIALIZABLE": REPEATED,
        "REPEATABLE READ": REPEATED,
    }
    assert "measured, with each call in one transaction:\n  FOR UPDATE at tales.py:" in str(found)
    assert f"REPEATABLE READ: {REPEATED}" in story_of_exploration(found, "t").hint


@pytest.mark.parametrize("place", at("mysql-RC"), indirect=True)
def test_repeatable_read_does_not_prevent_a_lost_update_on_mariadb(place: Place) -> None:
    found = explore(*withdrawals(place.alias), remedies=True)
    assert measured(found) == {
        "FOR UPDATE at tales": "prevents it",
        "SERIALIZABLE": REPEATED,
        "REPEATABLE READ": "does not prevent it",
    }


@pytest.mark.parametrize("place", at("postgresql-RC"), indirect=True)
def test_what_is_counted_cannot_be_locked_and_write_skew_needs_the_strictest_level(place: Place) -> None:
    t.start(place.alias)
    found = explore(*((t.go_off_call, {"name": name, "using": place.alias}) for name in ("ann", "bob")), remedies=True)
    assert measured(found) == {"SERIALIZABLE": REPEATED, "REPEATABLE READ": "does not prevent it"}


@pytest.mark.parametrize("database", on("file"))
def test_sqlite_has_one_level_and_a_lock_at_the_beginning(database: str) -> None:
    assert measured(explore(*withdrawals(database), remedies=True)) == {"BEGIN IMMEDIATE": "prevents it"}


@pytest.mark.parametrize("database", on("file"))
def test_a_rule_is_asked_of_calls_that_were_not_refused(database: str) -> None:
    def one_is_paid(outcomes: Any) -> bool:
        outcomes.raise_errors()
        return outcomes.count(True) == 1  # type: ignore[no-any-return]

    found = explore(*withdrawals(database), check=one_is_paid, remedies=True)
    assert measured(found) == {"BEGIN IMMEDIATE": "prevents it"}


@pytest.mark.parametrize("database", on("file"))
def test_nothing_is_measured_that_was_not_asked_for(database: str) -> None:
    found = explore(*withdrawals(database))
    assert measured(found) == {}
    assert "measured" not in str(found)
