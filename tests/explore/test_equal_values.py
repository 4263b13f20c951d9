"""Values that a program writes in several ways and the database takes for one: what two calls do with them meets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any

import pytest
from django.db import connections, transaction

from aioconcurrent.sync import explore
from tests.project.databases import changed_options

from .places import Place, at


class Status(str, Enum):  # noqa: UP042  # whose str() is not its value
    NEW = "new"


class BackError(Exception):
    pass


TABLES = {
    "postgresql": "CREATE TABLE shop_remark (id bigserial PRIMARY KEY, word varchar(30), number int)",
    "mysql": "CREATE TABLE shop_remark (id bigint AUTO_INCREMENT PRIMARY KEY, word varchar(30), number tinyint)",
    "sqlite": "CREATE TABLE shop_remark (id integer PRIMARY KEY AUTOINCREMENT, word varchar(30), number int)",
}


def asked(using: str, sql: str, *parameters: Any) -> list[Any]:
    with connections[using].cursor() as cursor:
        cursor.execute(sql, parameters or None)
        return [row[0] for row in cursor.fetchall()] if cursor.description else []


def marks_whether_there_is_none(using: str, column: str, value: object) -> None:
    found = asked(using, f"SELECT id FROM shop_remark WHERE {column} = %s", value)
    asked(using, "UPDATE shop_mark SET number = %s WHERE id = 1", 1 - len(found))


def adds_unless_it_is_marked(using: str, column: str, value: object, other: object) -> None:
    [number] = asked(using, "SELECT number FROM shop_mark WHERE id = 1")
    asked(using, f"INSERT INTO shop_remark ({column}) VALUES (%s) RETURNING id", other if number else value)


def adds_and_takes_back(using: str, rows: Sequence[tuple[int, str]]) -> None:
    with suppress(BackError), transaction.atomic(using):
        for row in rows:
            asked(using, "INSERT INTO shop_remark (id, word) VALUES (%s, %s)", *row)
        raise BackError


def numbered(using: str) -> None:
    asked(using, "INSERT INTO shop_remark (word) VALUES ('numbered') RETURNING id")


def looks_twice_for_the_first(using: str) -> list[list[int]]:
    return [asked(using, "SELECT id FROM shop_remark WHERE id = 1") for _ in range(2)]


def takes_the_next(using: str) -> None:
    [highest] = asked(using, "SELECT MAX(id) FROM shop_remark")
    asked(using, "INSERT INTO shop_remark (id, word) VALUES (%s, 'next')", (highest or 0) + 1)


def takes_several(using: str) -> None:
    [highest] = asked(using, "SELECT MAX(id) FROM shop_remark")
    with connections[using].cursor() as cursor:
        rows = [((highest or 0) + more, "next") for more in (1, 2)]
        cursor.executemany("INSERT INTO shop_remark (id, word) VALUES (%s, %s)", rows)


@pytest.fixture
def remarks(place: Place) -> Iterator[Place]:
    connection = connections[place.alias]
    with connection.cursor() as cursor:
        for sql in (TABLES[connection.vendor], "CREATE TABLE shop_mark (id int PRIMARY KEY, number int)"):
            cursor.execute(sql)
        cursor.execute("INSERT INTO shop_mark VALUES (1, 0)")
    yield place
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE shop_remark")
        cursor.execute("DROP TABLE shop_mark")


@pytest.mark.parametrize("place", at("postgresql-RC"), indirect=True)
@pytest.mark.parametrize(
    ("wanted", "given"),
    [
        ("new", Status.NEW),
        (Status.NEW, "new"),
        ("2026-11-28 08:00:00.1+00", datetime(2026, 11, 28, 8, 0, 0, 100_000, UTC)),
        ("100", Decimal("1E+2")),
    ],
    ids=["a member of an enumeration", "looked for as one", "a time", "a decimal"],
)
def test_a_text_is_what_the_database_stores(remarks: Place, wanted: object, given: object) -> None:
    call = {"using": remarks.alias, "column": "word", "value": given, "other": "other"}
    looks = {"using": remarks.alias, "column": "word", "value": wanted}
    assert explore((marks_whether_there_is_none, looks), (adds_unless_it_is_marked, call)).verdict == "race"


@pytest.mark.parametrize("place", at("mysql-RC"), indirect=True)
def test_a_number_that_there_is_no_room_for_is_stored_as_another(remarks: Place) -> None:
    call = {"using": remarks.alias, "column": "number", "value": 300, "other": 5}
    looks = {"using": remarks.alias, "column": "number", "value": 127}
    with changed_options(remarks.alias, init_command="SET sql_mode = ''"):
        assert explore((marks_whether_there_is_none, looks), (adds_unless_it_is_marked, call)).verdict == "race"


@pytest.mark.parametrize("place", at("postgresql-RC"), indirect=True)
def test_texts_that_a_key_takes_for_equal_meet(remarks: Place) -> None:
    with connections[remarks.alias].cursor() as cursor:
        cursor.execute(
            "CREATE COLLATION shop_any_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);"
            "CREATE UNIQUE INDEX ON shop_remark (word COLLATE shop_any_case)"
        )
        try:
            rows = ([(11, "a"), (12, "b")], [(21, "B"), (22, "A")])
            calls = [(adds_and_takes_back, {"using": remarks.alias, "rows": each}) for each in rows]
            assert explore(*calls).verdict == "race"
        finally:
            cursor.execute("ALTER TABLE shop_remark DROP COLUMN word; DROP COLLATION shop_any_case")


@pytest.mark.parametrize("place", at("postgresql-RC"), indirect=True)
def test_what_a_primary_key_only_includes_tells_no_rows_apart(remarks: Place) -> None:
    with connections[remarks.alias].cursor() as cursor:
        cursor.execute("ALTER TABLE shop_remark DROP CONSTRAINT shop_remark_pkey, ADD PRIMARY KEY (id) INCLUDE (word)")
    rows = ([(11, "a"), (12, "b")], [(12, "c"), (11, "d")])
    calls = [(adds_and_takes_back, {"using": remarks.alias, "rows": each}) for each in rows]
    assert explore(*calls).verdict == "race"


@pytest.mark.parametrize("place", at("postgresql-RC"), indirect=True)
def test_a_number_that_is_asked_for_is_one_that_the_database_may_give(remarks: Place) -> None:
    """Where keys begin with other numbers nothing has to be compared: the first order shows that they matter."""
    calls = [(each, {"using": remarks.alias}) for each in (numbered, looks_twice_for_the_first)]
    assert explore(*calls).verdict == "race"


@pytest.mark.parametrize("calls", [(numbered, takes_the_next), (takes_the_next, numbered), (numbered, takes_several)])
@pytest.mark.parametrize("place", at("postgresql-RC", "mysql-RC", "file"), indirect=True)
def test_a_number_that_a_counter_gives_only_where_it_was_found_is_met(
    remarks: Place, calls: Sequence[Callable[[str], None]]
) -> None:
    assert explore(*((each, {"using": remarks.alias}) for each in calls)).verdict == "race"


def adds_to_the_end(using: str) -> None:
    asked(using, "INSERT INTO shop_remark (word) VALUES ('last')")


def takes_the_next_in_other_words(using: str, sql: str) -> None:
    [highest] = asked(using, "SELECT MAX(id) FROM shop_remark")
    asked(using, sql, (highest or 0) + 1)


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO shop_remark (id, word) SELECT %s, 'next'",
        "INSERT INTO shop_remark (id, word) VALUES (%s, 'next') ON CONFLICT DO NOTHING",
    ],
)
@pytest.mark.parametrize("place", at("postgresql-RC"), indirect=True)
def test_it_is_met_whatever_gives_the_row_its_number(remarks: Place, sql: str) -> None:
    calls = (numbered, {"using": remarks.alias}), (takes_the_next_in_other_words, {"using": remarks.alias, "sql": sql})
    assert explore(*calls).verdict == "race"


@pytest.mark.parametrize("place", at("postgresql-RC"), indirect=True)
def test_numbers_of_rows_that_have_no_key_of_one_column_are_explored(remarks: Place) -> None:
    with connections[remarks.alias].cursor() as cursor:
        cursor.execute("ALTER TABLE shop_remark DROP CONSTRAINT shop_remark_pkey")
    call = (adds_to_the_end, {"using": remarks.alias})
    assert explore(call, call).verdict == "no race"
