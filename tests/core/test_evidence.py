"""What is said to be wrong about a run: the most telling difference, and how it is one after the other."""

from __future__ import annotations

from typing import Any

from aioconcurrent.base.trace import Run
from aioconcurrent.databases.schema import Key
from aioconcurrent.exploring.judging.evidence import Difference, Violation, result
from aioconcurrent.exploring.judging.oracle import Oracle
from aioconcurrent.exploring.judging.values import ABSENT, show

BALANCE = Difference("row", 20, -60, "account", "id=1", name="balance", unique=True)
LOGGED = Difference("row", {"id": 2, "text": "x"}, ABSENT, "audit_log", unique=True)


def answered(here: tuple[object, ...], *serial: tuple[object, ...]) -> str:
    found = tuple(
        Difference("outcome", outcome, serial[0][call], call=call)
        for call, outcome in enumerate(here)
        if outcome != serial[0][call]
    )
    return result(Violation("no serial order", "", (0, 1), found, outcomes=here, serial=serial))


def test_how_many_come_to_the_same_is_said() -> None:
    assert answered((True, True), (True, False), (False, True)) == (
        "one after the other, exactly one returns True; here both do"
    )
    assert answered(("a", "a", "b"), ("a", "b", "c"), ("b", "a", "c")).startswith("one after the other, exactly one")


def test_what_is_missing_is_said_where_the_rest_says_nothing() -> None:
    refused = ValueError("sold out")
    assert answered((None, None), (None, refused), (refused, None)) == (
        "one after the other, exactly one raises ValueError: sold out; here none does"
    )


def test_otherwise_what_a_call_came_to_stands_beside_what_it_may() -> None:
    assert answered((150, None), (100, None), (50, None)) == "A returns 150; one after the other, it returns 100 or 50"


def test_answers_that_may_be_given_but_not_together_are_told_together() -> None:
    assert answered(("in", 0), ("in", 1), ("full", 0)) == (
        "here A returns 'in' and B returns 0; one after the other, "
        "A returns 'in' and B returns 1, or A returns 'full' and B returns 0"
    )


def test_rows_that_the_calls_look_at_say_more_than_logs() -> None:
    violation = Violation("no serial order", "", (0, 1), (LOGGED, BALANCE))
    assert result(violation) == "no serial order ends at balance=20 in account id=1"


def test_the_row_that_was_told_of_is_not_named_twice() -> None:
    violation = Violation("no serial order", "", (0, 1), (BALANCE,))
    assert result(violation, (), "account id=1") == "no serial order ends at balance=20"


def test_a_row_that_one_ending_left_alone_has_changed_and_is_not_new() -> None:
    start = {"doctor": [{"id": 1, "on_call": True}, {"id": 2, "on_call": True}]}
    off: list[dict[str, Any]] = [{"id": 1, "on_call": False}, {"id": 2, "on_call": False}]
    oracle = Oracle(2, {"doctor": Key(("id",), automatic=True)}, start)
    for order, rows in (((0, 1), [off[0], start["doctor"][1]]), ((1, 0), [start["doctor"][0], off[1]])):
        oracle.learn(order, Run((None, None), {"doctor": rows}))
    violation = oracle.judge(Run((None, None), {"doctor": off}))
    assert violation is not None
    assert [str(each) for each in violation.differences] == ["doctor id=2: on_call is False, not True"]


def test_of_orders_that_are_equally_near_always_the_same_is_taken() -> None:
    endings = {(0, 1): (True, False), (1, 0): (False, True)}
    nearest = set()
    for orders in (list(endings), list(endings)[::-1]):
        oracle = Oracle(2, {}, {})
        for order in orders:
            oracle.learn(order, Run(endings[order], {}))
        violation = oracle.judge(Run((True, True), {}))
        assert violation is not None
        nearest.add((violation.nearest, violation.serial))
    assert nearest == {((0, 1), ((True, False), (False, True)))}


def test_of_two_long_values_the_part_is_shown_in_which_they_differ() -> None:
    same = "a text that goes on and on, for much longer than anybody would like to read: "
    assert show(f"{same}one", f"{same}two") == "... like to read: one'"
    assert show(f"one {same}", f"two {same}").startswith("'one a text")
    assert show("one", f"{same}two") == "'one'"
