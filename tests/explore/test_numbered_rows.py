"""Rows that the database numbers: apart from those of other calls, as long as nobody looks at more than their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from django.db import connections

from aioconcurrent.sync import Exploration, explore
from tests.project.databases import thorough
from tests.project.shop import races
from tests.project.shop.models import Counter

from .places import Place, at

SERVERS = at("postgresql-RC", "postgresql-RR", "mysql-RC", "mysql-RR")


def explored(function: Callable[..., Any], place: Place) -> Exploration:
    connections.close_all()
    left = {each: each.connection for each in connections.all(initialized_only=True)}  # those in memory are not closed
    for each in left:
        each.connection = None  # they have tables of the same names, with other keys
    try:
        return explore(*((function, {"buyer": buyer, "using": place.alias}) for buyer in ("ada", "bob")))
    finally:
        for each, connection in left.items():
            each.connection = connection


@pytest.mark.parametrize(
    ("place", "most"),
    [
        pytest.param(*each.values, most, id=each.id, marks=each.marks)
        for each, most in zip([*SERVERS[:-1], *thorough(SERVERS[-1:])], (14, 16, 14, 80), strict=True)
    ],
    indirect=["place"],
)
def test_orders_of_two_customers_are_exhausted_in_few_schedules(place: Place, most: int) -> None:
    """They were hundreds where each insert met all of its table; on MariaDB a snapshot begins with the last read."""
    found = explored(races.order, place)
    assert (found.verdict, found.exhaustive) == ("no race", True), found
    assert found.schedules_run <= most


@pytest.mark.parametrize("place", at("postgresql-RC"), indirect=True)
def test_a_code_of_its_own_with_digits_in_it_is_a_key_like_any_other(place: Place) -> None:
    """Numbers of rows begin low in the first run, and elsewhere in all others."""
    found = explored(races.order_with_code, place)
    assert (found.verdict, found.exhaustive) == ("no race", True), found
    assert found.schedules_run <= 120


MADE = {
    "counted": races.order_and_count,
    "the highest and one": races.order_numbered,
    "the newest": races.order_newest,
    "a unique name": races.order_with_name,
    "a number made from the key": races.order_of_half,
    "a code made from the highest number": races.order_with_code_of_number,
}


@pytest.mark.parametrize(
    ("place", "function"),
    [
        pytest.param(
            *place.values,
            function,
            id=f"{place.id}-{made}",
            marks=[*place.marks, *([] if turn == number % 2 else [pytest.mark.thorough])],
        )
        for number, (made, function) in enumerate(MADE.items())
        for turn, place in enumerate(at("postgresql-RC", "mysql-RC"))
    ],
    indirect=["place"],
)
def test_a_race_for_what_is_made_of_the_numbers_or_of_all_rows_is_found(
    function: Callable[..., Any], place: Place
) -> None:
    Counter.objects.using(place.alias).bulk_create([Counter(pk=1), Counter(pk=2)])
    assert explored(function, place).verdict == "race"


@pytest.fixture
def _receipts(place: Place) -> Iterator[None]:
    with connections[place.alias].cursor() as cursor:
        cursor.execute("CREATE TABLE shop_receipt (id bigint PRIMARY KEY, number bigserial)")
        cursor.execute("INSERT INTO shop_receipt VALUES (1), (2), (3), (4)")
        yield
        cursor.execute("DROP TABLE shop_receipt")


@pytest.mark.usefixtures("_receipts")
@pytest.mark.parametrize(
    ("function", "first"),
    [
        (partial(races.numbers_apart, default=False), 11),
        (partial(races.numbers_apart, default=True), 11),
        (races.renumbers_apart, 1),
    ],
    ids=["inserted", "inserted as DEFAULT", "updated"],
)
@pytest.mark.parametrize("place", at("postgresql-RC"), indirect=True)
def test_a_race_for_numbers_of_rows_that_have_keys_of_their_own_is_found(
    function: Callable[..., Any], first: int, place: Place
) -> None:
    found = explore(*((function, {"first": key, "using": place.alias}) for key in (first, first + 2)))
    assert found.verdict == "race", found
