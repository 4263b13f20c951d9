"""What was explored, as data."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from aioconcurrent.base.trace import ENDLESS, Run, Step, interleaved
from aioconcurrent.exceptions import WrappedError
from aioconcurrent.report.data import as_json, run_data, value
from aioconcurrent.results.exploration import Counterexample, Exploration, Remedy
from aioconcurrent.results.outcomes import Outcomes
from tests.explore.traces import READ, Tracer, timed, waited

T = Tracer(atomic=True)
STEPS = (T.read(0, 100), T.read(1, 100), T.save(0, 20), T.save(1, 20, **waited(0, until=4)), T.end(0), T.end(1))
CALLS = ("withdraw(80)", "withdraw(80)")
RUN = Run((True, WrappedError(ValueError("no money"))), {"account": [{"balance": Decimal("20.00")}]}, STEPS)
FOUND = Counterexample(
    "aioc1:0.1", Outcomes(), "lost update", "A read 100.", "Lock it.", CALLS, RUN, 1, frozenset({1, 2}),
    remedies=(Remedy("SERIALIZABLE", prevents=True, repeats=True),),
    serial=(((1, 0), Run((False, True), {"account": [{"balance": 20}]})),),
)  # fmt: skip
EXPLORATION = Exploration(
    "race", "lost update, with 1 preemption", False, 12, ("withdraw(80)",) * 3, FOUND, ("two of three",)
)


def read(exploration: Exploration) -> Any:
    return json.loads(exploration.to_json())


def test_the_verdict_is_told_with_all_that_goes_with_it() -> None:
    told = read(EXPLORATION)
    del told["counterexample"]
    assert told == {
        "verdict": "race",
        "reason": "lost update, with 1 preemption",
        "notes": ["two of three"],
        "exhaustive": False,
        "schedules_run": 12,
        "preemptions": None,
        "calls": ["withdraw(80)"] * 3,
    }


def test_the_counterexample_has_its_story_and_its_token() -> None:
    found = read(EXPLORATION)["counterexample"]
    names = "anomaly", "effect", "explanation", "hint", "token", "preemptions", "remedies"
    assert [found[name] for name in names] == [
        "lost update", "rows", "A read 100.", "Lock it.", "aioc1:0.1", 1,
        [{"name": "SERIALIZABLE", "prevents": True, "repeats": True}],
    ]  # fmt: skip
    assert found["tables"] == {"account": [{"balance": "20.00"}]}
    [order] = found["serial_orders"]
    assert order["order"] == ["B", "A"]
    assert [call["value"] for call in order["calls"]] == [False, True]
    assert order["tables"] == {"account": [{"balance": 20}]}


def test_without_a_race_there_is_no_counterexample() -> None:
    told = read(replace(EXPLORATION, verdict="no race", counterexample=None, preemptions=2))
    assert told["counterexample"] is None
    assert told["preemptions"] == 2


def test_a_step_has_its_call_its_text_its_line_and_its_rows() -> None:
    run = replace(RUN, private=frozenset({0}))
    first, second = run_data(run, CALLS, {1})["steps"][:2]
    assert first == {
        "number": 1,
        "call": "A",
        "kind": "sql",
        "text": READ,
        "parameters": [1],
        "in_transaction": True,
        "source": "shop/bank.py:41 in withdraw: account = get(pk)",
        "columns": ["id", "owner", "balance"],
        "rows": [[1, "ann", 100]],
        "rowcount": None,
        "error": None,
        "waited_for": [],
        "resumed_after": None,
        "marked": False,
        "private": True,
    }
    assert (second["call"], second["marked"], second["private"]) == ("B", True, False)


def test_a_wait_names_the_call_and_the_step_that_set_it_free() -> None:
    waiting = run_data(RUN, CALLS)["steps"][3]
    assert (waiting["waited_for"], waiting["resumed_after"]) == (["A"], 5)


def _raise() -> None:
    raise ValueError("no money")


def test_each_call_has_what_it_came_to() -> None:
    try:
        _raise()
    except ValueError as error:
        run = Run((WrappedError(error), None, "no", (1, 2), ENDLESS))
    raised, *others = run_data(run, ("f()",) * 5)["calls"]
    assert {name: raised[name] for name in ("call", "text", "ended", "error", "message")} == {
        "call": "A", "text": "f()", "ended": "raised", "error": "ValueError", "message": "no money",
    }  # fmt: skip
    assert raised["source"][-1].endswith('raise ValueError("no money")')
    told = [{name: other[name] for name in other if name not in ("call", "text")} for other in others]
    assert told == [
        {"ended": "returned", "value": None},
        {"ended": "returned", "value": "no"},
        {"ended": "returned", "value": "(1, 2)"},
        {"ended": "never"},
    ]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (True, True),
        (7, 7),
        (0.5, 0.5),
        (float("nan"), "nan"),
        (Decimal("1.50"), "1.50"),
        (date(2026, 1, 2), "2026-01-02"),
        (datetime(2026, 1, 2, 3, 4, tzinfo=UTC), "2026-01-02T03:04:00+00:00"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (b"\x00a", "b'\\x00a'"),
        ({"a": [Decimal(1), None], 2: ()}, {"a": ["1", None], "2": []}),
        ("\udc80", "\udc80"),
    ],
)
def test_values_are_plain_or_texts(given: object, expected: object) -> None:
    told = as_json({"it": value(given)})
    assert told.isascii()
    assert json.loads(told) == {"it": expected}


def test_a_recorded_race_has_times_from_its_first_step_on() -> None:
    steps: list[Step] = [timed(STEPS[0], 5000.0, 5000.5), timed(STEPS[1], 5001.0, None)]
    first, second = run_data(Run((1, 2), {}, interleaved([steps])), CALLS)["steps"]
    assert (first["started"], first["ended"], first["waited"]) == (0.0, 0.5, 0.0)
    assert (second["started"], second["ended"]) == (1.0, None)
    assert "started" not in run_data(RUN, CALLS)["steps"][0]
