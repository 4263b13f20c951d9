"""The verdict, from endings that are written down here."""

from __future__ import annotations

import hashlib
import json
import secrets
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from itertools import permutations
from typing import Any

import pytest

from aioconcurrent.base.trace import Run
from aioconcurrent.databases.schema import Key
from aioconcurrent.exceptions import WrappedError
from aioconcurrent.exploring.judging.facts import Numbers, apart
from aioconcurrent.exploring.judging.oracle import Oracle, Renumbered, broken_rule
from aioconcurrent.http import Response
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


def account(balance: object, *outcomes: object) -> Run:
    return Run(outcomes or (None, None), {"account": [{"id": 1, "balance": balance}]})


def withdrawals(**options: Any) -> Oracle:
    """Two calls that each take 80 from 100."""
    oracle = Oracle(2, ACCOUNT, {"account": [{"id": 1, "balance": 100}]}, **options)
    for order in permutations(range(2)):
        oracle.learn(order, account(-60))
    return oracle


def taught(endings: dict[tuple[int, ...], Run], keys: dict[str, Key] = SHOP, start: Any = None, **more: Any) -> Oracle:
    oracle = Oracle(2, keys, start or {}, **more)
    for order, ending in endings.items():
        oracle.learn(order, ending)
    return oracle


def both(make: Callable[[str, str], Run]) -> dict[Any, Run]:
    return {(0, 1): make("a", "b"), (1, 0): make("b", "a")}


def test_an_ending_of_a_serial_order_is_no_race() -> None:
    assert withdrawals().judge(account(-60)) is None


def test_an_ending_that_no_serial_order_gives_is_a_race_and_says_in_which_value() -> None:
    violation = withdrawals().judge(account(20))
    assert violation is not None
    assert violation.kind == "no serial order"
    assert [str(each) for each in violation.differences] == ["account id=1: balance is 20, not -60"]
    assert violation.differences[0].unique


def test_rows_that_some_serial_order_leaves_are_known_whatever_the_answers() -> None:
    oracle = withdrawals()
    assert oracle.knows_rows(account(-60, True, True))
    assert not oracle.knows_rows(account(20, None, None))


def test_a_returned_value_counts_as_much_as_a_row() -> None:
    violation = withdrawals().judge(account(-60, None, 20))
    assert violation is not None
    assert str(violation.differences[0]) == "the outcome of B is 20, not None"


def test_an_untouched_table_is_the_same_as_one_with_the_rows_of_the_start() -> None:
    oracle = Oracle(2, ACCOUNT, {"account": [{"id": 1, "balance": 100}]})
    oracle.learn((0, 1), account(100))
    assert oracle.judge(Run((None, None), {})) is None


def test_a_row_without_a_key_counts_as_often_as_it_is_there() -> None:
    oracle = taught({(0, 1): Run((None, None), {"log": [{"n": 1}, {"n": 1}]})}, {}, {"log": [{"n": 1}, {"n": 1}]})
    assert oracle.judge(Run((None, None), {"log": [{"n": 1}]})) is not None


def test_rows_of_the_start_are_told_apart_by_their_keys() -> None:
    start = {"account": [{"id": 1, "balance": 0}, {"id": 2, "balance": 0}]}
    changed = {"account": [{"id": 1, "balance": 5}, {"id": 2, "balance": 0}]}
    swapped = {"account": [{"id": 1, "balance": 0}, {"id": 2, "balance": 5}]}
    oracle = taught({(0, 1): Run((None, None), changed)}, ACCOUNT, start)
    assert oracle.judge(Run((None, None), changed)) is None
    assert oracle.judge(Run((None, None), swapped)) is not None


def test_which_row_of_the_start_was_deleted_matters() -> None:
    start = {"account": [{"id": 1, "balance": 0}, {"id": 2, "balance": 0}]}
    oracle = taught({(0, 1): Run((None, None), {"account": [{"id": 1, "balance": 0}]})}, ACCOUNT, start)
    violation = oracle.judge(Run((None, None), {"account": [{"id": 2, "balance": 0}]}))
    assert violation is not None
    assert {str(each) for each in violation.differences} == {
        "account id=1 has no row (id=1, balance=0)",
        "account id=2 has one more row (id=2, balance=0)",
    }


