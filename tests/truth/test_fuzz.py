"""The comparison of explorations with real races fails where an exploration is wrong."""

from typing import Any

import pytest

from aioconcurrent.sync import Exploration, explore
from tests.explore.places import Place, at
from tests.project.databases import thorough
from tests.project.office.programs import Block
from tests.truth.fuzz import Comparison
from tests.truth.random_programs import Trial, made_up

LOSES = Trial(((Block((("add_and_save", 1),)),),) * 2, ("a", "a"), "everything")
SAFE = Trial(((Block((("add_if_few", 1),)),),) * 2, ("a", "a"), "everything")
BLIND = Trial(((Block((("note_time", 1),)),),) * 2, ("a", "a"), "nothing")


def says_no(*calls: object, **options: Any) -> Exploration:
    return Exploration("no race", "nobody looked", True, 0, ())


def finds_fault(*calls: object, **options: Any) -> Exploration:
    return explore(*calls, check=options.get("check", lambda outcomes: False))


def accepts_all(*calls: object, **options: Any) -> Exploration:
    return explore(*calls, check=options.get("check", lambda outcomes: True))


def compared(trial: Trial, place: Place, **options: Any) -> Comparison:
    comparison = Comparison(trial, place, seed=1, **options)
    comparison.run()
    return comparison


@pytest.mark.parametrize("place", [*at("postgresql-RC"), *thorough(at("file-wal", "mysql-RC"))], indirect=True)
def test_a_real_race_that_was_called_impossible_is_a_failure(place: Place) -> None:
    (failure,) = compared(LOSES, place, races=60, explore=says_no).failures
    assert "MISSED" in failure
    assert "('likes', 1)" in failure


@pytest.mark.parametrize("place", at("file"), indirect=True)
def test_a_serial_order_that_was_called_a_race_is_a_failure(place: Place) -> None:
    (failure,) = compared(SAFE, place, races=0, explore=finds_fault).failures
    assert "FALSE ALARM" in failure


@pytest.mark.parametrize("place", at("file"), indirect=True)
def test_an_order_that_was_seen_and_found_right_though_it_is_not_is_a_failure(place: Place) -> None:
    (failure,) = compared(BLIND, place, races=0, explore=accepts_all).failures
    assert "ACCEPTED" in failure


@pytest.mark.parametrize("trial", [LOSES, SAFE], ids=["race", "no race"])
@pytest.mark.parametrize("place", [*at("file"), *thorough(at("postgresql-RC", "mysql-RC"))], indirect=True)
def test_what_is_explored_rightly_is_none(place: Place, trial: Trial) -> None:
    assert not compared(trial, place, races=20).failures


def test_a_seed_makes_one_program() -> None:
    assert made_up(7) == made_up(7)
    assert made_up(7) != made_up(8)
