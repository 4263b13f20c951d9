"""How a run ended beside its serial orders: what differs is shown, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from aioconcurrent.base.trace import Run
from aioconcurrent.report.endings import Endings, Line, compared
from tests.explore.traces import Tracer

CALLS = ("withdraw(80)", "withdraw(70)")


def ended(*outcomes: Any, **tables: list[dict[str, Any]]) -> Run:
    return Run(outcomes, tables)


def told(run: Run, first: Run, second: Run) -> Endings:
    found = compared(run, CALLS, [((0, 1), first), ((1, 0), second)])
    assert found is not None
    return found


def test_what_calls_came_to_and_the_columns_of_rows_that_differ() -> None:
    def account(balance: int) -> dict[str, Any]:
        return {"id": 1, "owner": "ann", "balance": balance}

    other = {"id": 2, "owner": "bob", "balance": 5}
    found = told(
        ended(True, True, account=[account(20), other]),
        ended(True, False, account=[account(20), other]),
        ended(ValueError("too poor"), True, account=[account(30), other]),
    )
    assert found.orders == ("A, then B", "B, then A")
    assert found.lines == (
        Line("call", "A: withdraw(80)", ("returns True", "raises ValueError: too poor", "returns True")),
        Line("call", "B: withdraw(70)", ("returns False", "returns True", "returns True")),
        Line("row", "account id=1", ("balance=20", "balance=30", "balance=20")),
    )
    assert not any(line.is_unusual for line in found.lines)


def test_new_rows_that_differ_only_in_their_number_are_one() -> None:
    def ticket(key: int, seat: str = "A1") -> dict[str, Any]:
        return {"id": key, "seat": seat}

    found = told(
        ended(1, 2, ticket=[ticket(1), ticket(2)]), ended(1, 2, ticket=[ticket(7)]), ended(1, 2, ticket=[ticket(9)])
    )
    assert found.lines == (Line("row", "ticket id=2", ("no row", "no row", "seat='A1'")),)
    assert found.lines[0].is_unusual


def test_new_rows_that_have_changed_their_numbers_are_alike_and_old_ones_are_not() -> None:
    def pieces(*prices: int) -> list[dict[str, Any]]:
        return [{"id": key, "price": price} for key, price in enumerate(prices, 1)]

    ends = [ended(1, 2, piece=pieces(*prices)) for prices in ((10, 5), (5, 10), (5, 10))]
    assert [line.name for line in told(*ends).lines] == ["piece id=1", "piece id=2"]
    add = 'INSERT INTO "piece" ("price") VALUES (%s) RETURNING "piece"."id"'
    steps = tuple(Tracer().sql(call, add, (10,), rows=[{"id": call + 1}]) for call in (0, 1))
    assert compared(replace(ends[0], steps=steps), CALLS, [((0, 1), ends[1]), ((1, 0), ends[2])]) is None


def test_times_are_shown_only_where_nothing_else_differs() -> None:
    def row(second: int, name: str) -> dict[str, Any]:
        return {"id": 1, "name": name, "changed": datetime(2026, 1, 1, 0, 0, second)}  # noqa: DTZ001 - as SQLite has it

    found = told(*(ended(1, 2, t=[row(second, name)]) for second, name in enumerate(("x", "y", "x"))))
    assert found.lines == (Line("row", "t id=1", ("name='y'", "name='x'", "name='x'")),)
    found = told(*(ended(second, 2, t=[row(second, "x")]) for second in range(3)))
    assert [line.kind for line in found.lines] == ["call"]
    found = told(*(ended(1, 2, t=[row(second, "x")]) for second in range(3)))
    assert found.lines[0].cells[-1] == "changed=2026-01-01 00:00:00"


def test_a_table_that_an_order_did_not_touch_is_not_compared() -> None:
    run = ended(1, 2, t=[{"id": 1}])
    assert compared(run, CALLS, [((0, 1), ended(1, 2))]) is None


def test_nothing_is_shown_where_nothing_was_compared() -> None:
    assert compared(ended(1, 2), CALLS, []) is None


def test_rows_are_told_apart_by_the_first_column_that_does_so() -> None:
    def row(code: str, uses: int) -> dict[str, Any]:
        return {"shop": 1, "code": code, "uses": uses}

    ends = (ended(1, 2, t=[row("x", 1), row("y", uses)]) for uses in (1, 2, 2))
    assert told(*ends).lines == (Line("row", "t code='y'", ("uses=2", "uses=2", "uses=1")),)


def test_many_lines_are_cut() -> None:
    def rows(value: int) -> list[dict[str, Any]]:
        return [{"id": key, "value": value} for key in range(50)]

    found = told(*(ended(1, 2, t=rows(value)) for value in (1, 2, 3)))
    assert len(found.lines) == 20
    assert found.more == 30