def tickets(first: str, second: str, keys: Sequence[object] = (1, 2)) -> Run:
    """Both calls make a ticket and return its key; `first` was quicker."""
    rows = [{"id": keys[0], "name": first}, {"id": keys[1], "name": second}]
    return Run((keys[0] if first == "a" else keys[1], keys[1] if first == "a" else keys[0]), {"ticket": rows})


def with_lines(quicker: str, tickets_of: dict[str, int], lines_of: dict[str, int], owner: dict[str, str]) -> Run:
    rows = [{"id": key, "name": name} for name, key in tickets_of.items()]
    lines = [{"id": key, "text": name, "ticket_id": tickets_of[owner[name]]} for name, key in lines_of.items()]
    return Run((None, None), {"ticket": rows, "line": lines})


OWN = {"a": "a", "b": "b"}
CROSSED = {"a": "b", "b": "a"}
SERIAL_LINES: dict[Any, Run] = {
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


NUMBERS = [Numbers("ticket", 5001, 5201, 5000), Numbers("line", 7001, 7201, 7000)]
Program = Callable[[Callable[[int], int], str, str], Run]


def where_found(number: int) -> int:
    return number


def where_moved(number: int) -> int:
    return 5000 + number


def knowing(program: Program, start: Any = None) -> Oracle:
    """Knows how two calls end that make tickets, with the counter of these moved after the first run."""
    oracle = Oracle(2, SHOP, start or {})
    oracle.learn((0, 1), program(where_found, "a", "b"))
    if oracle.renumber((0, 1), program(where_moved, "a", "b"), NUMBERS) is Renumbered.OTHER_VALUES:
        oracle.learn((0, 1), program(where_moved, "a", "b"))
    oracle.learn((1, 0), program(where_moved, "b", "a"))
    return oracle


def sold(
    write: Callable[[int], object],
    key: Callable[[int], int],
    first: str,
    second: str,
    keys: Sequence[int] = (1, 2),
    returned: Sequence[int] | None = None,
) -> Run:
    """Both calls make a ticket, and return something that is written with the key of one."""
    rows = [{"id": key(number), "name": name} for number, name in zip(keys, (first, second), strict=True)]
    of = dict(zip((first, second), returned or keys, strict=True))
    return Run((write(key(of["a"])), write(key(of["b"]))), {"ticket": rows})


WAYS: dict[str, Callable[[int], object]] = {
    "as a number": int,
    "as a text": str,
    "in a text": lambda key: f"Ticket #{key} sold",
    "with zeros": lambda key: f"{key:06d}",
    "in a mapping": lambda key: {"ticket": key, "of": 2},
    "in JSON": lambda key: json.dumps({"tickets": [{"id": key}]}),
    "as a decimal": Decimal,
}


@pytest.mark.parametrize("write", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("keys", [(1, 2), (2, 1), (3, 7)])
def test_new_keys_for_new_rows_never_change_the_verdict(write: Callable[[int], object], keys: Sequence[int]) -> None:
    oracle = knowing(partial(sold, write))
    assert oracle.judge(sold(write, where_moved, "a", "b", keys)) is None


@pytest.mark.parametrize("write", WAYS.values(), ids=WAYS)
def test_the_key_of_the_wrong_new_row_is_a_race_however_it_is_written(write: Callable[[int], object]) -> None:
    oracle = knowing(partial(sold, write))
    assert oracle.judge(sold(write, where_moved, "a", "b", (1, 2), (2, 1))) is not None


def numbered(
    write: Callable[[int], object],
    key: Callable[[int], int],
    first: str,
    second: str,
    last: Sequence[int] | None = None,
) -> Run:
    """Both calls number their ticket by the last key there is, and one more; that of the start is 0."""
    after = (0, key(1)) if last is None else last
    rows = [
        {"id": key(number), "name": name, "number": write(seen + 1)}
        for number, name, seen in zip((1, 2), (first, second), after, strict=True)
    ]
    return Run((None, None), {"ticket": rows})


@pytest.mark.parametrize("write", WAYS.values(), ids=WAYS)
def test_one_number_given_twice_is_a_race_though_it_was_made_from_a_key(write: Callable[[int], object]) -> None:
    oracle = knowing(partial(numbered, write))
    assert oracle.judge(numbered(write, where_moved, "b", "a")) is None
    assert oracle.judge(numbered(write, where_moved, "a", "b", (0, 0))) is not None


def billed(key: Callable[[int], int], order: str, between: bool = False, seen: int | None = None) -> Run:
    """A adds a bill and one with a code from the key of the first, B one with a code from the last key that it saw."""
    places = {"ab": (1, 2, 3), "ba": (2, 3, 1)}[order] if not between else (1, 3, 2)
    once, coded, other = map(key, places)
    last = {"ab": key(2), "ba": 0}[order] if seen is None else seen
    rows = [(once, "once"), (coded, f"2024/{once + 1}"), (other, f"2024/{last + 1}")]
    return Run((None, None), {"ticket": [{"id": key, "name": name} for key, name in sorted(rows)]})


def test_a_number_after_a_key_may_be_another_key_by_luck() -> None:
    oracle = Oracle(2, SHOP, {})
    oracle.learn((0, 1), billed(where_found, "ab"))
    oracle.renumber((0, 1), billed(where_moved, "ab"), NUMBERS)
    oracle.learn((1, 0), billed(where_moved, "ba"))
    lucky = billed(where_moved, "ba", between=True)
    assert oracle.judge(lucky) is None
    assert oracle.doubts(lucky, {}) == {
        "a number is the key of one new row and follows that of another, and may stand for either"
    }
    assert oracle.judge(billed(where_moved, "ba", between=True, seen=where_moved(1))) is not None


def test_a_number_that_only_happens_to_be_a_key_is_still_a_number() -> None:
    def counted(key: Callable[[int], int], first: str, second: str, numbers: Sequence[int] = (1, 2)) -> Run:
        names = zip((1, 2), (first, second), numbers, strict=True)
        rows = [{"id": key(place), "name": name, "number": number} for place, name, number in names]
        return Run((None, None), {"ticket": rows})

    oracle = knowing(counted)
    assert oracle.judge(counted(where_moved, "b", "a", (2, 1))) is None  # took the number first, was inserted last
    assert oracle.judge(counted(where_moved, "a", "b", (1, 1))) is not None
    assert oracle.judge(counted(where_moved, "a", "b", (5001, 5002))) is not None


def test_what_is_made_from_a_key_is_compared_by_what_equals_it() -> None:
    def code(key: int) -> str:
        return hashlib.sha256(str(key).encode()).hexdigest()

    oracle = knowing(partial(sold, code))
    assert oracle.judge(sold(code, where_moved, "a", "b", (2, 1))) is None
    assert oracle.judge(sold(code, where_moved, "a", "b", (1, 2), (1, 1))) is not None
    assert oracle.notes() == [
        "the outcome of A was compared only by what equals it: it is made from the number of a key",
        "the outcome of B was compared only by what equals it: it is made from the number of a key",
    ]


def test_a_program_that_depends_on_its_numbers_is_left_with_those_that_it_had() -> None:
    def looked_up(key: Callable[[int], int], first: str, second: str) -> Run:
        found = ValueError("there is no ticket 1") if key(1) > 1 else "there it is"
        return Run((found, key(2)), {"ticket": [{"id": key(1), "name": "a"}]})

    oracle = Oracle(2, SHOP, {})
    ending = looked_up(where_found, "a", "b")
    oracle.learn((0, 1), ending)
    assert oracle.renumber((0, 1), looked_up(where_moved, "a", "b"), NUMBERS) is Renumbered.OTHER_THINGS
    assert oracle.judge(ending) is None


def test_where_keys_cannot_be_told_from_numbers_it_is_doubted_that_they_are_keys() -> None:
    oracle = taught(both(tickets))
    swapped = Run((2, 1), {"ticket": [{"id": 1, "name": "b"}, {"id": 2, "name": "a"}]})
    renamed = tickets("a", "b", (3, 4))
    assert oracle.judge(swapped) is None
    assert oracle.doubts(swapped, {}) == set()
    assert oracle.judge(renamed) is None
    assert oracle.doubts(renamed, {}) == {"the keys of new rows are numbers that other values have, too"}


def test_a_returned_instance_is_compared_by_its_fields_and_its_new_key_by_what_it_names() -> None:
    table = Counter._meta.db_table
    keys = {table: Key(("id",), automatic=True)}

    def made(first: str, second: str, value: int = 1, ids: tuple[int, int] = (1, 2)) -> Run:
        of = dict(zip((first, second), ids, strict=True))
        outcomes = tuple(Counter(pk=of[name], name=name, value=value) for name in "ab")
        return Run(outcomes, {table: [{"id": of[name], "name": name, "value": 1} for name in "ab"]})

    oracle = taught(both(made), keys)
    assert oracle.judge(made("a", "b", ids=(1, 9))) is None
    violation = oracle.judge(made("a", "b", value=2))
    assert violation is not None
    assert [str(each) for each in violation.differences] == [
        "the outcome of A at value is 2, not 1",
        "the outcome of B at value is 2, not 1",
    ]


def test_keys_that_the_database_draws_are_compared_by_what_equals_them() -> None:
    keys = {"order": Key(("id",)), "line": Key(("id",), automatic=True, references={"order_id": ("order", "id")})}

    def placed(owner: str = "a") -> Run:
        ids = {name: uuid.uuid4() for name in "ab"}
        rows = [{"id": ids[name].hex, "name": name} for name in "ab"]
        line = {"id": 1, "order_id": ids[owner].hex}
        return Run((ids["a"], f"/orders/{ids['b']}/"), {"order": rows, "line": [line]})

    oracle = taught({(0, 1): placed(), (1, 0): placed()}, keys)
    oracle.learn((0, 1), placed())
    assert not oracle.unsteady
    assert oracle.judge(placed()) is None
    assert oracle.judge(placed("b")) is not None


NOW = datetime(2026, 1, 1, tzinfo=UTC)


def stamped(day: int, balance: int = -60, waited: float = 0.0) -> Run:
    """The database writes the time; the row of the start has none."""
    rows = [{"id": 1, "balance": balance, "changed": NOW + timedelta(days=day)}]
    return Run((None, {"took": waited}), {"account": rows})


def knowing_stamps() -> Oracle:
    start = {"account": [{"id": 1, "balance": 100, "changed": None}]}
    oracle = taught({(0, 1): stamped(1, waited=0.5)}, ACCOUNT, start)
    oracle.learn((0, 1), stamped(2, waited=0.7))
    assert not oracle.unsteady
    return oracle


def test_what_differs_between_two_runs_of_one_order_is_no_evidence() -> None:
    assert knowing_stamps().judge(stamped(3, waited=0.1)) is None


def test_a_column_that_differs_from_run_to_run_is_still_compared_by_being_null_or_not() -> None:
    ending = Run((None, {"took": 0.1}), {"account": [{"id": 1, "balance": -60, "changed": None}]})
    violation = knowing_stamps().judge(ending)
    assert violation is not None
    assert str(violation.differences[0]) == "account id=1: changed is None, not some datetime"


def test_a_column_that_differs_from_run_to_run_is_still_compared_by_being_as_at_the_start_or_not() -> None:
    start = {"account": [{"id": 1, "balance": 100, "changed": NOW}]}
    oracle = taught({(0, 1): stamped(1)}, ACCOUNT, start)
    oracle.learn((0, 1), stamped(2))
    assert oracle.judge(stamped(3)) is None
    assert oracle.judge(stamped(0)) is not None


def test_a_column_that_differs_from_run_to_run_hides_no_other() -> None:
    violation = knowing_stamps().judge(stamped(3, balance=20))
    assert violation is not None
    assert [str(each) for each in violation.differences] == ["account id=1: balance is 20, not -60"]


def test_it_is_told_what_was_compared_in_a_weaker_way() -> None:
    assert [note.partition(",")[0] for note in knowing_stamps().notes()] == [
        "account.changed was compared only by its type",
        "the outcome of B at took was compared only by its type",
    ]


def lines(day: int, *texts: str) -> str:
    return "".join(f"{NOW + timedelta(days=day, seconds=place):%F %T} {text}\n" for place, text in enumerate(texts))


def history(day: int, *texts: str) -> str:
    return json.dumps([{"at": str(NOW + timedelta(days=day, seconds=n)), "what": text} for n, text in enumerate(texts)])


@pytest.mark.parametrize("write", [lines, history])
def test_of_a_text_with_a_time_in_it_the_rest_is_compared(write: Callable[..., str]) -> None:
    def written(day: int, *texts: str) -> Run:
        return Run((None, None), {"account": [{"id": 1, "log": write(day, *texts)}]})

    oracle = taught({(0, 1): written(1, "a", "b")}, ACCOUNT, {"account": [{"id": 1, "log": ""}]})
    oracle.learn((0, 1), written(2, "a", "b"))
    assert oracle.judge(written(3, "a", "b")) is None
    assert oracle.judge(written(3, "b")) is not None
    assert oracle.judge(written(3, "b", "a")) is not None
    assert oracle.judge(written(3, "a", "b", "c")) is not None


def test_a_token_that_the_database_draws_is_the_same_wherever_it_stands() -> None:
    def drawn(*places: int) -> Run:
        tokens = [secrets.token_hex(8) for _ in range(2)]
        row, one, other = (tokens[place] for place in places)
        return Run((one, f"use {other}"), {"account": [{"id": 1, "token": row}]})

    oracle = taught({(0, 1): drawn(0, 0, 0)}, ACCOUNT, {"account": [{"id": 1, "token": None}]})
    oracle.learn((0, 1), drawn(0, 0, 0))
    assert oracle.judge(drawn(0, 0, 0)) is None
    assert oracle.judge(drawn(1, 0, 1)) is not None


def test_a_token_that_the_database_draws_is_known_where_no_two_runs_of_one_order_have_shown_it() -> None:
    def drawn(call: int, *, right: bool = True) -> Run:
        token, other = (secrets.token_hex(8) for _ in range(2))
        told = token if right else other
        return Run((told, None) if call == 0 else (None, told), {"account": [{"id": 1, "token": token}]})

    oracle = taught({(0, 1): drawn(0), (1, 0): drawn(1)}, ACCOUNT, {"account": [{"id": 1, "token": None}]})
    oracle.learn((0, 1), drawn(0))
    assert oracle.judge(drawn(1)) is None
    assert oracle.judge(drawn(1, right=False)) is not None


def test_a_cell_that_two_calls_wrote_and_that_cannot_be_compared_is_doubted_where_the_order_matters() -> None:
    oracle = knowing_stamps()
    oracle.learn((1, 0), stamped(1, balance=0))
    ending, both_wrote = stamped(3), {"account": {0, 1}}
    assert oracle.doubts(ending, {"account": {0}}) == set()
    assert oracle.doubts(ending, both_wrote) == {
        "account.changed cannot be compared from run to run, and two calls write it"
    }
    oracle.learn((1, 0), stamped(4, balance=0))
    alike = knowing_stamps()
    alike.learn((1, 0), stamped(1))
    assert alike.doubts(ending, both_wrote) == set()


def cached(**values: object) -> Run:
    return Run((None, None), {"cache default": [{"key": key, "value": value} for key, value in values.items()]})


def test_a_key_that_a_cache_has_forgotten_equals_any_value() -> None:
    oracle = taught({(0, 1): cached(k="new"), (1, 0): cached(n=2)})
    assert oracle.judge(cached()) is None
    assert oracle.judge(cached(k="new", n=2)) is None


def test_a_value_in_a_cache_that_no_serial_order_leaves_is_a_race() -> None:
    oracle = taught({(0, 1): cached(k="new"), (1, 0): cached()})
    assert oracle.judge(cached(k="old")) is not None
    assert taught({(0, 1): cached(), (1, 0): cached()}).judge(cached(k="old")) is not None


def answered(content: bytes, status: int = 200, cookies: Any = None, **headers: Any) -> Run:
    return Run((Response(status, content, headers, cookies or {}), None), {})


SOLD = {"messages": "sold"}
PAGE = answered(b"<p>3 left</p>", Date="Mon", ETag="x", cookies={"csrftoken": "x", "messages": "sold"})


def test_of_a_response_its_length_its_times_and_its_tokens_are_no_evidence() -> None:
    other: Any = {"Date": "Tue", "ETag": "y", "Content-Length": "13", "Last-Modified": "Tue", "Expires": "Wed"}
    oracle = taught({(0, 1): PAGE})
    assert oracle.judge(answered(b"<p>3 left</p>", cookies={"csrftoken": "y", "messages": "sold"}, **other)) is None


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (
            answered(b"<p>2 left</p>", cookies={"messages": "sold"}),
            "at content is '<p>2 left</p>', not '<p>3 left</p>'",
        ),
        (answered(b"<p>3 left</p>", 409, cookies=SOLD), "at status_code is 409, not 200"),
        (answered(b"<p>3 left</p>", cookies={"messages": "gone"}), "at cookies.messages is 'gone', not 'sold'"),
    ],
)
def test_a_response_is_compared_by_its_status_its_content_and_what_it_sets(answer: Run, told: str) -> None:
    violation = taught({(0, 1): PAGE}).judge(answer)
    assert violation is not None
    assert [str(each) for each in violation.differences] == [f"the outcome of A {told}"]


