"""The verdict, from endings that are written down here."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aioconcurrent.exceptions import WrappedError
from aioconcurrent.exploring.oracle import Key, Oracle, broken_rule
from aioconcurrent.exploring.trace import Ending
from tests.project.shop.models import Counter

Rows = list[dict[str, Any]]

ACCOUNT = {"account": Key(("id",), automatic=True)}
SHOP = {
    "ticket": Key(("id",), automatic=True),
    "line": Key(("id",), automatic=True, references={"ticket_id": ("ticket", "id")}),
}


class RefusedError(Exception):
    pass


class IntegrityError(Exception):
    pass


def account(balance: object, *outcomes: object) -> Ending:
    return Ending(outcomes or (None, None), {"account": [{"id": 1, "balance": balance}]})


def withdrawals(**options: Any) -> Oracle:
    """Two calls that each take 80 from 100."""
    oracle = Oracle(2, ACCOUNT, {"account": [{"id": 1, "balance": 100}]}, **options)
    for order in oracle.orders():
        oracle.learn(order, account(-60))
    return oracle


def taught(
    endings: dict[tuple[int, ...], Ending], keys: dict[str, Key] = SHOP, start: Any = None, **more: Any
) -> Oracle:
    oracle = Oracle(2, keys, start or {}, **more)
    for order, ending in endings.items():
        oracle.learn(order, ending)
    return oracle


def both(make: Callable[[str, str], Ending]) -> dict[Any, Ending]:
    return {(0, 1): make("a", "b"), (1, 0): make("b", "a")}


def test_an_ending_of_a_serial_order_is_no_race() -> None:
    assert withdrawals().judge(account(-60)) is None


def test_an_ending_that_no_serial_order_gives_is_a_race_and_says_in_which_value() -> None:
    violation = withdrawals().judge(account(20))
    assert violation is not None
    assert violation.kind == "no serial order"
    assert [str(each) for each in violation.differences] == ["account id=1: balance is 20, not -60"]
    assert violation.differences[0].unique


def test_a_returned_value_counts_as_much_as_a_row() -> None:
    violation = withdrawals().judge(account(-60, None, 20))
    assert violation is not None
    assert str(violation.differences[0]) == "the outcome of B is 20, not None"


def test_an_untouched_table_is_the_same_as_one_with_the_rows_of_the_start() -> None:
    oracle = Oracle(2, ACCOUNT, {"account": [{"id": 1, "balance": 100}]})
    oracle.learn((0, 1), account(100))
    assert oracle.judge(Ending((None, None), {})) is None


def test_a_row_without_a_key_counts_as_often_as_it_is_there() -> None:
    oracle = taught({(0, 1): Ending((None, None), {"log": [{"n": 1}, {"n": 1}]})}, {}, {"log": [{"n": 1}, {"n": 1}]})
    assert oracle.judge(Ending((None, None), {"log": [{"n": 1}]})) is not None


def test_rows_of_the_start_are_told_apart_by_their_keys() -> None:
    start = {"account": [{"id": 1, "balance": 0}, {"id": 2, "balance": 0}]}
    changed = {"account": [{"id": 1, "balance": 5}, {"id": 2, "balance": 0}]}
    swapped = {"account": [{"id": 1, "balance": 0}, {"id": 2, "balance": 5}]}
    oracle = taught({(0, 1): Ending((None, None), changed)}, ACCOUNT, start)
    assert oracle.judge(Ending((None, None), changed)) is None
    assert oracle.judge(Ending((None, None), swapped)) is not None


def test_which_row_of_the_start_was_deleted_matters() -> None:
    start = {"account": [{"id": 1, "balance": 0}, {"id": 2, "balance": 0}]}
    oracle = taught({(0, 1): Ending((None, None), {"account": [{"id": 1, "balance": 0}]})}, ACCOUNT, start)
    violation = oracle.judge(Ending((None, None), {"account": [{"id": 2, "balance": 0}]}))
    assert violation is not None
    assert {str(each) for each in violation.differences} == {
        "account id=1 has no row (id=1, balance=0)",
        "account id=2 has one more row (id=2, balance=0)",
    }


def tickets(first: str, second: str, keys: Sequence[object] = (1, 2)) -> Ending:
    """Both calls make a ticket and return its key; `first` was quicker."""
    rows = [{"id": keys[0], "name": first}, {"id": keys[1], "name": second}]
    return Ending((keys[0] if first == "a" else keys[1], keys[1] if first == "a" else keys[0]), {"ticket": rows})


@given(keys=st.lists(st.integers(1, 10**6), min_size=2, max_size=2, unique=True))
def test_new_numbers_for_new_rows_never_change_the_verdict(keys: list[int]) -> None:
    assert taught(both(tickets)).judge(tickets("a", "b", keys)) is None


def with_lines(quicker: str, tickets_of: dict[str, int], lines_of: dict[str, int], owner: dict[str, str]) -> Ending:
    rows = [{"id": key, "name": name} for name, key in tickets_of.items()]
    lines = [{"id": key, "text": name, "ticket_id": tickets_of[owner[name]]} for name, key in lines_of.items()]
    return Ending((None, None), {"ticket": rows, "line": lines})


OWN = {"a": "a", "b": "b"}
CROSSED = {"a": "b", "b": "a"}
SERIAL_LINES: dict[Any, Ending] = {
    (0, 1): with_lines("a", {"a": 1, "b": 2}, {"a": 1, "b": 2}, OWN),
    (1, 0): with_lines("b", {"b": 1, "a": 2}, {"b": 1, "a": 2}, OWN),
}


def test_two_tables_may_be_numbered_in_opposite_orders() -> None:
    mixed = with_lines("a", {"a": 1, "b": 2}, {"b": 1, "a": 2}, OWN)
    assert taught(SERIAL_LINES).judge(mixed) is None


def test_a_reference_to_the_wrong_new_row_is_a_race() -> None:
    wrong = with_lines("a", {"a": 1, "b": 2}, {"a": 1, "b": 2}, CROSSED)
    violation = taught(SERIAL_LINES).judge(wrong)
    assert violation is not None
    assert "new rows refer to other rows" in violation.detail


Renaming = dict[str, dict[int, int]]


@st.composite
def renamings(draw: st.DrawFn) -> Renaming:
    """For each table an order-preserving map of the keys 1..4."""
    return {
        table: dict(enumerate(sorted(draw(st.sets(st.integers(1, 999), min_size=4, max_size=4))), start=1))
        for table in SHOP
    }


ENDINGS = st.lists(
    st.tuples(st.permutations([1, 2, 3, 4]), st.lists(st.integers(1, 4), min_size=4, max_size=4), st.booleans()),
    min_size=3,
    max_size=3,
)


def renumbered(ending: tuple[list[int], list[int], bool], names: Renaming) -> Ending:
    numbers, owners, alike = ending
    ticket, line = names["ticket"], names["line"]
    rows = [{"id": ticket[n], "name": "t" if alike else f"t-{'wxyz'[i]}"} for i, n in enumerate(numbers)]
    lines = [{"id": line[i + 1], "text": "x", "ticket_id": ticket[owner]} for i, owner in enumerate(owners)]
    return Ending((ticket[numbers[0]], f"ticket {ticket[numbers[1]]}"), {"ticket": rows, "line": lines})


@settings(max_examples=100, deadline=None)
@given(ENDINGS, renamings())
def test_order_preserving_renumbering_never_changes_the_verdict(endings: list[Any], names: Renaming) -> None:
    same: Renaming = {table: {n: n for n in range(1, 5)} for table in SHOP}
    moved: Renaming = {table: {n: n + by for n in range(1, 5)} for table, by in (("ticket", 10), ("line", 30))}
    first, second, judged = endings
    oracle = taught({(0, 1): renumbered(first, same), (1, 0): renumbered(second, same)})
    oracle.learn((0, 1), renumbered(first, moved))
    assert (oracle.judge(renumbered(judged, same)) is None) == (oracle.judge(renumbered(judged, names)) is None)


def test_a_returned_number_is_compared_as_it_is_where_it_is_not_always_a_key() -> None:
    oracle = taught({(0, 1): Ending((1, 7), {"ticket": [{"id": 1}]}), (1, 0): Ending((7, 1), {"ticket": [{"id": 1}]})})
    assert oracle.judge(Ending((7, 8), {"ticket": [{"id": 1}]})) is not None


def test_a_returned_key_of_the_wrong_new_row_is_a_race() -> None:
    wrong = Ending((2, 1), {"ticket": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]})
    oracle = taught(both(tickets))
    oracle.learn((0, 1), tickets("a", "b", (11, 12)))
    assert oracle.judge(wrong) is not None


def test_a_number_that_only_happens_to_be_a_key_is_still_a_number() -> None:
    def numbered(ids: tuple[int, int], numbers: tuple[int, int]) -> Ending:
        rows = [{"id": ids[0], "name": "a", "number": numbers[0]}, {"id": ids[1], "name": "b", "number": numbers[1]}]
        return Ending((None, None), {"ticket": rows})

    oracle = taught({(0, 1): numbered((1, 2), (1, 2)), (1, 0): numbered((2, 1), (2, 1))})
    oracle.learn((0, 1), numbered((11, 12), (1, 2)))
    assert oracle.judge(numbered((2, 1), (1, 2))) is None  # took the number first, was inserted last
    assert oracle.judge(numbered((1, 2), (1, 1))) is not None
    assert oracle.judge(numbered((5, 7), (5, 7))) is not None  # as keys they would be right


def test_a_text_that_names_a_new_key_follows_it() -> None:
    def told(first: str, second: str, keys: tuple[int, int] = (1, 2)) -> Ending:
        plain = tickets(first, second, keys)
        return Ending(tuple(f"Ticket #{key} sold" for key in plain.outcomes), plain.tables)

    oracle = taught(both(told))
    oracle.learn((0, 1), told("a", "b", (11, 12)))
    assert oracle.judge(told("a", "b", (1, 3))) is None
    crossed = Ending(tuple(reversed(told("a", "b").outcomes)), told("a", "b").tables)
    assert oracle.judge(crossed) is not None


def test_a_returned_instance_is_compared_by_its_fields_and_its_new_key_by_what_it_names() -> None:
    table = Counter._meta.db_table
    keys = {table: Key(("id",), automatic=True)}

    def made(first: str, second: str, value: int = 1, ids: tuple[int, int] = (1, 2)) -> Ending:
        of = dict(zip((first, second), ids, strict=True))
        outcomes = tuple(Counter(pk=of[name], name=name, value=value) for name in "ab")
        return Ending(outcomes, {table: [{"id": of[name], "name": name, "value": 1} for name in "ab"]})

    oracle = taught(both(made), keys)
    assert oracle.judge(made("a", "b", ids=(1, 9))) is None
    violation = oracle.judge(made("a", "b", value=2))
    assert violation is not None
    assert [str(each) for each in violation.differences] == [
        "the outcome of A at value is 2, not 1",
        "the outcome of B at value is 2, not 1",
    ]


def test_keys_that_are_random_are_compared_like_automatic_ones() -> None:
    keys = {"order": Key(("id",)), "line": Key(("id",), automatic=True, references={"order_id": ("order", "id")})}

    def placed(owner: str = "a") -> Ending:
        ids = {name: uuid.uuid4() for name in "ab"}
        rows = [{"id": ids[name].hex, "name": name} for name in "ab"]
        line = {"id": 1, "order_id": ids[owner].hex}
        return Ending((ids["a"], f"/orders/{ids['b']}/"), {"order": rows, "line": [line]})

    oracle = taught({(0, 1): placed(), (1, 0): placed()}, keys)
    oracle.learn((0, 1), placed())
    assert not oracle.unsteady
    assert oracle.judge(placed()) is None
    assert oracle.judge(placed("b")) is not None


def stamped(moment: datetime, balance: int = -60, waited: float = 0.0) -> Ending:
    rows = [{"id": 1, "balance": balance, "changed": moment}]
    return Ending((None, {"took": waited}), {"account": rows})


def test_columns_and_values_that_two_runs_of_one_order_do_not_share_are_masked() -> None:
    start = {"account": [{"id": 1, "balance": 100, "changed": None}]}
    oracle = taught({(0, 1): stamped(datetime(2026, 1, 1, tzinfo=UTC), waited=0.5)}, ACCOUNT, start)
    ending = stamped(datetime(2026, 1, 3, tzinfo=UTC), waited=0.1)
    assert oracle.judge(ending) is not None
    oracle.learn((0, 1), stamped(datetime(2026, 1, 2, tzinfo=UTC), waited=0.7))
    assert oracle.judge(ending) is None
    assert oracle.judge(stamped(datetime(2026, 1, 3, tzinfo=UTC), balance=20)) is not None
    assert not oracle.unsteady


def test_an_order_that_does_not_end_twice_alike_is_reported_as_unsteady() -> None:
    oracle = taught({(0, 1): Ending((None, None), {"ticket": [{"id": 1, "name": "a"}]})})
    oracle.learn((0, 1), Ending((None, None), {"ticket": []}))
    assert oracle.unsteady == {(0, 1)}
    assert oracle.judge(Ending((None, None), {})) is None


def test_an_error_that_no_serial_order_raises_is_an_unhandled_conflict() -> None:
    violation = withdrawals().judge(account(20, None, IntegrityError("UNIQUE constraint failed: slot.name")))
    assert violation is not None
    assert violation.kind == "unhandled conflict"
    assert violation.calls == (1,)
    assert "B raised IntegrityError: UNIQUE constraint failed: slot.name" in violation.detail


def test_an_error_is_the_same_with_and_without_its_wrapper() -> None:
    oracle = taught({(0, 1): account(20, None, RefusedError("no"))}, ACCOUNT)
    assert oracle.judge(account(20, None, WrappedError(RefusedError("no"), "call 2"))) is None


def test_the_text_of_an_error_counts_but_not_the_addresses_in_it() -> None:
    oracle = taught({(0, 1): account(20, None, ValueError("<Cart at 0x7f01>: 20 left"))}, ACCOUNT)
    assert oracle.judge(account(20, None, ValueError("<Cart at 0x9ab2>: 20 left"))) is None
    violation = oracle.judge(account(20, None, ValueError("<Cart at 0x9ab2>: 30 left")))
    assert violation is not None
    assert violation.kind == "no serial order"


def test_a_call_that_refused_counts_as_not_made() -> None:
    oracle = withdrawals(refusals=(RefusedError,))
    refused = account(20, None, RefusedError())
    assert list(oracle.needs(refused)) == [(0,)]
    oracle.learn((0,), account(20))
    assert list(oracle.needs(refused)) == []
    assert oracle.judge(refused) is None
    violation = oracle.judge(account(100, None, RefusedError()))
    assert violation is not None
    assert violation.kind == "no serial order"


def test_a_subclass_of_a_refusal_is_one() -> None:
    class ConflictError(RefusedError):
        pass

    oracle = withdrawals(refusals=(RefusedError,))
    oracle.learn((1,), account(20))
    assert oracle.judge(account(20, ConflictError(), None)) is None


def test_calls_that_all_refused_must_leave_all_as_it_was() -> None:
    oracle = withdrawals(refusals=(RefusedError,))
    assert oracle.judge(account(100, RefusedError(), RefusedError())) is None
    assert oracle.judge(account(20, RefusedError(), RefusedError())) is not None


def test_orders_are_asked_for_until_one_explains_the_ending() -> None:
    oracle = Oracle(3, ACCOUNT, {"account": [{"id": 1, "balance": 100}]})
    ending = account(7, None, None, None)
    asked = []
    for order in oracle.needs(ending):
        asked.append(order)
        oracle.learn(order, account(7 if len(asked) == 3 else 0, None, None, None))
    assert len(asked) == 3
    unexplained = account(8, None, None, None)
    asked += oracle.needs(unexplained)
    assert sorted(asked) == sorted(permutations(range(3)))


@dataclass
class Quote:
    price: Decimal
    tags: set[str]


@pytest.mark.parametrize(
    ("value", "same", "other"),
    [
        ({"a", "b"}, {"b", "a"}, {"a", "c"}),
        ({"a": 1, "b": [2]}, {"b": [2], "a": 1}, {"a": 1, "b": [3]}),
        ([1, 2], [1, 2], [2, 1]),
        ((), (), []),
        (Quote(Decimal("1.0"), {"x"}), Quote(Decimal("1.00"), {"x"}), Quote(Decimal(1), {"y"})),
        (0.1 + 0.2, 0.1 + 0.2, 0.3),
        (float("nan"), float("nan"), 0.0),
        ({(1, "x"), (2, "y")}, {(2, "y"), (1, "x")}, {(1, "y"), (2, "x")}),
        ({3: "x"}, {3: "x"}, {4: "x"}),
    ],
)
def test_values_are_compared_by_structure(value: object, same: object, other: object) -> None:
    oracle = taught({(0, 1): Ending((value, None), {})})
    assert oracle.judge(Ending((same, None), {})) is None
    assert oracle.judge(Ending((other, None), {})) is not None


def test_a_value_that_contains_itself_can_be_judged() -> None:
    endless: list[Any] = [1]
    endless.append(endless)
    other: list[Any] = [2]
    other.append(other)
    oracle = taught({(0, 1): Ending((endless, None), {})})
    assert oracle.judge(Ending((endless, None), {})) is None
    assert oracle.judge(Ending((other, None), {})) is not None


def test_many_rows_that_nothing_tells_apart_are_judged_without_trying_all_ways() -> None:
    rows = [{"id": n, "name": "x"} for n in range(1, 40)]
    oracle = taught({(0, 1): Ending((None, None), {"ticket": rows})})
    assert oracle.judge(Ending((None, None), {"ticket": [{"id": n + 5, "name": "x"} for n in range(1, 40)]})) is None


def test_the_rule_of_the_caller_is_broken_by_false_and_by_a_failed_assertion_only() -> None:
    def one_left(outcomes: list[int]) -> None:
        assert len(outcomes) == 1, "both got the last one"

    violation = broken_rule(one_left, [1, 2])
    assert violation is not None
    assert (violation.kind, violation.detail) == ("broken rule", "one_left failed: both got the last one")
    assert broken_rule(one_left, [1]) is None
    assert broken_rule(lambda _: False, []) is not None
    assert broken_rule(lambda _: 0, []) is None
    with pytest.raises(ZeroDivisionError):
        broken_rule(lambda _: 1 / 0, [])
