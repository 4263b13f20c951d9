"""An order that never ends is a race where every serial order ends, and a rule hides no error."""

from __future__ import annotations

import pytest
from django.db import IntegrityError

from aioconcurrent.exploring.orders.schedule import before_repeating
from aioconcurrent.sync import Outcomes, explore, replay
from tests.project.databases import on, thorough
from tests.project.shop import crowds, kinds
from tests.project.shop.models import Coupon


@pytest.mark.parametrize("database", [*on("postgresql"), *thorough(on("file", "mysql"))])
def test_a_loop_that_only_some_order_never_leaves_is_a_race_that_can_be_replayed(database: str) -> None:
    call = (crowds.claim_unless_taken, {"code": "x", "using": database})
    found = explore(call, call)
    assert found.counterexample, found
    assert found.counterexample.anomaly == "endless loop"
    assert "never ends: in this order it asks for the same again and again" in found.counterexample.explanation
    assert str(found.counterexample).count("never ends") >= 2  # in the lanes, too
    assert len(found.counterexample.steps) < 40
    assert not Coupon.objects.using(database).exists()
    assert found.counterexample.token.endswith("~")
    again = replay(found.counterexample.token, call, call).counterexample
    assert again
    assert str(again) == str(found.counterexample)


@pytest.mark.parametrize("database", on("file"))
def test_a_rule_does_not_hide_an_endless_order(database: str) -> None:
    call = (crowds.claim_unless_taken, {"code": "x", "using": database})
    found = explore(call, call, check=lambda outcomes: True)
    assert found.counterexample, found
    assert found.counterexample.anomaly == "endless loop"


@pytest.mark.parametrize("database", [*on("mysql"), *thorough(on("file", "postgresql"))])
def test_a_loop_that_every_order_leaves_is_none(database: str) -> None:
    call = (crowds.claim_or_give_up, {"code": "x", "using": database})
    found = explore(call, call)
    assert (found.verdict, found.exhaustive) == ("no race", True), found


@pytest.mark.parametrize("database", on("file"))
def test_two_of_four_calls_are_enough_for_an_endless_order(database: str) -> None:
    call = (crowds.claim_unless_taken, {"code": "x", "using": database})
    found = explore(call, call, call, call)
    assert found.counterexample, found
    assert found.counterexample.anomaly == "endless loop"
    assert len(found.counterexample.calls) == 2


@pytest.mark.parametrize("database", [*on("file"), *thorough(on("postgresql", "mysql"))])
def test_a_rule_does_not_hide_an_error_that_no_serial_order_raises(database: str) -> None:
    def one_claim_at_most(outcomes: Outcomes) -> bool:
        return Coupon.objects.using(database).count() <= 1

    call = (crowds.claim_uniquely, {"code": "x", "using": database})
    found = explore(call, call, check=one_claim_at_most)
    assert found.counterexample, found
    assert found.counterexample.anomaly == "unhandled conflict"
    assert "IntegrityError" in found.counterexample.explanation
    found = explore(call, call, check=one_claim_at_most, refusals=IntegrityError)
    assert (found.verdict, found.exhaustive) == ("no race", True), found


@pytest.mark.parametrize("database", on("file"))
def test_an_error_that_serial_orders_raise_too_is_the_rules_affair(database: str) -> None:
    call = (kinds.claim_or_refuse, {"code": "x", "using": database})
    found = explore(call, call, check=lambda outcomes: True)
    assert (found.verdict, found.exhaustive) == ("no race", True), found


@pytest.mark.parametrize(
    ("requests", "kept"),
    [
        ("abc" + "x" * 100, "abcxx"),
        ("abc" + "xyz" * 50, "abcxyzxyz"),
        ("ab" + "xy" * 60 + "x", "abxyxy"),
        ("x" * 100, "xx"),
        ("".join(map(chr, range(100))), "".join(map(chr, range(100)))),
    ],
)
def test_what_is_repeated_to_the_end_is_cut_after_its_second_round(requests: str, kept: str) -> None:
    assert requests[: before_repeating(requests)] == kept