def test_where_a_response_redirects_to_counts() -> None:
    violation = taught({(0, 1): answered(b"", 302, Location="/a/")}).judge(answered(b"", 302, Location="/b/"))
    assert violation is not None
    assert str(violation.differences[0]) == "the outcome of A at location is '/b/', not '/a/'"


def test_json_of_a_response_is_compared_by_path() -> None:
    oracle = taught({(0, 1): answered(b'{"cart": {"total": 3, "lines": [1]}}')})
    assert oracle.judge(answered(b'{"cart": {"lines": [1], "total": 3}}')) is None
    violation = oracle.judge(answered(b'{"cart": {"total": 2, "lines": [1]}}'))
    assert violation is not None
    assert str(violation.differences[0]) == "the outcome of A at json.cart.total is 2, not 3"


def test_what_is_to_be_ignored_is_not_compared() -> None:
    def logged(balance: int, *texts: str) -> Run:
        rows = [{"id": 1, "balance": balance, "seen": texts[0]}]
        log = [{"id": number, "text": text} for number, text in enumerate(texts)]
        return Run((None, None), {"account": rows, "log": log})

    oracle = taught({(0, 1): logged(20, "a")}, ACCOUNT, ignored={("log", None), ("account", "seen")})
    assert oracle.judge(logged(20, "b", "c")) is None
    assert oracle.judge(logged(-60, "a")) is not None


