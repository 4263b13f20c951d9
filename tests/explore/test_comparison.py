"""How endings are compared on real databases: keys, what chance makes, and what is to be ignored."""

from __future__ import annotations

from typing import Any

import pytest

from aioconcurrent.sync import Exploration, explore
from tests.project.databases import on, taking_turns, thorough
from tests.project.shop import chance
from tests.project.shop.models import Counter, Coupon, Note

EVERYWHERE = pytest.mark.parametrize("database", on("file", "postgresql", "mysql"))
# What is the same wherever it stands in a row.
ONCE = pytest.mark.parametrize("database", [*on("file"), *thorough(on("postgresql", "mysql"))])


def explored(function: Any, using: str, *own: dict[str, object], **common: object) -> Exploration:
    """Explore two calls of a function; `own` are the arguments that they have not in common."""
    return explore(*((function, {"using": using, **common, **each}) for each in own or ({}, {})))


def is_race(found: Exploration) -> None:
    assert found.verdict == "race", found


def is_safe(found: Exploration) -> None:
    assert (found.verdict, found.exhaustive) == ("no race", True), found


@ONCE
@pytest.mark.parametrize("way", ["plain", "padded", "dated", "the row before", "only returned"])
def test_one_number_given_twice_is_a_race(way: str, database: str) -> None:
    Coupon.objects.using(database).create()
    is_race(explored(chance.number_by_the_last, database, way=way))


@ONCE
@pytest.mark.parametrize("way", ["plain", "padded", "dated", "hashed", "encoded"])
def test_a_number_of_the_row_itself_is_no_race(way: str, database: str) -> None:
    is_safe(explored(chance.number_by_its_own, database, way=way))


@EVERYWHERE
def test_the_keys_that_tests_see_go_on_where_they_were(database: str) -> None:
    first = Coupon.objects.using(database).create().pk
    is_safe(explored(chance.number_by_its_own, database, way="plain"))
    assert Coupon.objects.using(database).create().pk == first + 1


WHO: tuple[dict[str, object], ...] = ({"who": "a"}, {"who": "b"})


@pytest.mark.parametrize(
    ("database", "write"),
    taking_turns(on("file", "postgresql", "mysql"), [chance.write_line, chance.add_to_history]),
)
def test_a_line_that_is_lost_beside_a_time_of_the_database_is_a_race(write: Any, database: str) -> None:
    note = Note.objects.using(database).create()
    is_race(explored(write, database, *WHO, pk=note.pk))


@EVERYWHERE
def test_lines_that_the_database_adds_are_none(database: str) -> None:
    note = Note.objects.using(database).create()
    found = explored(chance.add_line_at_once, database, *WHO, pk=note.pk)
    assert found.verdict == "no race", found


@EVERYWHERE
def test_a_time_of_the_database_alone_is_no_race_and_told(database: str) -> None:
    note = Note.objects.using(database).create()
    found = explored(chance.stamp, database, pk=note.pk)
    is_safe(found)
    assert any(each.startswith("shop_note.at was compared only by its type") for each in found.notes), found.notes


@EVERYWHERE
def test_where_a_time_of_the_database_would_decide_the_verdict_is_not_exhaustive(database: str) -> None:
    note = Note.objects.using(database).create()
    found = explored(chance.stamp_and_sign, database, *WHO, pk=note.pk)
    assert (found.verdict, found.exhaustive) == ("no race", False), found
    assert "shop_note.at cannot be compared from run to run, and two calls write it" in found.reason


@EVERYWHERE
def test_a_token_that_the_database_draws_twice_is_a_race(database: str) -> None:
    note = Note.objects.using(database).create()
    is_race(explored(chance.make_token, database, pk=note.pk))


@ONCE
def test_rows_that_are_to_be_ignored_are_not_compared(database: str) -> None:
    counter = Counter.objects.using(database).create()
    calls = [(chance.count_and_log, {"pk": counter.pk, "amount": amount, "using": database}) for amount in (1, 2)]
    is_race(explore(*calls))
    is_safe(explore(*calls, ignore=[Note]))
    is_safe(explore(*calls, ignore="shop.Note.text"))


@pytest.mark.parametrize("database", on("file"))
@pytest.mark.parametrize("named", ["Note", "shop.Nothing", "shop.Note.nothing", "a.b.c.d"])
def test_what_is_to_be_ignored_has_to_be_there(named: str, database: str) -> None:
    with pytest.raises(ValueError, match="is neither a model nor a field of one"):
        explore(*[(chance.count_and_log, {"pk": 1, "amount": 1, "using": database})] * 2, ignore=named)
