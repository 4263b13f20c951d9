"""What passes unseen ends as a race or is told, and never as "no race", exhaustive."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connections

from aioconcurrent.sync import explore
from tests.project.databases import on, thorough
from tests.project.office import statements, unseen
from tests.project.office.models import Post
from tests.truth.cases import NOT_ALL_SEEN, RACE, SAFE, Call, assert_verdict, same, twice
from tests.truth.judge import fill


def calls_at(database: str, *calls: Call) -> list[Any]:
    return [(function, {**given, "using": database}) for function, given in calls]


@contextmanager
def made(database: str, *statements_: str, undo: Sequence[str]) -> Iterator[None]:
    """Have something in the database that no migration knows."""
    with connections[database].cursor() as cursor:
        for statement in statements_:
            cursor.execute(statement)
    try:
        yield
    finally:
        with connections[database].cursor() as cursor:
            for statement in undo:
                cursor.execute(statement)


@pytest.mark.parametrize("database", on("file", "postgresql", "mysql"))
@pytest.mark.parametrize("function", [unseen.like_by_driver, unseen.like_by_own_connection])
def test_what_the_driver_does_past_django_is_told(database: str, function: Callable[..., Any]) -> None:
    fill(database)
    assert_verdict(explore(*calls_at(database, *twice(function))), NOT_ALL_SEEN)


@pytest.mark.parametrize("database", on("postgresql"))
def test_copying_is_told(database: str) -> None:
    fill(database)
    assert_verdict(explore(*calls_at(database, *twice(unseen.copy_bill))), NOT_ALL_SEEN)


@pytest.mark.parametrize("database", on("postgresql"))
def test_two_that_wait_for_a_third_are_woken_in_both_orders(database: str) -> None:
    fill(database)

    def not_both_are_stale(_: object) -> bool:
        post = Post.objects.using(database).get(pk=1)
        return not post.note == post.token == "1:1"

    writers = [(unseen.write_numbers, {"column": column}) for column in ("note", "token")]
    found = explore(*calls_at(database, (unseen.like_and_reply, {}), *writers), check=not_both_are_stale)
    assert_verdict(found, NOT_ALL_SEEN)


@pytest.mark.parametrize("database", [*on("postgresql"), *thorough(on("mysql"))])
def test_three_that_wait_for_one_row_are_safe(database: str) -> None:
    fill(database)
    calls = [(unseen.add_under_lock, {"amount": amount}) for amount in (1, 2, 3)]
    found = explore(*calls_at(database, *calls))
    assert found.verdict == "no race", found


@pytest.mark.parametrize("database", on("postgresql"))
@pytest.mark.parametrize(("lock", "verdict"), [("FOR UPDATE", RACE), ("FOR SHARE", RACE), ("", SAFE)])
def test_a_view_may_lock(database: str, lock: str, verdict: str) -> None:
    fill(database)
    view = f"CREATE VIEW locking AS SELECT id, likes FROM office_post {lock}"
    calls = calls_at(database, (unseen.hold, {"view": "locking"}), (unseen.try_to_lock, {}))
    with made(database, view, undo=["DROP VIEW locking"]):
        found = explore(*calls)
    if verdict == SAFE:  # nobody changes anything
        assert "nothing overlapped" in found.reason or found.verdict == "no race", found
    else:
        assert_verdict(found, verdict)


MAKES_TEXT = "BEGIN RETURN QUERY EXECUTE 'SELECT * FROM office_' || 'job WHERE owner IS NULL'; END"
READERS = {
    "a view": (["CREATE VIEW jobs AS SELECT * FROM office_job WHERE owner IS NULL"], ["DROP VIEW jobs"], "jobs"),
    "a function": (
        ["CREATE FUNCTION free_jobs() RETURNS SETOF office_job LANGUAGE sql VOLATILE AS $$ {} $$"],
        ["DROP FUNCTION free_jobs"],
        "free_jobs()",
    ),
    "a function that makes its text": (
        ["CREATE FUNCTION free_jobs() RETURNS SETOF office_job LANGUAGE plpgsql VOLATILE AS $$ " + MAKES_TEXT + " $$"],
        ["DROP FUNCTION free_jobs"],
        "free_jobs()",
    ),
}


@pytest.mark.parametrize("database", on("postgresql"))
@pytest.mark.parametrize("source", READERS)
def test_what_a_source_of_rows_reads_is_seen_or_told(database: str, source: str) -> None:
    fill(database)
    make, undo, name = READERS[source]
    select = "SELECT * FROM office_job WHERE owner IS NULL"
    calls = calls_at(database, (unseen.read_twice, {"source": name}), (unseen.claim_all, {}))
    with made(database, *(text.replace("{}", select) for text in make), undo=undo):
        assert_verdict(explore(*calls), NOT_ALL_SEEN if "text" in source else RACE)


@pytest.mark.parametrize("database", on("postgresql"))
def test_a_policy_reads_other_tables(database: str) -> None:
    """Rows may be seen while a job is free: two looks at posts differ when the jobs are claimed between them."""
    fill(database)
    role = f"{connections[database].settings_dict['NAME']}_reader"
    policy = "USING (EXISTS (SELECT 1 FROM office_job WHERE owner IS NULL))"
    make = (
        f"CREATE ROLE {role}",
        f"GRANT SELECT ON office_post, office_job TO {role}",
        "ALTER TABLE office_post ENABLE ROW LEVEL SECURITY",
        f"CREATE POLICY while_free ON office_post {policy}",
    )
    undo = (
        "DROP POLICY while_free ON office_post",
        "ALTER TABLE office_post DISABLE ROW LEVEL SECURITY",
        f"DROP OWNED BY {role}",
        f"DROP ROLE {role}",
    )
    calls = calls_at(database, (unseen.read_as, {"role": role}), (unseen.claim_all, {}))
    with made(database, *make, undo=undo):
        assert_verdict(explore(*calls), NOT_ALL_SEEN)


@pytest.mark.parametrize("database", on("mysql"))
@pytest.mark.parametrize(("engine", "verdict"), [("InnoDB", SAFE), ("MyISAM", RACE), ("Aria", RACE)])
def test_a_table_may_know_no_transactions(database: str, engine: str, verdict: str) -> None:
    table = f"CREATE TABLE plain (id int PRIMARY KEY, n int) ENGINE={engine}"
    calls = calls_at(database, (unseen.move_numbers, {"table": "plain"}), (unseen.sum_numbers, {"table": "plain"}))
    with made(database, table, "INSERT INTO plain VALUES (1, 10), (2, 0)", undo=["DROP TABLE plain"]):
        assert_verdict(explore(*calls), verdict)


@pytest.mark.parametrize("database", on("postgresql"))
def test_rows_are_locked_as_they_are_fetched(database: str) -> None:
    fill(database)
    opposed: list[Call] = [(unseen.lock_one_by_one, {"reverse": reverse}) for reverse in (False, True)]
    ordered: list[Call] = [(unseen.lock_one_by_one, {}), (unseen.like_both, {})]
    assert_verdict(explore(*calls_at(database, *ordered)), SAFE)
    assert_verdict(explore(*calls_at(database, *opposed)), "race: deadlock")


@pytest.mark.parametrize("database", on("postgresql"))
def test_rows_that_are_fetched_one_by_one_are_of_one_moment(database: str) -> None:
    fill(database)
    calls = calls_at(database, (unseen.read_one_by_one, {}), (unseen.like_both, {}))
    assert_verdict(explore(*calls), SAFE)


@pytest.mark.parametrize("database", on("postgresql"))
def test_a_wait_within_a_cursor_is_sat_out(database: str) -> None:
    fill(database)
    calls = calls_at(database, (unseen.lock_one_by_one, {}), (unseen.like_second, {}))
    assert_verdict(explore(*calls), SAFE)


@pytest.mark.parametrize("database", on("file", "postgresql", "mysql"))
def test_what_all_is_seen_of_is_called_exhaustive(database: str) -> None:
    fill(database)
    claims = calls_at(database, *((statements.claim_this, {"who": who}) for who in "ab"))
    assert_verdict(explore(*claims), SAFE)
    assert_verdict(explore(*calls_at(database, *same("add"))), SAFE)