def test_an_order_that_does_not_end_twice_alike_is_reported_as_unsteady() -> None:
    oracle = taught({(0, 1): Run((None, None), {"ticket": [{"id": 1, "name": "a"}]})})
    oracle.learn((0, 1), Run((None, None), {"ticket": []}))
    assert oracle.unsteady == {(0, 1)}
    assert oracle.judge(Run((None, None), {})) is None


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
    oracle = taught({(0, 1): Run((value, None), {})})
    assert oracle.judge(Run((same, None), {})) is None
    assert oracle.judge(Run((other, None), {})) is not None


def test_a_value_that_contains_itself_can_be_judged() -> None:
    endless: list[Any] = [1]
    endless.append(endless)
    other: list[Any] = [2]
    other.append(other)
    oracle = taught({(0, 1): Run((endless, None), {})})
    assert oracle.judge(Run((endless, None), {})) is None
    assert oracle.judge(Run((other, None), {})) is not None


def test_many_rows_that_nothing_tells_apart_are_judged_without_trying_all_ways() -> None:
    rows = [{"id": n, "name": "x"} for n in range(1, 40)]
    oracle = taught({(0, 1): Run((None, None), {"ticket": rows})})
    assert oracle.judge(Run((None, None), {"ticket": [{"id": n + 5, "name": "x"} for n in range(1, 40)]})) is None


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


def test_counters_are_moved_to_numbers_that_no_other_counter_gives() -> None:
    taken: list[Numbers] = []
    for first in (1, 1, 9, 30_000, 12, 1):
        taken.append(apart("table", first, 100, taken))
        assert taken[-1].first - first == taken[-1].moved_by > 1000
    numbers = [set(range(each.first, each.end)) for each in taken]
    assert sum(map(len, numbers)) == len(set().union(*numbers))
